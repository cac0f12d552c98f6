//! Pages of a list: how many rows, and from where.
//!
//! Owns `limit` and `cursor`. A cursor holds the id of the last row of a page, so a list stays correct while rows are
//! added; to the caller it is opaque. A cursor of one list is refused by another.

use std::marker::PhantomData;

use serde_json::json;
use utoipa::openapi::Schema;

use super::declare::{Described, Field, Request, Whole, text_schema};
use super::fields::Fields;

/// Most rows of one page.
pub(crate) const MAX_LIMIT: u64 = 500;

/// A list that has cursors.
pub(crate) trait List {
    /// What its cursors begin with.
    const PREFIX: char;
    /// What its cursors are called in the OpenAPI document.
    const CURSOR: &str;
    /// Rows of a page when the caller does not say.
    const DEFAULT_LIMIT: u32;
}

/// Tasks, by rising id. Those who knew the API before it had pages expect this list whole, like that of details.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TaskList;

impl List for TaskList {
    const PREFIX: char = 't';
    const CURSOR: &str = "task-cursor";
    const DEFAULT_LIMIT: u32 = 500;
}

/// Execution logs, by falling id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExecutionList;

impl List for ExecutionList {
    const PREFIX: char = 'e';
    const CURSOR: &str = "execution-cursor";
    const DEFAULT_LIMIT: u32 = 50;
}

/// Entries of the audit, by falling id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditList;

impl List for AuditList {
    const PREFIX: char = 'a';
    const CURSOR: &str = "audit-cursor";
    const DEFAULT_LIMIT: u32 = 50;
}

/// Dead letters, by falling id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeadLetterList;

impl List for DeadLetterList {
    const PREFIX: char = 'l';
    const CURSOR: &str = "dead-letter-cursor";
    const DEFAULT_LIMIT: u32 = 50;
}

/// Hosts by how fresh they are, by rising id in the pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FreshnessList;

impl List for FreshnessList {
    const PREFIX: char = 'f';
    const CURSOR: &str = "freshness-cursor";
    const DEFAULT_LIMIT: u32 = 100;
}

/// Details of one execution, by rising id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DetailList;

impl List for DetailList {
    const PREFIX: char = 'd';
    const CURSOR: &str = "detail-cursor";
    const DEFAULT_LIMIT: u32 = 500;
}

/// Which page of a list a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page<L> {
    /// 1 to [`MAX_LIMIT`].
    limit: u32,
    /// Id of the last row of the page before.
    after: Option<u64>,
    /// As the caller said it.
    said_limit: Option<u32>,
    /// Whether CSV begins with a byte order mark.
    has_bom: bool,
    list: PhantomData<L>,
}

impl<L: List> Default for Page<L> {
    fn default() -> Self {
        Self::after(None, L::DEFAULT_LIMIT)
    }
}

impl<L: List> Page<L> {
    /// The page of so many rows behind the row `after`.
    pub(crate) const fn after(after: Option<u64>, limit: u32) -> Self {
        Self { limit, after, said_limit: None, has_bom: false, list: PhantomData }
    }

    /// Most rows that the caller wants; `None`: as many as there are, where there is no need for pages.
    pub(crate) const fn said_limit(self) -> Option<u32> {
        self.said_limit
    }

    /// Whether a table begins with a byte order mark.
    pub(crate) const fn has_bom(self) -> bool {
        self.has_bom
    }

    /// As many rows as a page may have.
    pub(crate) fn widen(&mut self) {
        self.limit = u32::try_from(MAX_LIMIT).unwrap_or(u32::MAX);
    }

    /// Moves on to the page that begins at a cursor of [`Self::cut`].
    pub(crate) fn go_to(&mut self, cursor: &str) {
        self.after = read_cursor(L::PREFIX, cursor);
    }

    /// Id of the last row of the page before.
    pub(crate) const fn last_seen(self) -> Option<u64> {
        self.after
    }

    /// How many rows to ask for: one more than the page has tells whether there is another page.
    pub(crate) const fn rows_to_read(self) -> u32 {
        self.limit + 1
    }

    /// Cuts the rows to the page and makes the cursor of the next one.
    pub(crate) fn cut<T>(self, rows: &mut Vec<T>, id: impl Fn(&T) -> u64) -> Option<String> {
        let limit = self.limit as usize;
        if rows.len() <= limit {
            return None;
        }
        rows.truncate(limit);
        rows.last().map(|last| format!("{}{:x}", L::PREFIX, id(last)))
    }
}

impl<L: List> Request for Page<L> {
    fn fields() -> Vec<Described> {
        vec![
            Described::new::<Option<Whole<1, MAX_LIMIT>>>("limit", &["Most rows in the answer."])
                .with_default(L::DEFAULT_LIMIT),
            Described::new::<Option<Cursor<L>>>("cursor", &["`next_cursor` of the page before."])
                .with_example(json!(format!("{}1f", L::PREFIX))),
            Described::new::<Option<Whole<0, 1>>>("bom", &["1: CSV begins with a byte order mark. JSON never does."])
                .with_default(0)
                .with_example(json!(1)),
        ]
    }

    fn take(fields: &mut Fields) -> Self {
        let limit: Option<Whole<1, MAX_LIMIT>> = Field::read(fields, "limit");
        let cursor: Option<Cursor<L>> = Field::read(fields, "cursor");
        let bom: Option<Whole<0, 1>> = Field::read(fields, "bom");
        let said_limit = limit.and_then(|Whole(limit)| u32::try_from(limit).ok());
        let page = Self::after(cursor.map(|cursor| cursor.id), said_limit.unwrap_or(L::DEFAULT_LIMIT));
        Self { said_limit, has_bom: bom.is_some_and(|Whole(flag)| flag == 1), ..page }
    }
}

/// Where the page before has ended.
struct Cursor<L> {
    id: u64,
    list: PhantomData<L>,
}

impl<L: List> Field for Cursor<L> {
    fn schema() -> Schema {
        text_schema(L::CURSOR).build().into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = fields.text(name)?;
        let id = read_cursor(L::PREFIX, &text);
        if id.is_none() {
            fields.problems().add(name, "is no cursor of this list; send next_cursor of the page before");
        }
        Some(Self { id: id?, list: PhantomData })
    }
}

fn read_cursor(prefix: char, cursor: &str) -> Option<u64> {
    let hex = cursor.strip_prefix(prefix)?;
    let is_ours = (1..=16).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    is_ours.then(|| u64::from_str_radix(hex, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_followed_by_another_only_if_there_are_more_rows() {
        let page = Page::<TaskList>::after(None, 2);
        let mut rows = vec![7, 8, 9];
        let cursor = page.cut(&mut rows, |id| *id);
        assert_eq!((rows, cursor.as_deref()), (vec![7, 8], Some("t8")));
        let mut rows = vec![7, 8];
        assert_eq!(page.cut(&mut rows, |id| *id), None);
    }

    #[test]
    fn a_cursor_leads_back_to_its_row_in_its_list_alone() {
        let page = Page::<ExecutionList>::after(None, 1);
        for id in [1, 255, u64::MAX] {
            let cursor = page.cut(&mut vec![id, 0], |id| *id).expect("a cursor");
            assert_eq!(read_cursor(ExecutionList::PREFIX, &cursor), Some(id));
            assert_eq!(read_cursor(TaskList::PREFIX, &cursor), None);
        }
        for cursor in ["", "t", "t-1", "tG", "1", "t12345678901234567", "T1", "t1F", "日本"] {
            assert_eq!(read_cursor(TaskList::PREFIX, cursor), None, "{cursor}");
        }
    }
}
