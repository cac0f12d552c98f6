//! The gRPC API against a real database and a real broker, by a client made from the same document.
//!
//! The servers are those of the tests in `tests/it`, and so is the harness.

#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "what the tests of REST alone need")]
mod harness;

mod client;

mod access;
mod audit;
mod execute;
mod looking;
mod operating;
mod tasks;
