//! Leaves word that this scheduler is at work, so that whoever comes to a late fire knows whether it was missed.
//!
//! A shift lasts as long as this loop turns. That the database cannot hear of it for a while ends nothing: this scheduler was
//! at work all the time, so the fires of that time are late and not missed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostsync_metrics::loops::Turns;
use hostsync_model::causes::causes;
use hostsync_service::shutdown::Shutdown;
use hostsync_store::database;
use hostsync_store::tables::scheduler_shifts::{self, OwnShift, ShiftId};
use sqlx::MySqlPool;
use tokio::time::Instant;

/// Pause between two signs of life: a third of the longest silence, so that one may fail after a long wait.
const EVERY: Duration = Duration::from_secs(5);

/// Longest wait for the database.
const LONGEST_STATEMENT: Duration = Duration::from_secs(5);

/// A loop that has not turned for so long stood still, and with it this process: nobody was at work.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(15);

/// The shift of this scheduler, as far as it knows itself.
#[derive(Debug, Default)]
pub(crate) struct Shift(Mutex<Option<State>>);

#[derive(Debug, Clone, Copy)]
struct State {
    id: ShiftId,
    /// When the database heard of it last.
    heard: Instant,
    /// When the loop turned last.
    turned: Instant,
}

impl Shift {
    /// The shift, if it goes on.
    pub(crate) fn own(&self) -> Option<OwnShift> {
        let state = (*self.lock())?;
        let goes_on = state.turned.elapsed() <= LONGEST_STANDSTILL;
        goes_on.then(|| OwnShift { id: state.id, unheard: state.heard.elapsed() })
    }

    /// The loop has come round; a shift in which it stood still is over.
    fn turned(&self) {
        let own = self.own();
        let mut state = self.lock();
        *state = state.filter(|_| own.is_some()).map(|state| State { turned: Instant::now(), ..state });
    }

    /// The database has heard of it; `asked` is when it was told.
    fn heard(&self, id: ShiftId, asked: Instant) {
        *self.lock() = Some(State { id, heard: asked, turned: Instant::now() });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives signs of life to the database of this pool until the shutdown begins, and then says that the shift is over.
pub(crate) async fn run(shift: Arc<Shift>, pool: MySqlPool, turns: Turns, shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        turns.turned();
        shift.turned();
        let asked = Instant::now();
        match database::within(LONGEST_STATEMENT, go_on(&pool, shift.own())).await {
            Ok(id) => shift.heard(id, asked),
            Err(error) => tracing::warn!(
                error = %causes(&error),
                "the database does not hear that this scheduler is at work: should it end now, fires of this time count as missed"
            ),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.stopping() => {}
        }
    }
    if let Some(own) = shift.own() {
        let ended = database::within(LONGEST_STATEMENT, async {
            scheduler_shifts::end(&mut *pool.acquire().await?, own).await
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
async fn go_on(pool: &MySqlPool, own: Option<OwnShift>) -> Result<ShiftId, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    if let Some(own) = own
        && scheduler_shifts::go_on(&mut connection, own).await?
    {
        return Ok(own.id);
    }
    scheduler_shifts::begin(&mut connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shift_lasts_while_its_loop_turns_whether_or_not_the_database_hears_of_it() {
        let shift = Shift::default();
        assert_eq!(shift.own(), None);
        shift.heard(ShiftId(7), Instant::now());
        for seconds in (10..=600).step_by(10) {
            tokio::time::advance(Duration::from_secs(10)).await;
            shift.turned();
            let unheard = Duration::from_secs(seconds);
            assert_eq!(shift.own(), Some(OwnShift { id: ShiftId(7), unheard }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shift_whose_loop_stood_still_is_over() {
        let shift = Shift::default();
        shift.heard(ShiftId(7), Instant::now());
        tokio::time::advance(LONGEST_STANDSTILL + Duration::from_secs(1)).await;
        assert_eq!(shift.own(), None);
        shift.turned();
        assert_eq!(shift.own(), None, "turning again does not bring it back");
    }
}
