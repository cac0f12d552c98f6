//! What the lists of runs read: about as many rows as they show, whatever is asked for, and however many others there are.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_model::execution::{ExecutionId, ExecutionStatus, TaskId, Trigger};
use hostsync_store::database;
use hostsync_store::tables::executions::views::{LogFilter, list};
use hostsync_testing::bed::{Bed, on_bed, rows_read};
use sqlx::AssertSqlSafe;

/// Runs in the table, ten minutes apart, of ten tasks.
const RUNS: u64 = 12_000;

/// A page.
const LIMIT: u32 = 50;

/// Most rows read for each that is shown.
const READ_FOR_EACH: u64 = 20;

/// Most runs are scheduled successes; one in 100 failed, one in 4,000 was a retry, one in 1,000 a person's; two are at work.
async fn fill(bed: &Bed, newest: DateTime<Utc>) {
    let insert = format!(
        "INSERT INTO es_sync_execution_log (task_id, task_name, `trigger`, execution_time, execution_status, created_at)
         SELECT 1 + n % 10, CONCAT('task ', 1 + n % 10),
                CASE WHEN n % 4000 = 7 THEN 'retry' WHEN n % 1000 = 3 THEN 'manual' ELSE 'schedule' END,
                ? - INTERVAL ({RUNS} - n) * 10 MINUTE,
                CASE WHEN n > {RUNS} - 2 THEN 'running' WHEN n % 100 = 42 THEN 'failed' ELSE 'success' END,
                UTC_TIMESTAMP(3)
         FROM (SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n + 1 AS n
               FROM {digits} AS a, {digits} AS b, {digits} AS c, {digits} AS d, {digits} AS e) AS numbers
         WHERE n <= {RUNS} ORDER BY n",
        digits = "(SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 \
                   UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)"
    );
    sqlx::query(AssertSqlSafe(insert)).bind(newest).execute(&bed.pool).await.expect("runs");
    bed.execute("ANALYZE TABLE es_sync_execution_log").await;
}

#[tokio::test]
async fn every_list_of_runs_reads_about_what_it_shows() {
    on_bed("lists", async |bed| {
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let newest = database::now(&mut connection).await.expect("a time");
        fill(&bed, newest).await;
        let oldest_id: u64 = sqlx::query_scalar("SELECT CAST(MIN(id) AS UNSIGNED) FROM es_sync_execution_log")
            .fetch_one(&mut *connection)
            .await
            .expect("an id");
        let middle = Some(ExecutionId(oldest_id + RUNS / 2));
        let (month_ago, week_ago) = (Some(newest - TimeDelta::days(30)), Some(newest - TimeDelta::days(7)));
        let all = LogFilter::default();
        let (task_id, failed, retry) = (Some(TaskId(3)), Some(ExecutionStatus::Failed), Some(Trigger::Retry));
        let success = Some(ExecutionStatus::Success);
        let filters = [
            all.clone(),
            LogFilter { before: middle, ..all.clone() },
            LogFilter { task_id, ..all.clone() },
            LogFilter { task_id, before: middle, ..all.clone() },
            LogFilter { status: success, ..all.clone() },
            LogFilter { status: success, before: middle, ..all.clone() },
            LogFilter { status: failed, ..all.clone() },
            LogFilter { status: failed, before: middle, ..all.clone() },
            LogFilter { status: Some(ExecutionStatus::Running), ..all.clone() },
            LogFilter { status: Some(ExecutionStatus::Cancelled), ..all.clone() },
            LogFilter { trigger: Some(Trigger::Schedule), ..all.clone() },
            LogFilter { trigger: Some(Trigger::Manual), ..all.clone() },
            LogFilter { trigger: retry, ..all.clone() },
            LogFilter { trigger: retry, before: middle, ..all.clone() },
            LogFilter { task_id, status: failed, ..all.clone() },
            LogFilter { task_id, status: success, ..all.clone() },
            LogFilter { task_id, trigger: retry, ..all.clone() },
            LogFilter { status: failed, trigger: retry, ..all.clone() },
            LogFilter { from: week_ago, ..all.clone() },
            LogFilter { from: month_ago, to: week_ago, ..all.clone() },
            LogFilter { task_id, from: month_ago, to: week_ago, ..all.clone() },
            LogFilter { from: month_ago, to: week_ago, before: middle, ..all.clone() },
            LogFilter { task_id, from: month_ago, to: week_ago, before: middle, ..all.clone() },
            LogFilter { task_id, status: success, trigger: retry, ..all.clone() },
        ];
        let mut over = Vec::new();
        for filter in filters {
            sqlx::query("FLUSH STATUS").execute(&mut *connection).await.expect("from 0");
            let shown = list(&mut connection, &filter, LIMIT).await.expect("rows").len() as u64;
            let read = rows_read(&mut connection).await;
            if read > shown.max(1) * READ_FOR_EACH {
                over.push(format!("{read} rows read for {shown} of {filter:?}"));
            }
        }
        assert!(over.is_empty(), "{}", over.join("\n"));
    })
    .await;
}

#[tokio::test]
async fn the_pages_of_a_range_of_time_hold_each_run_once() {
    on_bed("lists_pages", async |bed| {
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let newest = database::now(&mut connection).await.expect("a time");
        fill(&bed, newest).await;
        let range = LogFilter {
            from: Some(newest - TimeDelta::days(9)),
            to: Some(newest - TimeDelta::days(7)),
            ..LogFilter::default()
        };
        // Some were started together, and one that waited was started after those made after it.
        bed.execute(
            "UPDATE es_sync_execution_log SET execution_time = execution_time + INTERVAL 10 MINUTE WHERE id % 7 = 3",
        )
        .await;
        bed.execute(
            "UPDATE es_sync_execution_log SET execution_time = execution_time + INTERVAL 1 HOUR WHERE id % 29 = 5",
        )
        .await;
        let all =
            "SELECT CAST(id AS UNSIGNED) FROM es_sync_execution_log WHERE execution_time >= ? AND execution_time < ?
                   ORDER BY execution_time DESC, es_sync_execution_log.id DESC";
        let all: Vec<u64> =
            sqlx::query_scalar(all).bind(range.from).bind(range.to).fetch_all(&mut *connection).await.expect("ids");
        assert!(all.len() > 250);
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let page = list(&mut connection, &LogFilter { before, ..range.clone() }, LIMIT).await.expect("a page");
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            paged.extend(page.iter().map(|run| run.id.0));
        }
        assert_eq!(paged, all);
    })
    .await;
}
