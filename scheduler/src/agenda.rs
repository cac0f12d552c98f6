//! Looks what there is to do, once a second by one statement, and calls who does it.

use std::sync::Arc;
use std::time::Duration;

use hostsync_metrics::loops::LIMIT;
use hostsync_model::causes::causes;
use hostsync_model::execution::JobQueue;
use hostsync_store::database;
use hostsync_store::tables::agenda;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::Scheduler;

/// Pause between two looks: a task changed through the API takes effect within a second, and what others left is gone on
/// with.
const EVERY: Duration = Duration::from_millis(950);

/// A fire is looked for so much later than it was seen to be due, since whole milliseconds were counted: too early a look
/// finds nothing.
const MARGIN: Duration = Duration::from_millis(2);

/// Longest look; a database that does not answer at all must not stop the looks for ever.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// Who is called when there is something to do.
#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) publish_bulk: Notify,
    pub(crate) publish_manual: Notify,
    pub(crate) retry: Notify,
    pub(crate) close: Notify,
    pub(crate) start: Notify,
    pub(crate) roll_up: Notify,
    /// When the next fire is due, as it was seen last.
    pub(crate) next_fire: watch::Sender<Option<Instant>>,
}

impl Calls {
    /// Who publishes the runs of a queue.
    pub(crate) fn of_queue(&self, queue: JobQueue) -> &Notify {
        match queue {
            JobQueue::Bulk => &self.publish_bulk,
            JobQueue::Manual => &self.publish_manual,
        }
    }
}

/// Looks until the shutdown begins.
pub(crate) async fn run(scheduler: Arc<Scheduler>) {
    let turns = scheduler.loops.begin("agenda", LIMIT);
    while !scheduler.shutdown.is_stopping() {
        turns.turned();
        if let Err(error) = look(&scheduler).await {
            tracing::warn!(
                error = %causes(&error),
                "nothing is fired or published: the database cannot be asked what there is to do"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = scheduler.shutdown.stopping() => {}
        }
    }
}

/// Looks once.
pub(crate) async fn look(scheduler: &Scheduler) -> Result<(), sqlx::Error> {
    let agenda = database::within(LONGEST_LOOK, async {
        let mut connection = scheduler.pool.acquire().await?;
        agenda::agenda(&mut connection).await
    })
    .await?;
    let calls = &scheduler.calls;
    calls.next_fire.send_replace(agenda.next_fire.map(|wait| Instant::now() + wait + MARGIN));
    for (is_needed, call) in [
        (agenda.publish_bulk, &calls.publish_bulk),
        (agenda.publish_manual, &calls.publish_manual),
        (agenda.retry, &calls.retry),
        (agenda.close, &calls.close),
        (agenda.start, &calls.start),
        (agenda.roll_up, &calls.roll_up),
    ] {
        if is_needed {
            call.notify_one();
        }
    }
    Ok(())
}
