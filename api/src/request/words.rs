//! The closed sets that requests and answers speak of.

use hostsync_model::audit::{AuditAction, AuditObjectKind, Role};
use hostsync_model::execution::{ExecutionStatus, JobQueue, OverlapPolicy, SyncStatus, Trigger};
use hostsync_model::freshness::FreshnessState;
use utoipa::openapi::Schema;

use super::declare::{Field, word_schema};
use super::fields::Fields;

macro_rules! words {
    ($($Word:ident = $description:literal;)+) => {$(
        impl Field for $Word {
            fn schema() -> Schema {
                word_schema(Self::ALL.iter().map(|word| word.as_str()), $description).build().into()
            }

            fn read(fields: &mut Fields, name: &str) -> Option<Self> {
                fields.word(name)
            }
        }
    )+};
}

words! {
    ExecutionStatus = "`waiting` for the task's last run, `running`, then `success` (no host failed), `partial` (some failed, \
        some succeeded), `failed` (some failed, none succeeded), `cancelled` or `skipped` (a fire that did not run).";
    SyncStatus = "`pending`, then `success`, `failed`, `no_data` (the search was complete and found nothing), `not_in_pool` \
        or `cancelled`.";
    Trigger = "What made the execution.";
    FreshnessState = "`fresh` within the target of the task, `late` past it, `stale` past twice of it, `never` without values.";
    Role = "What the token may do: `viewer` reads, `operator` also writes.";
    AuditAction = "What was done.";
    AuditObjectKind = "To what kind of thing it was done.";
    JobQueue = "A queue of jobs: `bulk`, or `manual` for what a person waits for.";
    OverlapPolicy = "What a fire does while the task's last run is going: `skip` is recorded as skipped, `allow` runs \
        beside it, `queue` waits (one at most).";
}
