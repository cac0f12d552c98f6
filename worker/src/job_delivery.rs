//! A job on its way through this worker.

use std::collections::BTreeMap;

use hostsync_queue::{Acker, Job};

/// A delivery whose job could be read.
#[derive(Debug)]
pub(crate) struct JobDelivery {
    pub(crate) job: Job,
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether it was delivered before, to this worker or another.
    pub(crate) redelivered: bool,
    pub(crate) acker: Acker,
}
