//! What a call is admitted by, before its message is decoded: its token, the right to send in hosts, its size.
//!
//! Owns the list of calls with the role that each needs, and the caller's deadline. The whole request is read here, so
//! that one that never arrives holds nothing for long, and it is decoded only if what comes of it has a bound; what is
//! wrong with it is told by the call, in its own answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use hostsync_model::audit::{Actor, Role};
use tokio::time::Instant;

use super::frame::{self, FRAME_HEADER_BYTES};
use super::{MAX_REQUEST_BYTES, answer};
use crate::access::{EnqueuePermit, MAX_SMALL_BYTES, read_body};
use crate::app::Api;
use crate::error::ApiError;
use crate::runs::MAX_WAIT_S;

/// One method of the service.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    role: Role,
    /// Whether it may bring a long list of hosts.
    brings_hosts: bool,
}

const fn call(name: &'static str, role: Role, brings_hosts: bool) -> Call {
    Call { name, role, brings_hosts }
}

impl Call {
    /// Largest message, in bytes.
    const fn limit_bytes(&self) -> usize {
        if self.brings_hosts { MAX_REQUEST_BYTES } else { MAX_SMALL_BYTES - FRAME_HEADER_BYTES }
    }
}

/// Every method, as in the document.
pub(super) const CALLS: [Call; 11] = [
    call("create_es_sync_task", Role::Operator, false),
    call("update_es_sync_task", Role::Operator, false),
    call("delete_es_sync_task", Role::Operator, false),
    call("enable_es_sync_task", Role::Operator, false),
    call("get_es_sync_tasks", Role::Viewer, false),
    call("get_es_sync_task_detail", Role::Viewer, false),
    call("execute_es_sync_by_host_list", Role::Operator, true),
    call("execute_es_sync_by_file", Role::Operator, true),
    call("execute_es_sync_full_sync", Role::Operator, false),
    call("get_es_sync_execution_logs", Role::Viewer, false),
    call("get_es_sync_execution_detail", Role::Viewer, false),
];

/// The call at a path, if there is one.
pub(super) fn call_at(path: &str) -> Option<&'static Call> {
    let (service, name) = path.strip_prefix('/')?.split_once('/')?;
    CALLS.iter().find(|call| service == super::SERVICE && name == call.name)
}

/// A message without any field.
const EMPTY_MESSAGE: [u8; FRAME_HEADER_BYTES] = [0; FRAME_HEADER_BYTES];

/// How long a call without a deadline waits for the end of its run.
const DEFAULT_WAIT: Duration = Duration::from_secs(MAX_WAIT_S);

/// Longest deadline that is told apart: a year's wait is a day's wait.
const MAX_DEADLINE: Duration = Duration::from_hours(24);

/// What an answer needs before the deadline: a tenth of it within these bounds.
const MIN_MARGIN: Duration = Duration::from_millis(100);
const MAX_MARGIN: Duration = Duration::from_secs(2);

/// What a call was admitted with.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    /// Who calls.
    pub(super) actor: Actor,
    /// Until when it may wait for the end of its run.
    pub(super) wait_until: Instant,
    /// When the hosts of the answer must have been read.
    pub(super) answer_by: Instant,
    /// Held until the run is stored.
    permit: Option<Arc<EnqueuePermit>>,
    /// What was wrong with the request, which then arrives empty.
    refusal: Option<Arc<ApiError>>,
}

impl Admission {
    fn new(actor: Actor, headers: &HeaderMap, now: Instant) -> Self {
        let (wait, margin) = match headers.get("grpc-timeout").and_then(|text| deadline(text.to_str().ok()?)) {
            Some(deadline) => {
                let margin = (deadline / 10).clamp(MIN_MARGIN, MAX_MARGIN);
                (deadline.saturating_sub(margin), margin)
            }
            None => (DEFAULT_WAIT, 5 * MAX_MARGIN),
        };
        Self { actor, wait_until: now + wait, answer_by: now + wait + margin * 3 / 4, permit: None, refusal: None }
    }

    /// Hands over what is held for the request until it is stored; what was wrong with it is an error.
    ///
    /// # Errors
    ///
    /// The request could not be read, or there was no permit.
    pub(super) fn permit(&mut self) -> Result<Option<Arc<EnqueuePermit>>, ApiError> {
        match self.refusal.take().map(Arc::try_unwrap) {
            None => Ok(self.permit.take()),
            Some(Ok(error)) => Err(error),
            Some(Err(shared)) => Err(anyhow::anyhow!("{shared}").into()),
        }
    }
}

/// Turns away who may not call, reads the request, and passes it on with its [`Admission`].
pub(super) async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(call) = call_at(request.uri().path()) else {
        return next.run(request).await;
    };
    let actor = match api.guard.demand(request.headers(), request.extensions(), call.role) {
        Ok(actor) => actor,
        Err(error) => return answer::turned_away(error),
    };
    let mut admission = Admission::new(actor, request.headers(), Instant::now());
    let (mut parts, body) = request.into_parts();
    let limit_bytes = call.limit_bytes();
    let read = async {
        let mut permit = if call.brings_hosts {
            Some(EnqueuePermit::take(&api.limits, &parts.headers, limit_bytes).await?)
        } else {
            None
        };
        let request = Request::from_parts(parts.clone(), body);
        let bytes =
            read_body(&api.limits, request, limit_bytes + FRAME_HEADER_BYTES).await.map_err(|error| match error {
                ApiError::TooLarge { .. } => ApiError::TooLarge { what: "the request", limit_bytes },
                other => other,
            })?;
        let frame = frame::plain(bytes, &parts.headers, limit_bytes)?;
        if let Some(permit) = &mut permit {
            permit.keep(frame.len());
        }
        Ok((permit, frame))
    };
    let body = match read.await {
        Ok((permit, bytes)) => {
            admission.permit = permit.map(Arc::new);
            Body::from(bytes)
        }
        Err(error) => {
            admission.refusal = Some(Arc::new(error));
            Body::from(&EMPTY_MESSAGE[..])
        }
    };
    parts.headers.remove(frame::ENCODING);
    parts.extensions.insert(admission);
    next.run(Request::from_parts(parts, body)).await
}

/// Reads `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Requests").
fn deadline(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let deadline = match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(deadline.min(MAX_DEADLINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_digits_and_a_unit() {
        for (text, expected) in [
            ("2H", MAX_DEADLINE.min(Duration::from_hours(2))),
            ("99999999H", MAX_DEADLINE),
            ("3M", Duration::from_mins(3)),
            ("10S", Duration::from_secs(10)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(deadline(text), Some(expected), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", "1日", "日"] {
            assert_eq!(deadline(text), None, "{text}");
        }
    }

    #[test]
    fn a_call_waits_until_shortly_before_its_deadline_and_a_minute_without_one() {
        let now = Instant::now();
        let waits = |timeout: Option<&str>| {
            let headers = timeout.map(|text| ("grpc-timeout".parse().expect("a name"), text.parse().expect("a value")));
            let actor = Actor { who: "viewer".to_owned(), role: Role::Viewer, from: "10.0.0.1".to_owned() };
            let admission = Admission::new(actor, &HeaderMap::from_iter(headers), now);
            (admission.wait_until - now, admission.answer_by - now)
        };
        let ms = Duration::from_millis;
        assert_eq!(waits(None), (ms(60_000), ms(67_500)));
        assert_eq!(waits(Some("120S")), (ms(118_000), ms(119_500)));
        assert_eq!(waits(Some("5S")), (ms(4_500), ms(4_875)));
        assert_eq!(waits(Some("300m")), (ms(200), ms(275)));
        assert_eq!(waits(Some("50m")), (ms(0), ms(75)));
    }

    #[test]
    fn only_the_methods_of_the_service_are_calls() {
        assert_eq!(call_at("/cmpool.cmpool/get_es_sync_tasks").map(|call| call.name), Some("get_es_sync_tasks"));
        for path in ["/", "/cmpool.cmpool/", "/cmpool.cmpool/get", "/grpc.health.v1.Health/Check", "get_es_sync_tasks"]
        {
            assert!(call_at(path).is_none(), "{path}");
        }
    }
}
