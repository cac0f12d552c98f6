//! The rules of tasks: what one may say, and what changing it does to its schedule.
//!
//! Owns validation and the transactions; the row of the task is locked before anything about its fires is decided, and
//! the database's clock alone says when "now" is. Knows no transport: REST and RPC call the same functions.

use chrono::{DateTime, Utc};
use hostsync_model::catch_up::CatchUpWindow;
use hostsync_model::execution::{OverlapPolicy, TaskId};
use hostsync_model::window::TimeRange;
use hostsync_schedule::CronSchedule;
use hostsync_store::database;
use hostsync_store::tables::executions;
use hostsync_store::tables::tasks::{self, Task, TaskFilter, TaskView};
use hostsync_store::word::Word;

use crate::error::ApiError;
use crate::fields::{Problems, Submitted, quoted};
use crate::pagination::{List, PageRequest};
use crate::sources::{Sources, time_range};
use crate::state::{Api, transact, within_bound};

/// Longest name, in characters: the width of its column.
pub(crate) const MAX_NAME_CHARS: usize = 255;

/// Longest description, in characters; in UTF-8 they fit into the column's 65,535 bytes.
pub(crate) const MAX_DESCRIPTION_CHARS: usize = 10_000;

/// Longest `created_by`, in characters: the width of its column.
pub(crate) const MAX_CREATED_BY_CHARS: usize = 100;

/// What a caller says of a task. Absent: the default of a new task, the value of one that is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskFields {
    pub(crate) task_name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) es_endpoint: Option<String>,
    pub(crate) es_index_pattern: Option<String>,
    pub(crate) mapping: Option<String>,
    pub(crate) cron_expression: Option<String>,
    pub(crate) time_zone: Option<String>,
    pub(crate) overlap_policy: Option<OverlapPolicy>,
    pub(crate) catch_up_window: Option<String>,
    pub(crate) query_time_range: Option<String>,
    pub(crate) is_enabled: Option<bool>,
    /// Of a new task alone.
    pub(crate) created_by: Option<String>,
}

/// The same, every value checked by itself. How expression and zone go together is checked when both are known.
#[derive(Debug, Clone, Default)]
struct Checked {
    task_name: Option<String>,
    description: Option<String>,
    es_endpoint: Option<String>,
    es_index_pattern: Option<String>,
    mapping: Option<String>,
    cron_expression: Option<String>,
    time_zone: Option<String>,
    overlap_policy: Option<OverlapPolicy>,
    catch_up_window: Option<CatchUpWindow>,
    query_time_range: Option<TimeRange>,
    is_enabled: Option<bool>,
    created_by: Option<String>,
}

impl Checked {
    fn of(fields: TaskFields, api: &Api, problems: &mut Problems) -> Self {
        let checked = Self {
            task_name: fields.task_name.map(|name| task_name(&name, problems)),
            description: fields.description.inspect(|text| {
                at_most("description", text, MAX_DESCRIPTION_CHARS, problems);
            }),
            es_endpoint: fields.es_endpoint.map(|name| api.sources.endpoint(&name, problems)),
            es_index_pattern: fields.es_index_pattern.map(|pattern| Sources::index_pattern(&pattern, problems)),
            mapping: fields.mapping.map(|name| api.sources.mapping(&name, problems)),
            cron_expression: fields.cron_expression,
            time_zone: fields.time_zone.inspect(|name| {
                if let Err(error) = api.defaults.zone_named(name) {
                    problems.add("time_zone", error.to_string());
                }
            }),
            overlap_policy: fields.overlap_policy,
            catch_up_window: fields.catch_up_window.and_then(|text| catch_up_window(&text, problems)),
            query_time_range: fields.query_time_range.map(|text| time_range(Some(&text), problems)),
            is_enabled: fields.is_enabled,
            created_by: fields.created_by.inspect(|text| {
                at_most("created_by", text, MAX_CREATED_BY_CHARS, problems);
            }),
        };
        // A first look, so that all that is wrong is told at once; the schedule proper is made with the task at hand.
        if let Some(expression) = &checked.cron_expression {
            let zone = checked.time_zone.as_deref().and_then(|name| api.defaults.zone_named(name).ok());
            if let Err(error) = CronSchedule::parse(expression, zone.unwrap_or(api.defaults.time_zone())) {
                problems.add("cron_expression", error.to_string());
            }
        }
        checked
    }
}

/// Checks the name of a task or of a run; blanks around it are cut off.
pub(crate) fn task_name(text: &str, problems: &mut Problems) -> String {
    let name = text.trim();
    let length = name.chars().count();
    if length == 0 {
        problems.add("task_name", "must not be empty");
    } else if length > MAX_NAME_CHARS {
        problems.add("task_name", format!("must have at most {MAX_NAME_CHARS} characters, not {length}"));
    } else if name.contains(char::is_control) {
        problems.add("task_name", "must not contain control characters");
    }
    name.to_owned()
}

fn at_most(field: &str, text: &str, max_chars: usize, problems: &mut Problems) {
    let length = text.chars().count();
    if length > max_chars {
        problems.add(field, format!("must have at most {max_chars} characters, not {length}"));
    }
}

/// Checks a catch-up window.
fn catch_up_window(text: &str, problems: &mut Problems) -> Option<CatchUpWindow> {
    text.parse().map_err(|error| problems.add("catch_up_window", format!("{error}, not {}", quoted(text)))).ok()
}

/// Makes a task.
///
/// # Errors
///
/// Bad fields, a name that is taken, the database.
pub(crate) async fn create(api: &Api, submitted: Submitted<TaskFields>) -> Result<TaskId, ApiError> {
    let Submitted { value, mut problems } = submitted;
    for (field, is_absent) in
        [("task_name", value.task_name.is_none()), ("cron_expression", value.cron_expression.is_none())]
    {
        if is_absent && !problems.has(field) {
            problems.add(field, "must be given");
        }
    }
    let checked = Checked::of(value, api, &mut problems);
    problems.check()?;
    let task = Task {
        id: TaskId::NONE,
        task_name: checked.task_name.unwrap_or_default(),
        description: checked.description.unwrap_or_default(),
        es_endpoint: checked.es_endpoint.unwrap_or_default(),
        es_index_pattern: checked.es_index_pattern.unwrap_or_default(),
        mapping: checked.mapping.unwrap_or_default(),
        cron_expression: checked.cron_expression.unwrap_or_default(),
        time_zone: checked.time_zone.unwrap_or_default(),
        overlap_policy: Word::Known(checked.overlap_policy.unwrap_or(OverlapPolicy::Skip)),
        catch_up_window: Word::Known(checked.catch_up_window.unwrap_or_default()),
        query_time_range: Word::Known(checked.query_time_range.unwrap_or_else(TimeRange::default_range)),
        is_enabled: checked.is_enabled.unwrap_or(false),
        created_by: checked.created_by.unwrap_or_default(),
        schedule_anchor: None,
        next_execution_time: None,
    };
    let id = transact(|| create_once(api, task.clone())).await.map_err(|error| name_taken(error, &task.task_name))?;
    tracing::info!(task_id = %id, is_enabled = task.is_enabled, "task {id} was created");
    Ok(id)
}

async fn create_once(api: &Api, mut task: Task) -> Result<TaskId, ApiError> {
    let mut transaction = api.begin().await?;
    let now = database::now(&mut transaction).await?;
    task.schedule_anchor = Some(now);
    reschedule(api, &mut task, now)?;
    let id = tasks::insert(&mut transaction, &task).await?;
    transaction.commit().await?;
    Ok(id)
}

fn name_taken(error: ApiError, name: &str) -> ApiError {
    if error.is_duplicate() { ApiError::TaskNameTaken(name.to_owned()) } else { error }
}

/// Sets the next fire of a task from `now` on, by its anchor; none when it is disabled.
fn reschedule(api: &Api, task: &mut Task, now: DateTime<Utc>) -> Result<(), ApiError> {
    task.next_execution_time = None;
    if !task.is_enabled {
        return Ok(());
    }
    let mut problems = Problems::default();
    let zone = api.defaults.zone_named(&task.time_zone).map_err(|error| ("time_zone", error.to_string()));
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
    problems.check()
}

/// Changes a task; an absent field keeps its value.
///
/// # Errors
///
/// Bad fields, no such task, a name that is taken, the database.
pub(crate) async fn update(api: &Api, id: TaskId, submitted: Submitted<TaskFields>) -> Result<(), ApiError> {
    let Submitted { value, mut problems } = submitted;
    let checked = Checked::of(value, api, &mut problems);
    problems.check()?;
    let name = checked.task_name.clone().unwrap_or_default();
    transact(|| change_once(api, id, checked.clone())).await.map_err(|error| name_taken(error, &name))?;
    tracing::info!(task_id = %id, "task {id} was changed");
    Ok(())
}

/// Enables or disables a task. To what it is already it changes nothing.
///
/// # Errors
///
/// No such task, a stored schedule that cannot be enabled, the database.
pub(crate) async fn set_enabled(api: &Api, id: TaskId, is_enabled: bool) -> Result<(), ApiError> {
    let change = Checked { is_enabled: Some(is_enabled), ..Checked::default() };
    transact(|| change_once(api, id, change.clone())).await?;
    tracing::info!(task_id = %id, is_enabled, "task {id} was {}", if is_enabled { "enabled" } else { "disabled" });
    Ok(())
}

async fn change_once(api: &Api, id: TaskId, change: Checked) -> Result<(), ApiError> {
    let mut transaction = api.begin().await?;
    let before = tasks::lock(&mut transaction, id).await?.ok_or(ApiError::TaskNotFound(id))?;
    let mut task = before.clone();
    let set = |field: &mut String, value: Option<String>| {
        if let Some(value) = value {
            *field = value;
        }
    };
    set(&mut task.task_name, change.task_name);
    set(&mut task.description, change.description);
    set(&mut task.es_endpoint, change.es_endpoint);
    set(&mut task.es_index_pattern, change.es_index_pattern);
    set(&mut task.mapping, change.mapping);
    set(&mut task.cron_expression, change.cron_expression);
    set(&mut task.time_zone, change.time_zone);
    task.catch_up_window = change.catch_up_window.map_or(task.catch_up_window, Word::Known);
    task.query_time_range = change.query_time_range.map_or(task.query_time_range, Word::Known);
    task.overlap_policy = change.overlap_policy.map_or(task.overlap_policy, Word::Known);
    task.is_enabled = change.is_enabled.unwrap_or(task.is_enabled);

    let has_new_schedule = task.cron_expression != before.cron_expression || task.time_zone != before.time_zone;
    if has_new_schedule || task.is_enabled != before.is_enabled {
        let now = database::now(&mut transaction).await?;
        // `@every` counts from where its expression was set, whatever else changes.
        if task.cron_expression != before.cron_expression || task.schedule_anchor.is_none() {
            task.schedule_anchor = Some(now);
        }
        reschedule(api, &mut task, now)?;
    }
    if before.is_enabled && !task.is_enabled {
        executions::overlap::skip_waiting(&mut transaction, id, "the task was disabled while this run waited").await?;
    }
    if task != before {
        tasks::update(&mut transaction, &task).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Deletes a task: its name is free again, its history stays, its waiting run ends.
///
/// # Errors
///
/// No such task, the database.
pub(crate) async fn delete(api: &Api, id: TaskId) -> Result<(), ApiError> {
    transact(|| delete_once(api, id)).await?;
    tracing::info!(task_id = %id, "task {id} was deleted");
    Ok(())
}

async fn delete_once(api: &Api, id: TaskId) -> Result<(), ApiError> {
    let mut transaction = api.begin().await?;
    if tasks::lock(&mut transaction, id).await?.is_none() {
        return Err(ApiError::TaskNotFound(id));
    }
    executions::overlap::skip_waiting(&mut transaction, id, "the task was deleted while this run waited").await?;
    tasks::delete(&mut transaction, id).await?;
    transaction.commit().await?;
    Ok(())
}

/// Which tasks a list wants.
#[derive(Debug, Clone)]
pub(crate) struct TaskQuery {
    /// Only those that fire.
    pub(crate) enabled_only: bool,
    /// Names that contain this text.
    pub(crate) name: Option<String>,
    pub(crate) page: PageRequest,
}

/// A page of live tasks in order of id, and the cursor of the next one.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn list(
    api: &Api,
    submitted: Submitted<TaskQuery>,
) -> Result<(Vec<TaskView>, Option<String>), ApiError> {
    let Submitted { value: query, problems } = submitted;
    problems.check()?;
    let filter =
        TaskFilter { enabled_only: query.enabled_only, name: query.name, after: query.page.after.unwrap_or(0) };
    let mut rows = within_bound(async {
        let mut connection = api.connection().await?;
        Ok(tasks::list(&mut connection, &filter, query.page.rows_to_read()).await?)
    })
    .await?;
    let next_cursor = query.page.cut(List::Tasks, &mut rows, |task| task.id.0);
    Ok((rows, next_cursor))
}

/// One live task.
///
/// # Errors
///
/// No such task, the database.
pub(crate) async fn get(api: &Api, id: TaskId) -> Result<TaskView, ApiError> {
    within_bound(async {
        let mut connection = api.connection().await?;
        tasks::find(&mut connection, id).await?.ok_or(ApiError::TaskNotFound(id))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(check: impl FnOnce(&mut Problems)) -> Vec<String> {
        let mut problems = Problems::default();
        check(&mut problems);
        problems.into_reported().into_iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
    }

    #[test]
    fn a_name_is_trimmed_and_bounded_in_characters() {
        let mut problems = Problems::default();
        assert_eq!(task_name("  nightly \t", &mut problems), "nightly");
        assert_eq!(task_name(&"é".repeat(255), &mut problems).chars().count(), 255);
        assert_eq!(problems.count(), 0);
        assert_eq!(problems_of(|p| _ = task_name(" \n ", p)), ["task_name: must not be empty"]);
        assert_eq!(
            problems_of(|p| _ = task_name(&"x".repeat(256), p)),
            ["task_name: must have at most 255 characters, not 256"]
        );
        assert_eq!(problems_of(|p| _ = task_name("a\nb", p)), ["task_name: must not contain control characters"]);
    }
}
