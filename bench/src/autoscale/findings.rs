//! What the database and the broker say of a run that was played, and what must hold of it.

use std::time::Duration;

use anyhow::Context;
use hostsync_testing::bed::Bed;
use serde::Deserialize;

use super::play::PlayRecord;
use crate::runs::Run;
use crate::screen::note;

/// What the rows of a run say.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// Details, hosts in them, and those that are `success`.
    pub(crate) details: i64,
    pub(crate) hosts: i64,
    pub(crate) successes: i64,
    /// Fewest and most attempts of a detail.
    pub(crate) attempts: (u32, u32),
    /// Attempts that failed.
    pub(crate) failed_attempts: i64,
    /// Workers that wrote an outcome.
    pub(crate) workers: i64,
    /// Searches, and the hosts of all of them.
    pub(crate) searches: i64,
    pub(crate) searched: i64,
    /// Rows of `server_resources`.
    pub(crate) resources: i64,
    /// Messages in the dead-letter queue and in its table.
    pub(crate) dead_letters: u64,
    /// From the request to the first publish, and to the end, by the database's clock.
    pub(crate) first_job: Duration,
    pub(crate) ended: Duration,
}

impl Rows {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// The database or the management API does not answer.
    pub(crate) async fn of(bed: &Bed, run: &Run) -> anyhow::Result<Self> {
        let (details, hosts, successes, fewest, most): (i64, i64, i64, u32, u32) = sqlx::query_as(
            "SELECT COUNT(*), COUNT(DISTINCT host_ip), COUNT(CASE WHEN sync_status = 'success' THEN 1 END),
                    MIN(attempts), MAX(attempts)
             FROM es_sync_execution_detail WHERE execution_id = ?",
        )
        .bind(run.id)
        .fetch_one(&bed.pool)
        .await
        .context("the details")?;
        let (searches, searched, workers): (i64, i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), CAST(COALESCE(SUM(hosts_asked), 0) AS SIGNED), COUNT(DISTINCT worker)
             FROM es_sync_search WHERE execution_id = ?",
        )
        .bind(run.id)
        .fetch_one(&bed.pool)
        .await
        .context("the searches")?;
        let failed_attempts = sqlx::query_scalar("SELECT COUNT(*) FROM es_sync_attempt WHERE execution_id = ?")
            .bind(run.id)
            .fetch_one(&bed.pool)
            .await
            .context("the attempts")?;
        let resources = sqlx::query_scalar("SELECT COUNT(*) FROM server_resources").fetch_one(&bed.pool).await?;
        let (first_job_ms, ended_ms): (i64, i64) = sqlx::query_as(
            "SELECT TIMESTAMPDIFF(MICROSECOND, execution_time, prepared_at) DIV 1000,
                    TIMESTAMPDIFF(MICROSECOND, execution_time, finished_at) DIV 1000
             FROM es_sync_execution_log WHERE id = ?",
        )
        .bind(run.id)
        .fetch_one(&bed.pool)
        .await
        .context("the times of the run")?;
        Ok(Self {
            details,
            hosts,
            successes,
            attempts: (fewest, most),
            failed_attempts,
            workers,
            searches,
            searched,
            resources,
            dead_letters: dead_letters(bed).await?,
            first_job: Duration::from_millis(first_job_ms.unsigned_abs()),
            ended: Duration::from_millis(ended_ms.unsigned_abs()),
        })
    }

    /// From the first job to the last outcome.
    pub(crate) fn working_time(&self) -> Duration {
        self.ended.saturating_sub(self.first_job)
    }
}

async fn dead_letters(bed: &Bed) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Dead {
        messages: u64,
    }
    let url = format!("{}/api/queues/%2F/{}.dead.v1", bed.servers.management_url, bed.name);
    let answer = reqwest::get(url).await?.error_for_status().context("the dead-letter queue")?;
    let moved = bed.count("SELECT COUNT(*) FROM es_sync_dead_letter").await?;
    Ok(answer.json::<Dead>().await?.messages + moved.unsigned_abs())
}

/// One thing that must hold, with its figures.
struct Claim {
    text: String,
    holds: bool,
}

fn claim(holds: bool, text: impl Into<String>) -> Claim {
    Claim { text: text.into(), holds }
}

/// Says what holds and what does not.
///
/// # Errors
///
/// Something does not.
pub(crate) fn judge(
    hosts: u32,
    played: &PlayRecord,
    rows: &Rows,
    grace: Duration,
    is_scaled: bool,
) -> anyhow::Result<()> {
    let claims = claims(hosts, played, rows, grace, is_scaled);
    for Claim { text, holds } in &claims {
        note(format_args!("{}  {text}", if *holds { "ok  " } else { "FAIL" }));
    }
    let failed = claims.iter().filter(|claim| !claim.holds).count();
    anyhow::ensure!(failed == 0, "{failed} of {} things that must hold do not", claims.len());
    Ok(())
}

fn claims(hosts: u32, played: &PlayRecord, rows: &Rows, grace: Duration, is_scaled: bool) -> Vec<Claim> {
    let PlayRecord { run, points, gone, .. } = played;
    let (all, last) = (i64::from(hosts), points.last().copied().unwrap_or_default());
    let slowest = gone.iter().map(|worker| worker.took).max().unwrap_or_default();
    let mut claims = vec![
        claim(
            rows.details == all && rows.hosts == all && run.execution_status == "success",
            format!(
                "one outcome a host: {} details of {} hosts, the run is {}",
                rows.details, rows.hosts, run.execution_status
            ),
        ),
        claim(
            rows.successes == all && rows.resources == all,
            format!("nothing lost: {} success, {} rows of server_resources", rows.successes, rows.resources),
        ),
        claim(
            run.success_count == u64::from(hosts)
                && run.done() == run.total()
                && run.total() as u64 == u64::from(hosts),
            format!("the counters add up: {} of {}", run.outcomes(), run.total()),
        ),
        claim(
            rows.attempts == (1, 1) && rows.failed_attempts == 0,
            format!(
                "no attempt spent: {} to {} a host, {} failed",
                rows.attempts.0, rows.attempts.1, rows.failed_attempts
            ),
        ),
        claim(
            rows.searched == all,
            format!("nothing done twice: {} searches for {} hosts", rows.searches, rows.searched),
        ),
        claim(
            gone.iter().all(|worker| worker.exit_code == Some(0) && worker.took <= grace),
            format!(
                "{} stopped workers exited 0, the slowest after {:.1} s of {} s",
                gone.len(),
                slowest.as_secs_f64(),
                grace.as_secs()
            ),
        ),
        claim(rows.dead_letters == 0, format!("{} dead letters", rows.dead_letters)),
        claim(
            last.ready + last.delivered == 0 && last.wanted == 0,
            format!("at the end {} jobs in the queues, {} workers", last.ready + last.delivered, last.wanted),
        ),
    ];
    if is_scaled {
        let in_mid_run = gone.iter().filter(|worker| worker.jobs_left > 0);
        let most_left = in_mid_run.clone().map(|worker| worker.jobs_left).max().unwrap_or(0);
        claims.push(claim(
            most_left > 0,
            format!("{} workers were stopped in mid-run, the first with {most_left} hosts to do", in_mid_run.count()),
        ));
        claims.push(claim(
            played.peak() > 1 && rows.workers > 1,
            format!("0 → {} → 0 workers; {} of them wrote outcomes", played.peak(), rows.workers),
        ));
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::super::play::Point;
    use super::super::workers::StoppedWorker;
    use super::*;

    fn played() -> PlayRecord {
        let run = serde_json::json!({
            "id": 1, "execution_status": "success", "total_hosts": 10, "success_count": 10, "failed_count": 0,
            "no_data_count": 0, "not_in_pool_count": 0, "cancelled_count": 0, "duration_ms": 1,
            "window_from": "2026-01-01T00:00:00Z", "window_to": "2026-01-02T00:00:00Z", "error_message": null,
        });
        let gone = |number, jobs_left| StoppedWorker {
            number,
            told_at: Duration::from_secs(1),
            took: Duration::from_secs(2),
            exit_code: Some(0),
            jobs_left,
        };
        PlayRecord {
            run: serde_json::from_value(run).expect("a run"),
            points: vec![Point { wanted: 2, ..Point::default() }, Point::default()],
            gone: vec![gone(2, 4), gone(1, 0)],
            first_worker: Duration::ZERO,
            all_gone: Duration::from_secs(5),
        }
    }

    fn rows() -> Rows {
        Rows {
            details: 10,
            hosts: 10,
            successes: 10,
            attempts: (1, 1),
            failed_attempts: 0,
            workers: 2,
            searches: 2,
            searched: 10,
            resources: 10,
            dead_letters: 0,
            first_job: Duration::ZERO,
            ended: Duration::from_secs(4),
        }
    }

    fn holds(played: &PlayRecord, rows: &Rows) -> bool {
        claims(10, played, rows, Duration::from_secs(45), true).iter().all(|claim| claim.holds)
    }

    #[test]
    fn a_good_play_passes() {
        assert!(holds(&played(), &rows()));
    }

    #[test]
    fn each_thing_that_must_hold_can_fail() {
        let rows_of = |change: fn(&mut Rows)| {
            let mut rows = rows();
            change(&mut rows);
            rows
        };
        for (place, rows) in [
            rows_of(|rows| rows.hosts = 9),
            rows_of(|rows| rows.successes = 9),
            rows_of(|rows| rows.attempts = (1, 2)),
            rows_of(|rows| rows.failed_attempts = 1),
            rows_of(|rows| rows.searched = 11),
            rows_of(|rows| rows.dead_letters = 1),
            rows_of(|rows| rows.workers = 1),
        ]
        .iter()
        .enumerate()
        {
            assert!(!holds(&played(), rows), "rows {place}");
        }
        let played_of = |change: fn(&mut PlayRecord)| {
            let mut played = played();
            change(&mut played);
            played
        };
        for (place, played) in [
            played_of(|played| played.run.success_count = 9),
            played_of(|played| played.gone[0].exit_code = Some(1)),
            played_of(|played| played.gone[0].exit_code = None),
            played_of(|played| played.gone[0].took = Duration::from_secs(46)),
            played_of(|played| played.gone[0].jobs_left = 0),
            played_of(|played| played.points[1].delivered = 1),
        ]
        .iter()
        .enumerate()
        {
            assert!(!holds(played, &rows()), "played {place}");
        }
    }
}
