//! A task that a person runs now, over the whole pool.
//!
//! Owns what such a run is beside the fires of the task: it counts as a run of the task, so the task's overlap policy holds
//! for it too (a policy that lets no two runs overlap refuses it, or lets it wait), but a disabled task can be run all the
//! same. Its window ends now, by the task's delay before, or is the one that the request names. This process holds the first lease, prepares and publishes. Knows no transport.

use hostsync_model::audit::{Actor, AuditAction};
use hostsync_model::execution::{ExecutionStatus, JobQueue, OverlapPolicy, TaskId, Trigger};
use hostsync_model::window::Window;
use hostsync_store::database;
use hostsync_store::tables::executions::{self, creation::NewExecution, lease::LeaseToken};
use hostsync_store::tables::tasks::{self, Task};

use super::accept::{Enqueued, RunWrite, Runs, Stored, WaitSeconds, accept, repeated, wait_of};
use super::given_window::WindowFields;
use super::idempotency::IdempotencyKey;
use super::outcome::Accepted;
use crate::database::WriteTransaction;
use crate::error::ApiError;
use crate::request::{Submitted, request};

request! {
    /// How a task is run by hand. The body may be left out.
    pub(crate) struct TaskRunFields as "ExecuteTask" {
        /// How long to wait for the end of the run before answering, in seconds.
        wait_seconds: Option<WaitSeconds>, default 0;
        ..window: WindowFields;
    }
}

/// Runs a task now.
///
/// # Errors
///
/// Bad fields, no such task, a run that its overlap policy lets no other overlap, the database.
pub(crate) async fn execute_task(
    runs: &Runs,
    actor: &Actor,
    id: TaskId,
    submitted: Submitted<TaskRunFields>,
    key: Option<IdempotencyKey>,
) -> Result<Enqueued, ApiError> {
    let Submitted { value, mut problems, said } = submitted;
    let wait = wait_of(value.wait_seconds);
    if problems.count() == 0
        && let Some(run) = repeated(runs, key.as_ref(), wait).await?
    {
        return Ok(run);
    }
    let window = value.window.checked(runs, false, &mut problems).await?;
    problems.check()?;
    let store = |transaction, token, trace_context| store(transaction, runs, id, window, token, trace_context);
    let write = RunWrite::new(actor, AuditAction::ExecuteTask, &said).of(id);
    accept(runs, &write, key, wait, store).await
}

async fn store(
    mut transaction: WriteTransaction,
    runs: &Runs,
    id: TaskId,
    window: Option<Window>,
    token: LeaseToken,
    trace_context: Option<String>,
) -> Result<Stored, ApiError> {
    let task = tasks::lock(&mut transaction, id).await?.ok_or(ApiError::TaskNotFound(id))?;
    let unended = executions::overlap::unended(&mut transaction, [id]).await?.remove(&id).unwrap_or_default();
    let status = status_beside(&task, unended.going, unended.waiting)?;
    let now = database::now(&mut transaction).await?;
    let zone = runs.sources.defaults.zone_of_task(&task.cron_expression, &task.time_zone);
    let scope = match window {
        Some(window) => runs.sources.defaults.scope_of(&task, zone, window, window.range()),
        None => runs.sources.defaults.scope(&task, zone, now),
    };
    let new = NewExecution {
        task_id: id,
        task_name: &task.task_name,
        trigger: Trigger::Manual,
        scheduled_for: None,
        status,
        scope: &scope,
        // How many hosts it has is not known yet.
        queue: JobQueue::Bulk,
        created_by: &transaction.who(),
        error_message: None,
        lease: (status == ExecutionStatus::Running).then_some(token),
        trace_context: trace_context.as_deref(),
    };
    let execution_id = executions::creation::insert(&mut transaction, &new).await?;
    tasks::set_last_execution(&mut transaction, id, execution_id).await?;
    let accepted = Accepted {
        execution_id,
        total_hosts: None,
        is_waiting: status == ExecutionStatus::Waiting,
        invalid_lines: None,
        new_host_count: None,
    };
    Ok((transaction, accepted))
}

/// What a run becomes beside those of the task that are there.
fn status_beside(task: &Task, going: bool, waiting: bool) -> Result<ExecutionStatus, ApiError> {
    let id = task.id;
    let refused = |reason: &str| Err(ApiError::TaskRunning(format!("{reason}; wait for its end, or cancel it")));
    match *task.overlap_policy.known("overlap_policy")? {
        OverlapPolicy::Allow => Ok(ExecutionStatus::Running),
        _ if waiting => refused(&format!("a run of task {id} waits already")),
        // The sweep ends what waits of a disabled task.
        OverlapPolicy::Queue if going && task.is_enabled => Ok(ExecutionStatus::Waiting),
        _ if going => refused(&format!("a run of task {id} is still going")),
        _ => Ok(ExecutionStatus::Running),
    }
}

#[cfg(test)]
mod tests {
    use hostsync_store::word::Word;

    use super::*;

    fn task(overlap_policy: OverlapPolicy, is_enabled: bool) -> Task {
        Task {
            id: TaskId(3),
            task_name: "t".to_owned(),
            description: String::new(),
            es_endpoint: String::new(),
            es_index_pattern: String::new(),
            mapping: String::new(),
            cron_expression: "@daily".to_owned(),
            time_zone: "Asia/Shanghai".to_owned(),
            overlap_policy: Word::Known(overlap_policy),
            catch_up_window: "1m".into(),
            query_time_range: "30d".into(),
            delay: "0s".into(),
            freshness_target: String::new(),
            is_enabled,
            created_by: String::new(),
            schedule_anchor: None,
            next_execution_time: None,
        }
    }

    #[test]
    fn a_run_by_hand_keeps_to_the_overlap_policy() {
        use ExecutionStatus::{Running, Waiting};
        use OverlapPolicy::{Allow, Queue, Skip};
        for (policy, is_enabled, going, waiting, expected) in [
            (Skip, true, false, false, Some(Running)),
            (Skip, false, false, false, Some(Running)),
            (Skip, true, true, false, None),
            (Skip, true, false, true, None),
            (Allow, true, true, false, Some(Running)),
            (Queue, true, false, false, Some(Running)),
            (Queue, true, true, false, Some(Waiting)),
            (Queue, true, true, true, None),
            (Queue, true, false, true, None),
            (Queue, false, true, false, None),
        ] {
            let status = status_beside(&task(policy, is_enabled), going, waiting).ok();
            assert_eq!(status, expected, "{policy} {is_enabled} {going} {waiting}");
        }
    }
}
