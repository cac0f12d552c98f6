//! The answer to a call that runs: waits for the end, then lists the hosts by what became of them.
//!
//! Counters and lists are read from the details together, so that they agree also while the run is going.

use std::collections::HashSet;

use hostsync_model::causes::causes;
use hostsync_model::execution::SyncStatus;
use hostsync_store::word::Word;
use tokio::time::Instant;

use super::admit::Admission;
use super::answer::{CUT, Room};
use super::convert::{int32, int64};
use super::proto::{ExecuteEsSyncFullSyncResp, ExecuteEsSyncResp};
use crate::error::ApiError;
use crate::runs::full_sync::FullSync;
use crate::runs::{Enqueued, Outcome, Runs, log, message, wait_for_end};

/// Hosts read at once.
const HOSTS_PER_READ: u32 = 5_000;

/// Hosts by what became of them. A list may end early, its counter never does.
#[derive(Debug, Default)]
struct Hosts {
    count: i32,
    listed: Vec<String>,
}

impl Hosts {
    fn add(&mut self, host_ip: &str, room: &mut Room) {
        self.count += 1;
        if room.take(host_ip.len()) {
            self.listed.push(host_ip.to_owned());
        }
    }
}

/// What became of a run's hosts.
#[derive(Debug, Default)]
struct Breakdown {
    success: Hosts,
    failed: Hosts,
    no_data: Hosts,
    not_in_pool: Hosts,
    new: Hosts,
    updated: Hosts,
    is_cut: bool,
}

/// Waits as long as the call may, and tells how the run stands. The run is stored: whatever happens here, it goes on.
pub(super) async fn run_answer(runs: &Runs, mut run: Enqueued, admission: &Admission) -> ExecuteEsSyncResp {
    run.wait = admission.wait_until.saturating_duration_since(Instant::now());
    let outcome = wait_for_end(runs, &run).await;
    let mut answer = ExecuteEsSyncResp {
        success: true,
        message: message(&run.accepted, outcome.as_ref()),
        execution_id: int64(run.accepted.execution_id.0),
        total_hosts: int32(run.accepted.total_hosts.unwrap_or(0)),
        ..ExecuteEsSyncResp::default()
    };
    let reading = async {
        match tokio::time::timeout_at(admission.answer_by, breakdown(runs, &run)).await {
            Ok(read) => read.map_err(|error| causes(&error).to_string()),
            Err(_) => Err("the time was over".to_owned()),
        }
    };
    match reading.await {
        Ok(hosts) => fill(&mut answer, hosts),
        Err(reason) => {
            tracing::warn!(execution_id = %run.accepted.execution_id, reason, "the hosts of a run could not be listed");
            answer.message.push_str("; its hosts could not be listed");
            if let Some(outcome) = &outcome {
                count(&mut answer, outcome);
            }
        }
    }
    answer
}

async fn breakdown(runs: &Runs, run: &Enqueued) -> Result<Breakdown, ApiError> {
    let mut hosts = Breakdown::default();
    let mut room = Room::new();
    let mut after = 0;
    loop {
        let rows = log::outcomes(&runs.database, run.accepted.execution_id, after, HOSTS_PER_READ).await?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        let is_last = rows.len() < HOSTS_PER_READ as usize;
        for row in rows {
            let list = match row.sync_status {
                Word::Known(SyncStatus::Success) => &mut hosts.success,
                Word::Known(SyncStatus::Failed) => &mut hosts.failed,
                Word::Known(SyncStatus::NoData) => &mut hosts.no_data,
                Word::Known(SyncStatus::NotInPool) => &mut hosts.not_in_pool,
                Word::Known(SyncStatus::Pending | SyncStatus::Cancelled) | Word::Unknown(_) => continue,
            };
            list.add(&row.host_ip, &mut room);
            match row.inserted {
                Some(true) => hosts.new.add(&row.host_ip, &mut room),
                Some(false) => hosts.updated.add(&row.host_ip, &mut room),
                None => {}
            }
        }
        if is_last {
            break;
        }
    }
    hosts.is_cut = room.is_cut();
    Ok(hosts)
}

fn fill(answer: &mut ExecuteEsSyncResp, hosts: Breakdown) {
    (answer.success_count, answer.success_ip_list) = (hosts.success.count, hosts.success.listed);
    (answer.failed_count, answer.failed_ip_list) = (hosts.failed.count, hosts.failed.listed);
    (answer.not_in_datasource_count, answer.not_in_datasource_ip_list) = (hosts.no_data.count, hosts.no_data.listed);
    (answer.not_in_pool_count, answer.not_in_pool_ip_list) = (hosts.not_in_pool.count, hosts.not_in_pool.listed);
    (answer.new_hosts_count, answer.new_host_ip_list) = (hosts.new.count, hosts.new.listed);
    (answer.updated_hosts_count, answer.updated_host_ip_list) = (hosts.updated.count, hosts.updated.listed);
    if hosts.is_cut {
        answer.message = format!("{}; {CUT}: the counters are whole, the lists of addresses are not", answer.message);
    }
}

/// The answer of a full sync: New are the hosts added to the pool, Updated the others that were written.
pub(super) async fn full_sync_answer(runs: &Runs, sync: FullSync, admission: &Admission) -> ExecuteEsSyncFullSyncResp {
    let answer = run_answer(runs, sync.run, admission).await;
    let mut room = Room::new();
    let (mut new, mut updated, mut failed) = (Hosts::default(), Hosts::default(), Hosts::default());
    let is_new: HashSet<&str> = sync.new_hosts.iter().map(String::as_str).collect();
    for host_ip in &answer.failed_ip_list {
        failed.add(host_ip, &mut room);
    }
    for host_ip in &sync.new_hosts {
        new.add(host_ip, &mut room);
    }
    for host_ip in answer.success_ip_list.iter().filter(|host_ip| !is_new.contains(host_ip.as_str())) {
        updated.add(host_ip, &mut room);
    }
    let mut message = answer.message;
    if room.is_cut() {
        message = format!("{message}; {CUT}: the lists of addresses are not whole");
    }
    ExecuteEsSyncFullSyncResp {
        success: answer.success,
        message,
        execution_id: answer.execution_id,
        total_hosts: answer.total_hosts,
        new_hosts_count: new.count,
        updated_hosts_count: updated.count,
        failed_count: answer.failed_count,
        new_host_ip_list: new.listed,
        updated_host_ip_list: updated.listed,
        failed_ip_list: failed.listed,
    }
}

/// The counters alone.
fn count(answer: &mut ExecuteEsSyncResp, outcome: &Outcome) {
    answer.success_count = int32(outcome.success_count);
    answer.failed_count = int32(outcome.failed_count);
    answer.not_in_datasource_count = int32(outcome.no_data_count);
    answer.not_in_pool_count = int32(outcome.not_in_pool_count);
}
