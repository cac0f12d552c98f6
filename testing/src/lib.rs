//! Real servers and sample data, for everyone's tests, the demonstration and the benchmark.
//!
//! Nothing here is part of the product, and nothing depends on one of the services. The servers are those that `make up`
//! starts; each [`bed::Bed`] has its own database, queues and index on them.

#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::missing_panics_doc,
    reason = "test equipment: it reads the environment and the clock, and counts in small numbers"
)]

pub mod bed;
pub mod client;
pub mod documents;
pub mod gate;
pub mod once;
pub mod own_mariadb;
pub mod ports;
pub mod process;
pub mod servers;
