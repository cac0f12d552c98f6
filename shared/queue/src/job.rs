//! The job message: one host of one execution, at one attempt.
//!
//! The message is a pointer to a detail row; what the run reads stands in the execution's row. It proves whose job it is by
//! the host and the end of the run's window: a database that was restored may give the ids of both rows out again.
//!
//! Versioned, so that releases can run side by side: every release passes over fields that it does not know, so one that can
//! be done without is added under the same version; what cannot be done without makes a new version, which is read by one
//! release and written by the next.

use chrono::{DateTime, TimeZone as _, Utc};
use serde::{Deserialize, Serialize};

use hostsync_model::execution::{DetailId, ExecutionId};

/// The version that this release writes and reads.
const VERSION: u8 = 1;

/// Longest message read, and the longest headers, in bytes; ours have about a hundred.
pub(super) const MAX_BYTES: usize = 4_096;

/// One host of one execution, at one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Job {
    /// The run.
    pub execution_id: ExecutionId,
    /// The detail row.
    pub detail_id: DetailId,
    /// As it stands in the row; may be no address at all, then the host fails alone.
    pub host_ip: String,
    /// From 1; valid while the row is pending with `attempt - 1` attempts spent.
    pub attempt: u32,
    /// Where the run's window ends, to the millisecond; `None`: published by a release that did not say.
    pub window_to: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct JobVersion {
    v: u8,
}

#[derive(Serialize, Deserialize)]
struct JobMessage {
    v: u8,
    execution_id: u64,
    detail_id: u64,
    host_ip: String,
    attempt: u32,
    /// In milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window_to: Option<i64>,
}

/// Why a message is no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableJob {
    /// Longer than any job.
    #[error("not a job: {bytes} bytes, at most {MAX_BYTES}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Not a JSON object of the expected fields.
    #[error("not a job: {0}")]
    Malformed(String),
    /// Written by a release that speaks another version.
    #[error("job message of version {0}, this release reads version {VERSION}")]
    JobVersion(u8),
}

impl Job {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        let wire = JobMessage {
            v: VERSION,
            execution_id: self.execution_id.0,
            detail_id: self.detail_id.0,
            host_ip: self.host_ip.clone(),
            attempt: self.attempt,
            window_to: self.window_to.map(|to| to.timestamp_millis()),
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// The message is no job that this release can read: it goes to the dead letters with this reason.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnreadableJob> {
        if bytes.len() > MAX_BYTES {
            return Err(UnreadableJob::TooLong { bytes: bytes.len() });
        }
        let malformed = |error: serde_json::Error| UnreadableJob::Malformed(error.to_string());
        let wire = match serde_json::from_slice::<JobMessage>(bytes) {
            Ok(wire) if wire.v == VERSION => wire,
            // Another version may have other fields, so it is asked for alone.
            read => {
                let version: JobVersion = serde_json::from_slice(bytes).map_err(malformed)?;
                return Err(if version.v == VERSION {
                    read.map_or_else(malformed, |_| UnreadableJob::JobVersion(version.v))
                } else {
                    UnreadableJob::JobVersion(version.v)
                });
            }
        };
        if wire.attempt == 0 {
            return Err(UnreadableJob::Malformed("attempt must be 1 or more".to_owned()));
        }
        let window_to = match wire.window_to {
            Some(ms) => Some(
                Utc.timestamp_millis_opt(ms)
                    .single()
                    .ok_or_else(|| UnreadableJob::Malformed(format!("window_to: {ms} is no time")))?,
            ),
            None => None,
        };
        Ok(Self {
            execution_id: ExecutionId(wire.execution_id),
            detail_id: DetailId(wire.detail_id),
            host_ip: wire.host_ip,
            attempt: wire.attempt,
            window_to,
        })
    }

    /// Whether it may be a job of a run whose window ends then.
    pub fn is_of_window(&self, to: DateTime<Utc>) -> bool {
        self.window_to.is_none_or(|said| said.timestamp_millis() == to.timestamp_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            execution_id: ExecutionId(7),
            detail_id: DetailId(u64::MAX),
            host_ip: "10.1.1.1".to_owned(),
            attempt: 3,
            window_to: DateTime::from_timestamp_millis(1_750_000_000_123),
        }
    }

    #[test]
    fn a_job_survives_its_journey() {
        assert_eq!(Job::decode(&job().encode()), Ok(job()));
    }

    #[test]
    fn the_message_is_stable() {
        insta::assert_snapshot!(
            String::from_utf8(job().encode()).expect("UTF-8"),
            @r#"{"v":1,"execution_id":7,"detail_id":18446744073709551615,"host_ip":"10.1.1.1","attempt":3,"window_to":1750000000123}"#
        );
    }

    #[test]
    fn a_job_of_the_release_before_is_read_and_fits_every_window() {
        let old = br#"{"v":1,"execution_id":7,"detail_id":18446744073709551615,"host_ip":"10.1.1.1","attempt":3}"#;
        let read = Job::decode(old).expect("a job");
        assert_eq!(read, Job { window_to: None, ..job() });
        assert!(read.is_of_window(DateTime::UNIX_EPOCH));
        // The message is as that release wrote it but for a field, which it passes over.
        assert_eq!(read.encode(), old);
    }

    #[test]
    fn a_job_fits_its_own_window_alone_to_the_millisecond() {
        let to = DateTime::from_timestamp_millis(1_750_000_000_123).expect("a time");
        assert!(job().is_of_window(to) && job().is_of_window(to + chrono::TimeDelta::microseconds(400)));
        assert!(!job().is_of_window(to + chrono::TimeDelta::milliseconds(1)));
    }

    #[test]
    fn what_is_no_job_says_why() {
        assert!(matches!(Job::decode(b"hello"), Err(UnreadableJob::Malformed(_))));
        assert!(matches!(Job::decode(br#"{"v":1}"#), Err(UnreadableJob::Malformed(_))));
        assert_eq!(Job::decode(&vec![b' '; MAX_BYTES + 1]), Err(UnreadableJob::TooLong { bytes: MAX_BYTES + 1 }));
        assert_eq!(Job::decode(br#"{"v":2,"host":"x"}"#), Err(UnreadableJob::JobVersion(2)));
        let never =
            br#"{"v":1,"execution_id":1,"detail_id":1,"host_ip":"x","attempt":1,"window_to":9223372036854775807}"#;
        assert!(matches!(Job::decode(never), Err(UnreadableJob::Malformed(_))));
        let zero = br#"{"v":1,"execution_id":1,"detail_id":1,"host_ip":"10.0.0.1","attempt":0}"#;
        assert!(matches!(Job::decode(zero), Err(UnreadableJob::Malformed(_))));
    }
}
