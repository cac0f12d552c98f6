//! `hostsync-fires`: how late tasks fire that are all due in the same second, with one scheduler and with several.
//!
//! Runs whole schedulers on the development servers (`HOSTSYNC_DEV_*_URL`) in a database of its own, over an empty pool, so
//! that the fires are measured and not what the runs do.

#![allow(clippy::print_stdout, reason = "what it measured is its output")]

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use hostsync_testing::bed::Bed;
use hostsync_testing::client::wait_for;
use hostsync_testing::process::Process;
use sqlx::AssertSqlSafe;

/// Longest wait for all fires, and for the end of a scheduler.
const LIMIT: Duration = Duration::from_mins(5);

/// Measures fires that are due together.
#[derive(Debug, Parser)]
struct Args {
    /// Tasks that are due in the same second
    #[arg(long, default_value_t = 1_000)]
    tasks: u32,
    /// Schedulers that share them
    #[arg(long, default_value_t = 1)]
    schedulers: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bed = Bed::create("fires").await?;
    let measured = measure(&bed, &args).await;
    bed.remove().await?;
    measured
}

async fn measure(bed: &Bed, args: &Args) -> anyhow::Result<()> {
    let mut schedulers = Vec::new();
    for _ in 0..args.schedulers {
        schedulers.push(Process::start(
            "hostsync-scheduler",
            &bed.environment(&[("HOSTSYNC_TELEMETRY__LOG_LEVEL", "warn")]),
        )?);
    }
    wait_for("schedulers at work", LIMIT, async || {
        let at_work = bed.count("SELECT COUNT(*) FROM es_sync_scheduler_shift").await?;
        Ok((at_work == i64::from(args.schedulers)).then_some(()))
    })
    .await?;
    let tasks = format!(
        "INSERT INTO es_sync_task_config
             (task_name, cron_expression, time_zone, overlap_policy, catch_up_window, query_time_range, is_enabled,
              next_execution_time)
         SELECT CONCAT('task ', seq.n), '0 0 0 1 1 *', 'UTC', 'skip', '1m', '1h', 1, UTC_TIMESTAMP() + INTERVAL 5 SECOND
         FROM (SELECT @n := @n + 1 AS n FROM information_schema.columns AS a, information_schema.columns AS b,
                      (SELECT @n := 0) AS zero LIMIT {}) AS seq",
        args.tasks
    );
    sqlx::query(AssertSqlSafe(tasks)).execute(&bed.pool).await.context("tasks")?;
    let fired = "SELECT COUNT(*) FROM es_sync_execution_log WHERE scheduled_for IS NOT NULL";
    wait_for("all fires", LIMIT, async || Ok((bed.count(fired).await? == i64::from(args.tasks)).then_some(()))).await?;
    let lateness: Vec<i64> = sqlx::query_scalar(
        "SELECT TIMESTAMPDIFF(MICROSECOND, scheduled_for, execution_time) DIV 1000 AS ms FROM es_sync_execution_log ORDER BY ms",
    )
    .fetch_all(&bed.pool)
    .await?;
    let missed = bed.count("SELECT COUNT(*) FROM es_sync_execution_log WHERE execution_status = 'skipped'").await?;
    let at = |percent: usize| lateness.get((lateness.len() * percent / 100).min(lateness.len() - 1)).copied();
    println!(
        "{} tasks due in one second, {} schedulers: lateness p50 {} ms, p99 {} ms, last {} ms; {missed} missed or skipped",
        args.tasks,
        args.schedulers,
        at(50).unwrap_or_default(),
        at(99).unwrap_or_default(),
        at(100).unwrap_or_default(),
    );
    for scheduler in schedulers {
        let code = scheduler.terminate(LIMIT).await?;
        anyhow::ensure!(code == 0, "a scheduler ended with {code}");
    }
    Ok(())
}
