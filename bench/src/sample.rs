//! Sample data that stays on the servers between two runs, so that the second one is quick.
//!
//! What the index holds stands in a note of the index itself. The note is removed before anything is written and set
//! when all of it is visible: a run that was interrupted leaves an index without a note, which is written anew.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_testing::documents::{SampleHost, SampleIndex, times};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{MySqlPool, QueryBuilder};

use crate::screen::ProgressLine;

/// How far back a sync of the samples reads.
pub(crate) const WINDOW: TimeDelta = TimeDelta::hours(24);

/// An index whose newest document is older than this is written anew: topping it up would take longer.
const TOO_OLD: TimeDelta = TimeDelta::hours(12);

/// An index whose oldest document is older than this is written anew, so that it does not grow for ever.
const TOO_LARGE: TimeDelta = TimeDelta::hours(72);

/// Rows in one statement.
const ROWS: usize = 1_000;

/// This machine's clock, which is the servers' too.
#[allow(clippy::disallowed_methods, reason = "samples and measurements are no matter of what is due")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// What an index holds: documents of the hosts below `hosts`, one each `step_s`, in `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Coverage {
    hosts: u32,
    step_s: i64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

/// What was done to have the documents in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SampleFill {
    /// Nothing: they were there.
    Reused,
    /// So many were added to what was there.
    ToppedUp(usize),
    /// So many were written.
    Written(usize),
}

/// The documents that should be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Of the hosts below this number.
    pub(crate) hosts: u32,
    /// One a host each step.
    pub(crate) step: TimeDelta,
    /// From a day ago until so long ahead of the clock.
    pub(crate) ahead: TimeDelta,
}

/// The documents that are missing.
#[derive(Debug, PartialEq, Eq)]
enum Missing {
    Nothing,
    Newest { from: DateTime<Utc>, to: DateTime<Utc> },
    Everything { from: DateTime<Utc>, to: DateTime<Utc> },
}

/// Documents are written up to `wanted.ahead` ahead of the clock, so that the window of a run that starts a little later
/// is full. When half of that is used up, the index is topped up.
fn missing(held: Option<Coverage>, wanted: Wanted, now: DateTime<Utc>) -> Missing {
    let (from, to) = (now - WINDOW, now + wanted.ahead);
    match held {
        Some(held)
            if held.hosts == wanted.hosts
                && held.step_s == wanted.step.num_seconds()
                && held.from <= from
                && held.from > now - TOO_LARGE
                && held.to > now - TOO_OLD =>
        {
            if held.to >= now + wanted.ahead / 2 {
                Missing::Nothing
            } else {
                Missing::Newest { from: held.to, to }
            }
        }
        _ => Missing::Everything { from, to },
    }
}

/// Makes sure that `index` holds the documents.
///
/// # Errors
///
/// The engine's.
pub(crate) async fn fill(index: &SampleIndex, wanted: Wanted) -> anyhow::Result<SampleFill> {
    let held: Option<Coverage> = index.note().await?.and_then(|note| serde_json::from_value(note).ok());
    let (kept, from, to) = match missing(held, wanted, now()) {
        Missing::Nothing => return Ok(SampleFill::Reused),
        Missing::Newest { from, to } => {
            index.set_note(&json!({})).await?;
            (held, from, to)
        }
        Missing::Everything { from, to } => {
            index.delete().await?;
            SampleIndex::create_of(index.family(), index.url(), &index.name).await?;
            (None, from, to)
        }
    };
    let Wanted { hosts, step, .. } = wanted;
    let total = hosts as usize * times(from, to, step).count();
    let mut progress = ProgressLine::start("documents", total);
    progress.set(0, total, "");
    let hosts_to_write = (0..hosts).map(SampleHost);
    let written = index.fill(hosts_to_write, from, to, step, |written| progress.set(written, total, "")).await?;
    progress.finish();
    let coverage = Coverage { hosts, step_s: step.num_seconds(), from: kept.map_or(from, |held| held.from), to };
    index.set_note(&serde_json::to_value(coverage)?).await?;
    Ok(if kept.is_some() { SampleFill::ToppedUp(written) } else { SampleFill::Written(written) })
}

/// Makes sure that the hosts below `hosts` stand in the pool as the samples need them.
pub(crate) async fn fill_pool(pool: &MySqlPool, hosts: u32) -> sqlx::Result<()> {
    let all: Vec<SampleHost> = (0..hosts).map(SampleHost).collect();
    for chunk in all.chunks(ROWS) {
        let mut query = QueryBuilder::new("INSERT INTO hosts_pool (host_name, host_ip, ram, disk_size, vcpus) ");
        query.push_values(chunk, |mut row, host| {
            row.push_bind(host.name())
                .push_bind(host.ip())
                .push_bind(host.ram_gb())
                .push_bind(host.disk_gb())
                .push("8");
        });
        query.push(
            " ON DUPLICATE KEY UPDATE host_name = VALUES(host_name), ram = VALUES(ram), disk_size = VALUES(disk_size),
                 is_deleted = 0, delete_time = NULL",
        );
        query.build().persistent(false).execute(pool).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).expect("a time")
    }

    fn held(from_h: i64, to_m: i64) -> Coverage {
        let (from, to) = (noon() - TimeDelta::hours(from_h), noon() + TimeDelta::minutes(to_m));
        Coverage { hosts: 10, step_s: 300, from, to }
    }

    #[test]
    fn what_is_there_is_kept_and_what_is_missing_is_written() {
        let ahead = TimeDelta::minutes(10);
        let wanted = Wanted { hosts: 10, step: TimeDelta::minutes(5), ahead };
        let everything = Missing::Everything { from: noon() - WINDOW, to: noon() + ahead };
        assert_eq!(missing(None, wanted, noon()), everything);
        assert_eq!(missing(Some(held(25, 5)), wanted, noon()), Missing::Nothing);
        assert_eq!(
            missing(Some(held(25, -60)), wanted, noon()),
            Missing::Newest { from: noon() - TimeDelta::hours(1), to: noon() + ahead }
        );
        // Too short, of other hosts, too old, too large.
        assert_eq!(missing(Some(held(23, 10)), wanted, noon()), everything);
        assert_eq!(missing(Some(held(25, 10)), Wanted { hosts: 11, ..wanted }, noon()), everything);
        assert_eq!(missing(Some(held(40, -60 * 13)), wanted, noon()), everything);
        assert_eq!(missing(Some(held(73, 10)), wanted, noon()), everything);
    }
}
