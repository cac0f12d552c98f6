//! What a request may say of a task.

use hostsync_model::catch_up::CatchUpWindow;
use hostsync_model::execution::OverlapPolicy;
use hostsync_model::freshness::FreshnessTarget;
use hostsync_model::window::TimeRange;
use hostsync_model::window_delay::WindowDelay;
use hostsync_schedule::MAX_EXPRESSION_CHARS;
use hostsync_store::tables::tasks::Task;
use hostsync_store::word::Word;
use utoipa::openapi::Schema;

use crate::pause::Note;
use crate::request::{Field, Fields, MAX_ID, Name, Page, TaskList, Whole, quoted, request, text_field, text_schema};
use crate::sources::{EndpointName, IndexPattern, MappingName};

text_field! {
    /// Six fields `second minute hour day-of-month month day-of-week`, five without the second, `@daily` and its like,
    /// `@every 1h30m`; an optional `TZ=Zone ` in front.
    CronExpression, format "cron", max MAX_EXPRESSION_CHARS, example "0 30 2 * * *"
}

text_field! {
    /// IANA name; empty means `scheduler.time_zone`. A `TZ=` in the expression beats it.
    ZoneName, format "time-zone", default "", example "Europe/Berlin"
}

/// Longest description, in characters; in UTF-8 they fit into the column's 65,535 bytes.
const MAX_DESCRIPTION_CHARS: usize = 10_000;

text_field! {
    /// Free text.
    Description, max MAX_DESCRIPTION_CHARS, default ""
}

/// Longest `created_by`, in characters: the width of its column.
const MAX_CREATED_BY_CHARS: usize = 100;

text_field! {
    /// Who makes it.
    CreatedBy, max MAX_CREATED_BY_CHARS, default ""
}

impl Field for CatchUpWindow {
    fn schema() -> Schema {
        text_schema("catch-up-window")
            .description(Some(
                "How late a missed fire may still run: a whole number and one of `s m h d`, from `0s` to `7d`.",
            ))
            .default(Some(Self::default().to_string().into()))
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = fields.text(name)?;
        text.parse().map_err(|error| fields.problems().add(name, format!("{error}, not {}", quoted(&text)))).ok()
    }
}

impl Field for WindowDelay {
    fn schema() -> Schema {
        text_schema("delay")
            .description(Some(
                "How long before its fire the window of a run ends, for documents that come late: a whole number and one of \
                 `s m h d`, from `0s` to `31d`.",
            ))
            .default(Some(Self::default().to_string().into()))
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = fields.text(name)?;
        text.parse().map_err(|error| fields.problems().add(name, format!("{error}, not {}", quoted(&text)))).ok()
    }
}

/// How old a host's values may be; empty means twice the longest gap of the task's next 10 fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetText(String);

impl From<TargetText> for String {
    fn from(TargetText(text): TargetText) -> Self {
        text
    }
}

impl Field for TargetText {
    fn schema() -> Schema {
        text_schema("freshness-target")
            .description(Some(
                "How old a host's values may be: a whole number and one of `m h d w`, from `1m` to `366d`; empty means twice the \
                 longest gap of the next 10 fires.",
            ))
            .default(Some("".into()))
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = fields.text(name)?;
        match text.parse::<FreshnessTarget>() {
            Err(error) if !text.is_empty() => {
                fields.problems().add(name, format!("{error}, not {}", quoted(&text)));
                None
            }
            Ok(_) | Err(_) => Some(Self(text)),
        }
    }
}

/// A column that takes what a field holds.
trait Column<F> {
    fn set(&mut self, value: F);
}

impl<F: Into<Self>> Column<F> for String {
    fn set(&mut self, value: F) {
        *self = value.into();
    }
}

impl Column<bool> for bool {
    fn set(&mut self, value: bool) {
        *self = value;
    }
}

impl<W> Column<W> for Word<W> {
    fn set(&mut self, value: W) {
        *self = Self::Known(value);
    }
}

/// Declares what a task can leave to a default: a line a field.
macro_rules! settings {
    ($($(#[doc = $doc:literal])* $field:ident: $Field:ty $(, default $default:expr)?;)*) => {
        request! {
            /// What a task may leave out.
            pub(crate) struct TaskSettings as "TaskSettings" {
                $($(#[doc = $doc])* $field: Option<$Field> $(, default $default)?;)*
            }
        }

        impl TaskSettings {
            /// Sets what is given.
            pub(super) fn apply(self, task: &mut Task) {
                $(if let Some(value) = self.$field {
                    task.$field.set(value);
                })*
            }
        }
    };
}

settings! {
    description: Description;
    es_endpoint: EndpointName;
    es_index_pattern: IndexPattern;
    mapping: MappingName;
    time_zone: ZoneName;
    overlap_policy: OverlapPolicy;
    catch_up_window: CatchUpWindow;
    query_time_range: TimeRange;
    delay: WindowDelay;
    freshness_target: TargetText;
    /// Whether it fires. Enabling restarts the schedule from now.
    is_enabled: bool, default false;
}

request! {
    /// A new task.
    pub(crate) struct NewTask as "CreateTask" {
        /// Unique among live tasks; blanks around it are cut off.
        task_name: Name, example "nightly";
        cron_expression: CronExpression;
        created_by: Option<CreatedBy>;
        ..settings: TaskSettings;
    }
}

request! {
    /// A change of a task. An absent or null field keeps its value.
    pub(crate) struct TaskChange as "UpdateTask", absent keeps {
        /// Unique among live tasks; blanks around it are cut off.
        task_name: Option<Name>, example "nightly";
        /// As of a new task. A new expression restarts the schedule from now.
        cron_expression: Option<CronExpression>, example "0 0 3 * * *";
        ..settings: TaskSettings;
    }
}

request! {
    /// Which task, and whether it fires.
    pub(crate) struct EnableTask as "EnableTask" {
        /// Id of the task.
        id: Whole<1, MAX_ID>, example 7;
        /// Whether it fires from now on.
        is_enabled: bool, example true;
        /// Why, for the audit and for the waiting run that ends with its task.
        note: Option<Note>;
    }
}

request! {
    /// Which tasks to list.
    pub(crate) struct TaskQuery as "TaskQuery" {
        /// Only tasks that fire.
        enabled_only: Option<bool>, default false;
        /// Only names that contain this text.
        name: Option<String>, example "night";
        ..page: Page<TaskList>;
    }
}
