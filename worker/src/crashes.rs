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

use crate::batch::{Delivered, Workbench};
use crate::commit::{Unfinished, executions_of, until_the_database_answers};

/// Crashes counted on a job that runs alone from then on.
const ALONE_FROM: u32 = 1;

/// Crashes counted on a job that ran alone for the last of them.
const TO_BLAME_FROM: u32 = 2;

/// Longest wait for taking a count back; a count that stays makes its job run alone once.
const LONGEST_TAKING_BACK: Duration = Duration::from_secs(1);

/// What is to be done with deliveries, as the crashes on their jobs say.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// May share a search. Those that came before are counted as begun.
    pub(crate) together: Vec<Delivered>,
    /// Each in a batch of its own, where it is sorted again.
    pub(crate) alone: Vec<Delivered>,
    /// Their workers died when they ran alone: an attempt is spent.
    pub(crate) to_blame: Vec<Delivered>,
}

/// Crashes by job, of those that came before and are still open.
pub(crate) type Crashes = HashMap<DetailId, u32>;

/// Looks how often workers died on the jobs of a batch, and counts as begun those that begin now.
pub(crate) async fn begin(
    bench: &Workbench,
    deliveries: &[Delivered],
    is_alone: bool,
    token: BatchToken,
) -> Result<Crashes, Unfinished> {
    let came_before: Vec<&Job> =
        deliveries.iter().filter(|delivered| delivered.redelivered).map(|delivered| &delivered.job).collect();
    if came_before.is_empty() {
        return Ok(Crashes::new());
    }
    let executions = executions_of(came_before.iter().copied());
    let by_attempt = by_attempt(&came_before);
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

/// Sorts deliveries by the crashes that were found. Pure.
pub(crate) fn sort(deliveries: Vec<Delivered>, is_alone: bool, crashes: &Crashes) -> Sorted {
    let mut sorted = Sorted::default();
    for delivered in deliveries {
        let crashes = crashes.get(&delivered.job.detail_id).copied().unwrap_or_default();
        if crashes < limit(is_alone) {
            sorted.together.push(delivered);
        } else if is_alone {
            sorted.to_blame.push(delivered);
        } else {
            sorted.alone.push(delivered);
        }
    }
    sorted
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
        tracing::warn!(error = %causes(&error), "jobs that end in order stay counted as begun; they run alone once");
    }
}
