//! Why a run stands still, and what to do. Pure.

use std::collections::BTreeMap;

use hostsync_model::execution::JobQueue;
use hostsync_queue::Depth;
use hostsync_store::tables::diagnosis::StuckRun;
use hostsync_store::tables::endpoint_state::ClosedEndpoint;

/// Silence after which a run counts as standing still, in seconds.
pub(crate) const SILENT_S: i64 = 600;

/// What holds a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// A sentence without subject.
    pub(crate) reason: String,
    /// What an operator does.
    pub(crate) next: String,
    /// It goes on by itself: nothing is broken.
    pub(crate) is_expected: bool,
}

/// How its queue stands, if that was asked.
pub(crate) fn depth_of(run: &StuckRun, depths: &BTreeMap<JobQueue, Depth>) -> Option<Depth> {
    depths.iter().find(|(queue, _)| run.queue == **queue).map(|(_, depth)| *depth)
}

/// What holds `run`, most certain first. `depth` is of its queue; `None`: the broker was not asked or did not answer.
pub(crate) fn cause(run: &StuckRun, closed: &[ClosedEndpoint], depth: Option<Depth>) -> Cause {
    const SCHEDULER: &str = "systemctl status hostsync-scheduler, or kubectl get pods -l app.kubernetes.io/component=scheduler: a scheduler carries \
         it on";
    let cause = |reason: String, next: &str| Cause { reason, next: next.to_owned(), is_expected: false };
    if run.is_closing {
        return cause(format!("it is being closed, {} hosts are left", run.pending), SCHEDULER);
    }
    if let Some(closed) = closed.iter().find(|closed| closed.endpoint == run.es_endpoint) {
        let reason = format!("its endpoint {} is closed: {}", closed.endpoint, closed.reason);
        return cause(reason, "mend the endpoint; the run goes on by itself");
    }
    if !run.is_prepared || !run.is_published {
        let what = if run.is_prepared { "its jobs are not all published" } else { "its hosts are not all copied" };
        return match run.leased_until {
            Some(until) => cause(
                format!("{what}; a process holds it until {}", until.format("%H:%M:%SZ")),
                "the broker and its queue: hostsync-api doctor",
            ),
            None => cause(format!("{what}, and no process holds it"), SCHEDULER),
        };
    }
    if run.in_queue == 0 {
        let clock = run.next_clock.map_or_else(String::new, |at| format!(" (next at {})", at.format("%H:%M:%SZ")));
        let reason = format!("its {} hosts wait for their next attempt{clock}", run.pending);
        let next = format!("GET /es-sync-execution-detail/{} says what went wrong with them", run.id);
        return Cause { reason, next, is_expected: true };
    }
    let queue = &run.queue;
    match depth {
        Some(Depth { ready, consumers: 0 }) => {
            cause(format!("{ready} jobs wait in the queue {queue} and no worker consumes"), "start a worker")
        }
        Some(Depth { ready: 0, .. }) => {
            let reason = format!("{} hosts wait for jobs, and the queue {queue} is empty", run.in_queue);
            let next = format!("a worker holds them, or they are lost: hostsync-api executions republish {}", run.id);
            cause(reason, &next)
        }
        Some(Depth { ready, .. }) => cause(
            format!("its jobs wait behind others: {ready} in the queue {queue}"),
            "more workers (worker.scaling.max), or cancel what nobody needs",
        ),
        None => cause(
            format!("{} hosts wait for jobs in the queue {queue}, which cannot be looked at", run.in_queue),
            "the broker: hostsync-api doctor",
        ),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use hostsync_model::execution::ExecutionId;
    use hostsync_store::word::Word;

    use super::*;

    fn run() -> StuckRun {
        StuckRun {
            id: ExecutionId(7),
            task_name: "nightly".to_owned(),
            silent_s: 700,
            es_endpoint: "default".to_owned(),
            queue: Word::Known(JobQueue::Bulk),
            is_prepared: true,
            is_published: true,
            is_closing: false,
            leased_until: None,
            pending: 3,
            in_queue: 3,
            next_clock: None,
        }
    }

    fn reason(run: &StuckRun, depth: Option<Depth>) -> String {
        cause(run, &[], depth).reason
    }

    #[test]
    fn jobs_are_waited_for_as_the_queue_says() {
        let depth = |ready, consumers| Some(Depth { ready, consumers });
        assert_eq!(reason(&run(), depth(5, 0)), "5 jobs wait in the queue bulk and no worker consumes");
        assert_eq!(reason(&run(), depth(5, 1)), "its jobs wait behind others: 5 in the queue bulk");
        assert!(cause(&run(), &[], depth(0, 1)).next.ends_with("executions republish 7"));
        assert_eq!(reason(&run(), None), "3 hosts wait for jobs in the queue bulk, which cannot be looked at");
    }

    #[test]
    fn what_holds_it_before_the_queue_is_told_first() {
        let at = DateTime::from_timestamp(3_600, 0);
        let unpublished = StuckRun { is_published: false, ..run() };
        assert_eq!(reason(&unpublished, None), "its jobs are not all published, and no process holds it");
        let held = StuckRun { is_prepared: false, leased_until: at, ..run() };
        assert_eq!(reason(&held, None), "its hosts are not all copied; a process holds it until 01:00:00Z");
        let since = at.expect("a time");
        let closed =
            [ClosedEndpoint { endpoint: "default".to_owned(), since, reason: "no route".to_owned(), probe_due: false }];
        assert_eq!(cause(&unpublished, &closed, None).reason, "its endpoint default is closed: no route");
        assert_eq!(reason(&StuckRun { is_closing: true, ..run() }, None), "it is being closed, 3 hosts are left");
    }

    #[test]
    fn a_clock_is_nothing_to_mend() {
        let waiting = StuckRun { in_queue: 0, next_clock: DateTime::from_timestamp(3_600, 0), ..run() };
        let cause = cause(&waiting, &[], None);
        assert!(cause.is_expected);
        assert_eq!(cause.reason, "its 3 hosts wait for their next attempt (next at 01:00:00Z)");
    }
}
