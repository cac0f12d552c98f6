//! How fresh a host is: what a task's last runs say of it, and its row of state if it has one.
//!
//! Pure. For example: a task with a target of an hour whose last run read up to 10:00 makes every host without a row `fresh`
//! until 11:00, `late` until 12:00 and then `stale`; a host that came into the pool after that run is `never`.

use chrono::{DateTime, TimeDelta, Utc};

use hostsync_model::execution::TaskId;
use hostsync_model::freshness::FreshnessState;

/// How fresh the hosts of a task are that have no row of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskFreshness {
    /// The task.
    pub task: TaskId,
    /// Latest window end of its ended runs; `None`: none has brought anything.
    pub window_to: Option<DateTime<Utc>>,
    /// `hosts_pool.id` of the last host in that run.
    pub pool_cursor: u64,
    /// How old values may be.
    pub target: TimeDelta,
}

/// How fresh a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFreshness {
    /// In a word.
    pub state: FreshnessState,
    /// The window end that it is fresh by; `None`: never.
    pub since: Option<DateTime<Utc>>,
    /// Which of its rows says so; `None`: none.
    pub row: Option<usize>,
}

impl TaskFreshness {
    /// Of a host that is fresh by this window end.
    pub fn state_of(&self, since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> FreshnessState {
        FreshnessState::of(since.map(|since| now - since), self.target)
    }

    /// Of a host without a row.
    pub fn without_row(&self, pool_id: u64) -> Option<DateTime<Utc>> {
        self.window_to.filter(|_| pool_id <= self.pool_cursor)
    }
}

/// How fresh a host is by the best of `tasks`. `rows` are its rows of state: the task and since when it is fresh.
pub fn judge(
    tasks: &[TaskFreshness],
    pool_id: u64,
    rows: &[(TaskId, Option<DateTime<Utc>>)],
    now: DateTime<Utc>,
) -> HostFreshness {
    let of_task = |task: &TaskFreshness| {
        let row = rows.iter().position(|(id, _)| *id == task.task);
        let since = row.and_then(|row| rows.get(row)).map_or_else(|| task.without_row(pool_id), |(_, since)| *since);
        HostFreshness { state: task.state_of(since, now), since, row }
    };
    let age = |host: &HostFreshness| host.since.map_or(TimeDelta::MAX, |since| now - since);
    let best = tasks.iter().map(of_task).min_by_key(|host| (host.state, age(host)));
    best.unwrap_or(HostFreshness { state: FreshnessState::Never, since: None, row: None })
}

/// Hosts by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FreshnessCounts {
    /// Within the target.
    pub fresh: u64,
    /// Past the target.
    pub late: u64,
    /// Past twice the target.
    pub stale: u64,
    /// Without values.
    pub never: u64,
}

impl FreshnessCounts {
    /// Adds hosts in a state.
    pub fn add(&mut self, state: FreshnessState, hosts: u64) {
        let count = match state {
            FreshnessState::Fresh => &mut self.fresh,
            FreshnessState::Late => &mut self.late,
            FreshnessState::Stale => &mut self.stale,
            FreshnessState::Never => &mut self.never,
        };
        *count += hosts;
    }

    /// With their states.
    pub fn by_state(self) -> [(FreshnessState, u64); 4] {
        [
            (FreshnessState::Fresh, self.fresh),
            (FreshnessState::Late, self.late),
            (FreshnessState::Stale, self.stale),
            (FreshnessState::Never, self.never),
        ]
    }
}

/// Counts the hosts of the pool by state, for each task and for the best task of each host, without holding the hosts.
///
/// First the live hosts of each part of the pool ([`Self::bounds`]) are counted, then the hosts that have rows go by one by one.
#[derive(Debug)]
pub struct FreshnessTally<'a> {
    tasks: &'a [TaskFreshness],
    now: DateTime<Utc>,
    /// Where a part of the pool ends: the cursors of the tasks, rising.
    bounds: Vec<u64>,
    /// Live hosts of each part; the last one lies beyond all bounds.
    live: Vec<u64>,
    /// Those of them that have a row of any task.
    rowed: Vec<u64>,
    counts: Vec<FreshnessCounts>,
    /// Hosts with a row by task: in its last run and added after it.
    rowed_of_task: Vec<(u64, u64)>,
    best: FreshnessCounts,
}

impl<'a> FreshnessTally<'a> {
    /// Nothing counted yet.
    pub fn new(tasks: &'a [TaskFreshness], now: DateTime<Utc>) -> Self {
        let mut bounds: Vec<u64> = tasks.iter().map(|task| task.pool_cursor).collect();
        bounds.sort_unstable();
        bounds.dedup();
        Self {
            tasks,
            now,
            live: vec![0; bounds.len() + 1],
            rowed: vec![0; bounds.len() + 1],
            bounds,
            counts: vec![FreshnessCounts::default(); tasks.len()],
            rowed_of_task: vec![(0, 0); tasks.len()],
            best: FreshnessCounts::default(),
        }
    }

    /// The parts of the pool, each up to and with an id; the last part has no end.
    pub fn bounds(&self) -> Vec<u64> {
        self.bounds.iter().copied().chain([u64::MAX]).collect()
    }

    fn part_of(&self, pool_id: u64) -> usize {
        self.bounds.partition_point(|bound| *bound < pool_id)
    }

    /// Sets how many live hosts a part has, muted ones aside.
    pub fn set_live(&mut self, part: usize, hosts: u64) {
        if let Some(live) = self.live.get_mut(part) {
            *live = hosts;
        }
    }

    /// Counts a live host that has rows and is not muted.
    pub fn add_host(&mut self, pool_id: u64, rows: &[(TaskId, Option<DateTime<Utc>>)]) {
        let mut has_row = false;
        for (task_id, since) in rows {
            let Ok(index) = self.tasks.binary_search_by_key(task_id, |task| task.task) else { continue };
            let (Some(task), Some(counts), Some(rowed)) =
                (self.tasks.get(index), self.counts.get_mut(index), self.rowed_of_task.get_mut(index))
            else {
                continue;
            };
            has_row = true;
            counts.add(task.state_of(*since, self.now), 1);
            if pool_id <= task.pool_cursor { rowed.0 += 1 } else { rowed.1 += 1 }
        }
        if has_row {
            let part = self.part_of(pool_id);
            if let Some(rowed) = self.rowed.get_mut(part) {
                *rowed += 1;
            }
            self.best.add(judge(self.tasks, pool_id, rows, self.now).state, 1);
        }
    }

    /// The counts: of the best task of each host, and of each task in the order of `tasks`.
    pub fn finish(mut self) -> (FreshnessCounts, Vec<FreshnessCounts>) {
        let all: u64 = self.live.iter().sum();
        for ((task, counts), rowed) in self.tasks.iter().zip(&mut self.counts).zip(&self.rowed_of_task) {
            let parts = self.bounds.partition_point(|bound| *bound <= task.pool_cursor);
            let within: u64 = self.live.iter().take(parts).sum();
            // Hosts that come and go while they are counted may make these differ by a few.
            counts.add(task.state_of(task.window_to, self.now), within.saturating_sub(rowed.0));
            counts.add(FreshnessState::Never, (all - within).saturating_sub(rowed.1));
        }
        for (part, live) in self.live.iter().enumerate() {
            // Any host of the part stands for all of it that have no row.
            let pool_id = self.bounds.get(part).copied().unwrap_or(u64::MAX);
            let rowed = self.rowed.get(part).copied().unwrap_or_default();
            self.best.add(judge(self.tasks, pool_id, &[], self.now).state, live.saturating_sub(rowed));
        }
        (self.best, self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        format!("2026-03-01T{text}:00Z").parse().expect("a time")
    }

    fn task(id: u64, window_to: Option<&str>, pool_cursor: u64) -> TaskFreshness {
        TaskFreshness { task: TaskId(id), window_to: window_to.map(time), pool_cursor, target: TimeDelta::hours(1) }
    }

    #[test]
    fn a_host_without_a_row_is_as_fresh_as_its_tasks_last_run_and_one_added_later_never() {
        let tasks = [task(1, Some("10:00"), 5)];
        let at = |pool_id, now| judge(&tasks, pool_id, &[], time(now)).state;
        assert_eq!(
            (at(5, "11:00"), at(5, "12:00"), at(5, "12:01")),
            (FreshnessState::Fresh, FreshnessState::Late, FreshnessState::Stale)
        );
        assert_eq!(at(6, "10:00"), FreshnessState::Never);
        assert_eq!(judge(&[], 1, &[], time("10:00")).state, FreshnessState::Never);
    }

    #[test]
    fn the_best_task_counts() {
        let tasks = [task(1, Some("10:00"), 5), task(2, Some("11:30"), 5), task(3, None, 0)];
        let now = time("12:00");
        assert_eq!(judge(&tasks, 5, &[], now).since, Some(time("11:30")));
        let rows = [(TaskId(2), Some(time("09:00")))];
        let host = judge(&tasks, 5, &rows, now);
        assert_eq!((host.state, host.since, host.row), (FreshnessState::Late, Some(time("10:00")), None));
        let rows = [(TaskId(1), None), (TaskId(2), Some(time("10:30")))];
        assert_eq!(judge(&tasks, 5, &rows, now).row, Some(1));
    }

    /// Whatever the tasks, parts and rows are, the tally counts as looking at each host does.
    #[test]
    fn a_tally_counts_as_looking_at_each_host_does() {
        let tasks =
            [task(1, Some("10:00"), 5), task(2, Some("11:30"), 8), task(3, None, 0), task(4, Some("08:00"), 20)];
        let now = time("12:00");
        let pool: Vec<u64> = (1..=12).collect();
        let rows = |pool_id: u64| -> Vec<(TaskId, Option<DateTime<Utc>>)> {
            match pool_id {
                3 => vec![(TaskId(1), None), (TaskId(2), Some(time("10:30")))],
                7 => vec![(TaskId(2), Some(time("08:00"))), (TaskId(9), None)],
                10 => vec![(TaskId(1), None), (TaskId(4), None)],
                11 => vec![(TaskId(9), None)],
                _ => Vec::new(),
            }
        };
        let mut tally = FreshnessTally::new(&tasks, now);
        let mut from = 0;
        for (part, bound) in tally.bounds().into_iter().enumerate() {
            tally.set_live(part, pool.iter().filter(|id| **id > from && **id <= bound).count() as u64);
            from = bound;
        }
        for id in &pool {
            if !rows(*id).is_empty() {
                tally.add_host(*id, &rows(*id));
            }
        }
        let (best, of_tasks) = tally.finish();
        let count = |tasks: &[TaskFreshness]| {
            let mut counts = FreshnessCounts::default();
            for id in &pool {
                counts.add(judge(tasks, *id, &rows(*id), now).state, 1);
            }
            counts
        };
        assert_eq!(best, count(&tasks));
        for (task, counts) in tasks.iter().zip(of_tasks) {
            assert_eq!(counts, count(std::slice::from_ref(task)), "{task:?}");
        }
    }
}
