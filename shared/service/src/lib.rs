//! What makes a process a service: its configuration, logs, traces and metrics, its health, its start and its end.
//!
//! Nothing here knows a service: `scheduler`, `worker` and `api` depend on this crate and never on each other.

pub mod config;
pub mod connections;
pub mod defaults;
pub mod endpoint_watch;
pub mod healthcheck;
pub mod operations;
pub mod plain_main;
pub mod process;
pub mod secret_files;
pub mod shutdown;
pub mod startup;
pub mod telemetry;
pub mod tested;
