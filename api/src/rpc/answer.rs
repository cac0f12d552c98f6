//! How an outcome is told: in the answer itself, or by the status of the call.
//!
//! Owns that a refused request is an answer with `Success = false` and status OK, since today's callers read only that,
//! and how much fits into an answer.

use std::fmt;
use std::sync::Arc;

use axum::response::Response;
use hostsync_model::causes::causes;
use prost::Message;
use tonic::Status;

use super::proto;
use crate::error::{ApiError, Code};

/// Largest answer, in bytes: clients take 4 MiB unless told otherwise.
const MAX_ANSWER_BYTES: usize = 3 * 1024 * 1024;

/// What is kept free of it for the fields that are no list.
const KEPT_FREE_BYTES: usize = 16 * 1024;

/// What a message says that was cut.
pub(super) const CUT: &str = "the answer is cut at 3 MiB";

/// An answer that says itself whether the request was done.
pub(super) trait Answer {
    /// Not done, and why.
    fn refused(message: String) -> Self;
}

macro_rules! answers {
    ($($answer:ident)+) => {$(
        impl Answer for proto::$answer {
            #[allow(clippy::needless_update, reason = "some have no more fields")]
            fn refused(message: String) -> Self {
                Self { success: false, message, ..Self::default() }
            }
        }
    )+};
}

answers! {
    CreateEsSyncTaskResp UpdateEsSyncTaskResp DeleteEsSyncTaskResp EnableEsSyncTaskResp GetEsSyncTasksResp
    GetEsSyncTaskDetailResp ExecuteEsSyncResp ExecuteEsSyncFullSyncResp GetEsSyncExecutionLogsResp
    GetEsSyncExecutionDetailResp
}

/// Put into the extensions of an answer that is a refusal, for whoever writes the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused;

/// An error for the log alone, as the source of a status.
#[derive(Debug)]
pub(super) struct StatusCause(anyhow::Error);

impl fmt::Display for StatusCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        causes(self.0.as_ref()).fmt(f)
    }
}

impl std::error::Error for StatusCause {}

/// The answer to a call.
///
/// # Errors
///
/// The status of a call that has no answer.
pub(super) fn answer<T: Answer>(outcome: Result<T, ApiError>) -> Result<tonic::Response<T>, Status> {
    let error = match outcome {
        Ok(answer) => return Ok(tonic::Response::new(answer)),
        Err(error) => error,
    };
    if let Some(status) = status(&error) {
        return Err(with_fault(status, error));
    }
    let mut response = tonic::Response::new(T::refused(error.message()));
    response.extensions_mut().insert(Refused);
    Ok(response)
}

/// The status of an error that is no refusal of the request.
fn status(error: &ApiError) -> Option<Status> {
    let message = error.message();
    match error.code() {
        Code::Unauthorized => Some(Status::unauthenticated(message)),
        Code::Forbidden | Code::ForeignRequest => Some(Status::permission_denied(message)),
        Code::DatabaseUnavailable | Code::BrokerUnavailable | Code::SourceUnavailable | Code::Overloaded => {
            Some(Status::unavailable(message))
        }
        Code::InternalError | Code::DatabaseRefused => Some(Status::internal(message)),
        _ => None,
    }
}

fn with_fault(mut status: Status, error: ApiError) -> Status {
    if let Some(fault) = error.into_fault() {
        status.set_source(Arc::new(StatusCause(fault)));
    }
    status
}

/// The response to a call that was not let through.
pub(super) fn turned_away(error: ApiError) -> Response {
    let status = status(&error).unwrap_or_else(|| Status::failed_precondition(error.message()));
    with_fault(status, error).into_http()
}

/// How much still fits into an answer.
#[derive(Debug)]
pub(super) struct Room {
    left_bytes: usize,
    is_cut: bool,
}

impl Room {
    pub(super) const fn new() -> Self {
        Self { left_bytes: MAX_ANSWER_BYTES - KEPT_FREE_BYTES, is_cut: false }
    }

    /// Takes what an item of so many bytes needs in a list. Once something does not fit, nothing more does: what is there
    /// is always the beginning.
    pub(super) fn take(&mut self, item_bytes: usize) -> bool {
        // Two bytes of tag and, below 2 MiB, three of length at most.
        match self.left_bytes.checked_sub(item_bytes + 5) {
            Some(left_bytes) if !self.is_cut => self.left_bytes = left_bytes,
            _ => self.is_cut = true,
        }
        !self.is_cut
    }

    /// As [`Self::take`], for a message.
    pub(super) fn take_message(&mut self, item: &impl Message) -> bool {
        self.take(item.encoded_len())
    }

    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }
}

#[cfg(test)]
mod tests {
    use hostsync_model::execution::TaskId;
    use tonic::Code as GrpcCode;

    use super::*;

    fn told(error: ApiError) -> Result<(bool, String), GrpcCode> {
        match answer::<proto::DeleteEsSyncTaskResp>(Err(error)) {
            Ok(response) => Ok((response.get_ref().success, response.get_ref().message.clone())),
            Err(status) => Err(status.code()),
        }
    }

    #[test]
    fn a_refusal_is_an_answer_and_what_is_down_a_status() {
        assert_eq!(told(ApiError::TaskNotFound(TaskId(7))), Ok((false, "there is no task 7".to_owned())));
        assert_eq!(told(ApiError::Busy).map(|(success, _)| success), Ok(false));
        assert_eq!(told(ApiError::DatabaseNotReady), Err(GrpcCode::Unavailable));
        assert_eq!(told(ApiError::Database(sqlx::Error::PoolTimedOut)), Err(GrpcCode::Unavailable));
        assert_eq!(told(ApiError::NoToken), Err(GrpcCode::Unauthenticated));
        assert_eq!(told(ApiError::UnknownToken), Err(GrpcCode::Unauthenticated));
        assert_eq!(told(ApiError::Forbidden), Err(GrpcCode::PermissionDenied));
    }

    #[test]
    fn what_only_the_log_may_see_is_not_in_the_status() {
        let error = ApiError::Internal(anyhow::anyhow!("SELECT secret"));
        let status = answer::<proto::DeleteEsSyncTaskResp>(Err(error)).expect_err("a status");
        assert_eq!(status.code(), GrpcCode::Internal);
        assert!(!status.message().contains("secret"), "{}", status.message());
        let source = std::error::Error::source(&status).expect("a fault").to_string();
        assert!(source.contains("SELECT secret"), "{source}");
    }

    #[test]
    fn a_list_is_cut_where_it_is_full_and_stays_so() {
        let mut room = Room::new();
        let mut taken = 0;
        while room.take(1_000) {
            taken += 1_005;
        }
        assert!(taken <= MAX_ANSWER_BYTES - KEPT_FREE_BYTES && taken > MAX_ANSWER_BYTES - KEPT_FREE_BYTES - 1_005);
        assert!(!room.take(0) && room.is_cut());
    }
}
