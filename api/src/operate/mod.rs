//! An operator's commands, for the runbook (`docs/operations.md`): dead letters, and runs that stand still.
//!
//! Each says line by line what it did, through `say`, once it is done. What can be done by REST is not done here.

pub mod dead_letters;
pub mod executions;
pub(crate) mod stuck;

/// What these commands call themselves at the broker.
const CONNECTION_NAME: &str = "hostsync-api operator";
