//! How fires are recorded that a pause keeps from running.
//!
//! Pure. The first hundred of a task in one pause have a row each; those after them share one, which says the first, the last
//! and how many, and moves to the newest as it comes.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_store::tables::pause::{PauseState, PausedFires};

use crate::plan::{FireRecords, ROWS_A_REASON, UnrunFires};

/// Until when fires do not run; `None`: there was no pause. While it goes on, just after `now`.
pub(crate) fn paused_until(state: &PauseState, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if state.is_paused { Some(now + TimeDelta::milliseconds(1)) } else { state.resumed_at }
}

/// Why a fire did not run.
pub(crate) fn reason(state: &PauseState) -> String {
    let separator = if state.pause_note.is_empty() { "" } else { ": " };
    format!("paused by {}{separator}{}", state.paused_by, state.pause_note)
}

/// What is recorded of new paused fires of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HaltRecord {
    /// A row each.
    Own(Vec<DateTime<Utc>>),
    /// In the shared row, which stands at the newest.
    Shared {
        /// The newest.
        newest: DateTime<Utc>,
        /// What the row says.
        reason: String,
    },
}

/// Records new paused fires beside those of the same pause before; `None`: there are none.
pub(crate) fn record(state: &PauseState, before: &PausedFires, new: &UnrunFires) -> Option<(HaltRecord, PausedFires)> {
    let mut after = before.clone();
    let added = u32::try_from(new.len()).unwrap_or(u32::MAX);
    let (first, newest, or_more) = match new.recorded() {
        FireRecords::Each(fires) => {
            let (first, newest) = (*fires.first()?, *fires.last()?);
            if before.shared_fires == 0 && before.own_rows as usize + fires.len() <= ROWS_A_REASON {
                after.own_rows += added;
                return Some((HaltRecord::Own(fires.to_vec()), after));
            }
            (first, newest, false)
        }
        FireRecords::Together { first, last, or_more, .. } => (first, last, or_more),
    };
    after.shared_fires = before.shared_fires.saturating_add(added);
    let first = *after.shared_first.get_or_insert(first);
    let at_least = if or_more { "at least " } else { "" };
    let reason = format!("{} ({at_least}{} fires from {first} to {newest})", reason(state), after.shared_fires);
    Some((HaltRecord::Shared { newest, reason }, after))
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;
    use hostsync_schedule::CronSchedule;

    use super::*;
    use crate::plan::{WorkSpans, plan};

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-03-01T{text}Z").parse().expect("a time")
    }

    fn state() -> PauseState {
        PauseState {
            is_paused: true,
            paused_by: "night shift".to_owned(),
            pause_note: "the CMDB moves".to_owned(),
            ..PauseState::default()
        }
    }

    /// Fires each second from `due` to `now`.
    fn fires(due: &str, now: &str) -> UnrunFires {
        let schedule = CronSchedule::parse("* * * * * *", Tz::UTC).expect("an expression");
        let until = paused_until(&state(), at(now));
        plan(&schedule, at("00:00:00"), at(due), at(now), TimeDelta::zero(), &WorkSpans::default(), until).paused
    }

    #[test]
    fn a_hundred_fires_have_a_row_each_and_those_after_them_share_one() {
        let mut before = PausedFires::default();
        for (due, now, own_rows, shared) in [
            ("10:00:01", "10:00:01", 1, 0),
            ("10:00:02", "10:01:39", 99, 0),
            ("10:01:40", "10:01:40", 100, 0),
            ("10:01:41", "10:01:41", 100, 1),
            ("10:01:42", "10:01:43", 100, 3),
            ("10:01:44", "11:01:43", 100, 3_603),
        ] {
            let (record, after) = record(&state(), &before, &fires(due, now)).expect("a fire");
            assert_eq!((after.own_rows, after.shared_fires), (own_rows, shared), "{due}");
            match record {
                HaltRecord::Own(rows) => assert_eq!((rows[0], shared), (at(due), 0)),
                HaltRecord::Shared { newest, reason } => {
                    assert_eq!((newest, after.shared_first), (at(now), Some(at("10:01:41"))));
                    let told =
                        format!("paused by night shift: the CMDB moves ({shared} fires from 2026-03-01 10:01:41 UTC");
                    assert!(reason.starts_with(&told), "{reason}");
                }
            }
            before = after;
        }
    }

    #[test]
    fn more_than_a_hundred_at_once_are_one_row() {
        let (record, after) = record(&state(), &PausedFires::default(), &fires("10:00:00", "10:01:40")).expect("fires");
        assert!(matches!(record, HaltRecord::Shared { newest, .. } if newest == at("10:01:40")), "{record:?}");
        assert_eq!((after.own_rows, after.shared_fires), (0, 101));
    }

    #[test]
    fn a_pause_lasts_until_its_end_and_no_longer() {
        let now = at("10:00:00");
        assert_eq!(paused_until(&PauseState::default(), now), None);
        assert!(paused_until(&state(), now).is_some_and(|until| until > now));
        let ended = PauseState { is_paused: false, resumed_at: Some(at("09:00:00")), ..state() };
        assert_eq!(paused_until(&ended, now), Some(at("09:00:00")));
        assert_eq!(reason(&PauseState { pause_note: String::new(), ..state() }), "paused by night shift");
    }
}
