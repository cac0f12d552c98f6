//! Pages of a list: how many, and from where.
//!
//! Owns `limit` and `cursor`. A cursor holds the id of the last row of a page, so a list stays correct while rows are
//! added; to the caller it is opaque. A cursor of one list is refused by another.

use crate::fields::Fields;

/// Most rows of one page.
pub(crate) const MAX_LIMIT: u64 = 500;

/// The lists that have cursors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// Tasks, by rising id.
    Tasks,
    /// Execution logs, by falling id.
    ExecutionLogs,
    /// Details of one execution, by rising id.
    ExecutionDetails,
}

impl List {
    /// What its cursors begin with.
    const fn prefix(self) -> char {
        match self {
            Self::Tasks => 't',
            Self::ExecutionLogs => 'e',
            Self::ExecutionDetails => 'd',
        }
    }

    /// Rows of a page when the caller does not say.
    pub(crate) const fn default_limit(self) -> u32 {
        match self {
            // Those who knew the API before it had pages expect these lists whole.
            Self::Tasks | Self::ExecutionDetails => 500,
            Self::ExecutionLogs => 50,
        }
    }
}

/// Which page a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRequest {
    /// 1 to [`MAX_LIMIT`].
    pub(crate) limit: u32,
    /// Id of the last row of the page before.
    pub(crate) after: Option<u64>,
}

impl PageRequest {
    /// The first page of a list.
    pub(crate) const fn first(list: List) -> Self {
        Self { limit: list.default_limit(), after: None }
    }

    /// Takes `limit` and `cursor`.
    pub(crate) fn from_fields(fields: &mut Fields, list: List) -> Self {
        let mut page = Self::first(list);
        if let Some(limit) = fields.number("limit", 1..=MAX_LIMIT) {
            page.limit = u32::try_from(limit).unwrap_or(page.limit);
        }
        if let Some(cursor) = fields.text("cursor") {
            page.after = read_cursor(list, &cursor);
            if page.after.is_none() {
                fields.problems().add("cursor", "is no cursor of this list; send next_cursor of the page before");
            }
        }
        page
    }

    /// How many rows to ask for: one more than the page has tells whether there is another page.
    pub(crate) const fn rows_to_read(self) -> u32 {
        self.limit + 1
    }

    /// Cuts the rows to the page and makes the cursor of the next one.
    pub(crate) fn cut<T>(self, list: List, rows: &mut Vec<T>, id: impl Fn(&T) -> u64) -> Option<String> {
        let limit = self.limit as usize;
        if rows.len() <= limit {
            return None;
        }
        rows.truncate(limit);
        rows.last().map(|last| format!("{}{:x}", list.prefix(), id(last)))
    }
}

fn read_cursor(list: List, cursor: &str) -> Option<u64> {
    let hex = cursor.strip_prefix(list.prefix())?;
    let is_ours = (1..=16).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    is_ours.then(|| u64::from_str_radix(hex, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_followed_by_another_only_if_there_are_more_rows() {
        let page = PageRequest { limit: 2, after: None };
        let mut rows = vec![7, 8, 9];
        let cursor = page.cut(List::Tasks, &mut rows, |id| *id);
        assert_eq!((rows, cursor.as_deref()), (vec![7, 8], Some("t8")));
        let mut rows = vec![7, 8];
        assert_eq!(page.cut(List::Tasks, &mut rows, |id| *id), None);
    }

    #[test]
    fn a_cursor_leads_back_to_its_row_in_its_list_alone() {
        let page = PageRequest { limit: 1, after: None };
        for id in [1, 255, u64::MAX] {
            let cursor = page.cut(List::ExecutionLogs, &mut vec![id, 0], |id| *id).expect("a cursor");
            assert_eq!(read_cursor(List::ExecutionLogs, &cursor), Some(id));
            assert_eq!(read_cursor(List::Tasks, &cursor), None);
        }
        for cursor in ["", "t", "t-1", "tG", "1", "t12345678901234567", "T1", "t1F", "日本"] {
            assert_eq!(read_cursor(List::Tasks, cursor), None, "{cursor}");
        }
    }
}
