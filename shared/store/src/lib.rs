//! MySQL: a file a table, the outbox that publishes what stands in it, and the closing of runs.
//!
//! The only crate with SQL. Whoever opens a transaction commits it.

pub mod closing;
pub mod database;
pub mod dead_letters;
pub mod denied;
pub mod explanation;
pub mod fault;
pub mod freshness;
pub mod outbox;
pub mod statistics;
pub mod tables;
pub mod word;
