//! All SQL, one file a table, one function a statement, named for what it means.
//!
//! A function takes a connection and commits nothing: whoever opens a transaction commits it. The order of locks is
//! always details → newest windows → `server_resources` → states of hosts → execution → freshness of the task; a task's row is
//! locked before an execution of it is inserted.
//!
//! Every function fails with the database's error. `# Errors` stands only where a caller decides by which.
//!
//! **Assignments run left to right**: one sees what those before it have set ([`crate::database`] keeps the session so).
//! These lean on it: [`executions::counters::count`] (the status by the new `pending_count`), and with what they assign last
//! [`executions::closing::close`] (the totals by the old `prepared_at`), [`executions::repair::note_refusal`] (the round by
//! the old `refused_at`) and [`doubts::raise`] (what is stale by the old `seen_at`).

pub mod agenda;
pub mod attempts;
pub mod audit;
mod cmdb_clock;
pub mod dead_letters;
pub mod details;
pub mod diagnosis;
pub mod doubts;
pub mod endpoint_state;
pub mod evidence;
pub mod executions;
pub mod explaining;
pub mod freshness;
pub mod host_mutes;
pub mod host_states;
pub mod hosts_pool;
pub mod idempotency_keys;
pub mod left_alone;
pub mod newest_window;
pub mod pattern_state;
pub mod pause;
pub mod scheduler_shifts;
pub mod schema;
pub mod search_limit;
pub mod searches;
pub mod server_resources;
pub mod statistics;
pub mod tasks;
mod text_statement;
pub mod waits;

/// Rows in one statement with a value list; keeps a statement far below `max_allowed_packet` (16 MiB on MariaDB) where a
/// row has a few hundred bytes.
pub const ROWS_PER_STATEMENT: usize = 1_000;

/// What a locking read does about a row that somebody else has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfLocked {
    /// It waits for a few seconds, then fails.
    Wait,
    /// It leaves the row out.
    Skip,
}

impl IfLocked {
    /// The end of the statement.
    const fn clause(self) -> &'static str {
        match self {
            Self::Wait => " FOR UPDATE",
            Self::Skip => " FOR UPDATE SKIP LOCKED",
        }
    }
}
