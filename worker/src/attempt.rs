//! Retry or give up: what an attempt that failed costs.
//!
//! Pure. An outage costs no attempt; a partial answer or an error inside the engine costs one of five.

/// Attempts that a host has.
pub(crate) const MAX_ATTEMPTS: u32 = 5;

/// Longest pause after the first, second, third and fourth failed attempt, in ms; the real one is anything up to it
/// (full jitter), so that hosts which failed together do not come back together.
const PAUSES_MS: [u64; MAX_ATTEMPTS as usize - 1] = [10_000, 60_000, 300_000, 1_800_000];

/// Longest time until a job that met a closed endpoint is due again, in ms. It is published when the endpoint is open.
pub(crate) const OUTAGE_PAUSE_MS: u64 = 15_000;

/// Longest time until a job is due again that met a process which cannot serve it, in ms: the next worker may.
pub(crate) const ELSEWHERE_PAUSE_MS: u64 = 2_000;

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Again within so many ms.
    Retry {
        /// Upper bound of the pause.
        within_ms: u64,
    },
    /// No attempt is left.
    GiveUp,
}

/// What follows when attempt number `attempt` (from 1) has failed.
pub(crate) fn after_failed_attempt(attempt: u32) -> Next {
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    match PAUSES_MS.get(index) {
        Some(within_ms) => Next::Retry { within_ms: *within_ms },
        None => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_five_attempts_with_growing_pauses() {
        let pauses: Vec<Next> = (1..=6).map(after_failed_attempt).collect();
        assert_eq!(
            pauses,
            [
                Next::Retry { within_ms: 10_000 },
                Next::Retry { within_ms: 60_000 },
                Next::Retry { within_ms: 300_000 },
                Next::Retry { within_ms: 1_800_000 },
                Next::GiveUp,
                Next::GiveUp,
            ]
        );
    }
}
