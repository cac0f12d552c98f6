//! KEDA's own part: from 0 workers to the first, and back to 0.
//!
//! The rules are those of `RequestScale` in `pkg/scaling/executor/scale_scaledobjects.go` of KEDA 2.21.0, which runs each
//! `pollingInterval`, without the keys that the chart does not use. Times are counted from the start of the play.

use std::time::Duration;

/// Which number KEDA asks for by itself.
#[derive(Debug)]
pub(crate) struct Activation {
    min: u32,
    cooldown: Duration,
    last_active: Option<Duration>,
}

impl Activation {
    pub(crate) fn new(min: u32, cooldown: Duration) -> Self {
        Self { min, cooldown, last_active: None }
    }

    /// One look at `at`, with `workers` asked for until now; `is_active` if any trigger is. `None`: the number stays.
    pub(crate) fn poll(&mut self, at: Duration, workers: u32, is_active: bool) -> Option<u32> {
        if is_active {
            self.last_active = Some(at);
            return (workers == 0).then_some(self.min.max(1));
        }
        if workers > 0 && self.min == 0 {
            return self.last_active.is_none_or(|active| active + self.cooldown < at).then_some(0);
        }
        (workers < self.min).then_some(self.min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_job_starts_a_worker_and_no_more() {
        let mut activation = Activation::new(0, at(60));
        assert_eq!(activation.poll(at(0), 0, false), None);
        assert_eq!(activation.poll(at(5), 0, true), Some(1));
        assert_eq!(activation.poll(at(10), 1, true), None);
    }

    #[test]
    fn the_workers_go_when_no_trigger_was_active_for_longer_than_the_cooldown() {
        let mut activation = Activation::new(0, at(60));
        assert_eq!(activation.poll(at(5), 3, true), None);
        assert_eq!(activation.poll(at(65), 3, false), None);
        assert_eq!(activation.poll(at(66), 3, false), Some(0));
    }

    #[test]
    fn workers_that_were_started_by_somebody_else_go_at_once() {
        assert_eq!(Activation::new(0, at(60)).poll(at(0), 2, false), Some(0));
    }

    #[test]
    fn a_smallest_number_above_zero_is_kept() {
        let mut activation = Activation::new(2, at(60));
        assert_eq!(activation.poll(at(0), 0, false), Some(2));
        assert_eq!(activation.poll(at(5), 0, true), Some(2));
        assert_eq!(activation.poll(at(500), 2, false), None);
    }
}
