//! `hostsync-api dead-letters`: looks at them, puts jobs back, drops what nobody needs.

use hostsync_model::audit::{Actor, AuditAction, AuditObject, AuditObjectKind};
use hostsync_queue::{DeadLetter, DeadLetters};
use hostsync_service::config::Config;
use hostsync_store::tables::audit::{self, AuditEntry};
use serde_json::json;
use sqlx::MySqlConnection;

use super::{CONNECTION_NAME, connect};

/// Most letters in one command: as many are in hand, and so in memory, at once.
pub const MAX_LETTERS: u32 = 10_000;

/// Longest stretch shown of a message that is no job, in characters.
const SHOWN_CHARS: usize = 120;

/// Shows `limit` letters and leaves them where they are.
///
/// # Errors
///
/// The broker's.
pub async fn list(config: &Config, limit: u32, say: impl Fn(&str)) -> anyhow::Result<()> {
    let letters = open(config).await?;
    let mut shown = 0;
    let mut kept = Vec::new();
    while shown < limit
        && let Some(letter) = letters.take().await?
    {
        say(&line(&letter));
        kept.push(letter);
        shown += 1;
    }
    keep(letters, &kept).await?;
    say(&match shown {
        0 => "there are no dead letters".to_owned(),
        shown if shown == limit => format!("{shown} dead letters shown, there may be more (--limit); none was removed"),
        shown => format!("{shown} dead letters, none was removed"),
    });
    Ok(())
}

/// Puts those of `limit` letters that are jobs back onto their queue; the others stay. A job whose host has its
/// outcome is dropped by the worker that meets it.
///
/// # Errors
///
/// The broker's, the database's; what was said to be done is done, the rest is still there.
pub async fn requeue(config: &Config, actor: Actor, limit: u32, say: impl Fn(&str)) -> anyhow::Result<()> {
    let letters = open(config).await?;
    let mut told = AuditedCommand::begin(config, actor, AuditAction::RequeueDeadLetters, limit).await?;
    let (mut taken, mut put_back) = (0, 0);
    let mut kept = Vec::new();
    while taken < limit
        && let Some(letter) = letters.take().await?
    {
        taken += 1;
        if letter.job.is_ok() {
            letters.requeue(&letter).await?;
            put_back += 1;
            say(&format!("back onto {}: {}", letter.queue.as_str(), line(&letter)));
        } else {
            say(&format!("kept: {}", line(&letter)));
            kept.push(letter);
        }
    }
    let left = kept.len();
    keep(letters, &kept).await?;
    let result = format!("{put_back} put back, {left} kept");
    say(&result);
    told.end(&result).await
}

/// Removes `limit` letters for good.
///
/// # Errors
///
/// The broker's, the database's; what was said to be dropped is, the rest is still there.
pub async fn drop(config: &Config, actor: Actor, limit: u32, say: impl Fn(&str)) -> anyhow::Result<()> {
    let letters = open(config).await?;
    let mut told = AuditedCommand::begin(config, actor, AuditAction::DropDeadLetters, limit).await?;
    let mut dropped = 0;
    while dropped < limit
        && let Some(letter) = letters.take().await?
    {
        letters.drop(&letter).await?;
        dropped += 1;
        say(&format!("dropped: {}", line(&letter)));
    }
    letters.close().await?;
    let result = format!("{dropped} dropped");
    say(&result);
    told.end(&result).await
}

/// A command at the broker, which knows no transaction: its entry in the audit is committed before it begins, and says at its
/// end what came of it.
struct AuditedCommand {
    connection: MySqlConnection,
    id: u64,
}

impl AuditedCommand {
    async fn begin(config: &Config, actor: Actor, action: AuditAction, limit: u32) -> anyhow::Result<Self> {
        let mut connection = connect(config).await?;
        let entry = AuditEntry { actor, action, what: json!({"limit": limit}).to_string() };
        let object = AuditObject::only(AuditObjectKind::DeadLetters);
        let id = audit::insert(&mut connection, &entry, &object, "begun").await?;
        Ok(Self { connection, id })
    }

    async fn end(&mut self, result: &str) -> anyhow::Result<()> {
        Ok(audit::set_result(&mut self.connection, self.id, result).await?)
    }
}

async fn open(config: &Config) -> anyhow::Result<DeadLetters> {
    Ok(DeadLetters::open(&config.rabbitmq.settings(CONNECTION_NAME)?).await?)
}

/// Leaves letters in the queue, and the queue. At the end: what is put in anew must not be met again.
async fn keep(letters: DeadLetters, kept: &[DeadLetter]) -> anyhow::Result<()> {
    for letter in kept {
        letters.keep(letter).await?;
    }
    Ok(letters.close().await?)
}

fn line(letter: &DeadLetter) -> String {
    let what = match &letter.job {
        Ok(job) => format!("execution {} host {} attempt {}", job.execution_id, job.host_ip, job.attempt),
        Err(error) => {
            let text: String = String::from_utf8_lossy(&letter.body).chars().take(SHOWN_CHARS).collect();
            // The reason that it carries may be that of another release.
            format!("{text:?} ({error})")
        }
    };
    format!("{what}; reason: {}", letter.reason)
}
