//! How an error is told over HTTP: status, headers, body.
//!
//! What only the operator may see goes to the log, once, with the id of the request ([`LoggedError`], picked up in
//! [`super::observe`]).

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::error::{ApiError, Code};
use crate::request::{FieldError, InvalidLine};

/// What `Retry-After` says with [`Code::DatabaseUnavailable`], in seconds.
const DATABASE_RETRY_AFTER_S: u64 = 5;

/// What `Retry-After` says with [`Code::SourceUnavailable`] and [`Code::BrokerUnavailable`], in seconds.
const SOURCE_RETRY_AFTER_S: u64 = 15;

/// What `Retry-After` says with [`Code::TooManyRequests`], in seconds.
const BUSY_RETRY_AFTER_S: u64 = 1;

/// The status that goes with a code.
pub(super) const fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidRequest | Code::MalformedBody | Code::SourceRefused => StatusCode::BAD_REQUEST,
        Code::Unauthorized => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::ForeignRequest => StatusCode::FORBIDDEN,
        Code::NotFound | Code::TaskNotFound | Code::ExecutionNotFound | Code::HostNotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::TaskNameTaken
        | Code::ExecutionFinished
        | Code::TaskRunning
        | Code::ExecutionNotFinished
        | Code::NothingToRetry
        | Code::IdempotencyKeyReused
        | Code::HostPoolRefused => StatusCode::CONFLICT,
        Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        Code::Overloaded | Code::DatabaseUnavailable | Code::BrokerUnavailable | Code::SourceUnavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::InternalError | Code::DatabaseRefused => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let meanings: Vec<String> =
            Self::ALL.iter().map(|code| format!("* `{}`: {}", code.as_str(), code.meaning())).collect();
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .description(Some(format!("What went wrong, as a stable word.\n\n{}", meanings.join("\n"))))
            .into()
    }
}

impl ToSchema for Code {}

/// The body of every answer that is no success.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// Always false.
    #[schema(examples(false))]
    success: bool,
    /// What is wrong and what to do about it.
    #[schema(examples("task_name: must be given"))]
    message: String,
    /// What went wrong, as a stable word.
    code: Code,
    /// The fields at fault, at most 100; with `invalid_request` alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// The lines of a host file that are no addresses, when none of its lines is; at most 1,000.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    invalid_lines: Vec<InvalidLine>,
}

impl ErrorBody {
    pub(crate) fn new(code: Code, message: String, errors: Vec<FieldError>) -> Self {
        Self { success: false, message, code, errors, invalid_lines: Vec::new() }
    }
}

/// An error for the log alone, put into the answer's extensions for whoever writes the log.
#[derive(Clone)]
pub(crate) struct LoggedError(pub(crate) Arc<anyhow::Error>);

fn headers(error: &ApiError) -> Option<(HeaderName, HeaderValue)> {
    let challenge = |text| Some((header::WWW_AUTHENTICATE, HeaderValue::from_static(text)));
    match error {
        ApiError::NoToken => challenge("Bearer realm=\"hostsync\""),
        ApiError::UnknownToken => challenge("Bearer realm=\"hostsync\", error=\"invalid_token\""),
        ApiError::Forbidden => challenge("Bearer realm=\"hostsync\", error=\"insufficient_scope\""),
        _ => match error.code() {
            Code::DatabaseUnavailable => Some((header::RETRY_AFTER, DATABASE_RETRY_AFTER_S.into())),
            Code::SourceUnavailable | Code::BrokerUnavailable => {
                Some((header::RETRY_AFTER, SOURCE_RETRY_AFTER_S.into()))
            }
            Code::TooManyRequests | Code::Overloaded => Some((header::RETRY_AFTER, BUSY_RETRY_AFTER_S.into())),
            _ => None,
        },
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code();
        let headers = headers(&self);
        let message = self.message();
        let mut body = ErrorBody::new(code, message, Vec::new());
        let mut fault = None;
        match self {
            Self::BadInput(problems) => body.errors = problems.into_reported(),
            Self::NoHostInFile { problems, invalid_lines } => {
                body.errors = problems.into_reported();
                body.invalid_lines = invalid_lines;
            }
            other => fault = other.into_fault(),
        }
        let mut response = (status_of(code), Json(body)).into_response();
        if let Some((name, value)) = headers {
            response.headers_mut().insert(name, value);
        }
        if let Some(error) = fault {
            response.extensions_mut().insert(LoggedError(Arc::new(error)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_told_with_the_time_to_come_back() {
        let response = ApiError::Database(sqlx::Error::PoolTimedOut).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    }
}
