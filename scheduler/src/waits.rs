//! Tells what running executions wait for: on their rows, and how many for which kind of thing on `/metrics`.
//!
//! Whoever works on a run knows best why it does not go on, and what it said stays until the run moves. This sweep says what
//! can be seen from outside (a closed endpoint, a broker that is away, a queue that nobody consumes, a clock), and of every
//! run that has been silent at least how far it has come.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hostsync_metrics::Metrics;
use hostsync_model::causes::causes;
use hostsync_model::execution::{ExecutionId, JobQueue, WaitKind};
use hostsync_queue::Depth;
use hostsync_store::outbox::OutboxError;
use hostsync_store::tables::endpoint_state::{self, ClosedEndpoint};
use hostsync_store::tables::waits::{self, SilentRun};
use hostsync_store::word::Word;

use crate::one_run::only_this_run;
use crate::scheduler::Scheduler;

/// Pause between two rounds. With [`SILENT_S`], what a run waits for is told within 30 s.
pub(crate) const EVERY: Duration = Duration::from_secs(10);

/// Silence, in seconds, after which a run counts as waiting.
const SILENT_S: i64 = 10;

/// Runs looked at in one statement.
const RUNS: u32 = 500;

/// What is known of the world outside the runs' rows.
struct FleetView {
    closed: HashMap<String, ClosedEndpoint>,
    /// What is in each queue; `Err`: why the broker does not say.
    queues: Result<HashMap<JobQueue, Depth>, String>,
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wait {
    kind: WaitKind,
    text: String,
    /// It only says how far the run has come: a sentence of the same kind is left standing, which may say more.
    is_vague: bool,
}

impl Wait {
    fn because(kind: WaitKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), is_vague: false }
    }

    fn vague(kind: WaitKind, text: impl Into<String>) -> Self {
        Self { is_vague: true, ..Self::because(kind, text) }
    }
}

/// One round over all running executions.
pub(crate) async fn tell(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let told = tell_all(&scheduler).await;
    // What is not known is not shown.
    let kinds = told.as_ref().map(BTreeMap::clone).unwrap_or_default();
    Metrics::global().executions_waiting(kinds);
    told.map(drop)
}

async fn tell_all(scheduler: &Scheduler) -> Result<BTreeMap<WaitKind, u64>, OutboxError> {
    let mut kinds: BTreeMap<WaitKind, u64> = WaitKind::ALL.iter().map(|kind| (*kind, 0)).collect();
    let (mut after, mut seen) = (ExecutionId(0), None);
    loop {
        let runs = {
            let mut connection = scheduler.pool.acquire().await?;
            waits::silent_runs(&mut connection, SILENT_S, after, RUNS).await?
        };
        let Some(last) = runs.last() else { return Ok(kinds) };
        after = last.id;
        let seen = match &mut seen {
            Some(seen) => seen,
            none => none.insert(look_around(scheduler).await?),
        };
        let mut changes: BTreeMap<Option<Wait>, Vec<ExecutionId>> = BTreeMap::new();
        for run in &runs {
            let wait = wait_of(run, seen);
            if let Some(kind) = kind_told(run, wait.as_ref()) {
                *kinds.entry(kind).or_default() += 1;
            }
            if is_change(run, wait.as_ref()) {
                changes.entry(wait).or_default().push(run.id);
            }
        }
        for (wait, ids) in changes {
            let wait = wait.as_ref().map(|wait| (wait.kind, wait.text.as_str()));
            let mut transaction = scheduler.pool.begin().await?;
            let held = waits::tell(&mut transaction, &ids, wait).await?;
            transaction.commit().await?;
            *kinds.entry(WaitKind::Locked).or_default() += held.len() as u64;
            for id in held {
                tracing::warn!(execution_id = %id, "somebody outside hostsync may hold the row of execution {id}: it does not go on");
            }
        }
    }
}

async fn look_around(scheduler: &Scheduler) -> Result<FleetView, OutboxError> {
    let closed = {
        let mut connection = scheduler.pool.acquire().await?;
        endpoint_state::closed(&mut connection).await?
    };
    let mut queues = HashMap::new();
    let asked = async {
        for queue in JobQueue::ALL {
            queues.insert(*queue, scheduler.publisher.depth(*queue).await?);
        }
        Ok(())
    };
    let asked: Result<(), hostsync_queue::QueueError> = asked.await;
    Ok(FleetView {
        closed: closed.into_iter().map(|closed| (closed.endpoint.clone(), closed)).collect(),
        queues: asked.map(|()| queues).map_err(|error| causes(&error).to_string()),
    })
}

/// What a silent run waits for; `None`: it moves.
fn wait_of(run: &SilentRun, seen: &FleetView) -> Option<Wait> {
    use WaitKind::{Broker, Clock, EndpointClosed, NoConsumer, NotPrepared, NotPublished, Queue, Workers};

    if !run.is_silent {
        return None;
    }
    if let Some(closed) = seen.closed.get(&run.es_endpoint) {
        let ClosedEndpoint { endpoint, since, reason, .. } = closed;
        let since = since.format("%Y-%m-%d %H:%M:%S");
        return Some(Wait::because(
            EndpointClosed,
            format!(
                "endpoint {endpoint} is closed since {since} UTC: {reason}; it is probed every 15 s at most and the run goes on when it answers"
            ),
        ));
    }
    if !run.is_prepared {
        let text = if run.is_held {
            "its hosts are being copied from the pool"
        } else {
            "its hosts have not been copied yet: the schedulers come to it in turn"
        };
        return Some(Wait::vague(NotPrepared, text));
    }
    let waits_for_clock = run.is_published && !run.has_jobs && !run.is_clock_due;
    if let (true, Some(clock)) = (waits_for_clock, run.next_clock) {
        let clock = clock.format("%Y-%m-%d %H:%M:%S");
        let reason = run.last_error.as_deref().unwrap_or("no reason is known");
        return Some(Wait::because(
            Clock,
            format!("its hosts wait for their next attempt, the first at {clock} UTC: {reason}"),
        ));
    }
    let queues = match &seen.queues {
        Ok(queues) => queues,
        Err(reason) => return Some(Wait::because(Broker, format!("the broker does not answer: {reason}"))),
    };
    if !run.is_published || (!run.has_jobs && run.is_clock_due) {
        let text = if run.is_held {
            "its jobs are being published"
        } else {
            "its jobs have not been published yet: the schedulers come to it in turn"
        };
        return Some(Wait::vague(NotPublished, text));
    }
    let name = match &run.queue {
        Word::Known(name) => name,
        Word::Unknown(name) => {
            return Some(Wait::vague(
                Queue,
                format!("its jobs wait in the queue \"{name}\", which a newer release knows"),
            ));
        }
    };
    let depth = queues.get(name).copied().unwrap_or(Depth { ready: 0, consumers: 0 });
    Some(match depth {
        Depth { consumers: 0, .. } => Wait::because(
            NoConsumer,
            format!(
                "its jobs wait in the queue \"{name}\", which no worker consumes: start a worker, or see why none is ready"
            ),
        ),
        Depth { ready: 0, .. } => Wait::vague(Workers, "its jobs are with the workers"),
        Depth { .. } => Wait::vague(Queue, format!("its jobs wait in the queue \"{name}\" behind others")),
    })
}

/// Whether a run waits for what whoever works on it cannot see, or is not there to see.
const fn is_outside(kind: WaitKind) -> bool {
    matches!(kind, WaitKind::EndpointClosed | WaitKind::Broker | WaitKind::NoConsumer)
}

/// Whether the row is to be changed. What somebody else said stays, unless there is a reason that they cannot see.
fn is_change(run: &SilentRun, wait: Option<&Wait>) -> bool {
    let Some(told) = &run.waiting_for else { return wait.is_some() };
    match (wait, &run.waiting_kind) {
        (None, kind) => kind.is_some(),
        (Some(wait), None) => is_outside(wait.kind),
        (Some(wait), Some(kind)) => *kind != wait.kind || (!wait.is_vague && *told != wait.text),
    }
}

/// What the run counts as.
fn kind_told(run: &SilentRun, wait: Option<&Wait>) -> Option<WaitKind> {
    let told_by_others = run.waiting_for.is_some() && run.waiting_kind.is_none();
    match wait {
        Some(wait) if !told_by_others || is_outside(wait.kind) => Some(wait.kind),
        _ => told_by_others.then_some(WaitKind::Told),
    }
}

/// Says on a run why it could not be published; what the database refuses is told by the outbox. `Err`: it would go wrong with all of them, the sweep ends.
pub(crate) async fn tell_why_unpublished(
    scheduler: &Scheduler,
    id: ExecutionId,
    error: OutboxError,
) -> Result<(), OutboxError> {
    let told = matches!(error, OutboxError::Publish { .. }).then(|| causes(&error).to_string());
    only_this_run(id, error)?;
    let Some(reason) = told else { return Ok(()) };
    let text = format!("its jobs could not be published, which is tried again: {reason}");
    let mut transaction = scheduler.pool.begin().await?;
    waits::tell(&mut transaction, &[id], Some((WaitKind::NotPublished, &text))).await?;
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> SilentRun {
        SilentRun {
            id: ExecutionId(1),
            queue: Word::Known(JobQueue::Manual),
            es_endpoint: "main".to_owned(),
            is_silent: true,
            is_prepared: true,
            is_published: true,
            is_held: false,
            has_jobs: true,
            next_clock: None,
            is_clock_due: false,
            last_error: None,
            waiting_for: None,
            waiting_kind: None,
        }
    }

    fn seen(ready: u32, consumers: u32) -> FleetView {
        FleetView {
            closed: HashMap::new(),
            queues: Ok(HashMap::from([(JobQueue::Manual, Depth { ready, consumers })])),
        }
    }

    fn kind(run: &SilentRun, seen: &FleetView) -> Option<WaitKind> {
        wait_of(run, seen).map(|wait| wait.kind)
    }

    #[test]
    fn what_can_be_seen_from_outside_is_named() {
        assert_eq!(kind(&SilentRun { is_silent: false, ..silent() }, &seen(0, 0)), None);
        assert_eq!(kind(&silent(), &seen(5, 0)), Some(WaitKind::NoConsumer));
        assert_eq!(kind(&silent(), &seen(5, 2)), Some(WaitKind::Queue));
        assert_eq!(kind(&silent(), &seen(0, 2)), Some(WaitKind::Workers));
        assert_eq!(kind(&SilentRun { is_prepared: false, ..silent() }, &seen(0, 2)), Some(WaitKind::NotPrepared));
        assert_eq!(kind(&SilentRun { is_published: false, ..silent() }, &seen(0, 2)), Some(WaitKind::NotPublished));
        let clock = SilentRun {
            has_jobs: false,
            next_clock: Some("2026-03-01T10:00:00Z".parse().expect("a time")),
            last_error: Some("the search was partial".to_owned()),
            ..silent()
        };
        let text =
            "its hosts wait for their next attempt, the first at 2026-03-01 10:00:00 UTC: the search was partial";
        assert_eq!(wait_of(&clock, &seen(0, 2)), Some(Wait::because(WaitKind::Clock, text)));
        let due = SilentRun { is_clock_due: true, ..clock };
        assert_eq!(kind(&due, &seen(0, 2)), Some(WaitKind::NotPublished));
        let away = FleetView { closed: HashMap::new(), queues: Err("refused".to_owned()) };
        let told = wait_of(&due, &away).expect("a wait");
        assert_eq!((told.kind, told.text.as_str()), (WaitKind::Broker, "the broker does not answer: refused"));
    }

    #[test]
    fn a_closed_endpoint_comes_before_all_else() {
        let closed = ClosedEndpoint {
            endpoint: "main".to_owned(),
            since: "2026-03-01T10:00:00Z".parse().expect("a time"),
            reason: "no route".to_owned(),
            probe_due: false,
        };
        let seen =
            FleetView { closed: HashMap::from([("main".to_owned(), closed)]), queues: Err("refused".to_owned()) };
        let told = wait_of(&SilentRun { is_published: false, ..silent() }, &seen).expect("a wait");
        assert!(
            told.text.starts_with("endpoint main is closed since 2026-03-01 10:00:00 UTC: no route;"),
            "{}",
            told.text
        );
    }

    #[test]
    fn what_somebody_else_said_stays_unless_there_is_a_reason_that_they_cannot_see() {
        let told = SilentRun { waiting_for: Some("the table has no partition".to_owned()), ..silent() };
        let with_workers = wait_of(&told, &seen(0, 2));
        assert!(!is_change(&told, with_workers.as_ref()));
        assert_eq!(kind_told(&told, with_workers.as_ref()), Some(WaitKind::Told));
        let nobody = wait_of(&told, &seen(0, 0));
        assert!(is_change(&told, nobody.as_ref()));
        assert_eq!(kind_told(&told, nobody.as_ref()), Some(WaitKind::NoConsumer));
        // It moves again.
        assert!(!is_change(&told, None));
        let ours = SilentRun { waiting_kind: Some(Word::Known(WaitKind::Workers)), ..told };
        assert!(is_change(&ours, None));
        assert!(!is_change(&ours, with_workers.as_ref()), "a sentence that says more stands");
    }
}
