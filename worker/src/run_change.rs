//! What a batch changes on each of its runs: counters, warnings, what the run waits for, and the states of its hosts.
//!
//! Pure. For example: of 500 hosts of run 7, 498 are written and 2 come again; so 498 are counted, and the run waits for the
//! reason of the two.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hostsync_mapping::FieldCoverage;
use hostsync_model::execution::{Counts, DetailId, ExecutionId, JobQueue, SyncStatus};
use hostsync_model::host::address_key;
use hostsync_store::tables::host_states::Unsuccessful;
use hostsync_store::tables::hosts_pool::PoolHost;

use crate::decision::Decision;

/// What a batch changes on one run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RunChange {
    /// Hosts that got their outcome; all 0: none did.
    pub(crate) counts: Counts,
    /// The first host that failed, and why.
    pub(crate) failure: Option<String>,
    /// Fields that documents of its hosts have.
    pub(crate) fields: Option<FieldCoverage>,
    /// Why hosts of it come again: the reason of most of them.
    pub(crate) waiting_for: Option<String>,
    /// The first of its hosts that stands in the pool twice.
    pub(crate) warning: Option<String>,
}

/// Hosts of a batch whose rows of state change. One that comes again is in neither.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HostStates {
    /// Ids in the pool of hosts that succeeded and may have a row; none while no host has one.
    pub(crate) cleared: BTreeSet<u64>,
    /// Hosts of the pool that did not, by their run. One that succeeded in another run of the batch is left out.
    pub(crate) unsuccessful: BTreeMap<ExecutionId, Vec<Unsuccessful>>,
}

/// Who succeeded and who did not.
pub(crate) fn host_states_of(decisions: &[Decision], pool: &HashMap<String, PoolHost>) -> HostStates {
    let (mut states, mut succeeded) = (HostStates::default(), HashSet::new());
    for decision in decisions {
        let Some(outcome) = decision.outcome() else { continue };
        let host_ip = address_key(&decision.detail.host_ip);
        let Some(host) = pool.get(&host_ip) else { continue };
        if outcome.row.status == SyncStatus::Success {
            succeeded.insert(host_ip);
            if host.any_state {
                states.cleared.insert(host.id.into());
            }
        } else {
            states.unsuccessful.entry(decision.detail.execution_id).or_default().push(Unsuccessful {
                host_ip,
                pool_id: host.id.into(),
                status: outcome.row.status,
                error: outcome.row.error_message.clone(),
            });
        }
    }
    for hosts in states.unsuccessful.values_mut() {
        hosts.retain(|host| !succeeded.contains(&host.host_ip));
    }
    states
}

/// Decisions by the clock that they share, which one statement sets: longest pause in ms, reason, whether an attempt is spent.
pub(crate) type Clocks<'a> = BTreeMap<(u64, &'a str, bool), Vec<&'a Decision>>;

/// The decisions that set a clock.
pub(crate) fn clocks(decisions: &[Decision]) -> Clocks<'_> {
    let mut clocks = Clocks::new();
    for decision in decisions {
        if let Some(clock) = decision.clock() {
            let shared = (clock.within_ms, clock.reason.as_str(), clock.spent.is_some());
            clocks.entry(shared).or_default().push(decision);
        }
    }
    clocks
}

/// The rows of decisions that share a clock.
pub(crate) fn detail_ids(decisions: &[&Decision]) -> Vec<DetailId> {
    decisions.iter().map(|decision| decision.detail.id).collect()
}

/// What decisions change on their runs. A run over the whole pool is not warned of repeated hosts here: it was when it was
/// prepared.
pub(crate) fn run_changes(
    decisions: &[Decision],
    pool: &HashMap<String, PoolHost>,
    queue: JobQueue,
) -> BTreeMap<ExecutionId, RunChange> {
    let mut changes: BTreeMap<ExecutionId, RunChange> = BTreeMap::new();
    for decision in decisions {
        let detail = &decision.detail;
        let change = changes.entry(detail.execution_id).or_default();
        if let Some(fields) = decision.fields {
            change.fields = Some(change.fields.unwrap_or_default().and(fields));
        }
        if let Some(outcome) = decision.outcome() {
            change.counts.add(outcome.row.status);
            if outcome.row.status == SyncStatus::Failed {
                let reason = outcome.row.error_message.as_deref().unwrap_or_default();
                change.failure.get_or_insert_with(|| format!("host {}: {reason}", detail.host_ip));
            }
        }
        if queue == JobQueue::Manual
            && change.warning.is_none()
            && let Some(PoolHost { host_ip, repeated_as: Some(other), .. }) = pool.get(&address_key(&detail.host_ip))
        {
            change.warning = Some(format!(
                "{} stands in hosts_pool as {host_ip:?} and as {other:?}; the older row counts",
                detail.host_ip
            ));
        }
    }
    for (execution, reason) in waiting(decisions) {
        changes.entry(execution).or_default().waiting_for = Some(reason);
    }
    changes
}

/// Why each run waits that has hosts with a clock: the reason of most of them.
fn waiting(decisions: &[Decision]) -> BTreeMap<ExecutionId, String> {
    let mut hosts: BTreeMap<ExecutionId, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for ((_, reason, _), decisions) in clocks(decisions) {
        for Decision { detail, .. } in decisions {
            hosts.entry(detail.execution_id).or_default().entry(reason).or_default().push(&detail.host_ip);
        }
    }
    let most = |reasons: &BTreeMap<&str, Vec<&str>>| {
        reasons.iter().max_by_key(|(_, hosts)| hosts.len()).map(|(reason, hosts)| waits_for(hosts, reason))
    };
    hosts.iter().filter_map(|(execution, reasons)| Some((*execution, most(reasons)?))).collect()
}

fn waits_for(hosts: &[&str], reason: &str) -> String {
    match hosts {
        [host] => format!("host {host} waits: {reason}"),
        hosts => format!("{} hosts wait, such as {}: {reason}", hosts.len(), hosts.first().unwrap_or(&"none")),
    }
}

#[cfg(test)]
mod tests {
    use hostsync_metrics::ReasonClass;
    use hostsync_queue::Job;
    use hostsync_store::tables::details::ledger::OpenDetail;

    use super::*;
    use crate::decision::decide;
    use crate::job_result::{HostFinding, JobResult, Reason};

    /// The decision about host `10.0.0.<id>` of a run, which has spent so many attempts.
    fn decision(id: u64, execution: u64, attempts: u32, finding: HostFinding) -> Decision {
        let (execution_id, detail_id, host_ip) = (ExecutionId(execution), DetailId(id), format!("10.0.0.{id}"));
        let job = Job { execution_id, detail_id, host_ip: host_ip.clone(), attempt: attempts + 1, window_to: None };
        let detail = OpenDetail { id: detail_id, execution_id, host_ip, attempts };
        decide(detail, &JobResult::unsearched(job, finding), Some(&PoolHost::default()), None)
    }

    fn failed(reason: &str) -> HostFinding {
        HostFinding::AttemptFailed(Reason::new(ReasonClass::Source, reason))
    }

    #[test]
    fn a_run_is_told_its_counts_its_first_failure_and_what_most_of_its_hosts_wait_for() {
        let decisions = [
            decision(1, 7, 0, HostFinding::NoData),
            decision(2, 7, 4, failed("b")),
            decision(3, 7, 4, failed("a")),
            decision(4, 7, 0, failed("z")),
            decision(5, 7, 1, failed("y")),
            decision(6, 7, 0, failed("y")),
            decision(7, 8, 0, failed("z")),
        ];
        let changes = run_changes(&decisions, &HashMap::new(), JobQueue::Bulk);
        let seven = RunChange {
            counts: Counts { no_data: 1, failed: 2, ..Counts::default() },
            failure: Some("host 10.0.0.2: b".to_owned()),
            // The shorter pause first.
            waiting_for: Some("2 hosts wait, such as 10.0.0.6: y".to_owned()),
            ..RunChange::default()
        };
        let eight = RunChange { waiting_for: Some("host 10.0.0.7 waits: z".to_owned()), ..RunChange::default() };
        assert_eq!(changes, BTreeMap::from([(ExecutionId(7), seven), (ExecutionId(8), eight)]));
    }

    #[test]
    fn hosts_with_the_same_pause_and_reason_share_a_clock() {
        let decisions = [
            decision(1, 7, 0, failed("x")),
            decision(2, 8, 0, failed("x")),
            decision(3, 7, 1, failed("x")),
            decision(4, 7, 0, HostFinding::NoData),
        ];
        let ids: Vec<Vec<u64>> =
            clocks(&decisions).values().map(|shared| detail_ids(shared).iter().map(|id| id.0).collect()).collect();
        assert_eq!(ids, [vec![1, 2], vec![3]]);
    }

    #[test]
    fn only_a_host_of_the_pool_that_got_another_outcome_than_success_has_a_state() {
        let host = |id: u32| (format!("10.0.0.{id}"), PoolHost { id, ..PoolHost::default() });
        let pool = HashMap::from([host(1), host(2), host(3)]);
        let decisions = [
            decision(1, 7, 0, HostFinding::NoData),
            decision(2, 7, 0, failed("comes again")),
            decision(3, 8, 4, failed("given up")),
            decision(4, 8, 0, HostFinding::NoData),
        ];
        let state = |id: u32, status, error: Option<&str>| Unsuccessful {
            host_ip: format!("10.0.0.{id}"),
            pool_id: id.into(),
            status,
            error: error.map(str::to_owned),
        };
        let states = host_states_of(&decisions, &pool);
        assert_eq!(states.cleared, BTreeSet::new());
        let seven = (ExecutionId(7), vec![state(1, SyncStatus::NoData, None)]);
        let eight = (ExecutionId(8), vec![state(3, SyncStatus::Failed, Some("given up"))]);
        assert_eq!(states.unsuccessful, BTreeMap::from([seven, eight]));
    }

    #[test]
    fn a_host_that_stands_in_the_pool_twice_is_told_once_and_only_to_a_host_list() {
        let repeated = PoolHost {
            host_ip: "10.0.0.1".to_owned(),
            repeated_as: Some("010.000.000.001".to_owned()),
            ..PoolHost::default()
        };
        let pool = HashMap::from([(address_key("10.0.0.1"), repeated)]);
        let decisions = [decision(2, 7, 0, HostFinding::NoData), decision(1, 7, 0, HostFinding::NoData)];
        let warning = |queue| run_changes(&decisions, &pool, queue)[&ExecutionId(7)].warning.clone();
        assert_eq!(
            warning(JobQueue::Manual).as_deref(),
            Some("10.0.0.1 stands in hosts_pool as \"10.0.0.1\" and as \"010.000.000.001\"; the older row counts")
        );
        assert_eq!(warning(JobQueue::Bulk), None);
    }
}
