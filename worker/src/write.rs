//! Writes the outcomes of a batch in one short transaction.
//!
//! The order of locks is always details → newest windows → `server_resources` → execution, rows sorted by key: unsorted
//! batches deadlock, sorted ones do not. Only a row that is still pending at the job's attempt is written and counted,
//! so a job that is delivered twice changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hostsync_mapping::{Capacity, FieldsSeen, HostValues, Mapping, host_values};
use hostsync_metrics::ReasonClass;
use hostsync_model::execution::{Counts, DetailId, ExecutionId, ExecutionStatus, JobQueue, SyncStatus};
use hostsync_model::host::address_key;
use hostsync_queue::Job;
use hostsync_store::explanation::Explanation;
use hostsync_store::tables::attempts::{self, FailedAttempt};
use hostsync_store::tables::details::{
    self,
    ledger::{DetailOutcome, Measurements, OpenDetail},
};
use hostsync_store::tables::executions::{self, counters::CounterChange, creation::RunScope};
use hostsync_store::tables::hosts_pool::{self, PoolHost};
use hostsync_store::tables::newest_window;
use hostsync_store::tables::searches::{self, SearchId};
use hostsync_store::tables::server_resources::{self, ServerResource};
use sqlx::{MySqlConnection, MySqlPool};

use crate::attempt::{ELSEWHERE_PAUSE_MS, Next, OUTAGE_PAUSE_MS, after_failed_attempt};
use crate::evidence::Evidence;
use crate::search::{Found, Reason};

/// A job with what was found for it.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// The job.
    pub(crate) job: Job,
    /// What was found, or that the host can never be searched.
    pub(crate) outcome: Outcome,
    /// The search that says so; `None`: none was made.
    pub(crate) search: Option<SearchId>,
}

/// Who writes, and what it found that out by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) worker: &'a str,
    /// `None`: nothing is stored that only explains, since the database refused it.
    pub(crate) evidence: Option<&'a Evidence>,
}

/// What a job came to before the database was asked.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every host has a reading: boxing it would cost each an allocation"
)]
pub(crate) enum Outcome {
    /// The source answered or failed.
    Found(Found),
    /// The host itself is at fault: it fails alone, for good.
    BadHost(String),
}

/// What a committed transaction did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Hosts that got an outcome, by outcome and reason.
    pub(crate) finished: HashMap<(SyncStatus, ReasonClass), u64>,
    /// Failed attempts that will be made again, by reason.
    pub(crate) retries: HashMap<ReasonClass, u64>,
    /// Jobs that wait for their endpoint.
    pub(crate) deferred: u64,
    /// Deliveries without an open row: dropped.
    pub(crate) dropped: usize,
    /// Runs that this transaction ended.
    pub(crate) ended: Vec<(ExecutionId, ExecutionStatus)>,
}

/// Writes a batch; all of its jobs share `scope` but not their run. Results for a run that is closing are dropped.
///
/// # Errors
///
/// The database's; nothing has been written then.
pub(crate) async fn write_batch(
    pool: &MySqlPool,
    scope: &RunScope,
    mapping: Option<&Mapping>,
    told: Told<'_>,
    batch: &[Resolved],
) -> Result<Written, sqlx::Error> {
    let mut closed = HashSet::new();
    loop {
        let mut transaction = pool.begin().await?;
        match write(&mut transaction, scope, mapping, told, batch, &closed).await? {
            Attempted::Written(written) => {
                transaction.commit().await?;
                return Ok(written);
            }
            // Each round closes one run more, so this ends.
            Attempted::Closed(execution) => {
                transaction.rollback().await?;
                closed.insert(execution);
            }
        }
    }
}

enum Attempted {
    Written(Written),
    Closed(ExecutionId),
}

async fn write(
    connection: &mut MySqlConnection,
    scope: &RunScope,
    mapping: Option<&Mapping>,
    told: Told<'_>,
    batch: &[Resolved],
    closed: &HashSet<ExecutionId>,
) -> Result<Attempted, sqlx::Error> {
    let open = lock_open(connection, batch, closed).await?;
    let mut written = Written { dropped: batch.len() - open.len(), ..Written::default() };
    if open.is_empty() {
        return Ok(Attempted::Written(written));
    }
    let addresses: Vec<&str> = open.iter().map(|(row, _)| row.host_ip.as_str()).collect();
    let pool = hosts_pool::live(connection, &addresses).await?;

    let mut plan = Plan::default();
    for (row, resolved) in &open {
        plan.add(row, resolved, pool.get(&address_key(&row.host_ip)), mapping);
    }
    plan.write_resources(connection, scope).await?;
    if told.evidence.is_none() {
        plan.forget_what_explains();
    }
    details::ledger::finish(connection, told.worker, &plan.finished).await?;
    for ((within_ms, reason), clock) in &plan.clocks {
        let ids: Vec<DetailId> = clock.rows.iter().map(|row| row.id).collect();
        details::clock::set_clock(connection, &ids, *within_ms, clock.class.is_some(), reason).await?;
        match clock.class {
            Some(class) => *written.retries.entry(class).or_default() += ids.len() as u64,
            None => written.deferred += ids.len() as u64,
        }
    }
    if let Some(evidence) = told.evidence {
        // Rows of this transaction alone: nobody else locks them.
        attempts::insert(connection, told.worker, &plan.attempts).await?;
        searches::insert(connection, &evidence.rows(told.worker, &scope.scope, &plan.searches())).await?;
    }
    let mut counts: BTreeMap<ExecutionId, (Counts, Option<String>)> = BTreeMap::new();
    for (row, class) in plan.finished.iter().zip(&plan.classes) {
        let (counts, reason) = counts.entry(row.execution_id).or_default();
        counts.add(row.status);
        if row.status == SyncStatus::Failed {
            let said = row.error_message.as_deref().unwrap_or_default();
            reason.get_or_insert_with(|| format!("host {}: {said}", row.host_ip));
        }
        *written.finished.entry((row.status, *class)).or_default() += 1;
    }
    let waiting = plan.waiting();
    // A run over the pool has been told while it was prepared.
    let mut repeated = if scope.queue == JobQueue::Manual { repeated_hosts(&open, &pool) } else { BTreeMap::default() };
    // Once through all of them in order of id, since each is locked by the first statement about it.
    let executions: BTreeSet<ExecutionId> =
        counts.keys().chain(waiting.keys()).chain(repeated.keys()).copied().collect();
    for execution in executions {
        if let Some((counts, reason)) = counts.get(&execution) {
            if let Some(seen) = plan.seen.get(&execution) {
                executions::remarks::add_fields_seen(connection, execution, seen.bits()).await?;
            }
            match executions::counters::count(connection, execution, counts, reason.as_deref(), false).await? {
                CounterChange::Going => {}
                CounterChange::Ended(status) => {
                    written.ended.push((execution, status));
                    tell_missing_fields(connection, execution, mapping).await?;
                }
                CounterChange::Closed => return Ok(Attempted::Closed(execution)),
            }
        }
        if let Some(reason) = waiting.get(&execution) {
            executions::remarks::set_waiting_for(connection, [execution], reason).await?;
        }
        if let Some(warning) = repeated.remove(&execution) {
            executions::remarks::add_warnings(connection, execution, [warning]).await?;
        }
    }
    Ok(Attempted::Written(written))
}

/// Why a run waits whose hosts have a clock.
fn waits_for(hosts: &[&str], reason: &str) -> String {
    match hosts {
        [host] => format!("host {host} waits: {reason}"),
        hosts => format!("{} hosts wait, such as {}: {reason}", hosts.len(), hosts.first().unwrap_or(&"none")),
    }
}

/// By run, the first of its hosts that stands in the pool more than once.
fn repeated_hosts(open: &[(OpenDetail, &Resolved)], pool: &HashMap<String, PoolHost>) -> BTreeMap<ExecutionId, String> {
    let mut repeated = BTreeMap::new();
    for (row, _) in open {
        if let Some(PoolHost { host_ip, repeated_as: Some(other), .. }) = pool.get(&address_key(&row.host_ip)) {
            repeated.entry(row.execution_id).or_insert_with(|| {
                format!("{} stands in hosts_pool as {host_ip:?} and as {other:?}; the older row counts", row.host_ip)
            });
        }
    }
    repeated
}

/// Warns of the fields that no document of a run had.
async fn tell_missing_fields(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    mapping: Option<&Mapping>,
) -> Result<(), sqlx::Error> {
    let Some(mapping) = mapping else { return Ok(()) };
    let seen = FieldsSeen::from_bits(executions::remarks::fields_seen(connection, execution).await?);
    let missing = seen.missing(mapping);
    if missing.is_empty() { Ok(()) } else { executions::remarks::add_warnings(connection, execution, missing).await }
}

/// Locks the rows of the batch that are open at their job's attempt, in order of id.
async fn lock_open<'a>(
    connection: &mut MySqlConnection,
    batch: &'a [Resolved],
    closed: &HashSet<ExecutionId>,
) -> Result<Vec<(OpenDetail, &'a Resolved)>, sqlx::Error> {
    // Of two deliveries for the same row the later attempt is the one that may be open.
    let mut by_id: BTreeMap<DetailId, &Resolved> = BTreeMap::new();
    for resolved in batch.iter().filter(|resolved| !closed.contains(&resolved.job.execution_id)) {
        let kept = by_id.entry(resolved.job.detail_id).or_insert(resolved);
        if kept.job.attempt < resolved.job.attempt {
            *kept = resolved;
        }
    }
    let ids: Vec<DetailId> = by_id.keys().copied().collect();
    let rows = details::ledger::lock_open(connection, &ids).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let resolved = by_id.get(&row.id)?;
            is_row_of(&row, &resolved.job).then_some((row, *resolved))
        })
        .collect())
}

/// A job proves whose it is: ids may have been given out again by a database that was restored. The window of the run was
/// compared when its deliveries were taken.
fn is_row_of(row: &OpenDetail, job: &Job) -> bool {
    row.attempts + 1 == job.attempt
        && row.execution_id == job.execution_id
        && address_key(&row.host_ip) == address_key(&job.host_ip)
}

/// Rows whose clock is set for the same reason.
struct Clock {
    /// Where an attempt is spent.
    class: Option<ReasonClass>,
    rows: Vec<OpenDetail>,
}

/// What a transaction is going to write.
#[derive(Default)]
struct Plan {
    finished: Vec<DetailOutcome>,
    /// Why each of `finished` ended as it did.
    classes: Vec<ReasonClass>,
    /// Rows of the CMDB by address, with the places of their details in `finished`.
    resources: BTreeMap<String, (ServerResource, Vec<usize>)>,
    /// Rows whose clock is set, by longest pause and reason; with a class where an attempt is spent.
    clocks: BTreeMap<(u64, String), Clock>,
    /// Attempts that failed, the last ones of `finished` among them.
    attempts: Vec<FailedAttempt>,
    /// Fields that documents of a run had.
    seen: BTreeMap<ExecutionId, FieldsSeen>,
}

impl Plan {
    fn add(&mut self, row: &OpenDetail, resolved: &Resolved, host: Option<&PoolHost>, mapping: Option<&Mapping>) {
        let search = resolved.search;
        let finished = self.finished.len();
        if let Outcome::Found(Found::Reading(reading)) = &resolved.outcome {
            let seen = self.seen.entry(row.execution_id).or_default();
            *seen = seen.and(reading.seen);
        }
        match (&resolved.outcome, host, mapping) {
            (Outcome::Found(Found::Unavailable(reason)), ..) => self.set_clock(row, OUTAGE_PAUSE_MS, None, reason),
            (Outcome::Found(Found::Elsewhere(reason)), ..) => self.set_clock(row, ELSEWHERE_PAUSE_MS, None, reason),
            (_, None, _) => {
                self.finish(row, None, SyncStatus::NotInPool, None);
            }
            (Outcome::BadHost(reason), host, _) => {
                self.finish(row, host, SyncStatus::Failed, Some(Reason::new(ReasonClass::Address, reason)));
            }
            (Outcome::Found(Found::NoData), host, _) => {
                let place = self.finish(row, host, SyncStatus::NoData, None);
                self.finished[place].data_point_count = Some(0);
            }
            (Outcome::Found(Found::AttemptFailed(reason)), host, _) => match after_failed_attempt(row.attempts + 1) {
                Next::Retry { within_ms } => {
                    self.set_clock(row, within_ms, Some(reason.class), &reason.text);
                    self.fail_attempt(row, search, &reason.text);
                }
                Next::GiveUp => {
                    self.finish(row, host, SyncStatus::Failed, Some(reason.clone()));
                }
            },
            (Outcome::Found(Found::Reading(reading)), Some(host), Some(mapping)) => {
                let capacity = Capacity { ram_gb: host.ram_gb, disk_gb: host.disk_gb };
                let mut explanation = Explanation::unwritten(reading);
                let place = match host_values(mapping, reading, &capacity) {
                    Ok(values) => {
                        let place = self.finish(row, Some(host), SyncStatus::Success, None);
                        self.finished[place].measured = measured(&values);
                        let (resource, places) = self
                            .resources
                            .entry(address_key(&row.host_ip))
                            .or_insert_with(|| (ServerResource::new(&host.host_ip, host, &values), Vec::new()));
                        places.push(place);
                        explanation.converted = Some(resource.values());
                        place
                    }
                    Err(bad) => {
                        let reason = Reason::new(ReasonClass::Value, bad.to_string());
                        self.finish(row, Some(host), SyncStatus::Failed, Some(reason))
                    }
                };
                self.finished[place].data_point_count = Some(reading.data_point_count);
                self.finished[place].explanation = Some(explanation);
            }
            (Outcome::Found(Found::Reading(_)), host, None) => {
                let reason = Reason::new(ReasonClass::Refused, "the mapping of the run is not configured");
                self.finish(row, host, SyncStatus::Failed, Some(reason));
            }
        }
        if let Some(done) = self.finished.get_mut(finished) {
            done.search = search;
            if done.status == SyncStatus::Failed {
                let reason = done.error_message.clone().unwrap_or_default();
                self.fail_attempt(row, search, &reason);
            }
        }
    }

    fn fail_attempt(&mut self, row: &OpenDetail, search: Option<SearchId>, reason: &str) {
        self.attempts.push(FailedAttempt {
            detail_id: row.id,
            execution_id: row.execution_id,
            attempt: row.attempts + 1,
            search,
            error_message: reason.to_owned(),
        });
    }

    /// The searches to be stored: those behind an outcome or a failed attempt.
    fn searches(&self) -> BTreeSet<(ExecutionId, SearchId)> {
        let finished = self.finished.iter().filter_map(|row| Some((row.execution_id, row.search?)));
        let failed = self.attempts.iter().filter_map(|attempt| Some((attempt.execution_id, attempt.search?)));
        finished.chain(failed).collect()
    }

    fn forget_what_explains(&mut self) {
        for finished in &mut self.finished {
            (finished.search, finished.explanation) = (None, None);
        }
    }

    fn set_clock(&mut self, row: &OpenDetail, within_ms: u64, class: Option<ReasonClass>, reason: &str) {
        let clock = self.clocks.entry((within_ms, reason.to_owned()));
        clock.or_insert(Clock { class, rows: Vec::new() }).rows.push(row.clone());
    }

    /// Why each run waits that has hosts with a clock: the reason of most of them.
    fn waiting(&self) -> BTreeMap<ExecutionId, String> {
        let mut hosts: BTreeMap<ExecutionId, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
        for ((_, reason), clock) in &self.clocks {
            for row in &clock.rows {
                hosts.entry(row.execution_id).or_default().entry(reason).or_default().push(&row.host_ip);
            }
        }
        let most = |reasons: &BTreeMap<&str, Vec<&str>>| {
            reasons.iter().max_by_key(|(_, hosts)| hosts.len()).map(|(reason, hosts)| waits_for(hosts, reason))
        };
        hosts.iter().filter_map(|(execution, reasons)| Some((*execution, most(reasons)?))).collect()
    }

    fn finish(
        &mut self,
        row: &OpenDetail,
        host: Option<&PoolHost>,
        status: SyncStatus,
        reason: Option<Reason>,
    ) -> usize {
        self.classes.push(reason.as_ref().map_or(ReasonClass::None, |reason| reason.class));
        self.finished.push(DetailOutcome {
            id: row.id,
            execution_id: row.execution_id,
            host_ip: row.host_ip.clone(),
            host_name: host.map(|host| host.host_name.clone()),
            status,
            error_message: reason.map(|reason| reason.text),
            measured: Measurements::default(),
            inserted: None,
            data_point_count: None,
            attempts: row.attempts + 1,
            search: None,
            explanation: None,
        });
        self.finished.len() - 1
    }

    /// Newer wins: rows where a later window stands are left as they are, and their details say so.
    async fn write_resources(&mut self, connection: &mut MySqlConnection, scope: &RunScope) -> Result<(), sqlx::Error> {
        if self.resources.is_empty() {
            return Ok(());
        }
        let scope = &scope.scope;
        let addresses: Vec<&str> = self.resources.keys().map(String::as_str).collect();
        let later = newest_window::raise(connection, &addresses, scope.mon_date, scope.window.to).await?;
        let later: HashSet<String> = later.iter().map(|address| address_key(address)).collect();
        let refused = self.resources.extract_if(.., |address, _| later.contains(&address_key(address)));
        for (_, (_, places)) in refused {
            for place in places {
                self.classes[place] = ReasonClass::Newer;
                self.finished[place].error_message = Some(format!(
                    "not written: a window that ends later than {} stands there for {}",
                    scope.window.to.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
                    scope.mon_date
                ));
            }
        }
        let rows: Vec<ServerResource> = self.resources.values().map(|(row, _)| row.clone()).collect();
        let previous = server_resources::upsert(connection, scope.mon_date, &rows).await?;
        for (address, (_, places)) in &self.resources {
            let previous = previous.get(address).copied();
            // Of several runs in one batch, the first wrote the row and the others wrote over it.
            for (nth, place) in places.iter().enumerate() {
                let finished = &mut self.finished[*place];
                finished.inserted = Some(nth == 0 && previous.is_none());
                if let Some(explanation) = &mut finished.explanation {
                    explanation.written = true;
                    explanation.previous = previous;
                }
            }
        }
        Ok(())
    }
}

fn measured(values: &HostValues) -> Measurements {
    Measurements {
        max_cpu: values.max_cpu,
        avg_cpu: values.avg_cpu,
        max_memory: values.max_memory_gb,
        avg_memory: values.avg_memory_gb,
        max_disk: values.max_disk_gb,
        avg_disk: values.avg_disk_gb,
    }
}
