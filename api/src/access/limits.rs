//! How much is done at once. Whoever finds no room gets 429 (`too_many_requests`, come back in a second), unless the bound
//! says otherwise.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Requests whose host list or file is being read and stored at once. Their bytes have a bound of their own
/// ([`MAX_ENQUEUE_BYTES`]).
const MAX_ENQUEUES: usize = 16;

/// Bytes of the bodies with hosts that are being read and stored at once. Reading one takes up to three times its size,
/// so this keeps all of them below 200 MiB.
const MAX_ENQUEUE_BYTES: usize = 64 * 1024 * 1024;

/// Bodies without hosts that are being read at once.
const MAX_SMALL_BODIES: usize = 128;

/// Runs that this process has taken on to prepare and publish. Those beyond it are stored for the schedulers.
const MAX_TAKEN_ON: usize = 32;

/// Requests that wait for the end of their run at once. Those beyond it are answered at once.
const MAX_WAITING: usize = 200;

/// Full syncs that look for their hosts at once: each may take as long as its source does, and holds up to 100,000 hosts.
/// They do not count among host lists and files, which need the database alone.
const MAX_FULL_SYNCS: usize = 4;

/// Sources that are probed at once: a viewer may probe, and each probe is several searches.
const MAX_PROBES: usize = 4;

/// The rights to do something, each held while it is done.
#[derive(Debug)]
pub(crate) struct Limits {
    /// To send in a host list or a file.
    pub(super) enqueues: Arc<Semaphore>,
    /// The bytes that those may have.
    pub(super) enqueue_bytes: Arc<Semaphore>,
    /// To send in a body without hosts.
    pub(super) small_bodies: Semaphore,
    /// To store a run. Those beyond it wait.
    pub(crate) stores: Semaphore,
    /// To take on a run that was just stored. Without it the run is the schedulers'.
    pub(crate) taken_on: Arc<Semaphore>,
    /// To prepare and publish one that was taken on. Those beyond it wait.
    pub(crate) carrying: Semaphore,
    /// To look how a run goes, on behalf of those who watch it or wait for its end. Those beyond it wait.
    pub(crate) looks: Semaphore,
    /// To wait for the end of a run.
    pub(crate) waiting: Semaphore,
    /// To look for the hosts of a group.
    pub(crate) full_syncs: Semaphore,
    /// To probe a source.
    pub(crate) probes: Semaphore,
}

impl Limits {
    /// For so many connections to the database, half of which stay for reads and for changes of tasks.
    pub(crate) fn new(connections: u32) -> Self {
        let part = |of: usize| (connections as usize / of).max(1);
        Self {
            enqueues: Arc::new(Semaphore::new(MAX_ENQUEUES)),
            enqueue_bytes: Arc::new(Semaphore::new(MAX_ENQUEUE_BYTES)),
            small_bodies: Semaphore::new(MAX_SMALL_BODIES),
            stores: Semaphore::new(part(4)),
            taken_on: Arc::new(Semaphore::new(MAX_TAKEN_ON)),
            carrying: Semaphore::new(part(4)),
            looks: Semaphore::new(part(5)),
            waiting: Semaphore::new(MAX_WAITING),
            full_syncs: Semaphore::new(MAX_FULL_SYNCS),
            probes: Semaphore::new(MAX_PROBES),
        }
    }
}
