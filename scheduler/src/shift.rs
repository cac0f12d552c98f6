//! Leaves word that this scheduler is at work, so that whoever comes to a late fire knows whether it was missed.

use std::sync::Arc;
use std::time::Duration;

use hostsync_metrics::loops::LIMIT;
use hostsync_model::causes::causes;
use hostsync_store::database;
use hostsync_store::tables::scheduler_shifts::{self, ShiftId};

use crate::Scheduler;

/// Pause between two signs of life: a third of the longest silence, so that two may fail.
const EVERY: Duration = Duration::from_secs(5);

/// Longest wait for the database.
const LONGEST_STATEMENT: Duration = Duration::from_secs(5);

/// Gives signs of life until the shutdown begins, and then says that the shift is over.
pub(crate) async fn run(scheduler: Arc<Scheduler>) {
    let turns = scheduler.loops.begin("shift", LIMIT);
    let mut shift = None;
    while !scheduler.shutdown.is_stopping() {
        turns.turned();
        match database::within(LONGEST_STATEMENT, go_on(&scheduler, shift)).await {
            Ok(id) => shift = Some(id),
            Err(error) => tracing::warn!(
                error = %causes(&error),
                "the database does not hear that this scheduler is at work: fires that come due now may count as missed"
            ),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = scheduler.shutdown.stopping() => {}
        }
    }
    if let Some(id) = shift {
        let ended = database::within(LONGEST_STATEMENT, async {
            scheduler_shifts::end(&mut *scheduler.pool.acquire().await?, id).await
        });
        if let Err(error) = ended.await {
            // Others take it for at work for a few seconds more.
            tracing::debug!(
                error = %causes(&error),
                "the database does not hear that the shift is over"
            );
        }
    }
}

/// Goes on with the shift, or begins one: at the start, and after a break.
async fn go_on(scheduler: &Scheduler, shift: Option<ShiftId>) -> Result<ShiftId, sqlx::Error> {
    let mut connection = scheduler.pool.acquire().await?;
    if let Some(id) = shift
        && scheduler_shifts::go_on(&mut connection, id).await?
    {
        return Ok(id);
    }
    scheduler_shifts::begin(&mut connection).await
}
