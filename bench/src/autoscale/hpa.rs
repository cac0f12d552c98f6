//! The horizontal pod autoscaler's part: how many workers, once there is one.
//!
//! The rules are those of `pkg/controller/podautoscaler/horizontal.go` of Kubernetes 1.34 for external metrics with an
//! `AverageValue`, which are what KEDA makes of its triggers, and of <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>.
//! Times are counted from the start of the play.

use std::time::Duration;

use super::rendered::{Behavior, Policy, PolicyKind, Rules, Select};
use super::scaler::Reading;

/// The number stays while the jobs are within a tenth of what it is for (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: u64 = 10;

/// A change of the number.
#[derive(Debug, Clone, Copy)]
struct Change {
    at: Duration,
    by: u32,
}

/// What the autoscaler remembers between two looks.
#[derive(Debug)]
pub(crate) struct Hpa {
    min: u32,
    max: u32,
    behavior: Behavior,
    /// Numbers that earlier looks came to, before any rate.
    recommended: Vec<(Duration, u32)>,
    ups: Vec<Change>,
    downs: Vec<Change>,
}

impl Hpa {
    /// KEDA never lets it go below one worker: what is below that is [`super::activation`]'s.
    pub(crate) fn new(min: u32, max: u32, behavior: Behavior) -> Self {
        Self { min: min.max(1), max, behavior, recommended: Vec::new(), ups: Vec::new(), downs: Vec::new() }
    }

    /// One look at `at`, with `workers` asked for until now. `None`: the number stays, as always at 0 workers.
    pub(crate) fn sync(&mut self, at: Duration, workers: u32, readings: &[Reading]) -> Option<u32> {
        if workers == 0 {
            return None;
        }
        if self.recommended.is_empty() {
            self.recommended.push((at, workers));
        }
        let wanted = if workers > self.max {
            self.max
        } else if workers < self.min {
            self.min
        } else {
            let wanted = readings.iter().map(|reading| proposed(workers, *reading)).max()?;
            let stable = self.stabilized(at, workers, wanted);
            self.limited(at, workers, stable)
        };
        let change = Change { at, by: workers.abs_diff(wanted) };
        match wanted.cmp(&workers) {
            std::cmp::Ordering::Greater => self.ups.push(change),
            std::cmp::Ordering::Less => self.downs.push(change),
            std::cmp::Ordering::Equal => return None,
        }
        Some(wanted)
    }

    /// Upwards the lowest, downwards the highest number that any look within the window came to.
    fn stabilized(&mut self, at: Duration, workers: u32, wanted: u32) -> u32 {
        let up_after = at.checked_sub(window(&self.behavior.scale_up));
        let down_after = at.checked_sub(window(&self.behavior.scale_down));
        let is_within = |then: Duration, after: Option<Duration>| after.is_none_or(|after| then > after);
        let (mut up, mut down) = (wanted, wanted);
        for &(then, number) in &self.recommended {
            if is_within(then, up_after) {
                up = up.min(number);
            }
            if is_within(then, down_after) {
                down = down.max(number);
            }
        }
        self.recommended.retain(|(then, _)| is_within(*then, up_after) || is_within(*then, down_after));
        self.recommended.push((at, wanted));
        workers.max(up).min(down)
    }

    /// Keeps the rates of the policies and the bounds.
    fn limited(&self, at: Duration, workers: u32, wanted: u32) -> u32 {
        if wanted > workers {
            let Rules { policies, select_policy, .. } = &self.behavior.scale_up;
            let limits = policies.iter().map(|policy| {
                let (began_with, value) = (self.began_with(at, workers, *policy), i64::from(policy.value));
                match policy.kind {
                    PolicyKind::Pods => began_with + value,
                    PolicyKind::Percent => -(-began_with * (100 + value)).div_euclid(100),
                }
            });
            let limit = match select_policy {
                Select::Disabled => None,
                Select::Max => limits.max(),
                Select::Min => limits.min(),
            };
            // Policies may allow fewer than there are; on the way up they take none away.
            wanted.min(number(limit, workers).max(workers)).min(self.max)
        } else {
            let Rules { policies, select_policy, .. } = &self.behavior.scale_down;
            let limits = policies.iter().map(|policy| {
                let (began_with, value) = (self.began_with(at, workers, *policy), i64::from(policy.value));
                match policy.kind {
                    PolicyKind::Pods => began_with - value,
                    PolicyKind::Percent => began_with * (100 - value) / 100,
                }
            });
            let limit = match select_policy {
                Select::Disabled => None,
                Select::Max => limits.min(),
                Select::Min => limits.max(),
            };
            wanted.max(number(limit, workers).min(workers)).max(self.min)
        }
    }

    /// How many there were when the period of a policy began, by the autoscaler's own changes. Below 0 if KEDA took away
    /// what the autoscaler had added.
    fn began_with(&self, at: Duration, workers: u32, policy: Policy) -> i64 {
        let after = at.checked_sub(Duration::from_secs(policy.period_seconds));
        let changed = |changes: &[Change]| -> i64 {
            let changes = changes.iter().filter(|change| after.is_none_or(|after| change.at > after));
            changes.map(|change| i64::from(change.by)).sum()
        };
        i64::from(workers) + changed(&self.downs) - changed(&self.ups)
    }
}

/// A limit as a number of workers; without one there may be as many as there are.
fn number(limit: Option<i64>, workers: u32) -> u32 {
    limit.map_or(workers, |limit| u32::try_from(limit.max(0)).unwrap_or(u32::MAX))
}

/// Enough workers for the jobs of one trigger.
fn proposed(workers: u32, Reading { jobs, target, .. }: Reading) -> u32 {
    let meant_for = target * u64::from(workers);
    if jobs.abs_diff(meant_for) * TOLERANCE <= meant_for {
        return workers;
    }
    u32::try_from(jobs.div_ceil(target)).unwrap_or(u32::MAX)
}

fn window(rules: &Rules) -> Duration {
    Duration::from_secs(rules.stabilization_window_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(value: u32, period_seconds: u64) -> Policy {
        Policy { kind: PolicyKind::Pods, value, period_seconds }
    }

    fn percent(value: u32, period_seconds: u64) -> Policy {
        Policy { kind: PolicyKind::Percent, value, period_seconds }
    }

    fn rules(window_s: u64, policies: &[Policy]) -> Rules {
        Rules { stabilization_window_seconds: window_s, policies: policies.to_vec(), select_policy: Select::Max }
    }

    /// The chart's defaults, between 1 and 10.
    fn hpa() -> Hpa {
        let scale_up = rules(0, &[percent(100, 30), pods(4, 30)]);
        Hpa::new(0, 10, Behavior { scale_up, scale_down: rules(300, &[pods(1, 60)]) })
    }

    fn jobs(jobs: u64) -> Reading {
        Reading { jobs, target: 5_000, is_active: jobs > 0 }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn there_are_enough_workers_for_the_jobs() {
        assert_eq!(proposed(1, jobs(10_001)), 3);
        assert_eq!(proposed(9, jobs(10_000)), 2);
        assert_eq!(proposed(3, jobs(0)), 0);
    }

    #[test]
    fn a_tenth_more_or_less_changes_nothing() {
        assert_eq!(proposed(2, jobs(11_000)), 2);
        assert_eq!(proposed(2, jobs(11_001)), 3);
        assert_eq!(proposed(3, jobs(13_500)), 3);
        assert_eq!(proposed(4, jobs(15_000)), 3);
    }

    #[test]
    fn the_trigger_that_asks_for_more_decides() {
        let manual = Reading { jobs: 4_000, target: 1_000, is_active: true };
        assert_eq!(hpa().sync(at(0), 1, &[jobs(10_000), manual]), Some(4));
    }

    #[test]
    fn at_zero_it_does_nothing() {
        assert_eq!(hpa().sync(at(0), 0, &[jobs(100_000)]), None);
    }

    #[test]
    fn it_never_goes_below_one_or_above_the_most() {
        let now = Behavior { scale_up: rules(0, &[pods(100, 15)]), scale_down: rules(0, &[pods(100, 15)]) };
        assert_eq!(Hpa::new(0, 10, now.clone()).sync(at(0), 4, &[jobs(0)]), Some(1));
        assert_eq!(Hpa::new(0, 10, now.clone()).sync(at(0), 4, &[jobs(1_000_000)]), Some(10));
        assert_eq!(Hpa::new(2, 10, now.clone()).sync(at(0), 1, &[jobs(0)]), Some(2));
        assert_eq!(Hpa::new(0, 10, now).sync(at(0), 12, &[jobs(1_000_000)]), Some(10));
    }

    #[test]
    fn workers_come_four_or_doubled_each_half_minute() {
        let mut hpa = hpa();
        let many = [jobs(1_000_000)];
        assert_eq!(hpa.sync(at(0), 1, &many), Some(5));
        assert_eq!(hpa.sync(at(15), 5, &many), None);
        assert_eq!(hpa.sync(at(30), 5, &many), Some(10));
    }

    #[test]
    fn the_policy_of_the_smallest_change_may_be_chosen() {
        let mut hpa = hpa();
        hpa.behavior.scale_up.select_policy = Select::Min;
        assert_eq!(hpa.sync(at(0), 1, &[jobs(1_000_000)]), Some(2));
        hpa.behavior.scale_up.select_policy = Select::Disabled;
        assert_eq!(hpa.sync(at(60), 2, &[jobs(1_000_000)]), None);
    }

    #[test]
    fn one_worker_goes_a_minute_once_five_minutes_agree() {
        let mut hpa = hpa();
        assert_eq!(hpa.sync(at(0), 4, &[jobs(20_000)]), None);
        // The look at 15 asks for fewer; the one at 0, for all of four, counts for five minutes.
        for then in (15..300).step_by(15) {
            assert_eq!(hpa.sync(at(then), 4, &[jobs(100)]), None, "at {then}");
        }
        assert_eq!(hpa.sync(at(300), 4, &[jobs(100)]), Some(3));
        for then in [315, 330, 345] {
            assert_eq!(hpa.sync(at(then), 3, &[jobs(100)]), None, "at {then}");
        }
        assert_eq!(hpa.sync(at(360), 3, &[jobs(100)]), Some(2));
    }

    #[test]
    fn a_queue_that_fills_again_keeps_the_workers() {
        let mut hpa = hpa();
        hpa.sync(at(0), 4, &[jobs(20_000)]);
        hpa.sync(at(150), 4, &[jobs(100)]);
        hpa.sync(at(240), 4, &[jobs(20_000)]);
        assert_eq!(hpa.sync(at(420), 4, &[jobs(100)]), None);
        assert_eq!(hpa.sync(at(540), 4, &[jobs(100)]), Some(3));
    }

    #[test]
    fn what_came_in_a_period_may_go_in_it_again() {
        let behavior = Behavior { scale_up: rules(0, &[pods(4, 30)]), scale_down: rules(15, &[pods(1, 60)]) };
        let mut hpa = Hpa::new(0, 10, behavior);
        assert_eq!(hpa.sync(at(0), 1, &[jobs(25_000)]), Some(5));
        // A minute ago there was one: one fewer than that is no limit.
        assert_eq!(hpa.sync(at(30), 5, &[jobs(100)]), Some(1));
    }

    #[test]
    fn what_keda_took_away_still_counts_as_added() {
        let behavior = Behavior { scale_up: rules(0, &[pods(4, 30), percent(100, 30)]), scale_down: rules(0, &[]) };
        let mut hpa = Hpa::new(0, 10, behavior);
        assert_eq!(hpa.sync(at(0), 1, &[jobs(1_000_000)]), Some(5));
        assert_eq!(hpa.sync(at(10), 0, &[jobs(0)]), None);
        assert_eq!(hpa.sync(at(20), 1, &[jobs(1_000_000)]), None);
        assert_eq!(hpa.sync(at(30), 1, &[jobs(1_000_000)]), Some(5));
    }

    #[test]
    fn a_percentage_rounds_up_on_the_way_up_and_down_on_the_way_down() {
        let behavior = Behavior { scale_up: rules(0, &[percent(10, 60)]), scale_down: rules(0, &[percent(10, 60)]) };
        assert_eq!(Hpa::new(0, 10, behavior.clone()).sync(at(0), 5, &[jobs(1_000_000)]), Some(6));
        assert_eq!(Hpa::new(0, 10, behavior).sync(at(0), 5, &[jobs(0)]), Some(4));
    }
}
