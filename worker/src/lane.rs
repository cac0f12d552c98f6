//! One queue's way through this worker: consume, gather, hand batches to free slots.
//!
//! Owns the consumer and its rebuilding. A lane never gives up: whatever ends the consumer, it connects anew until the
//! process stops. Deliveries that had only been gathered come again by themselves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use hostsync_metrics::Metrics;
use hostsync_metrics::loops::Turns;
use hostsync_model::causes::causes;
use hostsync_model::execution::JobQueue;
use hostsync_model::window::Window;
use hostsync_queue::{
    Acker, Job, JobConsumer, Publisher, QueueDelivery, QueueError, QueueSettings, UnreadableJob, ack_all, give_back,
    refuse, reject,
};
use hostsync_service::operations::Readiness;
use hostsync_service::shutdown::Shutdown;
use hostsync_store::tables::executions::creation::RunScope;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::batch::{Batch, process};
use crate::commit::{BatchError, leave_open, until_the_database_answers};
use crate::database_watch::DatabaseWatch;
use crate::gather::Gatherer;
use crate::job_delivery::JobDelivery;
use crate::scopes::Scopes;
use crate::workbench::Workbench;

/// First and longest pause before a consumer is built anew.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// How long after the start of a batch one more of its jobs may start to run alone; those left are given back. The broker takes
/// back what is not acked within 30 minutes, with the whole channel, and a job that has started may take more than ten.
const LONGEST_WITH_THOSE_ALONE: Duration = Duration::from_mins(10);

/// What differs between the two lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneSettings {
    pub(crate) queue: JobQueue,
    pub(crate) batch_hosts: usize,
    pub(crate) linger: Duration,
    /// Batches at once.
    pub(crate) slots: usize,
}

impl LaneSettings {
    /// Enough for every slot to be busy while the next batches gather.
    fn prefetch(&self) -> u16 {
        u16::try_from(self.batch_hosts.saturating_mul(self.slots + 2)).unwrap_or(u16::MAX)
    }
}

/// Jobs that one search and one day's rows can serve.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BatchKey {
    endpoint: String,
    index_pattern: String,
    mapping: String,
    window: Window,
    mon_date: NaiveDate,
}

impl BatchKey {
    fn of(scope: &RunScope) -> Self {
        let scope = &scope.scope;
        Self {
            endpoint: scope.es_endpoint.clone(),
            index_pattern: scope.es_index_pattern.clone(),
            mapping: scope.mapping.clone(),
            window: scope.window,
            mon_date: scope.mon_date,
        }
    }
}

/// A delivery that waits for its batch.
struct PendingDelivery {
    scope: Arc<RunScope>,
    delivery: JobDelivery,
    guard: DeliveryGuard,
}

/// Counts a delivery as held by this lane until it is dropped.
struct DeliveryGuard(Arc<AtomicUsize>);

impl DeliveryGuard {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for DeliveryGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One queue's way through this worker.
pub(crate) struct Lane {
    pub(crate) settings: LaneSettings,
    pub(crate) queue: QueueSettings,
    pub(crate) bench: Arc<Workbench>,
    pub(crate) scopes: Arc<Scopes>,
    pub(crate) publisher: Publisher,
    pub(crate) readiness: Readiness,
    pub(crate) database: DatabaseWatch,
    pub(crate) turns: Turns,
    pub(crate) shutdown: Shutdown,
    slots: Arc<Semaphore>,
    slot_freed: Arc<Notify>,
    held: Arc<AtomicUsize>,
}

impl Lane {
    #[allow(clippy::too_many_arguments, reason = "what a lane works with")]
    pub(crate) fn new(
        settings: LaneSettings,
        queue: QueueSettings,
        bench: Arc<Workbench>,
        scopes: Arc<Scopes>,
        publisher: Publisher,
        readiness: Readiness,
        database: DatabaseWatch,
        turns: Turns,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            settings,
            queue,
            bench,
            scopes,
            publisher,
            readiness,
            database,
            turns,
            shutdown,
            slots: Arc::new(Semaphore::new(settings.slots)),
            slot_freed: Arc::default(),
            held: Arc::default(),
        }
    }

    /// Works until the process stops; then waits for its batches and closes its connection.
    pub(crate) async fn run(self) {
        let mut pause = RECONNECT.0;
        while !self.shutdown.is_stopping() {
            tokio::select! {
                () = self.turns.waiting_for(self.database.answers()) => {}
                () = self.shutdown.stopping() => break,
            }
            let ended = match self.connect().await {
                Some(Ok(consumer)) => {
                    self.readiness.set(readiness_of(self.settings.queue), Ok(()));
                    pause = RECONNECT.0;
                    self.consume(consumer).await
                }
                Some(Err(error)) => Err(error),
                None => break,
            };
            if let Err(error) = ended {
                self.report_down(&error);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.shutdown.stopping() => {}
                }
                pause = (pause * 2).min(RECONNECT.1);
            }
        }
    }

    async fn connect(&self) -> Option<Result<JobConsumer, QueueError>> {
        let connecting = JobConsumer::connect(&self.queue, self.settings.queue, self.settings.prefetch());
        self.shutdown.token().run_until_cancelled(connecting).await
    }

    fn report_down(&self, error: &QueueError) {
        let queue = self.settings.queue;
        tracing::warn!(queue = %queue, error = %causes(error), "cannot consume the {queue} queue; connecting again: {}", causes(error));
        self.readiness.set(readiness_of(queue), Err(&causes(error).to_string()));
    }

    async fn consume(&self, mut consumer: JobConsumer) -> Result<(), QueueError> {
        let mut gatherer = Gatherer::new(self.settings.batch_hosts, self.settings.linger);
        loop {
            self.turns.turned();
            self.dispatch(&mut gatherer);
            let due = gatherer.next_due().filter(|_| self.slots.available_permits() > 0);
            tokio::select! {
                biased;
                () = self.shutdown.stopping() => break,
                () = self.database.lost() => {
                    tracing::warn!("the database is away: giving the jobs of the {} queue back", self.settings.queue);
                    return self.give_back_everything(consumer, &mut gatherer).await;
                }
                () = self.slot_freed.notified() => {}
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()).await }, if due.is_some() => {}
                // The closure also runs while nothing comes, so that an idle lane does not look stuck.
                received = consumer.next(|| { self.turns.turned(); self.held.load(Ordering::Relaxed) }) => {
                    self.take(received?, &mut gatherer).await;
                }
            }
        }
        self.stop(consumer, &mut gatherer).await
    }

    /// Takes one delivery: a job to be gathered, one that runs alone, or something that is no job.
    async fn take(&self, received: QueueDelivery, gatherer: &mut Gatherer<BatchKey, PendingDelivery>) {
        let guard = DeliveryGuard::new(&self.held);
        let job = match received.job {
            Ok(job) => job,
            Err(reason) => {
                self.bury(received.body, reason, received.acker, guard);
                return;
            }
        };
        if let Some(on_its_way) = received.on_its_way {
            Metrics::global().job_queue_duration(self.settings.queue, on_its_way);
        }
        let scope = match self.scopes.remembered(&job) {
            Some(scope) => scope,
            None => match self.look_up(&job).await {
                Ok(Some(scope)) => scope,
                ended => return self.end_without_scope(ended.map(drop), &job, received.acker).await,
            },
        };
        let (headers, redelivered) = (received.headers, received.redelivered);
        let delivery = JobDelivery { job, headers, redelivered, acker: received.acker };
        gatherer.push(BatchKey::of(&scope), PendingDelivery { scope, delivery, guard }, Instant::now());
    }

    /// The scope of a run of which no job came before. Gives up when the database stays away or the process stops: a job that
    /// has not begun is given back then.
    async fn look_up(&self, job: &Job) -> Result<Option<Arc<RunScope>>, BatchError> {
        let executions = BTreeSet::from([job.execution_id]);
        let look_up = Box::pin(until_the_database_answers(&self.bench, &executions, || self.scopes.look_up(job)));
        tokio::select! {
            found = self.turns.waiting_for(look_up) => found,
            () = self.database.lost() => Err(BatchError::Stopped),
            () = self.shutdown.stopping() => Err(BatchError::Stopped),
        }
    }

    /// Ends the delivery of a job whose run was not found, or could not be looked up.
    async fn end_without_scope(&self, looked_up: Result<(), BatchError>, job: &Job, acker: Acker) {
        match looked_up {
            Ok(()) => {
                let execution_id = job.execution_id;
                tracing::debug!(execution_id = %execution_id, "dropping a job of execution {execution_id}, which is gone or another one under this id");
                Metrics::global().deliveries_dropped(1);
                ack_all(vec![acker]).await;
            }
            Err(BatchError::Refused(error)) => {
                leave_open(&self.bench, std::slice::from_ref(job), &error).await;
                ack_all(vec![acker]).await;
            }
            Err(BatchError::Stopped) => give_back(vec![acker]).await,
        }
    }

    /// Starts ready batches while slots are free.
    fn dispatch(&self, gatherer: &mut Gatherer<BatchKey, PendingDelivery>) {
        while let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            let Some((_, pending)) = gatherer.take_ready(Instant::now()) else { return };
            self.start(pending, permit);
        }
    }

    fn start(&self, pending: Vec<PendingDelivery>, permit: OwnedSemaphorePermit) {
        let Some(scope) = pending.first().map(|first| Arc::clone(&first.scope)) else { return };
        let (guards, deliveries): (Vec<_>, Vec<_>) =
            pending.into_iter().map(|pending| (pending.guard, pending.delivery)).unzip();
        let bench = Arc::clone(&self.bench);
        let slot_freed = Arc::clone(&self.slot_freed);
        let (stopping, queue) = (self.shutdown.token(), self.settings.queue);
        self.shutdown.spawn("batch", async move {
            let batch = Batch { scope: Arc::clone(&scope), queue, deliveries, solo: false };
            let began = Instant::now();
            for one in contained(&bench, batch).await {
                if stopping.is_cancelled() || began.elapsed() >= LONGEST_WITH_THOSE_ALONE {
                    give_back(vec![one.acker]).await;
                } else {
                    let alone = Batch { scope: Arc::clone(&scope), queue, deliveries: vec![one], solo: true };
                    contained(&bench, alone).await;
                }
            }
            drop(guards);
            drop(permit);
            slot_freed.notify_one();
        });
    }

    /// A message that is no job goes to the dead letters with its reason; it is acked once it is there. One that is too long
    /// was not kept: the broker moves it.
    fn bury(&self, body: Vec<u8>, reason: UnreadableJob, acker: Acker, guard: DeliveryGuard) {
        tracing::error!(%reason, "moving a message to the dead letters: {reason}");
        let publisher = self.publisher.clone();
        self.shutdown.spawn("dead letter", async move {
            let _guard = guard;
            if matches!(reason, UnreadableJob::TooLong { .. }) {
                Metrics::global().dead_letter();
                return refuse(acker).await;
            }
            let reason = reason.to_string();
            match publisher.publish_dead_letter(&body, &reason).await {
                Ok(()) => {
                    Metrics::global().dead_letter();
                    ack_all(vec![acker]).await;
                }
                Err(error) => {
                    tracing::warn!(error = %causes(&error), "cannot publish a dead letter, so its message stays in the queue: {}", causes(&error));
                    give_back(vec![acker]).await;
                }
            }
        });
    }

    /// Takes nothing new, gives back what has only been gathered, waits for the batches, closes the connection.
    async fn stop(
        &self,
        consumer: JobConsumer,
        gatherer: &mut Gatherer<BatchKey, PendingDelivery>,
    ) -> Result<(), QueueError> {
        consumer.cancel().await?;
        give_back_gathered(gatherer).await;
        let all = u32::try_from(self.settings.slots).unwrap_or(u32::MAX);
        tokio::select! {
            _ = self.turns.waiting_for(self.slots.acquire_many(all)) => {}
            () = self.shutdown.ending(Duration::ZERO) => {}
        }
        consumer.close().await
    }

    /// Closes the connection; the broker delivers again what came by it and was not acked. Batches that are being written go
    /// on: if they commit in the end, their jobs find no pending row when they come again, and are dropped.
    async fn give_back_everything(
        &self,
        consumer: JobConsumer,
        gatherer: &mut Gatherer<BatchKey, PendingDelivery>,
    ) -> Result<(), QueueError> {
        consumer.cancel().await?;
        give_back_gathered(gatherer).await;
        consumer.close().await
    }
}

/// Works on a batch in a task of its own, so that a panic costs its jobs a redelivery and nothing else. Returns those that
/// must run alone.
async fn contained(bench: &Arc<Workbench>, batch: Batch) -> Vec<JobDelivery> {
    let ackers: Vec<Acker> = batch.deliveries.iter().map(|delivery| delivery.acker.clone()).collect();
    let bench = Arc::clone(bench);
    match tokio::spawn(async move { process(&bench, batch).await }).await {
        Ok(alone) => alone,
        Err(error) => {
            tracing::error!(error = %causes(&error), "a batch panicked; its jobs are delivered again: {}", causes(&error));
            reject(ackers).await;
            Vec::new()
        }
    }
}

async fn give_back_gathered(gatherer: &mut Gatherer<BatchKey, PendingDelivery>) {
    let (ackers, guards): (Vec<_>, Vec<_>) =
        gatherer.drain().into_iter().map(|pending| (pending.delivery.acker, pending.guard)).unzip();
    give_back(ackers).await;
    drop(guards);
}

/// Name of a lane among the loops of the process.
pub(crate) const fn name_of(queue: JobQueue) -> &'static str {
    match queue {
        JobQueue::Bulk => "bulk lane",
        JobQueue::Manual => "manual lane",
    }
}

/// Name of a lane in `/readyz`.
pub(crate) const fn readiness_of(queue: JobQueue) -> &'static str {
    match queue {
        JobQueue::Bulk => "rabbitmq_bulk",
        JobQueue::Manual => "rabbitmq_manual",
    }
}
