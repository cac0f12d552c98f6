//! The wall clock of a time zone: which instant shows a reading, and what it showed before.
//!
//! Owns every question about clock changes; knows nothing of expressions. Instants and readings are
//! whole seconds, readings as if the wall clock ran on UTC. Asks the zone for offsets at instants
//! only, which has one answer always, never the other way round.

use chrono_tz::Tz;

use super::zone_rules::offset_at;

/// Seconds in a day. No change of a civil clock moves it by more than about this.
pub(super) const DAY: i64 = 86_400;

/// Widest stretch that [`Stretch::of`] may be asked for. In the zone data (2025b and 2026f) two changes of
/// offset in one zone are never closer than 6.9 days, so a stretch of 6 holds at most one, and the
/// offsets at its ends tell whether it does.
const MAX_STRETCH: i64 = 6 * DAY;

/// A change of a zone's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// First instant with the new offset.
    pub(super) at: i64,
    /// Seconds east of UTC before it.
    pub(super) before: i64,
    /// Seconds east of UTC from it on.
    pub(super) after: i64,
}

impl Change {
    /// The first reading shown after the change.
    pub(super) fn first_reading_after(self) -> i64 {
        self.at + self.after
    }

    /// The reading the old offset would have shown at the change: the first one that is skipped, or
    /// the first one behind those that are repeated.
    pub(super) fn end_of_old_readings(self) -> i64 {
        self.at + self.before
    }
}

/// A few days of a zone's time with at most one change in them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// Offset at its begin, seconds east of UTC.
    pub(super) offset: i64,
    /// The change later than its begin and not later than its end.
    pub(super) change: Option<Change>,
}

impl Stretch {
    /// The stretch from instant `begin` to instant `end`, both included, at most 6 days apart.
    pub(super) fn of(zone: Tz, begin: i64, end: i64) -> Self {
        debug_assert!(begin <= end && end - begin <= MAX_STRETCH);
        let offset = offset_at(zone, begin);
        let last = offset_at(zone, end);
        let change = (offset != last).then(|| {
            let (mut old, mut new) = (begin, end);
            while new - old > 1 {
                let middle = old + (new - old) / 2;
                if offset_at(zone, middle) == offset {
                    old = middle;
                } else {
                    new = middle;
                }
            }
            Change { at: new, before: offset, after: last }
        });
        Self { offset, change }
    }
}

/// The highest reading the wall clock has shown up to and including `instant`. It differs from what
/// it shows at `instant` while the clock repeats readings after it was set back.
pub(super) fn highest_reading_until(zone: Tz, instant: i64) -> i64 {
    let stretch = Stretch::of(zone, instant - 2 * DAY, instant);
    match stretch.change {
        None => instant + stretch.offset,
        Some(change) => (instant + change.after).max(change.end_of_old_readings() - 1),
    }
}

/// The first instant at which the wall clock shows `reading` or more: the first of two if the
/// reading repeats, the end of the gap if it is skipped.
pub(super) fn first_instant_reaching(zone: Tz, reading: i64) -> i64 {
    // Offsets stay within a day of UTC, so the answer lies well inside.
    let stretch = Stretch::of(zone, reading - 2 * DAY, reading + 2 * DAY);
    let unchanged = reading - stretch.offset;
    match stretch.change {
        Some(change) if unchanged >= change.at => (reading - change.after).max(change.at),
        _ => unchanged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;

    fn reading(year: i32, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> i64 {
        NaiveDate::from_ymd_opt(year, month, day)
            .and_then(|date| date.and_hms_opt(hour, minute, second))
            .expect("a valid reading")
            .and_utc()
            .timestamp()
    }

    #[test]
    fn a_plain_reading_is_shown_once() {
        let noon = reading(2026, 1, 15, 12, 0, 0);
        assert_eq!(first_instant_reaching(Tz::Asia__Shanghai, noon), noon - 8 * 3_600);
        assert_eq!(highest_reading_until(Tz::Asia__Shanghai, noon - 8 * 3_600), noon);
    }

    #[test]
    fn a_skipped_reading_is_reached_at_the_end_of_the_gap() {
        // Berlin, 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC.
        let end = reading(2026, 3, 29, 1, 0, 0);
        for skipped in [reading(2026, 3, 29, 2, 0, 0), reading(2026, 3, 29, 2, 59, 59)] {
            assert_eq!(first_instant_reaching(Tz::Europe__Berlin, skipped), end);
        }
        let before = reading(2026, 3, 29, 1, 59, 59);
        assert_eq!(first_instant_reaching(Tz::Europe__Berlin, before), end - 1);
    }

    #[test]
    fn a_repeated_reading_is_reached_the_first_time() {
        // Berlin, 2026-10-25: 03:00 becomes 02:00 at 01:00 UTC.
        let change = reading(2026, 10, 25, 1, 0, 0);
        let repeated = reading(2026, 10, 25, 2, 30, 0);
        assert_eq!(first_instant_reaching(Tz::Europe__Berlin, repeated), change - 1_800);
        assert_eq!(highest_reading_until(Tz::Europe__Berlin, change + 1_800), reading(2026, 10, 25, 2, 59, 59));
        assert_eq!(highest_reading_until(Tz::Europe__Berlin, change + 3_600), reading(2026, 10, 25, 3, 0, 0));
    }

    #[test]
    fn no_zone_changes_twice_within_the_widest_stretch() {
        // The bound that `Stretch` rests on, checked on the zone data in force, for the
        // years that tasks live in. Two changes within half a day that cancel out would go unseen.
        const STEP: i64 = 43_200;
        let from = reading(2000, 1, 1, 0, 0, 0);
        let to = reading(2038, 1, 1, 0, 0, 0);
        for zone in chrono_tz::TZ_VARIANTS {
            let mut last_change = i64::MIN / 2;
            let mut offset = offset_at(zone, from);
            for instant in (from..to).step_by(43_200) {
                let next = offset_at(zone, instant);
                if next != offset {
                    assert!(instant - last_change > MAX_STRETCH + STEP, "{zone} {instant}");
                    (last_change, offset) = (instant, next);
                }
            }
        }
    }
}
