//! Who has how much of the searches that the fleet may have at once.
//!
//! Each worker reckons its own share from the same rows; what another still has it leaves to it.

use chrono::{DateTime, Utc};
use hostsync_store::tables::search_limit::{SearchShare, SearcherId};

/// How long those who have a search keep it where there are fewer searches than workers.
const TURN_SECONDS: i64 = 5;

/// What a worker may have now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnShare {
    /// Searches at once that it may begin.
    pub(super) permits: u32,
    /// To be told to the others: what it may have, or still has.
    pub(super) granted: u32,
    /// It shall have more when others have let go, or has to let go of more.
    pub(super) is_changing: bool,
}

/// Puts `own` among the rows of the others.
pub(super) fn with_own(shares: &[SearchShare], own: SearchShare) -> Vec<SearchShare> {
    let others = shares.iter().copied().filter(|share| share.worker != own.worker);
    let mut all: Vec<SearchShare> = others.chain([own]).collect();
    all.sort_unstable_by_key(|share| share.worker);
    all
}

/// Searches that they all would have at once.
pub(super) fn wanted(shares: &[SearchShare]) -> u32 {
    shares.iter().fold(0, |sum, share| sum.saturating_add(share.wanted))
}

/// The share of `own` of `allowed` searches, of which it has `in_flight` now.
pub(super) fn own_share(
    shares: &[SearchShare],
    own: SearcherId,
    in_flight: u32,
    allowed: u32,
    now: DateTime<Utc>,
) -> OwnShare {
    let turn = now.timestamp().div_euclid(TURN_SECONDS).unsigned_abs();
    let fair = fair_shares(shares, allowed, turn);
    let fair = shares.iter().zip(&fair).find(|(share, _)| share.worker == own).map_or(0, |(_, fair)| *fair);
    let of_others = shares.iter().filter(|share| share.worker != own);
    let taken = of_others.fold(0_u32, |sum, share| sum.saturating_add(share.granted));
    let permits = fair.min(allowed.saturating_sub(taken));
    OwnShare { permits, granted: permits.max(in_flight), is_changing: permits < fair || permits < in_flight }
}

/// One by one to each in turn who wants more. Where there are fewer searches than workers, those who come first change with
/// `turn`.
fn fair_shares(shares: &[SearchShare], allowed: u32, turn: u64) -> Vec<u32> {
    let mut given = vec![0; shares.len()];
    let Some(count) = u64::try_from(shares.len()).ok().filter(|count| *count > 0) else { return given };
    let first = if u64::from(allowed) < count { turn.wrapping_mul(u64::from(allowed)) % count } else { 0 };
    let first = usize::try_from(first).unwrap_or_default();
    let order: Vec<usize> = (first..shares.len()).chain(0..first).collect();
    let mut left = allowed.min(wanted(shares));
    while left > 0 {
        for index in &order {
            if left > 0 && given[*index] < shares[*index].wanted {
                given[*index] += 1;
                left -= 1;
            }
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(wanted: &[u32]) -> Vec<SearchShare> {
        (0..)
            .zip(wanted)
            .map(|(id, wanted)| SearchShare { worker: SearcherId::new(id), wanted: *wanted, granted: 0 })
            .collect()
    }

    #[test]
    fn those_who_want_little_leave_the_rest_to_others() {
        assert_eq!(fair_shares(&shares(&[2, 1, 8, 8]), 9, 0), [2, 1, 3, 3]);
        assert_eq!(fair_shares(&shares(&[2, 1]), 9, 0), [2, 1]);
        assert_eq!(fair_shares(&shares(&[]), 9, 0), Vec::<u32>::new());
    }

    #[test]
    fn what_another_still_has_is_left_to_it() {
        let mut two = shares(&[2, 2]);
        two[0].granted = 3;
        let now = DateTime::from_timestamp(0, 0).expect("a time");
        let own = own_share(&two, SearcherId::new(1), 0, 4, now);
        assert_eq!(own, OwnShare { permits: 1, granted: 1, is_changing: true });
        let own = own_share(&two, SearcherId::new(0), 3, 4, now);
        assert_eq!(own, OwnShare { permits: 2, granted: 3, is_changing: true }, "three are still under way");
    }

    proptest! {
        #[test]
        fn shares_use_what_is_allowed_and_no_more(
            wants in proptest::collection::vec(0_u32..8, 1..40), allowed in 1_u32..100, turn in any::<u64>(),
        ) {
            let all = shares(&wants);
            let fair = fair_shares(&all, allowed, turn);
            prop_assert_eq!(fair.iter().sum::<u32>(), allowed.min(wanted(&all)));
            let unhappy: Vec<u32> = fair.iter().zip(&wants).filter(|(got, want)| got < want).map(|(got, _)| *got).collect();
            for got in &fair {
                prop_assert!(unhappy.iter().all(|less| *got <= less + 1));
            }
            prop_assert!(fair.iter().zip(&wants).all(|(got, want)| got <= want));
        }

        #[test]
        fn nobody_starves_where_there_are_more_workers_than_searches(count in 2_usize..40, allowed in 1_u32..40, from in 0_u64..1_000_000) {
            let all = shares(&vec![3; count]);
            let mut got = vec![0; count];
            for turn in from..from + count as u64 {
                for (sum, share) in got.iter_mut().zip(fair_shares(&all, allowed, turn)) {
                    *sum += share;
                }
            }
            prop_assert!(got.iter().all(|sum| *sum > 0), "{:?}", got);
        }

        #[test]
        fn grants_never_exceed_what_is_allowed_in_whatever_order_they_are_taken(
            steps in proptest::collection::vec((0_usize..6, 0_u32..5, 1_i64..10), 1..200), allowed in 1_u32..12,
        ) {
            let mut all = shares(&[0; 6]);
            let mut now = 0;
            for (index, wants, pause) in steps {
                now += pause;
                let id = all[index].worker;
                all[index].wanted = wants;
                let at = DateTime::from_timestamp(now, 0).expect("a time");
                // None in flight: each has ended what it had.
                let own = own_share(&all, id, 0, allowed, at);
                all[index].granted = own.granted;
                prop_assert!(all.iter().map(|share| share.granted).sum::<u32>() <= allowed);
            }
        }
    }
}
