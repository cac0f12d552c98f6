//! The pause of the fleet: fires are recorded and do not run, waiting runs do not start.
//!
//! Owns what a request may say of it and the transaction that changes it. What the schedulers make of it is theirs. Knows no
//! transport.

use hostsync_model::audit::{Actor, AuditAction, AuditObject, AuditObjectKind};
use hostsync_store::tables::audit::AuditEntry;
use hostsync_store::tables::pause::{self, PauseState};

use crate::database::{Database, transact, within_bound};
use crate::error::ApiError;
use crate::request::{Submitted, request, text_field};

/// Longest note, in characters.
pub(crate) const MAX_NOTE_CHARS: usize = 500;

text_field! {
    /// Why, for whoever reads it later.
    Note, max MAX_NOTE_CHARS, default "", example "the CMDB moves"
}

request! {
    /// Whether the fleet is paused, and why.
    pub(crate) struct PauseChange as "PauseChange" {
        /// Whether it is paused from now on.
        paused: bool, example true;
        note: Option<Note>;
    }
}

/// The last pause, and whether it goes on.
///
/// # Errors
///
/// The database.
pub(crate) async fn get(database: &Database) -> Result<PauseState, ApiError> {
    within_bound(async { Ok(pause::read(&mut *database.connection().await?).await?) }).await
}

/// Pauses the fleet or ends its pause. What is so already stays; a pause takes another note. Once this has returned, no fire
/// runs that has not been committed by then.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn set(
    database: &Database,
    actor: &Actor,
    submitted: Submitted<PauseChange>,
) -> Result<PauseState, ApiError> {
    let Submitted { value: PauseChange { paused, note }, problems, said } = submitted;
    problems.check()?;
    let action = if paused { AuditAction::Pause } else { AuditAction::Resume };
    let entry = AuditEntry { actor: actor.clone(), action, what: said.json() };
    let note = note.map(String::from);
    let state = transact(|| set_once(database, &entry, paused, note.as_deref())).await?;
    tracing::info!(paused, "{}", sentence(&state));
    Ok(state)
}

async fn set_once(
    database: &Database,
    entry: &AuditEntry,
    paused: bool,
    note: Option<&str>,
) -> Result<PauseState, ApiError> {
    let mut transaction = database.begin(entry).await?;
    let before = pause::lock(&mut transaction).await?;
    let who = transaction.who();
    match (before.is_paused, paused) {
        (false, true) => pause::begin(&mut transaction, &who, note.unwrap_or_default()).await?,
        (true, false) => pause::end(&mut transaction, &who, note.unwrap_or_default()).await?,
        (true, true) => {
            if let Some(note) = note.filter(|note| *note != before.note) {
                pause::note(&mut transaction, &who, note).await?;
            }
        }
        (false, false) => {}
    }
    let state = pause::read(&mut transaction).await?;
    transaction.commit(AuditObject::only(AuditObjectKind::Pause), &sentence(&state)).await?;
    Ok(state)
}

/// How it stands.
pub(crate) fn sentence(state: &PauseState) -> String {
    if !state.is_paused {
        return "the fleet is not paused".to_owned();
    }
    let separator = if state.pause_note.is_empty() { "" } else { ": " };
    format!("the fleet is paused by {}{separator}{}", state.paused_by, state.pause_note)
}
