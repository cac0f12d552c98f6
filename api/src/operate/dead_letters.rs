//! `hostsync-api dead-letters`: looks at them, puts jobs back, drops what nobody needs.

use hostsync_shared::config::Config;
use hostsync_shared::queue::{DeadLetter, DeadLetters};

use super::queue_settings;

/// Most letters in one command: as many are in hand, and so in memory, at once.
pub const MAX_LETTERS: u32 = 10_000;

/// Longest stretch shown of a message that is no job, in characters.
const SHOWN_CHARS: usize = 120;

/// Shows the oldest `limit` letters and leaves them where they are.
///
/// # Errors
///
/// The broker's.
pub async fn list(config: &Config, limit: u32, say: impl Fn(&str)) -> anyhow::Result<()> {
    let letters = DeadLetters::open(&queue_settings(config)?).await?;
    let mut shown = 0;
    while shown < limit
        && let Some(letter) = letters.take().await?
    {
        say(&line(&letter));
        letters.keep(&letter).await?;
        shown += 1;
    }
    letters.close().await?;
    say(&match shown {
        0 => "there are no dead letters".to_owned(),
        shown if shown == limit => format!("{shown} dead letters shown, there may be more (--limit); none was removed"),
        shown => format!("{shown} dead letters, none was removed"),
    });
    Ok(())
}

/// Puts those of the oldest `limit` letters that are jobs back onto their queue; the others stay. A job whose host has its
/// outcome is dropped by the worker that meets it.
///
/// # Errors
///
/// The broker's; what was said to be done is done, the rest is still there.
pub async fn requeue(config: &Config, limit: u32, say: impl Fn(&str)) -> anyhow::Result<()> {
    let letters = DeadLetters::open(&queue_settings(config)?).await?;
    let (mut put_back, mut kept) = (0, 0);
    while put_back + kept < limit
        && let Some(letter) = letters.take().await?
    {
        if letter.job.is_ok() {
            letters.requeue(&letter).await?;
            put_back += 1;
            say(&format!("back onto {}: {}", letter.queue.as_str(), line(&letter)));
        } else {
            letters.keep(&letter).await?;
            kept += 1;
            say(&format!("kept: {}", line(&letter)));
        }
    }
    letters.close().await?;
    say(&format!("{put_back} put back, {kept} kept"));
    Ok(())
}

/// Removes the oldest `limit` letters for good.
///
/// # Errors
///
/// The broker's; what was said to be dropped is, the rest is still there.
pub async fn drop(config: &Config, limit: u32, say: impl Fn(&str)) -> anyhow::Result<()> {
    let letters = DeadLetters::open(&queue_settings(config)?).await?;
    let mut dropped = 0;
    while dropped < limit
        && let Some(letter) = letters.take().await?
    {
        letters.drop(&letter).await?;
        dropped += 1;
        say(&format!("dropped: {}", line(&letter)));
    }
    letters.close().await?;
    say(&format!("{dropped} dropped"));
    Ok(())
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
