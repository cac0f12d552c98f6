//! What a request says, whatever carried it: its fields, what is wrong with them, pages, times.
//!
//! Knows no task, no run and no transport.

mod declare;
mod fields;
mod name;
mod page;
mod problems;
mod said;
mod text;
mod timestamp;
mod words;

pub(crate) use declare::{
    Described, Field, Member, Request, Whole, answer_schema, at_most, body_schema, form_schema, query_parameters,
    request, schema_of, schema_or_null, text_field, text_schema, word_schema,
};
pub(crate) use fields::{Fields, JsonObject, MAX_FIELDS, MAX_ID, MAX_ITEMS, Submitted, read_id};
pub(crate) use name::Name;
pub(crate) use page::{AuditList, DeadLetterList, DetailList, ExecutionList, FreshnessList, List, Page, TaskList};
pub(crate) use problems::{FieldError, InvalidLine, Problems};
pub(crate) use said::Said;
pub(crate) use text::{counted, quoted};
pub(crate) use timestamp::Timestamp;
