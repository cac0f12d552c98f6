//! What becomes of each host of a batch: decided here, written by `write`.
//!
//! Pure. A locked detail, the result of its job, the host's row of the pool and the mapping go in; one [`Decision`] comes out.
//! For example: a reading of a host in the pool becomes a success and a row of `server_resources`; a second failed attempt
//! becomes a clock of a minute at most; a fifth one becomes a failure.

use chrono::{DateTime, NaiveDate, Utc};
use hostsync_mapping::{Capacity, FieldCoverage, HostReading, HostValues, Mapping, host_values};
use hostsync_metrics::ReasonClass;
use hostsync_model::execution::{ExecutionId, SyncStatus};
use hostsync_store::explanation::Explanation;
use hostsync_store::tables::attempts::FailedAttempt;
use hostsync_store::tables::details::ledger::{DetailOutcome, Measurements, OpenDetail};
use hostsync_store::tables::hosts_pool::PoolHost;
use hostsync_store::tables::searches::SearchId;
use hostsync_store::tables::server_resources::{ResourceValues, ServerResource};

use crate::attempt::{ELSEWHERE_PAUSE_MS, Next, OUTAGE_PAUSE_MS, after_failed_attempt};
use crate::job_result::{HostFinding, JobResult, Reason};

/// What becomes of one host.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// Its locked row.
    pub(crate) detail: OpenDetail,
    /// The search behind the decision; `None`: none was made, or nothing is stored that only explains.
    pub(crate) search: Option<SearchId>,
    /// Which fields its documents have; `None`: there was no reading.
    pub(crate) fields: Option<FieldCoverage>,
    pub(crate) change: DetailChange,
}

/// How a detail changes.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every host has an outcome: boxing it would cost each an allocation"
)]
pub(crate) enum DetailChange {
    /// It gets its outcome.
    Outcome(PlannedOutcome),
    /// It stays pending and its job is published again.
    Clock(Clock),
}

/// The outcome of a host, and what is written because of it.
#[derive(Debug, Clone)]
pub(crate) struct PlannedOutcome {
    pub(crate) row: DetailOutcome,
    /// Why it is not a plain success.
    pub(crate) reason: ReasonClass,
    /// What is to stand in `server_resources`; of a success only.
    pub(crate) resource: Option<ServerResource>,
    /// Why the values are what they are.
    pub(crate) explanation: Option<Explanation>,
}

/// When a job is published again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The longest pause, in ms.
    pub(crate) within_ms: u64,
    pub(crate) reason: String,
    /// Why an attempt is spent; `None`: none is.
    pub(crate) spent: Option<ReasonClass>,
}

/// Decides about one host. `host` is its live row of the pool.
pub(crate) fn decide(
    detail: OpenDetail,
    result: &JobResult,
    host: Option<&PoolHost>,
    mapping: Option<&Mapping>,
) -> Decision {
    let fields = match &result.finding {
        HostFinding::Reading(reading) => Some(reading.coverage),
        _ => None,
    };
    let outcome = |status| PlannedOutcome::new(&detail, host, status, result.search);
    let change = match (&result.finding, host, mapping) {
        (HostFinding::Unavailable(reason), ..) => Clock::unspent(OUTAGE_PAUSE_MS, reason).into(),
        (HostFinding::Elsewhere(reason), ..) => Clock::unspent(ELSEWHERE_PAUSE_MS, reason).into(),
        (_, None, _) => outcome(SyncStatus::NotInPool).into(),
        (HostFinding::NoAddress(reason), ..) => {
            outcome(SyncStatus::Failed).because(Reason::new(ReasonClass::Address, reason)).into()
        }
        (HostFinding::NoData, ..) => outcome(SyncStatus::NoData).with_documents(0).into(),
        (HostFinding::AttemptFailed(reason), ..) => match after_failed_attempt(detail.attempts + 1) {
            Next::Retry { within_ms } => {
                Clock { within_ms, reason: reason.text.clone(), spent: Some(reason.class) }.into()
            }
            Next::GiveUp => outcome(SyncStatus::Failed).because(reason.clone()).into(),
        },
        (HostFinding::Reading(_), _, None) => {
            let reason = Reason::new(ReasonClass::Refused, "the mapping of the run is not configured");
            outcome(SyncStatus::Failed).because(reason).into()
        }
        (HostFinding::Reading(reading), Some(host), Some(mapping)) => measured(reading, host, mapping, outcome).into(),
    };
    Decision { search: result.search, fields, change, detail }
}

/// A success with the values of a reading, or a failure that says what is wrong with them.
fn measured(
    reading: &HostReading,
    host: &PoolHost,
    mapping: &Mapping,
    outcome: impl Fn(SyncStatus) -> PlannedOutcome,
) -> PlannedOutcome {
    let mut explanation = Explanation::unwritten(reading);
    let capacity = Capacity { ram_gb: host.ram_gb, disk_gb: host.disk_gb };
    let mut outcome = match host_values(mapping, reading, &capacity) {
        Ok(values) => {
            let resource = ServerResource::new(&host.host_ip, host, &values);
            explanation.converted = Some(resource.values());
            let mut success = outcome(SyncStatus::Success);
            success.row.measured = detail_values(&values);
            success.resource = Some(resource);
            success
        }
        Err(bad) => outcome(SyncStatus::Failed).because(Reason::new(ReasonClass::Value, bad.to_string())),
    };
    outcome.explanation = Some(explanation);
    outcome.with_documents(reading.data_point_count)
}

fn detail_values(values: &HostValues) -> Measurements {
    Measurements {
        max_cpu: values.max_cpu,
        avg_cpu: values.avg_cpu,
        max_memory: values.max_memory_gb,
        avg_memory: values.avg_memory_gb,
        max_disk: values.max_disk_gb,
        avg_disk: values.avg_disk_gb,
    }
}

impl Decision {
    /// The outcome; `None`: the detail stays pending.
    pub(crate) fn outcome(&self) -> Option<&PlannedOutcome> {
        match &self.change {
            DetailChange::Outcome(outcome) => Some(outcome),
            DetailChange::Clock(_) => None,
        }
    }

    pub(crate) fn outcome_mut(&mut self) -> Option<&mut PlannedOutcome> {
        match &mut self.change {
            DetailChange::Outcome(outcome) => Some(outcome),
            DetailChange::Clock(_) => None,
        }
    }

    /// When the job is published again; `None`: the host has its outcome.
    pub(crate) fn clock(&self) -> Option<&Clock> {
        match &self.change {
            DetailChange::Clock(clock) => Some(clock),
            DetailChange::Outcome(_) => None,
        }
    }

    /// The attempt that failed, if one did: also the last one of a host that is given up.
    pub(crate) fn failed_attempt(&self) -> Option<FailedAttempt> {
        let reason = match &self.change {
            DetailChange::Outcome(PlannedOutcome { row, .. }) if row.status == SyncStatus::Failed => {
                row.error_message.clone().unwrap_or_default()
            }
            DetailChange::Clock(Clock { spent: Some(_), reason, .. }) => reason.clone(),
            DetailChange::Outcome(_) | DetailChange::Clock(_) => return None,
        };
        Some(FailedAttempt {
            detail_id: self.detail.id,
            execution_id: self.detail.execution_id,
            attempt: self.detail.attempts + 1,
            search: self.search,
            error_message: reason,
        })
    }

    /// The search to be stored: one behind an outcome or a failed attempt.
    pub(crate) fn search_used(&self) -> Option<(ExecutionId, SearchId)> {
        let is_used = self.clock().is_none_or(|clock| clock.spent.is_some());
        Some((self.detail.execution_id, self.search.filter(|_| is_used)?))
    }

    /// Drops what only explains the decision.
    pub(crate) fn forget_explanation(&mut self) {
        self.search = None;
        if let Some(outcome) = self.outcome_mut() {
            (outcome.row.search, outcome.explanation) = (None, None);
        }
    }
}

impl PlannedOutcome {
    fn new(detail: &OpenDetail, host: Option<&PoolHost>, status: SyncStatus, search: Option<SearchId>) -> Self {
        let row = DetailOutcome {
            id: detail.id,
            execution_id: detail.execution_id,
            host_ip: detail.host_ip.clone(),
            host_name: host.map(|host| host.host_name.clone()),
            status,
            error_message: None,
            measured: Measurements::default(),
            inserted: None,
            data_point_count: None,
            attempts: detail.attempts + 1,
            search,
        };
        Self { row, reason: ReasonClass::None, resource: None, explanation: None }
    }

    fn because(mut self, reason: Reason) -> Self {
        self.row.error_message = Some(reason.text);
        self.reason = reason.class;
        self
    }

    fn with_documents(mut self, count: u64) -> Self {
        self.row.data_point_count = Some(count);
        self
    }

    /// A later window stands in `server_resources`: the values are not written, and the detail says so.
    pub(crate) fn yield_to_later_window(&mut self, mon_date: NaiveDate, window_to: DateTime<Utc>) {
        self.resource = None;
        self.reason = ReasonClass::Newer;
        self.row.error_message = Some(format!(
            "not written: a window that ends later than {} stands there for {mon_date}",
            window_to.format("%Y-%m-%dT%H:%M:%S%.3fZ")
        ));
    }

    /// The values were written, over these if there were some.
    pub(crate) fn was_written(&mut self, inserted: bool, previous: Option<ResourceValues>) {
        self.row.inserted = Some(inserted);
        if let Some(explanation) = &mut self.explanation {
            explanation.written = true;
            explanation.previous = previous;
        }
    }
}

impl Clock {
    fn unspent(within_ms: u64, reason: &str) -> Self {
        Self { within_ms, reason: reason.to_owned(), spent: None }
    }
}

impl From<PlannedOutcome> for DetailChange {
    fn from(outcome: PlannedOutcome) -> Self {
        Self::Outcome(outcome)
    }
}

impl From<Clock> for DetailChange {
    fn from(clock: Clock) -> Self {
        Self::Clock(clock)
    }
}

#[cfg(test)]
mod tests {
    use hostsync_mapping::Stats;
    use hostsync_model::execution::DetailId;
    use hostsync_queue::Job;

    use super::*;
    use crate::attempt::MAX_ATTEMPTS;

    const SEARCH: SearchId = SearchId(9);

    fn detail(attempts: u32) -> OpenDetail {
        OpenDetail { id: DetailId(1), execution_id: ExecutionId(7), host_ip: "10.0.0.1".to_owned(), attempts }
    }

    fn in_pool() -> PoolHost {
        PoolHost { id: 3, host_ip: "10.0.0.1".to_owned(), host_name: "web-1".to_owned(), ..PoolHost::default() }
    }

    fn result(finding: HostFinding) -> JobResult {
        let job = Job {
            execution_id: ExecutionId(7),
            detail_id: DetailId(1),
            host_ip: "10.0.0.1".to_owned(),
            attempt: 1,
            window_to: None,
        };
        JobResult { job, finding, search: Some(SEARCH) }
    }

    fn decide_at(attempts: u32, finding: HostFinding) -> Decision {
        decide(detail(attempts), &result(finding), Some(&in_pool()), Some(&Mapping::zabbix()))
    }

    fn failed_attempt() -> HostFinding {
        HostFinding::AttemptFailed(Reason::new(ReasonClass::Source, "half an answer"))
    }

    fn cpu(max: f64) -> HostFinding {
        let cpu = Some(Stats { max, avg: 5.0, min: 1.0 });
        HostFinding::Reading(HostReading { data_point_count: 288, cpu, ..HostReading::default() })
    }

    /// Status, class of the reason, message.
    fn summary(decision: &Decision) -> (SyncStatus, ReasonClass, Option<&str>) {
        let outcome = decision.outcome().expect("an outcome");
        (outcome.row.status, outcome.reason, outcome.row.error_message.as_deref())
    }

    #[test]
    fn a_reading_is_a_success_with_a_row_of_the_cmdb() {
        let decision = decide_at(2, cpu(50.0));
        assert_eq!(summary(&decision), (SyncStatus::Success, ReasonClass::None, None));
        let PlannedOutcome { row, resource, explanation, .. } = decision.outcome().expect("an outcome");
        assert_eq!((row.host_name.as_deref(), row.attempts, row.search), (Some("web-1"), 3, Some(SEARCH)));
        assert_eq!((row.data_point_count, row.measured.max_cpu, row.inserted), (Some(288), Some(50.0), None));
        let resource = resource.as_ref().expect("a row");
        assert_eq!((resource.pool_id, resource.cpu.max), (3, Some(50.0)));
        let explanation = explanation.expect("an explanation");
        assert_eq!((explanation.converted, explanation.written), (Some(resource.values()), false));
        assert!(decision.fields.is_some() && decision.failed_attempt().is_none());
    }

    #[test]
    fn a_value_that_makes_no_sense_fails_its_host_and_is_explained() {
        let decision = decide_at(0, cpu(f64::NAN));
        let (status, class, message) = summary(&decision);
        assert_eq!((status, class), (SyncStatus::Failed, ReasonClass::Value));
        let outcome = decision.outcome().expect("an outcome");
        assert!(outcome.resource.is_none());
        assert_eq!(outcome.explanation.map(|explanation| explanation.converted), Some(None));
        let attempt = decision.failed_attempt().expect("an attempt");
        assert_eq!((attempt.attempt, attempt.search, Some(attempt.error_message.as_str())), (1, Some(SEARCH), message));
    }

    #[test]
    fn a_failed_attempt_sets_a_clock_until_none_is_left() {
        for attempts in 0..MAX_ATTEMPTS - 1 {
            let decision = decide_at(attempts, failed_attempt());
            let clock = decision.clock().expect("a clock");
            assert_eq!((clock.spent, clock.reason.as_str()), (Some(ReasonClass::Source), "half an answer"));
            assert_eq!(decision.failed_attempt().map(|attempt| attempt.attempt), Some(attempts + 1));
        }
        let last = decide_at(MAX_ATTEMPTS - 1, failed_attempt());
        assert_eq!(summary(&last), (SyncStatus::Failed, ReasonClass::Source, Some("half an answer")));
        assert_eq!(last.failed_attempt().map(|attempt| attempt.attempt), Some(MAX_ATTEMPTS));
    }

    #[test]
    fn a_source_that_is_away_costs_no_attempt_even_where_the_pool_lacks_the_host() {
        for (finding, within_ms) in [
            (HostFinding::Unavailable("away".to_owned()), OUTAGE_PAUSE_MS),
            (HostFinding::Elsewhere("away".to_owned()), ELSEWHERE_PAUSE_MS),
        ] {
            for host in [None, Some(&in_pool())] {
                let decision = decide(detail(4), &result(finding.clone()), host, None);
                assert_eq!(decision.clock(), Some(&Clock::unspent(within_ms, "away")));
                assert!(decision.failed_attempt().is_none());
            }
        }
    }

    #[test]
    fn whatever_else_was_found_a_host_outside_the_pool_is_not_in_pool() {
        let no_address = HostFinding::NoAddress("no address".to_owned());
        for finding in [cpu(50.0), HostFinding::NoData, failed_attempt(), no_address] {
            let decision = decide(detail(0), &result(finding), None, Some(&Mapping::zabbix()));
            assert_eq!(summary(&decision), (SyncStatus::NotInPool, ReasonClass::None, None));
            assert!(decision.failed_attempt().is_none());
        }
    }

    #[test]
    fn the_other_outcomes_say_why() {
        let no_data = decide_at(0, HostFinding::NoData);
        assert_eq!(summary(&no_data), (SyncStatus::NoData, ReasonClass::None, None));
        assert_eq!(no_data.outcome().and_then(|outcome| outcome.row.data_point_count), Some(0));
        let no_address = decide_at(0, HostFinding::NoAddress("\"x\" is no address".to_owned()));
        assert_eq!(summary(&no_address), (SyncStatus::Failed, ReasonClass::Address, Some("\"x\" is no address")));
        let unmapped = decide(detail(0), &result(cpu(50.0)), Some(&in_pool()), None);
        assert_eq!(summary(&unmapped).1, ReasonClass::Refused);
    }

    #[test]
    fn a_host_that_yields_to_a_later_window_stays_a_success_and_is_not_written() {
        let mut decision = decide_at(0, cpu(50.0));
        let outcome = decision.outcome_mut().expect("an outcome");
        outcome.yield_to_later_window(DateTime::UNIX_EPOCH.date_naive(), DateTime::UNIX_EPOCH);
        assert!(outcome.resource.is_none() && outcome.row.inserted.is_none());
        let (status, class, message) = summary(&decision);
        assert_eq!((status, class), (SyncStatus::Success, ReasonClass::Newer));
        assert!(message.is_some_and(|message| message.contains("1970-01-01T00:00:00.000Z")), "{message:?}");
    }

    #[test]
    fn what_only_explains_can_be_left_out() {
        let mut decisions = [decide_at(0, cpu(50.0)), decide_at(0, failed_attempt())];
        decisions.iter_mut().for_each(Decision::forget_explanation);
        let outcome = decisions[0].outcome().expect("an outcome");
        assert!(outcome.row.search.is_none() && outcome.explanation.is_none() && outcome.resource.is_some());
        assert_eq!(decisions[1].failed_attempt().and_then(|attempt| attempt.search), None);
    }
}
