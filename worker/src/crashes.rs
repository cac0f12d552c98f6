//! Crashes, as the rows of the jobs count them: which jobs share a search, which run alone, and which cost an attempt.
//!
//! A broker says of a delivery whether it is the first (`redelivered`), on all versions alike; how often it came before is
//! counted differently by each, and orderly returns among it. So we count ourselves, on the job's row, and only for
//! deliveries that are not the first: a healthy host costs no write and no look before its search. `begun` goes up before a
//! batch is worked on and back at every orderly end (an outcome, a clock, a stop, a job left open); only a crash or a panic
//! leaves it. So it is 1 after the second crash on a job (the first happened on a delivery that nobody counts), which then
//! runs alone, and 2 after that crashed too, which costs an attempt. Restarts in order leave nothing, however many.
//!
//! A count names the batch that made it, so one whose commit got no answer is made once and not taken for another's.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hostsync_model::causes::causes;
use hostsync_model::execution::DetailId;
use hostsync_queue::Job;
use hostsync_store::database;
use hostsync_store::tables::details::{self, crashes::BatchToken};

use crate::commit::{BatchError, executions_of, until_the_database_answers};
use crate::job_delivery::JobDelivery;
use crate::workbench::Workbench;

/// Crashes counted on a job that runs alone from then on.
const ALONE_FROM: u32 = 1;

/// Crashes counted on a job that ran alone for the last of them.
const TO_BLAME_FROM: u32 = 2;

/// Longest wait for taking a count back; a count that stays makes its job run alone once.
const LONGEST_TAKING_BACK: Duration = Duration::from_secs(1);

/// How the jobs of a batch are worked on, by the crashes that were counted on them.
#[derive(Debug, Default)]
pub(crate) struct Triage {
    /// They share a search. Those that were delivered before are counted as begun.
    pub(crate) together: Vec<JobDelivery>,
    /// Each is to have a batch of its own, where it is judged again.
    pub(crate) alone: Vec<JobDelivery>,
    /// Their workers died when they ran alone: an attempt is spent.
    pub(crate) to_blame: Vec<JobDelivery>,
}

/// Crashes by job, of those that were delivered before and are still open.
pub(crate) type Crashes = HashMap<DetailId, u32>;

/// Looks how often workers died on the jobs of a batch, and counts as begun those that begin now.
pub(crate) async fn begin(
    bench: &Workbench,
    deliveries: &[JobDelivery],
    is_alone: bool,
    token: BatchToken,
) -> Result<Crashes, BatchError> {
    let redelivered: Vec<&Job> =
        deliveries.iter().filter(|delivery| delivery.redelivered).map(|delivery| &delivery.job).collect();
    if redelivered.is_empty() {
        return Ok(Crashes::new());
    }
    let executions = executions_of(redelivered.iter().copied());
    let by_attempt = by_attempt(&redelivered);
    let count = || async {
        let mut connection = bench.pool.acquire().await?;
        let mut crashes = Crashes::new();
        for (attempt, ids) in &by_attempt {
            let counted = details::crashes::begun(&mut connection, ids, *attempt, token).await?;
            let begins = |id: &DetailId| counted.get(id).is_none_or(|crashes| *crashes < limit(is_alone));
            let begin: Vec<DetailId> = ids.iter().copied().filter(begins).collect();
            details::crashes::begin(&mut connection, &begin, *attempt, token).await?;
            crashes.extend(counted);
        }
        Ok(crashes)
    };
    until_the_database_answers(bench, &executions, count).await
}

/// Crashes from which on a job does not begin in such a batch.
const fn limit(is_alone: bool) -> u32 {
    if is_alone { TO_BLAME_FROM } else { ALONE_FROM }
}

/// Judges deliveries by the crashes on their jobs. Pure.
pub(crate) fn triage(deliveries: Vec<JobDelivery>, is_alone: bool, crashes: &Crashes) -> Triage {
    let mut triage = Triage::default();
    for delivery in deliveries {
        let crashes = crashes.get(&delivery.job.detail_id).copied().unwrap_or_default();
        if crashes < limit(is_alone) {
            triage.together.push(delivery);
        } else if is_alone {
            triage.to_blame.push(delivery);
        } else {
            triage.alone.push(delivery);
        }
    }
    triage
}

fn by_attempt(jobs: &[&Job]) -> BTreeMap<u32, Vec<DetailId>> {
    let mut by_attempt: BTreeMap<u32, Vec<DetailId>> = BTreeMap::new();
    for job in jobs {
        by_attempt.entry(job.attempt).or_default().push(job.detail_id);
    }
    by_attempt
}

/// Takes back what `begin` counted for this batch and no outcome or clock has cleared.
pub(crate) async fn end(bench: &Workbench, begun: &[DetailId], token: BatchToken) {
    if begun.is_empty() {
        return;
    }
    let taken_back = async {
        let mut connection = bench.pool.acquire().await?;
        details::crashes::end(&mut connection, begun, token).await
    };
    if let Err(error) = database::within(LONGEST_TAKING_BACK, taken_back).await {
        tracing::warn!(error = %causes(&error), "cannot take back that {} jobs have begun: if one is delivered again, it runs alone once", begun.len());
    }
}
