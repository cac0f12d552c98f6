//! The OpenAPI document: what the routes say of themselves, put together.
//!
//! Owns what is the same for all routes and so said once: title, authentication, the errors that any of them may answer.
//! A test holds the document against the router and against `openapi.json`.

mod examples;

use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, Header, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder,
    Ref, RefOr, Required, Response, ServerBuilder, Type,
};
use utoipa::{OpenApi as _, PartialSchema as _, ToSchema as _};

use super::BASE_PATH;
use super::csv::CSV;
use super::error::{ErrorBody, status_of};
use super::events::ExecutionState;
use super::operator::OperatorRoutes;
use crate::error::Code;
use crate::request::{FieldError, InvalidLine};

/// The name of the one way to authenticate.
const BEARER: &str = "bearer";

/// The description of a body that may be absent.
const OPTIONAL_BODY: &str = "May be left out";

const DESCRIPTION: &str = "hostsync fills a CMDB's tables with the load of its hosts, read from Elasticsearch, on \
    schedules and by hand.\n\nEvery JSON body begins with `success` and `message`. An error adds `code`, a stable word, \
    and, for bad input, `errors` with a message for each field. Unknown fields and query parameters are refused by name; \
    a null is an absent field, and so is an empty query parameter. Times are RFC 3339 in UTC with milliseconds. Lists \
    have `limit` and an opaque `cursor`; `next_cursor` is absent on the last page. Every answer has its id in the header \
    `x-request-id`.\n\nA token has one of two roles: `viewer` reads, `operator` also writes. \
    Without authentication (`api.auth` is `none`) a browser is refused what it sends for a page of another site: \
    `foreign_request`.\n\nTexts with a form of their \
    own name it by `format`: `cron` (see `cron_expression` of a task), `time-zone` (an IANA name), `time-range` (`30m`, \
    `24h`, `7d`, `4w`), `catch-up-window` and `delay` (`30s`, `1m`, `2h`, `7d`), `endpoint` and `mapping` (a configured one), \
    `index-pattern`, `group` (one that the source knows), `audit-object` (a kind, or one of it by its id: `task:7`), `ip` (IPv4 or IPv6), `host-file` (addresses line by line), and \
    the cursors of the lists.";

/// The lists that are answered as CSV to who accepts it.
const CSV_LISTS: [&str; 5] = [
    "get_es_sync_tasks",
    "get_es_sync_execution_logs",
    "get_es_sync_execution_detail",
    "get_es_sync_audit",
    "get_es_sync_dead_letters",
];

const CSV_DESCRIPTION: &str = "With `Accept: text/csv`: all rows behind `cursor` (with `limit` so many) as CSV, a column a \
    field, streamed. Null is an empty cell, a list or an object is JSON; a text that begins with `=`, `+`, `-`, `@`, a tab or \
    a carriage return has a `'` before it.";

const CSV_EXAMPLE: &str = "id,created_at\r\n7,2026-01-02T03:04:05.678Z\r\n";

const TAGS: [(&str, &str); 4] = [
    ("tasks", "Saved configurations with a schedule"),
    ("running", "Runs made by hand"),
    ("looking", "What ran, and how"),
    ("operating", "For the tools of whoever runs hostsync; no token needed"),
];

/// What the document says before the routes below [`BASE_PATH`] add themselves.
pub(crate) fn base() -> OpenApi {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("`api.operator_token`, `api.viewer_token` or one of `api.tokens` of the configuration"))
        .build();
    let info = InfoBuilder::new()
        .title("hostsync")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build()))
        .build();
    let components = ComponentsBuilder::new()
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .schema(ErrorBody::name(), ErrorBody::schema())
        .schema(Code::name(), Code::schema())
        .schema(FieldError::name(), FieldError::schema())
        .schema(InvalidLine::name(), InvalidLine::schema())
        .schema(ExecutionState::name(), ExecutionState::schema())
        .build();
    let tags = TAGS.map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build());
    let mut document = OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .components(Some(components))
        .tags(Some(tags))
        .build();
    document.merge(OperatorRoutes::openapi());
    document
}

/// Adds what is the same for many routes: that they need a token, and the errors that any may answer.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        if !path.starts_with(BASE_PATH) {
            continue;
        }
        let writing = [&mut item.put, &mut item.post, &mut item.delete];
        for operation in writing.into_iter().flatten() {
            add_errors(operation, &[Code::Forbidden, Code::ForeignRequest]);
        }
        for operation in [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten() {
            operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]);
            add_errors(operation, &[Code::Unauthorized, Code::InternalError]);
            add_errors(operation, &[Code::DatabaseRefused, Code::DatabaseUnavailable, Code::Overloaded]);
            if let Some(RefOr::T(body)) = &mut operation.request_body
                && body.description.as_deref() == Some(OPTIONAL_BODY)
            {
                body.required = Some(Required::False);
            }
            if operation.request_body.is_some() {
                add_errors(operation, &[Code::InvalidRequest, Code::MalformedBody]);
                add_errors(operation, &[Code::BodyTooLarge, Code::UnsupportedMediaType]);
            } else {
                add_errors(operation, &[Code::InvalidRequest]);
            }
        }
    }
    add_csv(&mut document);
    examples::add(&mut document);
    document
}

/// Documents that a list is answered as CSV as well.
fn add_csv(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let Some(operation) = &mut item.get else { continue };
        let is_csv = operation.operation_id.as_deref().is_some_and(|id| CSV_LISTS.contains(&id));
        let Some(RefOr::T(response)) = operation.responses.responses.get_mut("200").filter(|_| is_csv) else {
            continue;
        };
        response.description = format!("{}. {CSV_DESCRIPTION}", response.description);
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let content = ContentBuilder::new().schema(Some(text)).example(Some(CSV_EXAMPLE.into())).build();
        response.content.insert(CSV.to_owned(), content.into());
    }
}

/// Documents error answers; codes of one status share one answer.
fn add_errors(operation: &mut Operation, codes: &[Code]) {
    for code in codes {
        let status = status_of(*code).as_str().to_owned();
        let told = format!("`{}`: {}", code.as_str(), code.meaning());
        match operation.responses.responses.get_mut(&status) {
            Some(RefOr::T(response)) if !response.description.contains(&told) => {
                response.description = format!("{}\n\n{told}", response.description);
            }
            Some(_) => {}
            None => {
                operation.responses.responses.insert(status, error_response(*code, told).into());
            }
        }
    }
}

/// The answer that carries a code.
fn error_response(code: Code, description: String) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    let response = ResponseBuilder::new().description(description).content("application/json", content);
    let header = |kind: Type, description: &str| {
        let mut header = Header::new(ObjectBuilder::new().schema_type(kind));
        header.description = Some(description.to_owned());
        header
    };
    match code {
        Code::Unauthorized => response.header("WWW-Authenticate", header(Type::String, "How to authenticate")),
        Code::DatabaseUnavailable
        | Code::BrokerUnavailable
        | Code::SourceUnavailable
        | Code::TooManyRequests
        | Code::Overloaded => {
            response.header("Retry-After", header(Type::Integer, "Seconds to wait before the next try"))
        }
        _ => response,
    }
    .build()
}
