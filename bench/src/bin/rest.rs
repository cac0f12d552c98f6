//! `hostsync-rest`: how many statements a second each service asks the database while there is nothing to do.
//!
//! Runs the services one after the other on a database server of its own and the development servers
//! (`HOSTSYNC_DEV_*_URL`).

#![allow(clippy::print_stdout, reason = "what it measured is its output")]

use std::time::Duration;

use anyhow::Context;
use hostsync_store::database;
use hostsync_testing::bed::Bed;
use hostsync_testing::own_mariadb::OwnMariadb;
use hostsync_testing::process::Process;

/// From the start of a service until it is at rest: the connections of its start have lived their longest life by then.
const SETTLING: Duration = Duration::from_secs(130);

/// How long it is measured; long enough for several rounds of the slowest loop but the pruning.
const MEASURED: Duration = Duration::from_mins(1);

/// Longest wait for the end of a service.
const END_WITHIN: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let bed = Bed::create_without_schema("rest").await?;
    let measured = measure(&bed).await;
    bed.remove().await?;
    measured
}

async fn measure(bed: &Bed) -> anyhow::Result<()> {
    let own = OwnMariadb::start("rest").await?;
    let url = format!("mysql://admin@{}/rest", own.address);
    database::migrate(&url).await?;
    let environment = bed.environment(&[("HOSTSYNC_DATABASE__URL", &url), ("HOSTSYNC_TELEMETRY__LOG_LEVEL", "warn")]);
    for name in ["scheduler", "worker", "api"] {
        at_rest(name, &own, &environment).await?;
    }
    Ok(())
}

async fn at_rest(name: &str, own: &OwnMariadb, environment: &[(String, String)]) -> anyhow::Result<()> {
    let service = Process::start(&format!("hostsync-{name}"), environment)?;
    tokio::time::sleep(SETTLING).await;
    let before = questions(own).await?;
    tokio::time::sleep(MEASURED).await;
    // The first look counts itself.
    let asked = questions(own).await? - before - 1;
    let tenths = asked * 10 / MEASURED.as_secs();
    println!("{name}: {}.{} statements/s at rest", tenths / 10, tenths % 10);
    let code = service.terminate(END_WITHIN).await?;
    anyhow::ensure!(code == 0, "the {name} ended with {code}");
    Ok(())
}

async fn questions(own: &OwnMariadb) -> anyhow::Result<u64> {
    let (_, questions): (String, String) =
        sqlx::query_as("SHOW GLOBAL STATUS LIKE 'Questions'").fetch_one(&own.admin).await?;
    questions.parse().context("a number")
}
