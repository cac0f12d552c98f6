//! Whole services, for the end-to-end tests, the demonstration and the benchmark. Nothing here is part of the product.

#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::missing_panics_doc,
    reason = "test equipment: it reads the environment and the clock, and counts in small numbers"
)]

pub mod fleet;
pub mod prometheus;
pub mod runbook;
pub mod service;
pub mod watched;
