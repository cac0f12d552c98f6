//! docs/capacity.md: its results follow from its figures, and its statements work.

#![allow(clippy::disallowed_methods, reason = "tests make their documents now")]

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use hostsync_e2e::service;
use hostsync_testing::bed::on_bed;
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;
use sqlx::{AssertSqlSafe, Executor as _};

const LIMIT: Duration = Duration::from_mins(1);

const PAGE: &str = include_str!("../../docs/capacity.md");

/// Cells of the table rows below a heading.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split_once(&format!("\n## {heading}\n")).expect(heading).1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect())
        .collect()
}

/// The number that a cell begins with, in seconds and bytes, and half of its last digit.
fn number(cell: &str) -> (f64, f64) {
    let (digits, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let digits = digits.replace(',', "");
    let factor = match unit {
        "µs" => 1e-6,
        "kB" => 1e3,
        "" | "s" | "B" | "rows/s" => 1.0,
        unit => panic!("{unit} in {cell}"),
    };
    let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let value: f64 = digits.parse().expect(cell);
    (value * factor, 0.5 * 10_f64.powi(-i32::try_from(decimals).expect("few")) * factor)
}

/// The measured figures by name.
fn measured() -> BTreeMap<&'static str, f64> {
    table("Measured")
        .into_iter()
        .filter_map(|row| Some((row[0].strip_prefix('`')?.strip_suffix('`')?, number(row[1]).0)))
        .collect()
}

#[test]
fn the_three_sizes_follow_from_the_measured_figures() {
    let figures = measured();
    let rows = table("Three sizes");
    let rows: BTreeMap<&str, &[&str]> = rows.iter().map(|row| (row[0], &row[1..])).collect();
    let (runs, days, batch, slots) = (24.0, 90.0, 500.0, 2.0);
    for (place, hosts) in [1e3, 1e5, 1e6].into_iter().enumerate() {
        let time = number(rows["`time`"][place]).0;
        let rate = hosts / time;
        let workers = |search: f64| (rate / (slots * batch / (search + figures["write"]))).ceil();
        let far = workers(2.0);
        let gigabytes = 1e9;
        for (name, expected) in [
            ("`rate`, hosts/s", rate),
            ("`workers` with `search` = 0.15 s", workers(figures["search"])),
            ("`workers` with `search` = 2 s, as over remote clusters", far),
            ("`searches` with 2 s", far * (slots + 1.0)),
            ("`connections` with 2 s", 10.0 * (far + 4.0)),
            ("memory with 2 s, MB", 64.0 * far + 256.0),
            ("cores of the database", rate * figures["cpu_database"]),
            ("cores of RabbitMQ", rate * figures["cpu_broker"]),
            ("cores of the source", rate * figures["cpu_source"]),
            ("network of the database, MB/s", rate * figures["net_database"] / 1e6),
            ("redo log, MB/s", rate * figures["redo"] / 1e6),
            ("a run in the queue, MB", hosts * figures["job"] / 1e6),
            ("rows a day", hosts * runs),
            ("disk of the details, GB", hosts * runs * days * figures["detail"] / gigabytes),
            ("disk of the newest windows, GB", hosts * (days + 72.0) * figures["window"] / gigabytes),
            ("disk of `server_resources` a year, GB", hosts * 365.0 * figures["resource"] / gigabytes),
            ("pruning, s a day", hosts * runs / figures["prune"]),
        ] {
            let (shown, half) = number(rows[name][place]);
            // Rounded to the digits that are shown.
            assert!((shown - expected).abs() <= half * 1.01, "{name} of {hosts} hosts: {expected}, not {shown}");
        }
    }
    assert_eq!(rows.len(), 19, "a row that nothing here calculates");
}

/// The statements of a block of SQL below a heading.
fn statements(heading: &str) -> Vec<&'static str> {
    let section = PAGE.split_once(&format!("\n### {heading}\n")).expect(heading).1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    section
        .split("```sql\n")
        .skip(1)
        .flat_map(|block| block.split_once("```").expect("an end").0.split(';'))
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
        .collect()
}

#[tokio::test]
async fn a_detail_table_with_partitions_works_like_any_other() {
    on_bed("partitions", async |bed| {
        let statements = statements("Partitions of the detail table");
        assert_eq!(statements.len(), 3, "{statements:?}");
        bed.pool.execute(AssertSqlSafe(statements[0])).await.expect("partitions");
        // Some executions stand in the second partition.
        bed.pool.execute("ALTER TABLE es_sync_execution_log AUTO_INCREMENT = 998").await.expect("ids");
        bed.add_to_pool((0..30).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..25).map(SampleHost), TimeDelta::hours(1)).await.expect("documents");
        let config = || bed.config(&[("HOSTSYNC_SCHEDULER__RETENTION", "1d")]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let hosts: Vec<String> = (0..30).map(|n| SampleHost(n).ip()).collect();
        let mut ids = Vec::new();
        for _ in 0..4 {
            let id = client.execute("partitions", &hosts, "6h").await.expect("accepted");
            let log = client.wait_for_end(id, LIMIT).await.expect("an end");
            assert_eq!((&log["success_count"], &log["no_data_count"]), (&25.into(), &5.into()), "{log}");
            assert_eq!(client.details(id).await.expect("details").len(), 30);
            ids.push(id);
        }
        assert_eq!(ids, [998, 999, 1000, 1001]);

        for statement in &statements[1..] {
            bed.pool.execute(AssertSqlSafe(*statement)).await.expect("partitions");
        }
        assert_eq!(client.details(998).await.expect("details").len(), 0);
        assert_eq!(client.details(1000).await.expect("details").len(), 30);
        // Old enough, the executions follow their details.
        bed.pool
            .execute(
                "UPDATE es_sync_execution_log SET finished_at = UTC_TIMESTAMP(3) - INTERVAL 2 DAY,
                     execution_time = UTC_TIMESTAMP(3) - INTERVAL 2 DAY WHERE id < 1001",
            )
            .await
            .expect("older");
        let scheduler = service::scheduler(config()).await.expect("a scheduler");
        wait_for("the old executions to be pruned", LIMIT, async || {
            let left: Vec<u64> =
                sqlx::query_scalar("SELECT id FROM es_sync_execution_log ORDER BY id").fetch_all(&bed.pool).await?;
            Ok((left == [1001]).then_some(()))
        })
        .await
        .expect("pruned");
        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM es_sync_execution_detail")
            .fetch_one(&bed.pool)
            .await
            .expect("a number");
        assert_eq!(left, 30);
        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}
