//! `hostsync-api dead-letters`: looks at them in their table, puts jobs back, drops what nobody needs.

use hostsync_model::audit::{Actor, AuditAction, AuditObject, AuditObjectKind};
use hostsync_model::causes::causes;
use hostsync_queue::{Job, Publisher, UnreadableJob};
use hostsync_service::config::Config;
use hostsync_store::dead_letters as letters;
use hostsync_store::tables::audit::{self, AuditEntry};
use hostsync_store::tables::dead_letters::{self, LetterFilter, LetterRow};
use serde_json::json;
use sqlx::{Connection as _, MySqlConnection};

use super::{CONNECTION_NAME, connect};

/// Most letters in one command: as many are kept.
pub use hostsync_store::tables::dead_letters::MAX_LETTERS;

/// Longest stretch shown of a message that is no job, in characters.
const SHOWN_CHARS: usize = 120;

/// Letters whose messages are in memory at once.
const CHUNK: usize = 500;

/// Shows the oldest `limit` letters and leaves them where they are.
///
/// # Errors
///
/// The database's.
pub async fn list(config: &Config, limit: u32, say: impl Fn(&str)) -> anyhow::Result<()> {
    let mut connection = connect(config).await?;
    let ids = oldest(&mut connection, limit).await?;
    for chunk in ids.chunks(CHUNK) {
        for letter in rows(&mut connection, chunk).await? {
            say(&line(&letter));
        }
    }
    let shown = ids.len();
    let in_broker = in_broker(&Publisher::new(config.rabbitmq.settings(CONNECTION_NAME)?)).await;
    match shown {
        0 if in_broker.is_none() => say("there are no dead letters"),
        0 => {}
        shown if u32::try_from(shown) == Ok(limit) => {
            say(&format!("{shown} dead letters shown, there may be more (--limit); none was removed"));
        }
        shown => say(&format!("{shown} dead letters, none was removed")),
    }
    if let Some(line) = in_broker {
        say(&line);
    }
    Ok(())
}

/// Puts those of the oldest `limit` letters that are jobs back onto their queue; the others stay. A job whose host has its
/// outcome is dropped by the worker that meets it.
///
/// # Errors
///
/// The broker's, the database's; what was said to be done is done, the rest is still there.
pub async fn requeue(config: &Config, actor: Actor, limit: u32, say: impl Fn(&str)) -> anyhow::Result<()> {
    let publisher = Publisher::new(config.rabbitmq.settings(CONNECTION_NAME)?);
    let mut connection = connect(config).await?;
    let ids = oldest(&mut connection, limit).await?;
    // The broker knows no transaction: the entry is committed before the first job goes out, and says at the end what came
    // of it.
    let entry = entry(actor, AuditAction::RequeueDeadLetters, limit);
    let audit_id = audit::insert(&mut connection, &entry, &object(), "begun").await?;
    let (mut put_back, mut refusal) = (0, None);
    for chunk in ids.chunks(CHUNK) {
        let rows = rows(&mut connection, chunk).await?;
        let report = letters::requeue(&mut connection, &publisher, chunk).await?;
        for letter in &rows {
            if report.put_back.contains(&letter.id) {
                say(&format!("back onto {}: {}", letter.queue, line(letter)));
            } else if report.kept.contains(&letter.id) {
                say(&format!("kept: {}", line(letter)));
            }
        }
        put_back += report.put_back.len();
        refusal = report.refusal;
        if refusal.is_some() {
            break;
        }
    }
    let result = format!("{put_back} put back, {} kept", ids.len() - put_back);
    say(&result);
    audit::set_result(&mut connection, audit_id, &result).await?;
    if let Some(reason) = refusal {
        anyhow::bail!("the broker does not take the rest, which is still there: {reason}");
    }
    in_broker(&publisher).await.iter().for_each(|line| say(line));
    Ok(())
}

/// Removes the oldest `limit` letters for good.
///
/// # Errors
///
/// The database's: then nothing is done.
pub async fn drop(config: &Config, actor: Actor, limit: u32, say: impl Fn(&str)) -> anyhow::Result<()> {
    let mut connection = connect(config).await?;
    let mut transaction = connection.begin().await?;
    let ids = oldest(&mut transaction, limit).await?;
    let mut lines = Vec::new();
    for chunk in ids.chunks(CHUNK) {
        lines.extend(rows(&mut transaction, chunk).await?.iter().map(line));
    }
    let dropped = dead_letters::delete(&mut transaction, &ids).await?;
    let result = format!("{dropped} dropped");
    audit::insert(&mut transaction, &entry(actor, AuditAction::DropDeadLetters, limit), &object(), &result).await?;
    transaction.commit().await?;
    for line in lines {
        say(&format!("dropped: {line}"));
    }
    say(&result);
    in_broker(&Publisher::new(config.rabbitmq.settings(CONNECTION_NAME)?)).await.iter().for_each(|line| say(line));
    Ok(())
}

/// What is to be said of letters that no scheduler has moved yet.
async fn in_broker(publisher: &Publisher) -> Option<String> {
    match publisher.ready_dead_letters().await {
        Ok(0) => None,
        Ok(count) => Some(format!("{count} still in the broker: a scheduler moves them into the table within seconds")),
        Err(error) => Some(format!("how many are still in the broker is not known: {}", causes(&error))),
    }
}

async fn oldest(connection: &mut MySqlConnection, limit: u32) -> anyhow::Result<Vec<u64>> {
    let mut ids = dead_letters::lock_ids(connection, &LetterFilter::default()).await?;
    ids.truncate(usize::try_from(limit)?);
    Ok(ids)
}

async fn rows(connection: &mut MySqlConnection, ids: &[u64]) -> anyhow::Result<Vec<LetterRow>> {
    let filter = LetterFilter { ids: Some(ids.to_vec()), ..LetterFilter::default() };
    Ok(dead_letters::oldest(connection, &filter, u32::try_from(ids.len())?).await?)
}

fn entry(actor: Actor, action: AuditAction, limit: u32) -> AuditEntry {
    AuditEntry { actor, action, what: json!({"limit": limit}).to_string() }
}

fn object() -> AuditObject {
    AuditObject::only(AuditObjectKind::DeadLetters)
}

fn line(letter: &LetterRow) -> String {
    let is_cut = letter.body_bytes > u64::try_from(letter.body.len()).unwrap_or(u64::MAX);
    let bytes = usize::try_from(letter.body_bytes).unwrap_or(usize::MAX);
    let job = if is_cut { Err(UnreadableJob::TooLong { bytes }) } else { Job::decode(&letter.body) };
    let what = match job {
        Ok(job) => format!("execution {} host {} attempt {}", job.execution_id, job.host_ip, job.attempt),
        Err(error) => {
            let text: String = String::from_utf8_lossy(&letter.body).chars().take(SHOWN_CHARS).collect();
            // The reason that it carries may be that of another release.
            format!("{text:?} ({error})")
        }
    };
    format!("{what}; reason: {}", letter.reason)
}
