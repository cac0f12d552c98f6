//! Looks what there is to do, once a second, and calls who does it. When the next fire is due is looked up by itself, so that
//! what holds up the sweeps (a lock on the details, say) holds up no fire.

use std::sync::Arc;
use std::time::Duration;

use hostsync_metrics::loops::LIMIT;
use hostsync_model::causes::causes;
use hostsync_store::database;
use hostsync_store::tables::agenda::{self, FireRange};

use crate::scheduler::Scheduler;

/// Pause between two looks: a task changed through the API takes effect within a second, and what others left is gone on
/// with.
const EVERY: Duration = Duration::from_millis(950);

/// Longest look; a database that does not answer at all must not stop the looks for ever.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// Looks until the shutdown begins.
pub(crate) async fn run(scheduler: Arc<Scheduler>) {
    tokio::join!(
        repeat(&scheduler, "fire agenda", look_for_fires, "nothing is fired: the database cannot be asked when"),
        repeat(&scheduler, "agenda", look, "nothing is published: the database cannot be asked what there is to do"),
    );
}

async fn repeat(
    scheduler: &Scheduler,
    name: &'static str,
    look: impl AsyncFn(&Scheduler) -> Result<(), sqlx::Error>,
    consequence: &str,
) {
    let turns = scheduler.loops.begin(name, LIMIT);
    while !scheduler.shutdown.is_stopping() {
        turns.turned();
        if let Err(error) = look(scheduler).await {
            tracing::warn!(error = %causes(&error), "{consequence}");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = scheduler.shutdown.stopping() => {}
        }
    }
}

/// Looks once when the next fire is due.
pub(crate) async fn look_for_fires(scheduler: &Scheduler) -> Result<(), sqlx::Error> {
    look_for(scheduler, FireRange::All).await
}

/// As [`look_for_fires`], but leaves out what is due already: somebody else is at it, or it was put off.
pub(crate) async fn look_beyond_due_fires(scheduler: &Scheduler) -> Result<(), sqlx::Error> {
    look_for(scheduler, FireRange::ToCome).await
}

async fn look_for(scheduler: &Scheduler, fires: FireRange) -> Result<(), sqlx::Error> {
    let next = async { agenda::next_fire(&mut *scheduler.fires.acquire().await?, fires).await };
    scheduler.calls.fire_in(database::within(LONGEST_LOOK, next).await?);
    Ok(())
}

/// Looks once what there is for the sweeps.
async fn look(scheduler: &Scheduler) -> Result<(), sqlx::Error> {
    let agenda =
        database::within(LONGEST_LOOK, async { agenda::agenda(&mut *scheduler.pool.acquire().await?).await }).await?;
    let calls = &scheduler.calls;
    for (is_needed, call) in [
        (agenda.publish_bulk, &calls.publish_bulk),
        (agenda.publish_manual, &calls.publish_manual),
        (agenda.retry, &calls.retry),
        (agenda.close, &calls.close),
        (agenda.start, &calls.start),
        (agenda.roll_up, &calls.roll_up),
    ] {
        if is_needed {
            call.notify_one();
        }
    }
    Ok(())
}
