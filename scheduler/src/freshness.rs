//! Counts every minute how many hosts are fresh, late, stale or have never been synced, for each task.
//!
//! One scheduler counts at a time. Hosts go by in parts: of those without a row of state only the number is read, so that a
//! million of them need no memory. What is left of tasks and hosts that are gone is deleted on the way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hostsync_model::execution::TaskId;
use hostsync_store::database;
use hostsync_store::freshness::{FreshnessTally, TaskFreshness};
use hostsync_store::outbox::OutboxError;
use hostsync_store::tables::{freshness, host_mutes, host_states, hosts_pool, tasks};
use sqlx::MySqlConnection;

use crate::scheduler::Scheduler;

/// Pause between two counts.
const PAUSE: Duration = Duration::from_mins(1);

/// Longest count; after it another scheduler begins anew.
const LONGEST: Duration = Duration::from_mins(10);

/// Tasks that are counted, the oldest first.
const TASKS: u32 = 10_000;

/// Rows of the pool that one statement counts.
const POOL_ROWS: u32 = 50_000;

/// Hosts with rows of state that are looked at together.
const HOSTS: u32 = 2_000;

/// Rows of a task that is gone, deleted in one statement, and how many such statements one count makes.
const GONE_ROWS: (u32, u32) = (1_000, 20);

/// Counts, unless another scheduler does or has just done so.
pub(crate) async fn count(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let mut connection = scheduler.pool.acquire().await?;
    if freshness::take_turn(&mut connection, PAUSE, LONGEST).await? {
        count_all(&scheduler, &mut connection).await?;
    }
    Ok(())
}

async fn count_all(scheduler: &Scheduler, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let now = database::now(connection).await?;
    let paces = tasks::paces(connection, None, TASKS).await?;
    let known = freshness::rows(connection, None).await?;
    let tasks: Vec<TaskFreshness> =
        paces.iter().map(|pace| scheduler.defaults.task_freshness(pace, known.get(&pace.id), now)).collect();
    let muted = host_mutes::live_muted(connection, now).await?;
    let mut tally = FreshnessTally::new(&tasks, now);
    count_pool(connection, &mut tally, &muted).await?;
    let gone = add_hosts(connection, &mut tally, &tasks, &muted).await?;
    let (best, counts) = tally.finish();
    for (pace, counts) in paces.iter().zip(counts) {
        freshness::set_counts(connection, pace.id, now, counts).await?;
    }
    let is_whole = paces.len() < TASKS as usize;
    let is_gone = |task: &TaskId| *task != freshness::BEST && tasks.binary_search_by_key(task, |it| it.task).is_err();
    if is_whole {
        for task in known.keys().filter(|task| is_gone(task)) {
            freshness::forget_task(connection, *task).await?;
        }
        for task in gone.into_iter().filter(is_gone) {
            let (rows, times) = GONE_ROWS;
            for _ in 0..times {
                if host_states::forget_task(connection, task, rows).await? < u64::from(rows) {
                    break;
                }
            }
        }
    }
    freshness::set_counts(connection, freshness::BEST, now, best).await
}

/// Counts the live hosts of each part of the pool, those that are muted aside.
async fn count_pool(
    connection: &mut MySqlConnection,
    tally: &mut FreshnessTally<'_>,
    muted: &[u64],
) -> Result<(), sqlx::Error> {
    let mut from = 0;
    for (part, bound) in tally.bounds().into_iter().enumerate() {
        let (mut hosts, mut after) = (0, from);
        while after < bound {
            let (counted, last) = hosts_pool::count_live(connection, after, bound, POOL_ROWS).await?;
            hosts += counted;
            match last {
                Some(last) if counted == u64::from(POOL_ROWS) => after = last,
                _ => break,
            }
        }
        let up_to = |id: u64| muted.partition_point(|muted| *muted <= id) as u64;
        tally.set_live(part, hosts.saturating_sub(up_to(bound) - up_to(from)));
        from = bound;
    }
    Ok(())
}

/// Adds the live hosts that have rows of state. Returns the tasks of those rows that are no live task.
async fn add_hosts(
    connection: &mut MySqlConnection,
    tally: &mut FreshnessTally<'_>,
    tasks: &[TaskFreshness],
    muted: &[u64],
) -> Result<BTreeSet<TaskId>, sqlx::Error> {
    let (mut after, mut gone) = (0, BTreeSet::new());
    loop {
        let ids = host_states::hosts_after(connection, None, after, HOSTS).await?;
        let Some(last) = ids.last().copied() else { return Ok(gone) };
        let in_pool: HashMap<u64, bool> = hosts_pool::liveness(connection, &ids).await?.into_iter().collect();
        let rows = host_states::fresh_since(connection, after, last).await?;
        for of_host in rows.chunk_by(|(one, ..), (other, ..)| one == other) {
            let Some((id, ..)) = of_host.first() else { continue };
            let states: Vec<_> = of_host.iter().map(|(_, task, since)| (*task, *since)).collect();
            let unknown = states.iter().map(|(task, _)| *task);
            gone.extend(unknown.filter(|task| tasks.binary_search_by_key(task, |it| it.task).is_err()));
            if in_pool.get(id) == Some(&true) && muted.binary_search(id).is_err() {
                tally.add_host(*id, &states);
            }
        }
        let removed: Vec<u64> = ids.into_iter().filter(|id| !in_pool.contains_key(id)).collect();
        host_states::forget_hosts(connection, &removed).await?;
        after = last;
    }
}
