//! Looking at the audit: who changed what, when and from where.
//!
//! Owns the filters and pages of the list. Its rows are written with each write ([`crate::database::Database::begin`]).
//! Knows no transport.

use chrono::{DateTime, Utc};
use hostsync_model::audit::{AuditAction, AuditObjectKind};
use hostsync_store::tables::audit::{self, AuditFilter, AuditRow};
use utoipa::openapi::Schema;

use crate::database::{Database, within_bound};
use crate::error::ApiError;
use crate::request::{AuditList, Field, Fields, Page, Submitted, quoted, request, text_schema};

/// Things that entries are about: all of a kind, or one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectFilter {
    kind: AuditObjectKind,
    id: Option<String>,
}

impl Field for ObjectFilter {
    fn schema() -> Schema {
        text_schema("audit-object").build().into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = fields.text(name)?;
        let (kind, id) = text.split_once(':').map_or((text.as_str(), None), |(kind, id)| (kind, Some(id)));
        match kind.parse() {
            Ok(kind) => Some(Self { kind, id: id.map(str::to_owned) }),
            Err(error) => {
                let problem = format!("{error}, alone or with a colon and an id behind it, not {}", quoted(&text));
                fields.problems().add(name, problem);
                None
            }
        }
    }
}

request! {
    /// Which entries to list.
    pub(crate) struct AuditQuery as "AuditQuery" {
        /// Only what this token did, by its name; `command:<user>` for an operator's command.
        who: Option<String>, example "operator";
        /// Only what was done so.
        action: Option<AuditAction>;
        /// Only what was done to this: a kind (`task`, `execution`, `hosts_pool`, `host`, `dead_letters`), or one of it (`task:7`).
        object: Option<ObjectFilter>, example "task:7";
        /// Only what was done at this time or later, RFC 3339.
        from: Option<DateTime<Utc>>, example "2026-01-01T00:00:00Z";
        /// Only what was done before this time, RFC 3339.
        to: Option<DateTime<Utc>>, example "2026-01-08T00:00:00Z";
        ..page: Page<AuditList>;
    }
}

/// A page of entries, newest first, and the cursor of the next one.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn list(
    database: &Database,
    submitted: Submitted<AuditQuery>,
) -> Result<(Vec<AuditRow>, Option<String>), ApiError> {
    let Submitted { value: query, mut problems, said: _ } = submitted;
    if let (Some(from), Some(to)) = (query.from, query.to)
        && from >= to
    {
        problems.add("to", "must be later than from");
    }
    problems.check()?;
    let (object_kind, object_id) = query.object.map_or((None, None), |object| (Some(object.kind), object.id));
    let filter = AuditFilter {
        who: query.who,
        action: query.action,
        object_kind,
        object_id,
        from: query.from,
        to: query.to,
        before: query.page.last_seen(),
    };
    let mut rows = within_bound(async {
        let mut connection = database.connection().await?;
        Ok(audit::list(&mut connection, &filter, query.page.rows_to_read()).await?)
    })
    .await?;
    let next_cursor = query.page.cut(&mut rows, |row| row.id);
    Ok((rows, next_cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_a_kind_or_one_of_it() {
        let read = |text: &str| {
            let submitted = Fields::from_text([("object".to_owned(), text.to_owned())]).read::<AuditQuery>();
            (submitted.value.object, submitted.problems.count())
        };
        let of = |id: Option<&str>| Some(ObjectFilter { kind: AuditObjectKind::Task, id: id.map(str::to_owned) });
        assert_eq!(read("task"), (of(None), 0));
        assert_eq!(read("task:7"), (of(Some("7")), 0));
        assert_eq!(read("disk:1"), (None, 1));
    }
}
