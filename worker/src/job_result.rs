//! What a job came to before the database is asked about it.

use hostsync_mapping::HostReading;
use hostsync_metrics::ReasonClass;
use hostsync_queue::Job;
use hostsync_store::tables::searches::SearchId;

/// A job with what was found out about its host.
#[derive(Debug, Clone)]
pub(crate) struct JobResult {
    pub(crate) job: Job,
    pub(crate) finding: HostFinding,
    /// The search that found it; `None`: none was made.
    pub(crate) search: Option<SearchId>,
}

impl JobResult {
    /// A result that took no search.
    pub(crate) fn unsearched(job: Job, finding: HostFinding) -> Self {
        Self { job, finding, search: None }
    }

    /// The same finding for all jobs, without a search.
    pub(crate) fn same_for_all(jobs: Vec<Job>, finding: &HostFinding) -> Vec<Self> {
        jobs.into_iter().map(|job| Self::unsearched(job, finding.clone())).collect()
    }
}

/// What was found out about a host.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every host has a reading: boxing it would cost each an allocation"
)]
pub(crate) enum HostFinding {
    /// The source has documents of it.
    Reading(HostReading),
    /// The answer was whole and had no document of it.
    NoData,
    /// The attempt failed and is spent.
    AttemptFailed(Reason),
    /// The source is away, or had no time for this host; no attempt is spent.
    Unavailable(String),
    /// This process cannot ask the source, but another may; no attempt is spent.
    Elsewhere(String),
    /// It is no address: it fails at once, unsearched.
    NoAddress(String),
}

/// Why an attempt failed: a sentence for people, a class for the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) text: String,
    pub(crate) class: ReasonClass,
}

impl Reason {
    pub(crate) fn new(class: ReasonClass, text: impl Into<String>) -> Self {
        Self { text: text.into(), class }
    }
}
