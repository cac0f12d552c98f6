//! `es_sync_execution_log`: one row a run, its counters and the state of its life; a file a stretch of that life.
//!
//! A run is written by whoever holds its lease (prepare, publish), by workers (counters) and by sweepers (closing,
//! repair). Every guarded statement says so in its result; the caller that finds itself replaced stops.

pub mod backlog;
pub mod closing;
pub mod counters;
pub mod creation;
pub mod going;
pub mod history;
pub mod lease;
pub mod overlap;
pub mod remarks;
pub mod repair;
pub mod views;
