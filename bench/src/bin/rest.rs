//! `hostsync-rest`: how many statements a second each service asks the database while there is nothing to do.
//!
//! Runs the services one after the other on a database server of its own and the development servers
//! (`HOSTSYNC_DEV_*_URL`).

#![allow(clippy::print_stdout, reason = "what it measured is its output")]

use std::time::Duration;

use anyhow::Context;
use hostsync_e2e::service::{self, RunningService};
use hostsync_store::database;
use hostsync_testing::bed::Bed;
use hostsync_testing::own_mariadb::OwnMariadb;

/// From the start of a service until it is at rest.
const SETTLING: Duration = Duration::from_secs(10);

/// How long it is measured; long enough for several rounds of the slowest loop but the pruning.
const MEASURED: Duration = Duration::from_mins(1);

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
    let config = || bed.config(&[("HOSTSYNC_DATABASE__URL", &url)]);
    at_rest("scheduler", &own, service::scheduler(config()?).await?).await?;
    at_rest("worker", &own, service::worker(config()?).await?).await?;
    at_rest("API", &own, service::api(config()?).await?).await
}

async fn at_rest(name: &str, own: &OwnMariadb, service: RunningService) -> anyhow::Result<()> {
    tokio::time::sleep(SETTLING).await;
    let before = questions(own).await?;
    tokio::time::sleep(MEASURED).await;
    // The first look counts itself.
    let asked = questions(own).await? - before - 1;
    let tenths = asked * 10 / MEASURED.as_secs();
    println!("{name}: {}.{} statements/s at rest", tenths / 10, tenths % 10);
    service.stop().await
}

async fn questions(own: &OwnMariadb) -> anyhow::Result<u64> {
    let (_, questions): (String, String) =
        sqlx::query_as("SHOW GLOBAL STATUS LIKE 'Questions'").fetch_one(&own.admin).await?;
    questions.parse().context("a number")
}
