//! What a scheduler has.

use std::sync::Arc;

use hostsync_metrics::loops::Loops;
use hostsync_queue::Publisher;
use hostsync_service::defaults::Defaults;
use hostsync_service::shutdown::Shutdown;
use hostsync_store::outbox::Outbox;
use sqlx::MySqlPool;

use crate::calls::Calls;
use crate::shift::Shift;

/// What every loop of the scheduler works with.
pub(crate) struct Scheduler {
    pub(crate) pool: MySqlPool,
    /// Connections of the fires and of what they need, so that sweeps which wait for locks leave them some.
    pub(crate) fires: MySqlPool,
    pub(crate) outbox: Outbox,
    pub(crate) publisher: Publisher,
    pub(crate) defaults: Defaults,
    pub(crate) loops: Loops,
    pub(crate) shutdown: Shutdown,
    pub(crate) calls: Calls,
    pub(crate) shift: Arc<Shift>,
}
