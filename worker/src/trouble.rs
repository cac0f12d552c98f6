//! What becomes of jobs whose source is in trouble.

use std::collections::BTreeSet;

use hostsync_mapping::Mapping;
use hostsync_metrics::spans;
use hostsync_model::causes::causes;
use hostsync_model::execution::{ClosingCause, ExecutionId};
use hostsync_queue::Job;
use hostsync_source::{Endpoint, RefusalKind};
use hostsync_store::closing::close_execution;
use hostsync_store::tables::doubts::{DoubtKind, Subject};
use hostsync_store::tables::executions::{self, creation::RunScope};

use crate::commit::{BatchError, commit, executions_of, until_the_database_answers};
use crate::doubts::waiting_for;
use crate::job_result::{HostFinding, JobResult};
use crate::search::SourceRefusal;
use crate::search_log::SearchLog;
use crate::sources::UnknownSource;
use crate::workbench::Workbench;

/// Commits one finding for all jobs; no search took it.
pub(crate) async fn commit_for_all(
    bench: &Workbench,
    scope: &RunScope,
    jobs: Vec<Job>,
    finding: &HostFinding,
) -> Result<(), BatchError> {
    commit(bench, scope, &SearchLog::default(), &JobResult::same_for_all(jobs, finding)).await
}

/// Raises a doubt about a name that this process does not know; another may know it, so the jobs come again.
pub(crate) async fn leave_unknown(
    bench: &Workbench,
    scope: &RunScope,
    jobs: Vec<Job>,
    UnknownSource { subject, reason }: &UnknownSource,
) -> Result<(), BatchError> {
    tracing::error!(reason, "{reason}");
    let doubt = || bench.sources.doubt(subject, reason);
    until_the_database_answers(bench, &executions_of(&jobs), doubt).await?;
    leave_to_others(bench, scope, jobs, reason).await
}

async fn leave_to_others(bench: &Workbench, scope: &RunScope, jobs: Vec<Job>, reason: &str) -> Result<(), BatchError> {
    commit_for_all(bench, scope, jobs, &HostFinding::Elsewhere(waiting_for(reason))).await
}

/// Whose credentials a run needs.
fn credentials_for(scope: &RunScope) -> Subject {
    Subject {
        kind: DoubtKind::Credentials,
        name: scope.scope.es_endpoint.clone(),
        index_pattern: scope.scope.es_index_pattern.clone(),
    }
}

/// The refusal of this process's credentials, if it was a moment ago: it need not ask again.
pub(crate) fn refused_lately(bench: &Workbench, scope: &RunScope) -> Option<SourceRefusal> {
    let reason = bench.sources.refused_lately(&credentials_for(scope))?;
    Some(SourceRefusal { reason, kind: RefusalKind::Credentials })
}

/// Keeps that the credentials of this process were refused.
pub(crate) fn remember(bench: &Workbench, scope: &RunScope, refusal: &SourceRefusal) {
    if refusal.kind == RefusalKind::Credentials {
        bench.sources.remember_refusal(&credentials_for(scope), &refusal.reason);
    }
}

/// Fails the runs of a source that refuses for good. Of credentials the fleet decides: another process may have better ones, as
/// in the middle of a rotation, so until then the jobs come again.
pub(crate) async fn give_up(
    bench: &Workbench,
    scope: &RunScope,
    jobs: Vec<Job>,
    SourceRefusal { reason, kind }: &SourceRefusal,
) -> Result<(), BatchError> {
    if *kind == RefusalKind::Credentials {
        let subject = credentials_for(scope);
        let doubt = || bench.sources.doubt(&subject, reason);
        if !until_the_database_answers(bench, &executions_of(&jobs), doubt).await? {
            return leave_to_others(bench, scope, jobs, reason).await;
        }
    }
    fail_executions(bench, &jobs, reason).await
}

/// Fails the whole run once, instead of every host of it five times.
async fn fail_executions(bench: &Workbench, jobs: &[Job], reason: &str) -> Result<(), BatchError> {
    spans::set_failed(&tracing::Span::current(), reason);
    for execution in executions_of(jobs) {
        let close = || close_execution(&bench.pool, execution, ClosingCause::Refused, reason);
        if until_the_database_answers(bench, &BTreeSet::from([execution]), close).await? {
            tracing::warn!(execution_id = %execution, reason, "execution {execution} fails: {reason}");
        }
    }
    Ok(())
}

/// Tells the runs which indices their pattern matched before and were left out now. A warning that the database refuses does
/// not cost what was answered.
pub(crate) async fn warn_of_missing_indices(
    bench: &Workbench,
    endpoint: &Endpoint,
    scope: &RunScope,
    mapping: &Mapping,
    executions: &BTreeSet<ExecutionId>,
) -> Result<(), BatchError> {
    match find_and_warn(bench, endpoint, scope, mapping, executions).await {
        Err(BatchError::Refused(error)) => {
            tracing::warn!(error = %causes(&error), "cannot warn of missing indices: {}", causes(&error));
            Ok(())
        }
        found => found,
    }
}

async fn find_and_warn(
    bench: &Workbench,
    endpoint: &Endpoint,
    scope: &RunScope,
    mapping: &Mapping,
    executions: &BTreeSet<ExecutionId>,
) -> Result<(), BatchError> {
    let scope = &scope.scope;
    let look = || bench.missing_indices.of(endpoint, &scope.es_index_pattern, (&scope.mapping, mapping));
    let missing = until_the_database_answers(bench, executions, look).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let warn = || async {
        let mut connection = bench.pool.begin().await?;
        for execution in executions {
            executions::remarks::add_warnings(&mut connection, *execution, missing.iter().cloned()).await?;
        }
        connection.commit().await
    };
    until_the_database_answers(bench, executions, warn).await
}
