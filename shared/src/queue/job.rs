//! The job message: one host of one execution, at one attempt.
//!
//! The message is a pointer to a detail row; what the run reads stands in the execution's row. Versioned, so that
//! releases can run side by side.

use serde::{Deserialize, Serialize};

use crate::execution::{DetailId, ExecutionId};

/// The version that this release writes and reads.
const VERSION: u8 = 1;

/// Longest message read, in bytes; ours have about a hundred.
const MAX_BYTES: usize = 4_096;

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
}

#[derive(Deserialize)]
struct Version {
    v: u8,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u8,
    execution_id: u64,
    detail_id: u64,
    host_ip: String,
    attempt: u32,
}

/// Why a message is no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableJob {
    /// Not a JSON object of the expected fields.
    #[error("not a job: {0}")]
    Malformed(String),
    /// Written by a release that speaks another version.
    #[error("job message of version {0}, this release reads version {VERSION}")]
    Version(u8),
}

impl Job {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            v: VERSION,
            execution_id: self.execution_id.0,
            detail_id: self.detail_id.0,
            host_ip: self.host_ip.clone(),
            attempt: self.attempt,
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
            return Err(UnreadableJob::Malformed(format!("{} bytes, at most {MAX_BYTES}", bytes.len())));
        }
        let malformed = |error: serde_json::Error| UnreadableJob::Malformed(error.to_string());
        let version: Version = serde_json::from_slice(bytes).map_err(malformed)?;
        if version.v != VERSION {
            return Err(UnreadableJob::Version(version.v));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(malformed)?;
        if wire.attempt == 0 {
            return Err(UnreadableJob::Malformed("attempt must be 1 or more".to_owned()));
        }
        Ok(Self {
            execution_id: ExecutionId(wire.execution_id),
            detail_id: DetailId(wire.detail_id),
            host_ip: wire.host_ip,
            attempt: wire.attempt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job { execution_id: ExecutionId(7), detail_id: DetailId(u64::MAX), host_ip: "10.1.1.1".to_owned(), attempt: 3 }
    }

    #[test]
    fn a_job_survives_its_journey() {
        assert_eq!(Job::decode(&job().encode()), Ok(job()));
    }

    #[test]
    fn the_message_is_stable() {
        insta::assert_snapshot!(
            String::from_utf8(job().encode()).expect("UTF-8"),
            @r#"{"v":1,"execution_id":7,"detail_id":18446744073709551615,"host_ip":"10.1.1.1","attempt":3}"#
        );
    }

    #[test]
    fn what_is_no_job_says_why() {
        assert!(matches!(Job::decode(b"hello"), Err(UnreadableJob::Malformed(_))));
        assert!(matches!(Job::decode(br#"{"v":1}"#), Err(UnreadableJob::Malformed(_))));
        assert!(matches!(Job::decode(&vec![b' '; MAX_BYTES + 1]), Err(UnreadableJob::Malformed(_))));
        assert_eq!(Job::decode(br#"{"v":2,"host":"x"}"#), Err(UnreadableJob::Version(2)));
        let zero = br#"{"v":1,"execution_id":1,"detail_id":1,"host_ip":"10.0.0.1","attempt":0}"#;
        assert!(matches!(Job::decode(zero), Err(UnreadableJob::Malformed(_))));
    }
}
