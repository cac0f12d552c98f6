//! What a worker was answered by an endpoint since it last told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::baselines::SearchKind;

/// What one search says of how much the source takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SearchSign {
    /// A whole answer.
    Answered,
    /// Too many searches: 429 and the like.
    Refused,
    /// No answer in time.
    TimedOut,
    /// Too many hosts.
    TooLarge,
    /// Nothing: the source failed otherwise.
    None,
}

/// Searches of one kind that were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct KindAnswers {
    pub(super) count: u32,
    total: Duration,
}

impl KindAnswers {
    /// How long one took.
    pub(super) fn mean(&self) -> Duration {
        self.total / self.count.max(1)
    }
}

/// What a worker was answered in a period.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PeriodReport {
    pub(super) answers: BTreeMap<SearchKind, KindAnswers>,
    pub(super) refused: u32,
    /// Searches that had not been split: once they are, a single host is most likely to blame.
    pub(super) timed_out: u32,
    /// Fewest hosts of a search that was too large and had not been split; one that timed out was too large as well.
    pub(super) smallest_too_large: Option<u32>,
    /// Most hosts of a search that was answered.
    pub(super) largest_answered: u32,
    /// What the worker would put into one search.
    pub(super) most_hosts: u32,
    /// How long its searches take lately; zero: it had none.
    pub(super) latency: Duration,
}

impl PeriodReport {
    pub(super) fn new(most_hosts: u32) -> Self {
        Self {
            answers: BTreeMap::new(),
            refused: 0,
            timed_out: 0,
            smallest_too_large: None,
            largest_answered: 0,
            most_hosts,
            latency: Duration::ZERO,
        }
    }

    /// The report of the next period.
    pub(super) fn next(&self) -> Self {
        Self { latency: self.latency, ..Self::new(self.most_hosts) }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == self.next()
    }

    /// Adds a search for so many hosts; `is_whole`: it had not been split.
    pub(super) fn add(&mut self, kind: SearchKind, sign: SearchSign, hosts: u32, is_whole: bool, took: Duration) {
        match sign {
            SearchSign::Answered => {
                let answers = self.answers.entry(kind).or_default();
                answers.count += 1;
                answers.total += took;
                self.largest_answered = self.largest_answered.max(hosts);
                self.latency = if self.latency.is_zero() { took } else { (self.latency * 3 + took) / 4 };
            }
            SearchSign::Refused => self.refused += 1,
            SearchSign::TimedOut if is_whole => {
                self.timed_out += 1;
                self.latency = self.latency.max(took);
            }
            SearchSign::TimedOut | SearchSign::TooLarge | SearchSign::None => {}
        }
        if is_whole && matches!(sign, SearchSign::TimedOut | SearchSign::TooLarge) {
            self.smallest_too_large = Some(self.smallest_too_large.map_or(hosts, |known| known.min(hosts)));
        }
    }

    /// Takes back what could not be told: it is told with the next.
    pub(super) fn merge(&mut self, earlier: Self) {
        for (kind, answers) in earlier.answers {
            let known = self.answers.entry(kind).or_default();
            known.count += answers.count;
            known.total += answers.total;
        }
        self.refused += earlier.refused;
        self.timed_out += earlier.timed_out;
        self.smallest_too_large = [self.smallest_too_large, earlier.smallest_too_large].into_iter().flatten().min();
        self.largest_answered = self.largest_answered.max(earlier.largest_answered);
    }
}
