//! `hostsync-api doctor`: tests every dependency and says what is wrong and how to mend it, in one screenful.
//!
//! A file a dependency. Each asks under a time-out and turns what it finds into lines; what is wrong is never an error of
//! the doctor's. Nothing that it does stays: rights are tried in a transaction that is rolled back, the broker is looked at
//! passively (`shared::queue::Broker`), sources are asked what a task would ask them.

mod broker;
mod configuration;
mod database;
mod report;
mod sources;
mod work;

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hostsync_shared::config::Config;

pub use report::{Check, Level, Report};

/// Longest time for one question to the database or the broker; some are several statements.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// Examines everything that `config` names. `file` is where it was read from, `clock` this machine's.
/// Takes half a minute at most.
pub async fn examine(config: &Config, file: Option<&Path>, clock: fn() -> DateTime<Utc>) -> Report {
    let (database, broker, sources) =
        tokio::join!(database::examine(config, clock), broker::examine(config), sources::examine(config, clock()),);
    let mut report = Report::default();
    report.extend(configuration::examine(config, file));
    report.extend(database.checks);
    report.extend(broker.checks);
    report.extend(sources);
    if let Some(mut connection) = database.connection {
        report.extend(work::examine(&mut connection, config, &broker.depths).await);
    }
    report
}

/// Bounds a question. `Err`: a sentence.
async fn within<T>(question: impl Future<Output = T>) -> Result<T, String> {
    let asked = tokio::time::timeout(LONGEST_ANSWER, question).await;
    asked.map_err(|_| format!("no answer within {} s", LONGEST_ANSWER.as_secs()))
}
