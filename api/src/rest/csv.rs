//! Lists as CSV (RFC 4180), for spreadsheets: the rows of a list by the names of their fields, streamed.
//!
//! Owns who gets CSV, how a cell is written and how the pages of a list become one table. One page is in memory at a time and
//! no connection of the database is held between two, so a table has no longest length: a reader that is slow holds up nobody.

use std::io;

use ::csv::{Terminator, Writer, WriterBuilder};
use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use hostsync_model::causes::causes;
use serde::Serialize;
use serde_json::Value;

use crate::app::Api;
use crate::error::ApiError;
use crate::request::{List, Page, Problems, Said, Submitted};

/// What CSV is called in `Accept`.
pub(super) const CSV: &str = "text/csv";

const JSON: &str = "application/json";

/// What a spreadsheet takes for a formula when a cell begins with it (OWASP, "CSV Injection").
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// What some spreadsheets need to take a file for UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A row of a list.
pub(crate) trait CsvRow: Serialize {
    /// The names of its fields as they are serialized, in the order of their columns.
    const COLUMNS: &[&str];
}

/// How a caller wants a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListFormat {
    /// A page of it.
    Json,
    /// All of it.
    Csv,
}

impl ListFormat {
    /// By `Accept` (RFC 9110, section 12.5.1). CSV is for who names it and does not name JSON before it; whoever names
    /// neither gets JSON.
    fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT);
        let ranges = accepted.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        let (mut csv, mut json) = (0, 0);
        let mut is_csv_first = false;
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let quality = quality.map_or(1_000, thousandths);
            if name.eq_ignore_ascii_case(CSV) {
                is_csv_first = json == 0;
                csv = quality;
            } else if name.eq_ignore_ascii_case(JSON) {
                json = quality;
            }
        }
        if csv > 0 && (csv > json || (csv == json && is_csv_first)) { Self::Csv } else { Self::Json }
    }
}

/// A weight in thousandths; one that cannot be read is none.
fn thousandths(weight: &str) -> u32 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    match (whole, digits.parse::<u32>()) {
        ("1", Ok(_)) => 1_000,
        ("0", Ok(thousandths)) => thousandths,
        _ => 0,
    }
}

impl FromRequestParts<Api> for ListFormat {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.headers))
    }
}

/// All rows of a list as a table, from the page that was asked for on; at most `limit` of them if the caller said one. `page`
/// is the page in the query, `read` reads one and its cursor.
///
/// # Errors
///
/// Those of reading the first page. A later one breaks the answer off, so that nobody takes a part for the whole.
pub(super) async fn answer<B, T, L, R, F, I>(
    mut submitted: Submitted<T>,
    page: fn(&mut T) -> &mut Page<L>,
    read: R,
) -> Result<Response, ApiError>
where
    B: CsvRow + From<I>,
    T: Clone + Send + 'static,
    L: List + Copy + 'static,
    R: Fn(Submitted<T>) -> F + Send + 'static,
    F: Future<Output = Result<(Vec<I>, Option<String>), ApiError>> + Send,
{
    let asked = page(&mut submitted.value);
    let is_whole = asked.said_limit().is_none();
    let mut head = if asked.has_bom() { BYTE_ORDER_MARK.to_vec() } else { Vec::new() };
    if is_whole {
        asked.widen();
    }
    let query = submitted.value.clone();
    let (rows, cursor) = read(submitted).await?;
    head.extend(table::<B, _>(Some(B::COLUMNS), rows)?);
    // A limit is at most a page.
    let cursor = cursor.filter(|_| is_whole);

    let first = stream::once(async move { Ok::<_, io::Error>(Bytes::from(head)) });
    let more = stream::unfold((query, read, cursor), move |(mut query, read, cursor)| async move {
        page(&mut query).go_to(&cursor?);
        let next = Submitted { value: query.clone(), problems: Problems::default(), said: Said::default() };
        let chunk = match read(next).await {
            Ok((rows, cursor)) => table::<B, _>(None, rows).map(|bytes| (bytes, cursor)),
            Err(error) => Err(error),
        };
        Some(match chunk {
            Ok((bytes, cursor)) => (Ok(Bytes::from(bytes)), (query, read, cursor)),
            Err(error) => {
                tracing::warn!(error = %causes(&error), "a list as CSV breaks off: {}", causes(&error));
                (Err(io::Error::other("the list breaks off")), (query, read, None))
            }
        })
    });
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"), (header::VARY, "accept")];
    Ok((headers, Body::from_stream(first.chain(more))).into_response())
}

/// Rows as lines, below the names of the columns if these are given.
///
/// # Errors
///
/// A row that is no object.
fn table<B: CsvRow + From<I>, I>(columns: Option<&[&str]>, rows: Vec<I>) -> Result<Vec<u8>, ApiError> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    let write = |writer: &mut Writer<Vec<u8>>| -> anyhow::Result<()> {
        if let Some(columns) = columns {
            writer.write_record(columns)?;
        }
        for row in rows {
            let fields = serde_json::to_value(B::from(row))?;
            writer.write_record(B::COLUMNS.iter().map(|name| cell(&fields[*name])))?;
        }
        Ok(())
    };
    write(&mut writer)?;
    Ok(writer.into_inner().map_err(|error| anyhow::anyhow!("CSV cannot be written: {error}"))?)
}

/// A value as a cell: null is empty, a list or an object is JSON. A text that a spreadsheet would take for a formula gets a
/// quote before it; a number is a number.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(FORMULA_STARTS) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct Row {
        number: i64,
        text: Value,
    }

    impl CsvRow for Row {
        const COLUMNS: &[&str] = &["number", "text"];
    }

    impl From<Value> for Row {
        fn from(text: Value) -> Self {
            Self { number: -1, text }
        }
    }

    fn written(texts: &[Value]) -> String {
        String::from_utf8(table::<Row, Value>(Some(Row::COLUMNS), texts.to_vec()).expect("a table")).expect("UTF-8")
    }

    #[test]
    fn a_text_that_looks_like_a_formula_gets_a_quote_and_a_number_stays() {
        let texts = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "x=1", " =1", ""].map(|text| json!(text));
        assert_eq!(
            written(&texts),
            "number,text\r\n-1,'=1+1\r\n-1,'+1\r\n-1,'-1\r\n-1,'@x\r\n-1,'\tx\r\n-1,\"'\rx\"\r\n-1,x=1\r\n-1, =1\r\n-1,\r\n"
        );
        assert_eq!(
            written(&[json!(-1), json!(-0.5), json!(1e300)]),
            "number,text\r\n-1,-1\r\n-1,-0.5\r\n-1,1e+300\r\n"
        );
    }

    #[test]
    fn what_would_break_a_line_is_quoted() {
        let texts = [json!("a,b"), json!("say \"x\""), json!("two\nlines"), json!("日本")];
        assert_eq!(
            written(&texts),
            "number,text\r\n-1,\"a,b\"\r\n-1,\"say \"\"x\"\"\"\r\n-1,\"two\nlines\"\r\n-1,日本\r\n"
        );
    }

    #[test]
    fn null_is_empty_and_what_has_parts_is_json() {
        let texts = [json!(null), json!(true), json!(["=a", "b"]), json!({"a": 1})];
        assert_eq!(
            written(&texts),
            "number,text\r\n-1,\r\n-1,true\r\n-1,\"[\"\"=a\"\",\"\"b\"\"]\"\r\n-1,\"{\"\"a\"\":1}\"\r\n"
        );
        assert_eq!(written(&[]), "number,text\r\n");
    }

    #[test]
    fn csv_is_for_who_names_it_before_json() {
        for (accept, format) in [
            ("text/csv", ListFormat::Csv),
            ("Text/CSV; charset=utf-8", ListFormat::Csv),
            ("text/csv, */*;q=0.1", ListFormat::Csv),
            ("text/csv, application/json", ListFormat::Csv),
            ("application/json;q=0.9, text/csv", ListFormat::Csv),
            ("application/json, text/csv", ListFormat::Json),
            ("application/json, text/csv;q=0.5", ListFormat::Json),
            ("text/csv;q=0", ListFormat::Json),
            ("text/*", ListFormat::Json),
            ("*/*", ListFormat::Json),
            ("text/html", ListFormat::Json),
            ("x", ListFormat::Json),
            ("", ListFormat::Json),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a header"))]);
            assert_eq!(ListFormat::of(&headers), format, "{accept}");
        }
        assert_eq!(ListFormat::of(&HeaderMap::new()), ListFormat::Json);
    }
}
