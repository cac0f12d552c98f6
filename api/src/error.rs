//! What can go wrong with a request, and how it is told.
//!
//! Owns the stable codes and the sentences. A message is a sentence that the caller can act on; what only the operator may
//! see (SQL, paths) is for the log alone ([`ApiError::into_fault`]). How REST and gRPC tell it is theirs.

use std::any::Any;

use hostsync_model::execution::{ExecutionId, ExecutionStatus, TaskId};
use hostsync_store::denied::Denied;
use hostsync_store::fault::{Fault as DatabaseFault, StatementRefusal};
use hostsync_store::word::Word;

use crate::request::{FieldError, InvalidLine, Problems, quoted};

/// Problems that the message of a bad request repeats; `errors` has them all.
const PROBLEMS_IN_MESSAGE: usize = 3;

macro_rules! codes {
    ($($variant:ident = $text:literal, $meaning:literal;)+) => {
        /// What went wrong, as a stable word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $meaning] $variant),+
        }

        impl Code {
            /// Every code.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// As it stands in answers.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// What it means, in a sentence.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

codes! {
    InvalidRequest = "invalid_request", "Fields are missing, unknown or wrong; `errors` names each.";
    MalformedBody = "malformed_body", "The body cannot be read at all.";
    Unauthorized = "unauthorized", "There is no token, or an unknown one.";
    Forbidden = "forbidden", "The token's role may not do this.";
    ForeignRequest = "foreign_request", "Without authentication: a browser sends this for a page of somebody else.";
    NotFound = "not_found", "There is nothing at this path.";
    TaskNotFound = "task_not_found", "There is no such task, or it was deleted.";
    ExecutionNotFound = "execution_not_found", "There is no such execution.";
    HostNotFound = "host_not_found", "Nothing is known of such a host.";
    MethodNotAllowed = "method_not_allowed", "This path has other methods; see `Allow`.";
    TaskNameTaken = "task_name_taken", "Another live task has this name.";
    ExecutionFinished = "execution_finished", "The execution has ended.";
    TaskRunning = "task_running", "A run of the task is going and its overlap policy lets no other begin.";
    ExecutionNotFinished = "execution_not_finished", "The execution has not ended yet.";
    NothingToRetry = "nothing_to_retry", "The execution has no failed or cancelled host that could be retried.";
    IdempotencyKeyReused = "idempotency_key_reused", "The `Idempotency-Key` was sent with another body before.";
    HostPoolRefused = "host_pool_refused", "The CMDB's table `hosts_pool` refuses the new hosts.";
    SourceRefused = "source_refused", "The source refuses the search: credentials, index pattern or mapping are wrong.";
    BodyTooLarge = "body_too_large", "The body or the host file is too large.";
    UnsupportedMediaType = "unsupported_media_type", "The body has a content type that is not taken here.";
    TooManyRequests = "too_many_requests", "Too many bodies, full syncs, probes or event streams at once; see `Retry-After`.";
    Overloaded = "overloaded", "Too many connections are open; see `Retry-After`.";
    InternalError = "internal_error", "A fault of hostsync; its log has more under the id in `x-request-id`.";
    DatabaseRefused = "database_refused", "The database does not let hostsync do this: it lacks a right, which the message names. Trying again does not help.";
    DatabaseUnavailable = "database_unavailable", "The database is down or busy; see `Retry-After`.";
    BrokerUnavailable = "broker_unavailable", "The broker takes no job: it is down, or its queue is full; see `Retry-After`.";
    SourceUnavailable = "source_unavailable", "The source is down, busy or gave no whole answer; see `Retry-After`.";
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{}", bad_input_message(.0))]
    BadInput(Problems),
    #[error("{}", bad_input_message(.problems))]
    NoHostInFile { problems: Problems, invalid_lines: Vec<InvalidLine> },
    #[error("the body cannot be read: {0}")]
    MalformedBody(String),
    #[error("this needs a token: send the header `Authorization: Bearer <token>`")]
    NoToken,
    #[error("the token is not known here")]
    UnknownToken,
    #[error("a viewer's token may only read; this needs the operator's")]
    Forbidden,
    #[error(
        "a page of another site may not do this: without authentication (api.auth is \"none\") a browser may write for \
         hostsync's own pages alone"
    )]
    ForeignPage,
    #[error(
        "the host {} is not this machine: without authentication (api.auth is \"none\") hostsync answers here only to \
         localhost and to addresses, so that no page of another site gets in by a name of its own; let a proxy send \
         `Host: localhost`, or set tokens", quoted(.0)
    )]
    ForeignHost(String),
    #[error("there is nothing at {method} {path}; /openapi.json lists what there is")]
    NoRoute { method: String, path: String },
    #[error("{method} is not possible at {path}; the header `Allow` says what is")]
    MethodNotAllowed { method: String, path: String },
    #[error("there is no task {0}")]
    TaskNotFound(TaskId),
    #[error("there is no execution {0}")]
    ExecutionNotFound(ExecutionId),
    #[error("nothing is known of a host {}", quoted(.0))]
    HostNotFound(String),
    #[error("execution {execution} has no host {}", quoted(.host_ip))]
    HostNotInExecution { execution: ExecutionId, host_ip: String },
    #[error("another task is named \"{0}\"; choose another name")]
    TaskNameTaken(String),
    #[error("execution {0} has ended already: {1}")]
    ExecutionFinished(ExecutionId, Word<ExecutionStatus>),
    #[error("{0}")]
    TaskRunning(String),
    #[error("execution {0} is still {1}; wait for its end, or cancel it")]
    ExecutionNotFinished(ExecutionId, ExecutionStatus),
    #[error("execution {0} {1}")]
    NothingToRetry(ExecutionId, &'static str),
    #[error("the Idempotency-Key \"{0}\" was sent with another body within the last 24 hours; choose another key")]
    IdempotencyKeyReused(String),
    #[error("the table hosts_pool of the CMDB refuses the new hosts: {0}")]
    HostPoolRefused(String),
    #[error("the source refuses the search: {0}")]
    SourceRefused(String),
    #[error("the source gives no answer: {0}; try again in a few seconds")]
    SourceUnavailable(String),
    #[error("the broker takes no job: {0}; try again in a few seconds")]
    BrokerUnavailable(String),
    #[error("{what} is too large: at most {limit_bytes} bytes are taken")]
    TooLarge { what: &'static str, limit_bytes: usize },
    #[error("the content type must be {0}")]
    UnsupportedMediaType(&'static str),
    #[error("too many host lists, files and other bodies are being taken in at the moment; try again in a second")]
    Busy,
    #[error("too many full syncs are looking for their hosts at the moment; try again in a second")]
    TooManyFullSyncs,
    #[error("too many sources are being probed at the moment; try again in a second")]
    TooManyProbes,
    #[error("too many event streams are open, in all or by you; close one, or ask for the execution instead")]
    TooManyStreams,
    #[error("too many connections are open at the moment; try again in a second")]
    TooManyConnections,
    #[error("the database is not available; try again in a few seconds")]
    DatabaseNotReady,
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("an internal error")]
    Internal(#[from] anyhow::Error),
}

fn bad_input_message(problems: &Problems) -> String {
    let shown = |problem: &FieldError| format!("{}: {}", problem.field, problem.message);
    let all = problems.reported();
    let mut message = all.iter().take(PROBLEMS_IN_MESSAGE).map(shown).collect::<Vec<_>>().join("; ");
    let left = problems.count().saturating_sub(PROBLEMS_IN_MESSAGE);
    if left > 0 {
        message = format!("{message}; and {left} more");
    }
    message
}

impl From<Problems> for ApiError {
    fn from(problems: Problems) -> Self {
        Self::BadInput(problems)
    }
}

impl ApiError {
    /// Of a handler that panicked.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let what = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Self::Internal(anyhow::anyhow!("a handler panicked: {what}"))
    }

    /// Whether the database broke the transaction off in favour of another, so that it can be run again.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) if DatabaseFault::of(error) == DatabaseFault::Conflict)
    }

    /// Whether a unique key was in the way.
    pub(crate) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(error) if DatabaseFault::of(error) == DatabaseFault::Refused(StatementRefusal::Duplicate))
    }

    /// What the database does not let us do, if that is why.
    pub(crate) fn denied(&self) -> Option<Denied> {
        let Self::Database(error) = self else { return None };
        Denied::of(error)
    }

    /// The code of this error.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::BadInput(_) | Self::NoHostInFile { .. } => Code::InvalidRequest,
            Self::MalformedBody(_) => Code::MalformedBody,
            Self::NoToken | Self::UnknownToken => Code::Unauthorized,
            Self::Forbidden => Code::Forbidden,
            Self::ForeignPage | Self::ForeignHost(_) => Code::ForeignRequest,
            Self::NoRoute { .. } => Code::NotFound,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::TaskNotFound(_) => Code::TaskNotFound,
            Self::ExecutionNotFound(_) => Code::ExecutionNotFound,
            Self::HostNotFound(_) | Self::HostNotInExecution { .. } => Code::HostNotFound,
            Self::TaskNameTaken(_) => Code::TaskNameTaken,
            Self::ExecutionFinished(..) => Code::ExecutionFinished,
            Self::TaskRunning(_) => Code::TaskRunning,
            Self::ExecutionNotFinished(..) => Code::ExecutionNotFinished,
            Self::NothingToRetry(..) => Code::NothingToRetry,
            Self::IdempotencyKeyReused(_) => Code::IdempotencyKeyReused,
            Self::HostPoolRefused(_) => Code::HostPoolRefused,
            Self::SourceRefused(_) => Code::SourceRefused,
            Self::SourceUnavailable(_) => Code::SourceUnavailable,
            Self::BrokerUnavailable(_) => Code::BrokerUnavailable,
            Self::TooLarge { .. } => Code::BodyTooLarge,
            Self::UnsupportedMediaType(_) => Code::UnsupportedMediaType,
            Self::Busy | Self::TooManyFullSyncs | Self::TooManyProbes | Self::TooManyStreams => Code::TooManyRequests,
            Self::TooManyConnections => Code::Overloaded,
            Self::DatabaseNotReady => Code::DatabaseUnavailable,
            Self::Database(_) if self.denied().is_some() => Code::DatabaseRefused,
            Self::Database(error) => match DatabaseFault::of(error) {
                DatabaseFault::ConnectionLost
                | DatabaseFault::Conflict
                | DatabaseFault::ReadOnly
                | DatabaseFault::Refused(StatementRefusal::Login) => Code::DatabaseUnavailable,
                DatabaseFault::Refused(
                    StatementRefusal::Duplicate | StatementRefusal::Right | StatementRefusal::Statement,
                ) => Code::InternalError,
            },
            Self::Internal(_) => Code::InternalError,
        }
    }

    /// The sentence for the caller: never SQL, never a path.
    pub(crate) fn message(&self) -> String {
        if let Some(denied) = self.denied() {
            return format!("{denied}; this does not pass by itself: `hostsync-api doctor` says what to do");
        }
        match self.code() {
            Code::DatabaseUnavailable => Self::DatabaseNotReady.to_string(),
            Code::InternalError => {
                "an internal error; the log of hostsync-api has it under the request id in the header `x-request-id`"
                    .to_owned()
            }
            _ => self.to_string(),
        }
    }

    /// What the log alone may see of it; `None` where the message says all.
    pub(crate) fn into_fault(self) -> Option<anyhow::Error> {
        match self {
            Self::Database(_) => Some(anyhow::Error::new(self)),
            Self::Internal(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_shows_nothing_of_its_cause() {
        let error = ApiError::Internal(anyhow::anyhow!("SELECT secret FROM /etc/passwd"));
        assert!(!error.message().contains("secret"), "{}", error.message());
        let error = ApiError::Database(sqlx::Error::RowNotFound);
        assert_eq!(error.code(), Code::InternalError);
        assert!(error.message().contains("x-request-id"));
    }
}
