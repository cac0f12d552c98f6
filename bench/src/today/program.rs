//! Runs the Go program of `bench/today` as a process of its own. Its time includes its start (some 10 ms).

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use chrono::{DateTime, Utc};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use url::Url;

use super::{RunTiming, Setting};
use crate::processes::cpu_seconds;

/// As [`Setting::run`].
pub(super) async fn run(
    setting: &Setting,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    hosts: &Arc<Vec<String>>,
    done: &Arc<AtomicUsize>,
) -> anyhow::Result<RunTiming> {
    let mut program = Command::new(&setting.program)
        .args(["-dsn", &dsn(&setting.database_url)?, "-search", &setting.search_url()])
        .args(["-from", &from.timestamp_millis().to_string(), "-to", &to.timestamp_millis().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!("{} cannot be started: `make bench` builds it, or bench/today/build", setting.program.display())
        })?;
    let pid = program.id();
    let mut input = program.stdin.take().context("a pipe to the program")?;
    let list = hosts.join("\n") + "\n";
    // Beside the reading: a pipe holds less than a long list.
    let writing = tokio::spawn(async move { input.write_all(list.as_bytes()).await });
    let mut lines = BufReader::new(program.stdout.take().context("a pipe from the program")?).lines();
    let mut outcome = None;
    let mut used = None;
    while let Some(line) = lines.next_line().await? {
        // While it lives: nothing can be read of it afterwards.
        used = pid.and_then(cpu_seconds).or(used);
        match line.parse() {
            Ok(count) => done.store(count, Ordering::Relaxed),
            Err(_) => {
                let counts = serde_json::from_str(&line).with_context(|| format!("the answer {line:?}"))?;
                outcome = Some(counts);
            }
        }
    }
    let status = program.wait().await?;
    anyhow::ensure!(status.success(), "the program ended with {status}");
    writing.await?.context("the program did not read its hosts")?;
    Ok(RunTiming { outcome: outcome.context("the program said nothing of its outcome")?, cpu_seconds: used })
}

/// A URL of a database as go-sql-driver/mysql writes it.
fn dsn(url: &str) -> anyhow::Result<String> {
    let url = Url::parse(url)?;
    let password = url.password().map(|password| format!(":{password}")).unwrap_or_default();
    let host = url.host_str().context("a host")?;
    let port = url.port().unwrap_or(3306);
    Ok(format!("{}{password}@tcp({host}:{port}){}?parseTime=true&charset=utf8mb4&loc=UTC", url.username(), url.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_written_as_the_driver_reads_it() {
        let dsn = dsn("mysql://root@127.0.0.1:3307/db").expect("a URL");
        assert_eq!(dsn, "root@tcp(127.0.0.1:3307)/db?parseTime=true&charset=utf8mb4&loc=UTC");
    }
}
