//! What the three hostsync services share.
//!
//! The words ([`execution`], [`host`], [`window`]), the tables, the queue, the outbox, the schedule, the source and how a
//! service is configured, observed and stopped. Nothing here knows a service: `scheduler`, `worker` and `api` depend on
//! this crate and never on each other.

pub mod catch_up;
pub mod causes;
pub mod closing;
pub mod config;
pub mod connections;
pub mod database;
pub mod defaults;
pub mod denied;
pub mod elasticsearch;
pub mod endpoint_watch;
pub mod execution;
pub mod explanation;
pub mod healthcheck;
pub mod host;
pub mod loops;
pub mod mapping;
pub mod metrics;
pub mod operations;
pub mod outbox;
pub mod process;
pub mod queue;
pub mod schedule;
pub mod secret;
pub mod shutdown;
pub mod startup;
pub mod statistics;
pub mod tables;
pub mod telemetry;
pub mod tested;
pub mod time_span;
pub mod window;
