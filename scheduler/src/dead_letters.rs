//! Moves dead letters from the broker into their table, where people look at them.
//!
//! Every scheduler does; the broker gives each letter to one of them. A letter is the broker's until its row is committed, so
//! none is lost, and one that is taken again after a crash is known by its key (`DeadLetter::identity`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostsync_metrics::loops::LIMIT;
use hostsync_model::causes::causes;
use hostsync_queue::{DeadLetters, QueueSettings};
use hostsync_store::dead_letters::{MovedLetters, move_chunk};
use hostsync_store::tables::dead_letters::MAX_LETTERS;

use crate::scheduler::Scheduler;

/// Pause between two looks into the queue.
const EVERY: Duration = Duration::from_secs(5);

/// Longest move of one chunk.
const CHUNK: Duration = Duration::from_mins(1);

/// Moves letters until the shutdown begins.
pub(crate) async fn run(scheduler: Arc<Scheduler>, settings: QueueSettings) {
    let turns = scheduler.loops.begin("dead letters", LIMIT);
    while !scheduler.shutdown.is_stopping() {
        turns.turned();
        let moved = match scheduler.publisher.ready_dead_letters().await {
            Ok(0) => Ok(MovedLetters::default()),
            Ok(_) => one_chunk(&scheduler, &settings).await,
            // The broker watch tells of it.
            Err(error) => {
                tracing::debug!(error = %causes(&error), "the dead letters are not known");
                Ok(MovedLetters::default())
            }
        };
        match moved {
            Ok(moved) if moved.taken > 0 => {
                tell(moved);
                // There may be more.
                continue;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error = %causes(error.as_ref()), "dead letters stay in the broker and are moved later: {}", causes(error.as_ref()));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = scheduler.shutdown.stopping() => {}
        }
    }
}

/// A chunk on a connection of its own: its end gives back what was not moved.
async fn one_chunk(scheduler: &Scheduler, settings: &QueueSettings) -> anyhow::Result<MovedLetters> {
    let letters = DeadLetters::open(settings).await?;
    let moved = tokio::time::timeout(CHUNK, move_chunk(&scheduler.pool, &letters)).await;
    let closed = letters.close().await;
    let moved = moved.context("no answer in time")??;
    closed?;
    Ok(moved)
}

fn tell(MovedLetters { taken, stored, trimmed }: MovedLetters) {
    tracing::info!(taken, stored, "{taken} dead letters moved into es_sync_dead_letter");
    if trimmed > 0 {
        tracing::warn!(trimmed, "{trimmed} of the oldest dead letters are dropped: {MAX_LETTERS} are kept");
    }
}
