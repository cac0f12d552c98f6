//! How an execution moves on, for those who watch it.
//!
//! Owns the look at the database, shared by all who watch the same execution or wait for its end, how often it is made, and
//! what makes two looks the same. An event is a whole state, so a watcher that comes back needs none that it has missed: it sends the id of what it
//! saw last and hears of it again only if that has changed. Knows no transport but the form of an id.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use hostsync_model::audit::{Actor, Role};
use hostsync_model::causes::causes;
use hostsync_model::execution::ExecutionId;
use hostsync_service::shutdown::Shutdown;
use hostsync_store::tables::executions::{self, views::ExecutionLog};
use tokio::sync::watch;
use tokio::time::Instant;

use super::log::get;
use super::outcome::Outcome;
use crate::access::Limits;
use crate::database::{Database, within_bound};
use crate::error::ApiError;

/// Watchers at once in this process. A caller may have as many as are left free, so that however many one takes, as many
/// are there for the others: one alone gets a hundred, two get 66 each. Beyond its share it gets 429.
const MAX_WATCHERS: usize = 200;

/// Of those, what viewers leave to operators.
const KEPT_FOR_OPERATORS: usize = 20;

/// Shortest and longest pause between two looks at an execution.
const PAUSE: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(500));

/// The pause is this part of the time for which the execution has been looked at: the end of a short run is heard after
/// milliseconds, a long run is asked for twice a second.
const PAUSE_PART: u32 = 5;

/// How an execution stands at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunState {
    pub(crate) outcome: Outcome,
    pub(crate) duration_ms: Option<i64>,
}

impl RunState {
    fn of(log: &ExecutionLog) -> Self {
        Self { outcome: Outcome::from(log), duration_ms: log.duration_ms }
    }

    /// The id of the event that tells this: the same state has the same id, whoever looks.
    pub(crate) fn event_id(&self) -> String {
        let Outcome {
            execution_status,
            total_hosts,
            success_count,
            failed_count,
            no_data_count,
            not_in_pool_count,
            cancelled_count,
            pending_count,
            waiting_for,
            error_message: _,
            warnings: _,
        } = &self.outcome;
        let total = total_hosts.map_or_else(|| "-".to_owned(), |total| total.to_string());
        let counters = format!(
            "{execution_status}.{total}.{success_count}.{failed_count}.{no_data_count}.{not_in_pool_count}.{cancelled_count}.{pending_count}"
        );
        if waiting_for.is_empty() {
            return counters;
        }
        let mut reason = DefaultHasher::new();
        waiting_for.hash(&mut reason);
        format!("{counters}.{:x}", reason.finish())
    }
}

/// Who has how many seats. Behind a proxy all who use the same token are one. Clones are the same.
#[derive(Debug, Clone, Default)]
struct Seats(Arc<Mutex<HashMap<Actor, usize>>>);

/// The right to watch, given back when it is dropped.
#[derive(Debug)]
struct Seat {
    seats: Seats,
    caller: Actor,
}

impl Seats {
    fn taken(&self) -> MutexGuard<'_, HashMap<Actor, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: the caller has its share.
    fn take(&self, caller: Actor) -> Option<Seat> {
        let mut taken = self.taken();
        let free = MAX_WATCHERS.saturating_sub(taken.values().sum());
        let free = if caller.role == Role::Viewer { free.saturating_sub(KEPT_FOR_OPERATORS) } else { free };
        let own = taken.get(&caller).copied().unwrap_or(0);
        if own >= free {
            return None;
        }
        taken.insert(caller.clone(), own + 1);
        Some(Seat { seats: self.clone(), caller })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        match taken.get_mut(&self.caller) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.caller)),
        }
    }
}

/// Everybody who watches an execution, and the one look for all of them. Clones are the same.
#[derive(Clone)]
pub(crate) struct Watchers(Arc<Inner>);

struct Inner {
    database: Database,
    limits: Arc<Limits>,
    shutdown: Shutdown,
    seats: Seats,
    looks: Mutex<HashMap<ExecutionId, watch::Sender<Option<RunState>>>>,
}

impl Inner {
    fn looks(&self) -> MutexGuard<'_, HashMap<ExecutionId, watch::Sender<Option<RunState>>>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who watches. Hears the state that is there, then each that differs from the last one it heard.
pub(crate) struct Watcher {
    states: watch::Receiver<Option<RunState>>,
    last_id: Option<String>,
    is_over: bool,
    _seat: Seat,
}

/// How a watch begins.
pub(crate) enum Watch {
    /// There is something to hear.
    Begun(Watcher),
    /// The execution has ended and the watcher has heard that.
    Over,
}

impl Watchers {
    /// Looks into this database, so often at once as the limits say, until this shutdown begins.
    pub(crate) fn new(database: Database, limits: Arc<Limits>, shutdown: Shutdown) -> Self {
        let (seats, looks) = (Seats::default(), Mutex::default());
        Self(Arc::new(Inner { database, limits, shutdown, seats, looks }))
    }

    /// Begins to watch an execution. `last_id` is the id of the event that the watcher heard last.
    ///
    /// # Errors
    ///
    /// No such execution, too many watchers, the database.
    pub(crate) async fn watch(
        &self,
        caller: Actor,
        id: ExecutionId,
        last_id: Option<String>,
    ) -> Result<Watch, ApiError> {
        let seat = self.0.seats.take(caller).ok_or(ApiError::TooManyStreams)?;
        let first = RunState::of(&get(&self.0.database, id).await?);
        if first.outcome.has_ended() && last_id.as_deref() == Some(&first.event_id()) {
            return Ok(Watch::Over);
        }
        Ok(Watch::Begun(Watcher { states: self.subscribe(id, first), last_id, is_over: false, _seat: seat }))
    }

    /// Joins those who watch the execution; the first one starts the look.
    pub(crate) fn subscribe(&self, id: ExecutionId, first: RunState) -> watch::Receiver<Option<RunState>> {
        let mut looks = self.0.looks();
        if let Some(look) = looks.get(&id) {
            let states = look.subscribe();
            // What was seen just now may be newer than the last look, and is what this watcher came back from.
            look.send_if_modified(|state| {
                let is_newer = state.as_ref().is_none_or(|state| state.outcome.done() < first.outcome.done());
                if is_newer {
                    *state = Some(first);
                }
                is_newer
            });
            return states;
        }
        let (sender, states) = watch::channel(Some(first.clone()));
        if !first.outcome.has_ended() {
            looks.insert(id, sender.clone());
            drop(looks);
            drop(self.0.shutdown.spawn("watch execution", look(Arc::clone(&self.0), id, sender)));
        }
        states
    }
}

/// Looks until the execution has ended, nobody watches any more, or the process stops. A look that fails is made again.
async fn look(watchers: Arc<Inner>, id: ExecutionId, sender: watch::Sender<Option<RunState>>) {
    let began = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause_after(began.elapsed())) => {}
            () = watchers.shutdown.stopping() => break,
        }
        // Under the lock, so that nobody joins a look that ends.
        if sender.receiver_count() == 0 {
            let mut looks = watchers.looks();
            if sender.receiver_count() == 0 {
                looks.remove(&id);
                return;
            }
        }
        let log = async {
            let _look = watchers.limits.looks.acquire().await.context("the semaphore is never closed")?;
            let mut connection = watchers.database.connection().await?;
            Ok::<_, ApiError>(executions::views::find(&mut connection, id).await?)
        };
        match within_bound(log).await {
            Ok(Some(log)) => {
                let seen = RunState::of(&log);
                let has_ended = seen.outcome.has_ended();
                sender.send_if_modified(|state| {
                    let is_new = state.as_ref() != Some(&seen);
                    *state = Some(seen);
                    is_new
                });
                if has_ended {
                    break;
                }
            }
            // Pruned.
            Ok(None) => break,
            Err(error) => tracing::debug!(execution_id = %id, error = %causes(&error), "a look at a run failed"),
        }
    }
    // Receivers hear the last state and then that there is no more, once this last sender is dropped.
    watchers.looks().remove(&id);
}

/// How long to wait before the next look at an execution that has been looked at for so long.
fn pause_after(looked: Duration) -> Duration {
    (looked / PAUSE_PART).clamp(PAUSE.0, PAUSE.1)
}

impl Watcher {
    /// The next state that differs from what was heard last, with its id; `None`: there is no more.
    pub(crate) async fn next(&mut self) -> Option<(String, RunState)> {
        while !self.is_over {
            let seen = self.states.borrow_and_update().clone();
            if let Some(seen) = seen {
                let event_id = seen.event_id();
                self.is_over = seen.outcome.has_ended();
                if self.is_over || self.last_id.as_deref() != Some(&event_id) {
                    self.last_id = Some(event_id.clone());
                    return Some((event_id, seen));
                }
            }
            self.states.changed().await.ok()?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: &str, success_count: u64) -> RunState {
        let outcome = Outcome {
            execution_status: status.into(),
            total_hosts: Some(3),
            success_count,
            failed_count: 0,
            no_data_count: 0,
            not_in_pool_count: 0,
            cancelled_count: 0,
            pending_count: 3 - success_count,
            error_message: None,
            waiting_for: String::new(),
            warnings: Vec::new(),
        };
        RunState { outcome, duration_ms: None }
    }

    fn watcher(last_id: Option<&str>) -> (watch::Sender<Option<RunState>>, Watcher) {
        let (sender, states) = watch::channel(Some(seen("running", 1)));
        let seat = Seats::default().take(caller(Role::Viewer, 1)).expect("a seat");
        (sender, Watcher { states, last_id: last_id.map(str::to_owned), is_over: false, _seat: seat })
    }

    fn caller(role: Role, host: u8) -> Actor {
        Actor { who: "somebody".to_owned(), role, from: format!("10.0.0.{host}") }
    }

    /// Takes what a caller gets.
    fn greedy(seats: &Seats, caller: &Actor) -> Vec<Seat> {
        std::iter::from_fn(|| seats.take(caller.clone())).collect()
    }

    #[test]
    fn whoever_takes_all_it_gets_leaves_as_much_to_others() {
        let seats = Seats::default();
        let alone = greedy(&seats, &caller(Role::Operator, 1));
        assert_eq!(alone.len(), 100);
        let second = greedy(&seats, &caller(Role::Operator, 2));
        assert_eq!(second.len(), 50);
        drop(alone);
        assert_eq!(greedy(&seats, &caller(Role::Operator, 2)).len(), 50);
        drop(second);
        assert!(seats.taken().is_empty(), "{seats:?}");
    }

    #[test]
    fn viewers_however_many_leave_an_operator_its_seats() {
        let seats = Seats::default();
        let viewers: Vec<Seat> = (0..=u8::MAX).flat_map(|host| greedy(&seats, &caller(Role::Viewer, host))).collect();
        assert_eq!(viewers.len(), MAX_WATCHERS - KEPT_FOR_OPERATORS);
        assert!(seats.take(caller(Role::Viewer, 0)).is_none());
        assert_eq!(greedy(&seats, &caller(Role::Operator, 0)).len(), KEPT_FOR_OPERATORS / 2);
    }

    #[test]
    fn a_short_run_is_looked_at_often_and_a_long_one_twice_a_second() {
        let mut time = Duration::ZERO;
        let mut looks = Vec::new();
        while time < Duration::from_mins(1) {
            time += pause_after(time);
            looks.push(time);
        }
        let within = |ms| looks.iter().filter(|look| **look <= Duration::from_millis(ms)).count();
        assert_eq!((within(4), within(50)), (1, 10));
        assert!(within(60_000) < 160, "{}", within(60_000));
        for pair in looks.windows(2) {
            assert!(pair[1] <= pair[0] + Duration::from_millis(4).max(pair[0] / 5), "{pair:?}");
        }
    }

    #[tokio::test]
    async fn a_watcher_hears_each_change_and_the_end_once() {
        let (sender, mut watcher) = watcher(None);
        assert_eq!(watcher.next().await.map(|(id, _)| id).as_deref(), Some("running.3.1.0.0.0.0.2"));
        sender.send_replace(Some(seen("running", 1)));
        sender.send_replace(Some(seen("running", 2)));
        assert_eq!(watcher.next().await.map(|(_, seen)| seen.outcome.success_count), Some(2));
        sender.send_replace(Some(seen("success", 3)));
        drop(sender);
        assert_eq!(watcher.next().await.map(|(_, seen)| seen.outcome.execution_status), Some("success".into()));
        assert!(watcher.next().await.is_none());
    }

    #[tokio::test]
    async fn a_watcher_hears_why_nothing_moves() {
        let (sender, mut watcher) = watcher(Some("running.3.1.0.0.0.0.2"));
        let mut waiting = seen("running", 1);
        waiting.outcome.waiting_for = "the endpoint is closed".to_owned();
        sender.send_replace(Some(waiting));
        let heard = watcher.next().await.map(|(_, seen)| seen.outcome.waiting_for);
        assert_eq!(heard.as_deref(), Some("the endpoint is closed"));
        sender.send_replace(Some(seen("running", 1)));
        assert_eq!(watcher.next().await.map(|(id, _)| id).as_deref(), Some("running.3.1.0.0.0.0.2"));
    }

    #[tokio::test]
    async fn a_watcher_that_comes_back_hears_only_what_has_changed() {
        let (sender, mut watcher) = watcher(Some("running.3.1.0.0.0.0.2"));
        sender.send_replace(Some(seen("running", 2)));
        assert_eq!(watcher.next().await.map(|(_, seen)| seen.outcome.success_count), Some(2));
        drop(sender);
        assert!(watcher.next().await.is_none());
    }
}
