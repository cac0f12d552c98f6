//! `hostsync-api executions`: runs that stand still, and publishing one anew by hand.

use std::collections::BTreeMap;

use anyhow::bail;
use hostsync_model::audit::{Actor, AuditAction};
use hostsync_model::execution::{ExecutionId, JobQueue};
use hostsync_queue::{Broker, DeclarationState, Depth, QueueError};
use hostsync_service::config::Config;
use hostsync_store::tables::audit::{self, AuditEntry};
use hostsync_store::tables::diagnosis;
use hostsync_store::tables::endpoint_state;
use hostsync_store::tables::executions::{self, lease::LeaseToken};
use sqlx::Connection as _;

use super::stuck;
use super::{CONNECTION_NAME, LONGEST_ANSWER, connect};

/// Most runs shown.
const MAX_RUNS: u32 = 100;

/// Shows the runs without progress for `silent_s` seconds, each with what holds it and what to do.
///
/// # Errors
///
/// The database's. A broker that is away is part of the answer.
pub async fn stuck(config: &Config, silent_s: i64, say: impl Fn(&str)) -> anyhow::Result<()> {
    let mut connection = connect(config).await?;
    let runs = diagnosis::silent_runs(&mut connection, silent_s, MAX_RUNS).await?;
    let closed = endpoint_state::closed(&mut connection).await?;
    let depths = if runs.is_empty() { BTreeMap::new() } else { depths(config).await? };
    for run in &runs {
        let name = if run.task_name.is_empty() { String::new() } else { format!(" ({})", run.task_name) };
        let cause = stuck::cause(run, &closed, stuck::depth_of(run, &depths));
        say(&format!(
            "execution {}{name}: no progress for {} min, {} hosts pending: {}\n    → {}",
            run.id,
            run.silent_s / 60,
            run.pending,
            cause.reason,
            cause.next
        ));
    }
    say(&format!("{} executions without progress for {} min", runs.len(), silent_s / 60));
    Ok(())
}

/// Sets the watermark of a run back to 0, as the schedulers' Repair does: what is pending is published again by the next
/// scheduler that looks. Spends no attempt; twice is as good as once, since a job whose host has its outcome is dropped.
///
/// # Errors
///
/// There is no such run, it does not go, another process holds it just now; the database's.
pub async fn republish(config: &Config, actor: Actor, id: ExecutionId, say: impl Fn(&str)) -> anyhow::Result<()> {
    let mut connection = connect(config).await?;
    let Some(run) = executions::views::find(&mut connection, id).await? else { bail!("there is no execution {id}") };
    let Some(repair_count) = diagnosis::repair_count(&mut connection, id).await? else {
        bail!("execution {id} is {}, or is being closed: there is nothing to publish", run.execution_status);
    };
    if !run.prepared {
        bail!("the hosts of execution {id} are still being copied: what is published is up to date");
    }
    let token = LeaseToken::new();
    // One transaction: nobody meets a run that is claimed and not carried on.
    let mut transaction = connection.begin().await?;
    if executions::lease::claim(&mut transaction, id, token).await?.is_none() {
        bail!("a process holds execution {id} just now and publishes it: try again in 30 s");
    }
    if !executions::repair::publish_anew(&mut transaction, id, repair_count, token).await? {
        bail!("execution {id} was repaired or ended meanwhile: look again");
    }
    executions::lease::release(&mut transaction, id, token).await?;
    let entry = AuditEntry { actor, action: AuditAction::Republish, what: "{}".to_owned() };
    let result = format!("{} pending hosts are published anew", run.pending_count);
    audit::insert(&mut transaction, &entry, &id.into(), &result).await?;
    transaction.commit().await?;
    let closed = endpoint_state::closed(&mut connection).await?;
    say(&match closed.iter().find(|closed| closed.endpoint == run.es_endpoint) {
        Some(closed) => format!(
            "the {} pending hosts of execution {id} are published again when endpoint {} opens ({})",
            run.pending_count, closed.endpoint, closed.reason
        ),
        None => format!(
            "a scheduler publishes the {} pending hosts of execution {id} again, within seconds",
            run.pending_count
        ),
    });
    Ok(())
}

/// How full the queues are; those that cannot be looked at are left out.
async fn depths(config: &Config) -> anyhow::Result<BTreeMap<JobQueue, Depth>> {
    let settings = config.rabbitmq.settings(CONNECTION_NAME)?;
    let looking = async {
        let broker = Broker::connect(&settings).await?;
        let mut depths = BTreeMap::new();
        for &queue in JobQueue::ALL {
            if let DeclarationState::AsOurs(depth) = broker.jobs(queue).await? {
                depths.insert(queue, depth);
            }
        }
        broker.close().await;
        Ok::<_, QueueError>(depths)
    };
    Ok(tokio::time::timeout(LONGEST_ANSWER, looking).await.ok().and_then(Result::ok).unwrap_or_default())
}
