//! The words of hostsync as types. No input or output, nothing asynchronous, no clock.

pub mod audit;
pub mod catch_up;
pub mod causes;
pub mod execution;
pub mod freshness;
pub mod host;
pub mod secret;
pub mod time_span;
pub mod window;
pub mod window_delay;

/// What is shown in a secret's place.
pub const MASK: &str = "***";
