//! `es_sync_execution_detail`: one row a host of a run. The rows are the outbox (what is to be published), the retry
//! clock (`retry_at`) and the ledger (who got which outcome); a file each.
//!
//! A row is `pending` until it gets exactly one outcome; `attempts` counts the attempts spent, so a job's attempt number
//! is `attempts + 1`.

pub mod clock;
pub mod crashes;
pub mod ledger;
pub mod outbox;
pub mod views;
