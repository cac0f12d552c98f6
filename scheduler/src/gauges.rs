//! Says how the fleet is: queues, outbox, the longest wait, stale hosts.
//!
//! Every scheduler says the same, since it is the state of the broker and the database and not its own. What cannot be
//! found out is not said at all. Only rows of tasks and executions are read, never details.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use hostsync_metrics::loops::LIMIT;
use hostsync_metrics::{Metrics, QueueName};
use hostsync_model::causes::causes;
use hostsync_model::execution::{JobQueue, TaskId};
use hostsync_model::freshness::FreshnessState;
use hostsync_model::window_delay::WindowDelay;
use hostsync_schedule::CronSchedule;
use hostsync_store::database;
use hostsync_store::freshness::FreshnessCounts;
use hostsync_store::tables::dead_letters::{self, LetterFilter};
use hostsync_store::tables::executions;
use hostsync_store::tables::freshness;
use hostsync_store::tables::pause;
use hostsync_store::tables::tasks::{self, LastResult};

use crate::scheduler::Scheduler;

/// Pause between two looks at queues and runs.
const QUICK: Duration = Duration::from_secs(10);

/// Pause between two looks at the tasks.
const SLOW: Duration = Duration::from_secs(30);

/// Longest look.
const LONGEST_LOOK: Duration = Duration::from_mins(1);

/// Tasks that are looked at, the oldest first.
const TASKS: u32 = 10_000;

/// Tasks that are shown, those with the most stale hosts: a label for each.
const SHOWN_TASKS: usize = 100;

/// Starts every look.
pub(crate) fn spawn_all(scheduler: &Arc<Scheduler>) {
    every(scheduler, "queue gauges", QUICK, |scheduler| async move {
        let depths = queue_depths(&scheduler).await;
        Metrics::global().queue_depths(depths.iter().flatten().copied());
        depths.map(drop)
    });
    every(scheduler, "run gauges", QUICK, |scheduler| async move {
        let waiting = waiting(&scheduler).await;
        Metrics::global().outbox_depths(waiting.iter().flatten().map(|of| (of.queue, of.unpublished)));
        Metrics::global().oldest_jobs(waiting.iter().flatten().map(|of| (of.queue, of.longest)));
        waiting.map(drop)
    });
    every(scheduler, "pause gauge", QUICK, |scheduler| async move {
        let paused = in_time(async { pause::read(&mut *scheduler.pool.acquire().await?).await }).await;
        if let Ok(state) = &paused {
            Metrics::global().paused(state.is_paused);
        }
        paused.map(drop)
    });
    every(scheduler, "task gauges", SLOW, |scheduler| async move {
        let stale = stale_hosts(&scheduler).await;
        Metrics::global().stale_hosts(stale.iter().flatten().copied());
        let fresh = freshness_hosts(&scheduler).await;
        Metrics::global().freshness_hosts(fresh.iter().flatten().copied());
        stale.map(drop)
    });
}

fn every<F>(
    scheduler: &Arc<Scheduler>,
    name: &'static str,
    pause: Duration,
    look: impl Fn(Arc<Scheduler>) -> F + Send + 'static,
) where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let owner = Arc::clone(scheduler);
    let turns = scheduler.loops.begin(name, LIMIT);
    scheduler.shutdown.spawn_essential(name, async move {
        while !owner.shutdown.is_stopping() {
            turns.turned();
            // A look has nothing to finish: a stop does not wait for it.
            let looked = owner.shutdown.token().run_until_cancelled(look(Arc::clone(&owner))).await;
            if let Some(Err(error)) = looked {
                tracing::debug!(error = %causes(error.as_ref()), "the {name} are not known");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = owner.shutdown.stopping() => {}
            }
        }
    });
}

async fn in_time<T, E>(look: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    anyhow::Error: From<E>,
{
    Ok(tokio::time::timeout(LONGEST_LOOK, look).await.context("no answer in time")??)
}

/// Dead letters are counted where they are: still in the broker, or in their table. Without either nothing is said of them.
async fn queue_depths(scheduler: &Scheduler) -> anyhow::Result<Vec<(QueueName, u32)>> {
    let depths = in_time(scheduler.publisher.depths()).await?;
    let mut said = vec![(QueueName::Bulk, depths.bulk), (QueueName::Manual, depths.manual)];
    let stored = in_time(async {
        let mut connection = scheduler.pool.acquire().await?;
        dead_letters::count(&mut connection, &LetterFilter::default()).await
    })
    .await;
    match stored {
        Ok(stored) => {
            said.push((QueueName::Dead, depths.dead.saturating_add(u32::try_from(stored).unwrap_or(u32::MAX))));
        }
        Err(error) => {
            tracing::debug!(error = %causes(error.as_ref()), "the dead letters of the database are not known");
        }
    }
    Ok(said)
}

/// What waits for a queue or in it.
struct Waiting {
    queue: JobQueue,
    unpublished: u64,
    longest: Duration,
}

async fn waiting(scheduler: &Scheduler) -> anyhow::Result<Vec<Waiting>> {
    let (unpublished, longest) = in_time(async {
        let mut connection = scheduler.pool.acquire().await?;
        let unpublished = executions::backlog::unpublished_jobs(&mut connection).await?;
        Ok::<_, sqlx::Error>((unpublished, executions::backlog::longest_waits(&mut connection).await?))
    })
    .await?;
    let waiting = JobQueue::ALL.iter().map(|&queue| Waiting {
        queue,
        unpublished: unpublished.iter().find(|(of, _)| *of == queue).map_or(0, |(_, jobs)| *jobs),
        longest: longest.iter().find(|(of, _)| *of == queue).map_or(Duration::ZERO, |(_, longest)| *longest),
    });
    Ok(waiting.collect())
}

async fn stale_hosts(scheduler: &Scheduler) -> anyhow::Result<Vec<(TaskId, u64)>> {
    let (now, results) = in_time(async {
        let mut connection = scheduler.pool.acquire().await?;
        let now = database::now(&mut connection).await?;
        Ok::<_, sqlx::Error>((now, tasks::last_results(&mut connection, TASKS).await?))
    })
    .await?;
    let mut stale: Vec<(TaskId, u64)> = results
        .into_iter()
        .map(|result| {
            let schedule = scheduler.defaults.schedule(&result.cron_expression, &result.time_zone).ok();
            let hosts = stale(&result, schedule.as_ref(), now);
            (result.task_id, hosts)
        })
        .collect();
    stale.sort_by_key(|(_, hosts)| Reverse(*hosts));
    stale.truncate(SHOWN_TASKS);
    Ok(stale)
}

/// The hosts of each enabled task by how fresh they are, as they were counted last; the tasks with the most that are not.
async fn freshness_hosts(scheduler: &Scheduler) -> anyhow::Result<Vec<(TaskId, FreshnessState, u64)>> {
    let (paces, rows) = in_time(async {
        let mut connection = scheduler.pool.acquire().await?;
        let paces = tasks::paces(&mut connection, None, TASKS).await?;
        Ok::<_, sqlx::Error>((paces, freshness::rows(&mut connection, None).await?))
    })
    .await?;
    let counted = paces.into_iter().filter(|pace| pace.is_enabled).filter_map(|pace| {
        let row = rows.get(&pace.id).filter(|row| row.as_of.is_some())?;
        Some((pace.id, row.counts))
    });
    let mut counted: Vec<_> = counted.collect();
    counted.sort_by_key(|(_, counts)| Reverse(counts.late + counts.stale + counts.never));
    counted.truncate(SHOWN_TASKS);
    let by_state = |(task, counts): (TaskId, FreshnessCounts)| {
        counts.by_state().into_iter().map(move |(state, hosts)| (task, state, hosts))
    };
    Ok(counted.into_iter().flat_map(by_state).collect())
}

/// Hosts that the last ended run left without new data; all of its hosts, once two more fires of the task have passed.
fn stale(result: &LastResult, schedule: Option<&CronSchedule>, now: DateTime<Utc>) -> u64 {
    let anchor = result.schedule_anchor.unwrap_or(DateTime::UNIX_EPOCH);
    let delay = result.delay.known("delay").map_or_else(|_| TimeDelta::zero(), WindowDelay::delta);
    let second_fire = schedule.and_then(|schedule| {
        let first = schedule.next_after(result.window_to + delay, anchor)?;
        schedule.next_after(first, anchor)
    });
    let is_old = second_fire.is_some_and(|fire| fire < now);
    let hosts = u64::from(result.hosts);
    if is_old { hosts } else { hosts.saturating_sub(u64::from(result.synced)) }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    fn stale_at(now: &str) -> u64 {
        stale_of("0s", "2026-03-01T10:00:00Z", now)
    }

    fn stale_of(delay: &str, window_to: &str, now: &str) -> u64 {
        let result = LastResult {
            task_id: TaskId(7),
            cron_expression: "0 0 * * * *".to_owned(),
            time_zone: String::new(),
            schedule_anchor: None,
            delay: delay.into(),
            window_to: window_to.parse().expect("a time"),
            hosts: 100,
            synced: 97,
        };
        let schedule = CronSchedule::parse(&result.cron_expression, Tz::UTC).expect("an expression");
        stale(&result, Some(&schedule), now.parse().expect("a time"))
    }

    #[test]
    fn hosts_that_the_last_run_left_out_are_stale() {
        assert_eq!(stale_at("2026-03-01T10:05:00Z"), 3);
        assert_eq!(stale_at("2026-03-01T12:00:00Z"), 3);
    }

    #[test]
    fn all_hosts_are_stale_once_two_more_fires_have_passed() {
        assert_eq!(stale_at("2026-03-01T12:00:01Z"), 100);
    }

    #[test]
    fn a_window_that_ends_before_its_fire_is_no_older_for_that() {
        assert_eq!(stale_of("3h", "2026-03-01T07:00:00Z", "2026-03-01T12:00:00Z"), 3);
        assert_eq!(stale_of("3h", "2026-03-01T07:00:00Z", "2026-03-01T12:00:01Z"), 100);
    }
}
