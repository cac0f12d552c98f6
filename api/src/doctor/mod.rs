//! `hostsync-api doctor`: tests every dependency and says what is wrong and how to mend it, in one screenful.
//!
//! A file a dependency. Each asks under a time-out and turns what it finds into lines; what is wrong is never an error of
//! the doctor's. Nothing that it does stays: rights are tried in a transaction that is rolled back, the broker is looked at
//! passively (`hostsync_queue::Broker`), sources are asked what a task would ask them.

mod broker;
mod configuration;
mod database;
mod report;
mod sources;
mod tables;
mod work;

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hostsync_service::config::Config;
use hostsync_service::tested::Tested;

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
    let mut connection = database.connection;
    report.extend(work::dead_letters(connection.as_mut(), broker.dead_letters.as_ref()).await);
    if let Some(mut connection) = connection {
        report.extend(work::examine(&mut connection, config, &broker.depths).await);
    }
    report
}

/// A server of another version than those that were tested. What is tested stands in the line of the server itself.
fn untested(check: &str, tested: Tested, version: &str) -> Option<Check> {
    let next = "try it beside a copy of your data before you rely on it: the versions before and after it may differ";
    let found = format!("{version} is none of the versions that hostsync is tested with: {tested}");
    (!tested.includes(version)).then(|| Check::warn(format!("{check} version"), found, next))
}

/// Bounds a question. `Err`: a sentence.
async fn within<T>(question: impl Future<Output = T>) -> Result<T, String> {
    let asked = tokio::time::timeout(LONGEST_ANSWER, question).await;
    asked.map_err(|_| format!("no answer within {} s", LONGEST_ANSWER.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_another_version_than_those_tested_is_a_warning() {
        assert_eq!(untested("broker", Tested::RABBITMQ, "3.10.8"), None);
        let check = untested("broker", Tested::RABBITMQ, "3.8.9").expect("it is older");
        assert_eq!((check.check.as_str(), check.level), ("broker version", Level::Warn));
        assert!(check.found.contains("3.8.9") && check.found.ends_with("RabbitMQ 3.10 to 4.3"), "{}", check.found);
    }
}
