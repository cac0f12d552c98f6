//! How one loop of a scheduler wakes another when it has seen that there is something to do.

use std::time::Duration;

use hostsync_model::execution::JobQueue;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A fire is looked for so much later than it was seen to be due, since whole milliseconds were counted: too early a look
/// finds nothing.
const MARGIN: Duration = Duration::from_millis(2);

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

    /// The next fire is due after so long; `None`: none is to come.
    pub(crate) fn fire_in(&self, wait: Option<Duration>) {
        self.next_fire.send_replace(wait.map(|wait| Instant::now() + wait + MARGIN));
    }
}
