//! Adds each execution to the statistics once, after its end.
//!
//! Nothing that shows many executions reads their details; this does, once for each, in bounded memory. One transaction
//! holds the execution's row, adds it to the sums and marks it, so a crash adds nothing and several schedulers add
//! nothing twice: whoever finds the row locked or marked passes on.

use std::sync::Arc;

use hostsync_model::execution::ExecutionId;
use hostsync_store::outbox::OutboxError;
use hostsync_store::statistics::{FailureTally, duration_step};
use hostsync_store::tables::{details, statistics};

use crate::one_run::only_this_run;
use crate::scheduler::Scheduler;

/// Executions looked up at a time.
const RUNS: u32 = 200;

/// Failed hosts read at a time.
const HOSTS: u32 = 2_000;

/// Adds all that have ended since. One that cannot be added holds up no other.
pub(crate) async fn roll_up_ended(scheduler: Arc<Scheduler>) -> Result<(), OutboxError> {
    let mut after = ExecutionId(0);
    loop {
        let ids = {
            let mut connection = scheduler.pool.acquire().await?;
            statistics::not_rolled_up(&mut connection, after, RUNS).await?
        };
        let Some(last) = ids.last() else { return Ok(()) };
        after = *last;
        for id in &ids {
            if scheduler.shutdown.is_stopping() {
                return Ok(());
            }
            if let Err(error) = roll_up(&scheduler, *id).await {
                only_this_run(*id, error.into())?;
            }
        }
    }
}

/// Adds one execution, unless it is in already or another scheduler is at it.
async fn roll_up(scheduler: &Scheduler, id: ExecutionId) -> Result<(), sqlx::Error> {
    let mut transaction = scheduler.pool.begin().await?;
    let Some(run) = statistics::lock_ended(&mut transaction, id).await? else {
        return Ok(());
    };
    let mut failures = FailureTally::default();
    let mut after = 0;
    // Most runs have no failed host, and then no detail is read.
    let mut left = run.hosts.failed;
    while left > 0 {
        let failed = details::views::failed_hosts(&mut transaction, id, after, HOSTS.min(left)).await?;
        let Some(last) = failed.last() else { break };
        after = last.id;
        left = left.saturating_sub(u32::try_from(failed.len()).unwrap_or(u32::MAX));
        for host in failed {
            failures.add(host.host_ip, &host.error_message);
        }
    }
    let (hosts, errors) = failures.into_sums();
    statistics::add_run(&mut transaction, &run, run.duration_ms.map(duration_step)).await?;
    statistics::add_failed_hosts(&mut transaction, &run, &hosts).await?;
    statistics::add_errors(&mut transaction, &run, &errors).await?;
    statistics::mark_rolled_up(&mut transaction, id).await?;
    transaction.commit().await
}
