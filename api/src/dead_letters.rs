//! Dead letters: looking at what could not be worked on, putting jobs back, dropping what nobody needs.
//!
//! Owns the filters and pages of the list, and that whoever acts by a filter has seen how many letters it means. Schedulers
//! move the letters into their table. Knows no transport.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use hostsync_model::audit::{Actor, AuditAction, AuditObject, AuditObjectKind};
use hostsync_queue::Publisher;
use hostsync_store::dead_letters::{RequeueReport, requeue as put_back};
use hostsync_store::tables::audit::{self, AuditEntry};
use hostsync_store::tables::dead_letters::{self as table, LetterFilter, LetterRow};
use utoipa::openapi::schema::ArrayBuilder;
use utoipa::openapi::{RefOr, Schema};

use crate::database::{Database, WriteTransaction, transact, within_bound};
use crate::error::ApiError;
use crate::hosts::spellings;
use crate::request::{
    DeadLetterList, Field, Fields, MAX_ID, Page, Problems, Said, Submitted, Whole, at_most, counted, request,
};

/// Most letters that a request acts on: as many as are kept.
const MAX_LETTERS: u64 = table::MAX_LETTERS as u64;

/// Most characters of a reason that is looked for.
const MAX_REASON_CHARS: usize = 255;

/// Ids of letters, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LetterIds(Vec<u64>);

impl Field for LetterIds {
    fn schema() -> Schema {
        ArrayBuilder::new()
            .items(RefOr::T(Whole::<1, MAX_ID>::schema()))
            .min_items(Some(1))
            .max_items(usize::try_from(MAX_LETTERS).ok())
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let ids: BTreeSet<u64> = fields.numbers(name, &(1..=MAX_ID))?.into_iter().collect();
        if ids.is_empty() {
            fields.problems().add(name, "must name a letter");
        } else if ids.len() > usize::try_from(MAX_LETTERS).unwrap_or(usize::MAX) {
            fields.problems().add(name, format!("must name at most {MAX_LETTERS} letters, not {}", ids.len()));
        }
        Some(Self(ids.into_iter().collect()))
    }
}

request! {
    /// Which letters are meant.
    pub(crate) struct LetterFields as "DeadLetterFilter" {
        /// Only letters with this text in their reason, in upper or lower case.
        reason: Option<String>, example "not a job";
        /// Only jobs of this execution.
        execution_id: Option<Whole<1, MAX_ID>>, example 12;
        /// Only jobs of this host, in whatever spelling.
        host_ip: Option<String>, example "10.0.0.1";
        /// Only letters that died at this time or later, RFC 3339.
        from: Option<DateTime<Utc>>, example "2026-01-01T00:00:00Z";
        /// Only letters that died before this time, RFC 3339.
        to: Option<DateTime<Utc>>, example "2026-01-08T00:00:00Z";
    }
}

request! {
    /// Which letters to list.
    pub(crate) struct LetterQuery as "DeadLetterQuery" {
        ..filter: LetterFields;
        ..page: Page<DeadLetterList>;
    }
}

request! {
    /// Which letters to put back or to drop: those of `ids`, or those of a filter, whose number `confirm` repeats.
    pub(crate) struct LetterChoice as "DeadLetterChoice" {
        /// These letters, in place of a filter.
        ids: Option<LetterIds>, example [31, 32];
        /// Tell how many letters are meant, and do nothing.
        count_only: Option<bool>, default false;
        /// With a filter: how many letters it means, as `count_only` told. If it means another number now, nothing is done.
        confirm: Option<Whole<0, MAX_LETTERS>>, example 2;
        ..filter: LetterFields;
    }
}

impl LetterFields {
    fn is_empty(&self) -> bool {
        let Self { reason, execution_id, host_ip, from, to } = self;
        reason.is_none() && execution_id.is_none() && host_ip.is_none() && from.is_none() && to.is_none()
    }

    fn filter(self, problems: &mut Problems) -> LetterFilter {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            problems.add("to", "must be later than from");
        }
        if let Some(reason) = &self.reason {
            at_most("reason", reason, MAX_REASON_CHARS, problems);
        }
        let host_ips = match self.host_ip.as_deref().map(spellings) {
            Some(Ok(spellings)) => spellings,
            Some(Err(refused)) => {
                problems.append(refused);
                Vec::new()
            }
            None => Vec::new(),
        };
        LetterFilter {
            reason: self.reason,
            execution_id: self.execution_id.map(|Whole(id)| id),
            host_ips,
            from: self.from,
            to: self.to,
            ..LetterFilter::default()
        }
    }
}

/// A page of letters, those that were moved last first, and the cursor of the next one.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn list(
    database: &Database,
    submitted: Submitted<LetterQuery>,
) -> Result<(Vec<LetterRow>, Option<String>), ApiError> {
    let Submitted { value: LetterQuery { filter, page }, mut problems, said: _ } = submitted;
    let filter = LetterFilter { before: page.last_seen(), ..filter.filter(&mut problems) };
    problems.check()?;
    let mut rows = within_bound(async {
        let mut connection = database.connection().await?;
        Ok(table::list(&mut connection, &filter, page.rows_to_read()).await?)
    })
    .await?;
    let next_cursor = page.cut(&mut rows, |row| row.id);
    Ok((rows, next_cursor))
}

/// What became of the letters that were meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LettersDone {
    /// A sentence.
    pub(crate) message: String,
    /// How many are meant.
    pub(crate) count: u64,
    /// How many were put back or dropped.
    pub(crate) done: u64,
    /// How many stay.
    pub(crate) kept: u64,
}

/// Which letters a caller chose.
struct ChosenLetters {
    filter: LetterFilter,
    /// How many there must be.
    confirm: Option<u64>,
    count_only: bool,
    said: Said,
}

fn chosen(submitted: Submitted<LetterChoice>) -> Result<ChosenLetters, ApiError> {
    let Submitted { value: choice, mut problems, said } = submitted;
    let count_only = choice.count_only.unwrap_or(false);
    let confirm = choice.confirm.map(|Whole(count)| count);
    if choice.ids.is_some() && !(choice.filter.is_empty() && confirm.is_none()) {
        problems.add("ids", "must stand alone: give ids, or a filter with confirm");
    }
    if choice.ids.is_none() && !count_only && confirm.is_none() {
        problems.add("confirm", "must be given with a filter: how many letters it means, as count_only tells");
    }
    let filter = LetterFilter { ids: choice.ids.map(|LetterIds(ids)| ids), ..choice.filter.filter(&mut problems) };
    problems.check()?;
    Ok(ChosenLetters { filter, confirm, count_only, said })
}

impl ChosenLetters {
    async fn counted(&self, database: &Database) -> Result<LettersDone, ApiError> {
        let count = within_bound(async {
            let mut connection = database.connection().await?;
            Ok(table::count(&mut connection, &self.filter).await?)
        })
        .await?;
        let message = format!("{} would be taken", letters(count));
        Ok(LettersDone { message, count, done: 0, kept: count })
    }

    /// The ids of the letters, if there are as many as the caller has seen.
    async fn lock(&self, transaction: &mut WriteTransaction) -> Result<Vec<u64>, ApiError> {
        let ids = table::lock_ids(transaction, &self.filter).await?;
        let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        match self.confirm {
            Some(seen) if seen != count => {
                let problem = format!("the filter means {} now, not {seen}: look again", letters(count));
                Err(Problems::of("confirm", problem).into())
            }
            _ => Ok(ids),
        }
    }
}

fn letters(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "dead letter")
}

fn object() -> AuditObject {
    AuditObject::only(AuditObjectKind::DeadLetters)
}

/// Removes letters for good.
///
/// # Errors
///
/// Bad fields, another number of letters than the caller has seen, the database.
pub(crate) async fn drop(
    database: &Database,
    actor: &Actor,
    submitted: Submitted<LetterChoice>,
) -> Result<LettersDone, ApiError> {
    let chosen = chosen(submitted)?;
    if chosen.count_only {
        return chosen.counted(database).await;
    }
    let entry = AuditEntry { actor: actor.clone(), action: AuditAction::DropDeadLetters, what: chosen.said.json() };
    let dropped = transact(|| drop_once(database, &entry, &chosen)).await?;
    let message = format!("{} dropped", letters(dropped));
    tracing::info!(dropped, "{message}");
    Ok(LettersDone { message, count: dropped, done: dropped, kept: 0 })
}

async fn drop_once(database: &Database, entry: &AuditEntry, chosen: &ChosenLetters) -> Result<u64, ApiError> {
    let mut transaction = database.begin(entry).await?;
    let ids = chosen.lock(&mut transaction).await?;
    let dropped = table::delete(&mut transaction, &ids).await?;
    transaction.commit(object(), &format!("{dropped} dropped")).await?;
    Ok(dropped)
}

/// Puts jobs back onto the queues that they died in; what is no job stays. The entry of the audit is committed before the
/// first job goes out, since the broker knows no transaction, and says at the end what came of it.
///
/// # Errors
///
/// Bad fields, another number of letters than the caller has seen, the database; the broker, where it took no job at all.
pub(crate) async fn requeue(
    database: &Database,
    publisher: &Publisher,
    actor: &Actor,
    submitted: Submitted<LetterChoice>,
) -> Result<LettersDone, ApiError> {
    let chosen = chosen(submitted)?;
    if chosen.count_only {
        return chosen.counted(database).await;
    }
    let entry = AuditEntry { actor: actor.clone(), action: AuditAction::RequeueDeadLetters, what: chosen.said.json() };
    let (audit_id, ids) = transact(|| begin_requeue(database, &entry, &chosen)).await?;
    let mut connection = database.connection().await?;
    let RequeueReport { put_back, refusal, .. } = put_back(&mut connection, publisher, &ids).await?;
    let (count, done) = (ids.len(), put_back.len());
    let kept = count - done;
    let mut result = format!("{done} put back, {kept} kept");
    if let Some(reason) = &refusal {
        result = format!("{result}: the broker does not take more: {reason}");
    }
    within_bound(async { Ok(audit::set_result(&mut connection, audit_id, &result).await?) }).await?;
    tracing::info!(put_back = done, kept, "dead letters: {result}");
    match refusal {
        Some(reason) if done == 0 => Err(ApiError::BrokerUnavailable(reason)),
        _ => {
            let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            Ok(LettersDone { message: result, count: number(count), done: number(done), kept: number(kept) })
        }
    }
}

async fn begin_requeue(
    database: &Database,
    entry: &AuditEntry,
    chosen: &ChosenLetters,
) -> Result<(u64, Vec<u64>), ApiError> {
    let mut transaction = database.begin(entry).await?;
    let ids = chosen.lock(&mut transaction).await?;
    Ok((transaction.commit_begun(object()).await?, ids))
}
