//! Runs: made by a person, looked at, watched, ended early, run again, summed up.
//!
//! Knows no transport.

mod accept;
pub(crate) mod full_sync;
mod given_window;
pub(crate) mod host_file;
pub(crate) mod hosts;
pub(crate) mod idempotency;
pub(crate) mod log;
mod outcome;
pub(crate) mod retry;
pub(crate) mod stats;
pub(crate) mod task_run;
pub(crate) mod watch;

pub(crate) use accept::{Enqueued, MAX_WAIT_S, Runs, WaitFields, wait_for_end};
pub(crate) use outcome::{Accepted, Outcome, message};
