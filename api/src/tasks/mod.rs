//! The rules of tasks: what one may say, and what changing it does to its schedule.
//!
//! Owns validation and the transactions; the row of the task is locked before anything about its fires is decided, and
//! the database's clock alone says when "now" is. Knows no transport: REST and RPC call the same functions.

pub(crate) mod preview;
mod request;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hostsync_model::audit::{Actor, AuditAction};
use hostsync_model::catch_up::CatchUpWindow;
use hostsync_model::execution::{OverlapPolicy, TaskId};
use hostsync_model::window::TimeRange;
use hostsync_model::window_delay::WindowDelay;
use hostsync_schedule::CronSchedule;
use hostsync_store::database;
use hostsync_store::tables::audit::AuditEntry;
use hostsync_store::tables::executions;
use hostsync_store::tables::tasks::{self as table, Task, TaskFilter, TaskView};
use hostsync_store::word::Word;

use self::request::{CronExpression, TaskSettings, ZoneName};
pub(crate) use self::request::{EnableTask, NewTask, TaskChange, TaskQuery};
use crate::database::{Database, transact, within_bound};
use crate::error::ApiError;
use crate::pause::Note;
use crate::request::{Problems, Said, Submitted, Whole};
use crate::sources::{EndpointName, MappingName, Sources};

/// What tasks are managed with.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    pub(crate) database: Database,
    pub(crate) sources: Arc<Sources>,
}

impl Tasks {
    /// Checks what the type of a field alone does not tell: that what is named is configured, and, for a first look at all that
    /// is wrong, expression and zone. The schedule proper is made with the task at hand.
    fn check(&self, settings: &mut TaskSettings, expression: Option<&CronExpression>, problems: &mut Problems) {
        if let Some(EndpointName(name)) = &mut settings.es_endpoint {
            *name = self.sources.endpoint(name, problems);
        }
        if let Some(MappingName(name)) = &settings.mapping {
            self.sources.mapping(name, problems);
        }
        self.schedule(settings.time_zone.as_ref(), expression, problems);
    }

    /// The schedule that an expression makes in a zone, the default one where none is named; what is wrong with either is a
    /// problem, unless one is known of the expression.
    fn schedule(
        &self,
        zone: Option<&ZoneName>,
        expression: Option<&CronExpression>,
        problems: &mut Problems,
    ) -> Option<CronSchedule> {
        let defaults = &self.sources.defaults;
        let zone = zone.map_or(Ok(defaults.time_zone()), |name| defaults.zone_named(&name.0));
        let zone = zone.unwrap_or_else(|error| {
            problems.add("time_zone", error.to_string());
            defaults.time_zone()
        });
        let CronExpression(text) = expression.filter(|_| !problems.has("cron_expression"))?;
        CronSchedule::parse(text, zone).map_err(|error| problems.add("cron_expression", error.to_string())).ok()
    }
}

/// Makes a task.
///
/// # Errors
///
/// Bad fields, a name that is taken, the database.
pub(crate) async fn create(tasks: &Tasks, actor: &Actor, submitted: Submitted<NewTask>) -> Result<TaskId, ApiError> {
    let Submitted { value: NewTask { task_name, cron_expression, created_by, mut settings }, mut problems, said } =
        submitted;
    tasks.check(&mut settings, Some(&cron_expression), &mut problems);
    problems.check()?;
    let mut task = Task {
        id: TaskId::NONE,
        task_name: task_name.0,
        description: String::new(),
        es_endpoint: String::new(),
        es_index_pattern: String::new(),
        mapping: String::new(),
        cron_expression: cron_expression.0,
        time_zone: String::new(),
        overlap_policy: Word::Known(OverlapPolicy::Skip),
        catch_up_window: Word::Known(CatchUpWindow::default()),
        query_time_range: Word::Known(TimeRange::default_range()),
        delay: Word::Known(WindowDelay::default()),
        freshness_target: String::new(),
        is_enabled: false,
        created_by: created_by.map(String::from).filter(|name| !name.is_empty()).unwrap_or_else(|| actor.who.clone()),
        schedule_anchor: None,
        next_execution_time: None,
    };
    settings.apply(&mut task);
    let entry = AuditEntry { actor: actor.clone(), action: AuditAction::CreateTask, what: said.json() };
    let id = transact(|| create_once(tasks, &entry, task.clone()))
        .await
        .map_err(|error| name_taken(error, &task.task_name))?;
    tracing::info!(task_id = %id, is_enabled = task.is_enabled, "task {id} was created");
    Ok(id)
}

async fn create_once(tasks: &Tasks, entry: &AuditEntry, mut task: Task) -> Result<TaskId, ApiError> {
    let mut transaction = tasks.database.begin(entry).await?;
    let now = database::now(&mut transaction).await?;
    task.schedule_anchor = Some(now);
    reschedule(tasks, &mut task, now)?;
    let id = table::insert(&mut transaction, &task).await?;
    transaction.commit(id, &format!("task {id} was created")).await?;
    Ok(id)
}

fn name_taken(error: ApiError, name: &str) -> ApiError {
    if error.is_duplicate() { ApiError::TaskNameTaken(name.to_owned()) } else { error }
}

/// Sets the next fire of a task from `now` on, by its anchor; none when it is disabled.
fn reschedule(tasks: &Tasks, task: &mut Task, now: DateTime<Utc>) -> Result<(), ApiError> {
    task.next_execution_time = None;
    if !task.is_enabled {
        return Ok(());
    }
    let mut problems = Problems::default();
    let zone = tasks.sources.defaults.zone_named(&task.time_zone).map_err(|error| ("time_zone", error.to_string()));
    let schedule = zone.and_then(|zone| {
        CronSchedule::parse(&task.cron_expression, zone).map_err(|error| ("cron_expression", error.to_string()))
    });
    match schedule {
        Ok(schedule) => {
            task.next_execution_time = schedule.next_after(now, task.schedule_anchor.unwrap_or(now));
            if task.next_execution_time.is_none() {
                problems.add("cron_expression", "never fires again, so the task cannot be enabled");
            }
        }
        Err((field, error)) => problems.add(field, error),
    }
    Ok(problems.check()?)
}

/// Changes a task; an absent field keeps its value.
///
/// # Errors
///
/// Bad fields, no such task, a name that is taken, the database.
pub(crate) async fn update(
    tasks: &Tasks,
    actor: &Actor,
    id: TaskId,
    submitted: Submitted<TaskChange>,
) -> Result<(), ApiError> {
    let Submitted { value: mut change, mut problems, said } = submitted;
    tasks.check(&mut change.settings, change.cron_expression.as_ref(), &mut problems);
    problems.check()?;
    let name = change.task_name.clone().unwrap_or_default().0;
    let entry = AuditEntry { actor: actor.clone(), action: AuditAction::UpdateTask, what: said.json() };
    let result = format!("task {id} was changed");
    let changed = transact(|| change_once(tasks, &entry, id, change.clone(), &result)).await;
    changed.map_err(|error| name_taken(error, &name))?;
    tracing::info!(task_id = %id, "task {id} was changed");
    Ok(())
}

/// Enables or disables a task, and says so. To what it is already it changes nothing.
///
/// # Errors
///
/// Bad fields, no such task, a stored schedule that cannot be enabled, the database.
pub(crate) async fn set_enabled(
    tasks: &Tasks,
    actor: &Actor,
    submitted: Submitted<EnableTask>,
) -> Result<String, ApiError> {
    let Submitted { value: EnableTask { id: Whole(id), is_enabled, note }, problems, said } = submitted;
    problems.check()?;
    let id = TaskId(id);
    let (action, word) =
        if is_enabled { (AuditAction::EnableTask, "enabled") } else { (AuditAction::DisableTask, "disabled") };
    let entry = AuditEntry { actor: actor.clone(), action, what: said.json() };
    let result = format!("task {id} is {word}");
    let settings = TaskSettings { is_enabled: Some(is_enabled), ..TaskSettings::default() };
    let change = TaskChange { settings, ..TaskChange::default() };
    let told = match note.filter(|note| !note.0.is_empty()) {
        Some(Note(note)) => format!("{result}: {note}"),
        None => result.clone(),
    };
    transact(|| change_once(tasks, &entry, id, change.clone(), &told)).await?;
    tracing::info!(task_id = %id, is_enabled, "task {id} was {word}");
    Ok(result)
}

async fn change_once(
    tasks: &Tasks,
    entry: &AuditEntry,
    id: TaskId,
    change: TaskChange,
    result: &str,
) -> Result<(), ApiError> {
    let mut transaction = tasks.database.begin(entry).await?;
    let before = table::lock(&mut transaction, id).await?.ok_or(ApiError::TaskNotFound(id))?;
    let mut task = before.clone();
    task.task_name = change.task_name.map_or(task.task_name, |name| name.0);
    task.cron_expression = change.cron_expression.map_or(task.cron_expression, |expression| expression.0);
    change.settings.apply(&mut task);

    let has_new_schedule = task.cron_expression != before.cron_expression || task.time_zone != before.time_zone;
    if has_new_schedule || task.is_enabled != before.is_enabled {
        let now = database::now(&mut transaction).await?;
        // `@every` counts from where its expression was set, whatever else changes.
        if task.cron_expression != before.cron_expression || task.schedule_anchor.is_none() {
            task.schedule_anchor = Some(now);
        }
        reschedule(tasks, &mut task, now)?;
    }
    if before.is_enabled && !task.is_enabled {
        executions::overlap::skip_waiting(&mut transaction, id, "the task was disabled while this run waited").await?;
    }
    if task != before {
        table::update(&mut transaction, &task).await?;
    }
    transaction.commit(id, result).await
}

/// Deletes a task: its name is free again, its history stays, its waiting run ends.
///
/// # Errors
///
/// No such task, the database.
pub(crate) async fn delete(tasks: &Tasks, actor: &Actor, id: TaskId) -> Result<(), ApiError> {
    let what = Said::default().json();
    let entry = AuditEntry { actor: actor.clone(), action: AuditAction::DeleteTask, what };
    transact(|| delete_once(tasks, &entry, id)).await?;
    tracing::info!(task_id = %id, "task {id} was deleted");
    Ok(())
}

async fn delete_once(tasks: &Tasks, entry: &AuditEntry, id: TaskId) -> Result<(), ApiError> {
    let mut transaction = tasks.database.begin(entry).await?;
    if table::lock(&mut transaction, id).await?.is_none() {
        return Err(ApiError::TaskNotFound(id));
    }
    executions::overlap::skip_waiting(&mut transaction, id, "the task was deleted while this run waited").await?;
    table::delete(&mut transaction, id).await?;
    transaction.commit(id, &format!("task {id} was deleted")).await
}

/// A page of live tasks in order of id, and the cursor of the next one.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn list(
    tasks: &Tasks,
    submitted: Submitted<TaskQuery>,
) -> Result<(Vec<TaskView>, Option<String>), ApiError> {
    let Submitted { value: query, problems, said: _ } = submitted;
    problems.check()?;
    let filter = TaskFilter {
        enabled_only: query.enabled_only.unwrap_or(false),
        name: query.name,
        after: query.page.last_seen().unwrap_or(0),
    };
    let mut rows = within_bound(async {
        let mut connection = tasks.database.connection().await?;
        Ok(table::list(&mut connection, &filter, query.page.rows_to_read()).await?)
    })
    .await?;
    let next_cursor = query.page.cut(&mut rows, |view| view.task.id.0);
    Ok((rows, next_cursor))
}

/// One live task.
///
/// # Errors
///
/// No such task, the database.
pub(crate) async fn get(tasks: &Tasks, id: TaskId) -> Result<TaskView, ApiError> {
    within_bound(async {
        let mut connection = tasks.database.connection().await?;
        table::find(&mut connection, id).await?.ok_or(ApiError::TaskNotFound(id))
    })
    .await
}
