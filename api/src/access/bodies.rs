//! How a body is taken in: its bounds in bytes and in time, and the right to send one, which is taken before it is read.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt as _;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};

use super::limits::Limits;
use crate::error::ApiError;

/// Longest time for a body to arrive.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the right to send in a body.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest body without hosts: a task with a description of 10,000 characters, each escaped as `\uXXXX` twice, and the
/// other fields. A larger one needs an [`EnqueuePermit`].
pub(crate) const MAX_SMALL_BYTES: usize = 256 * 1024;

/// Reads a body of at most `limit_bytes`.
///
/// # Errors
///
/// It is larger, breaks off, or does not arrive within [`BODY_TIMEOUT`]; too many are being read.
pub(crate) async fn read_body(limits: &Limits, request: Request, limit_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError::TooLarge { what: "the body", limit_bytes };
    if declared_length(request.headers()).is_some_and(|length| length > limit_bytes) {
        return Err(too_large());
    }
    let _small = match limit_bytes {
        0..=MAX_SMALL_BYTES => Some(soon(limits.small_bodies.acquire()).await?),
        _ => None,
    };
    in_time(async {
        let mut bytes = Vec::new();
        let mut chunks = request.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| ApiError::MalformedBody("it broke off".to_owned()))?;
            if bytes.len() + chunk.len() > limit_bytes {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    })
    .await
}

/// Bounds the time in which a body arrives.
pub(crate) async fn in_time<T>(reading: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|_| {
        Err(ApiError::MalformedBody(format!("it did not arrive within {} s", BODY_TIMEOUT.as_secs())))
    })
}

/// The length that a body says it has.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The right to send in a host list or a file, held until its run is stored. Taken before the body is read, since what
/// is bounded is the memory that bodies take.
#[derive(Debug)]
pub(crate) struct EnqueuePermit {
    _place: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

impl EnqueuePermit {
    /// Waits for it. A body that does not say how long it is counts as the largest, `limit_bytes`.
    ///
    /// # Errors
    ///
    /// None is free within [`PERMIT_TIMEOUT`].
    pub(crate) async fn take(limits: &Limits, headers: &HeaderMap, limit_bytes: usize) -> Result<Self, ApiError> {
        let bytes = declared_length(headers).unwrap_or(limit_bytes).min(limit_bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        soon(async {
            Ok(Self {
                _place: Arc::clone(&limits.enqueues).acquire_owned().await?,
                bytes: Arc::clone(&limits.enqueue_bytes).acquire_many_owned(bytes).await?,
            })
        })
        .await
    }

    /// Gives back what a body has not needed that came to `bytes`.
    pub(crate) fn keep(&mut self, bytes: usize) {
        drop(self.bytes.split(self.bytes.num_permits().saturating_sub(bytes)));
    }
}

/// Waits for a permit, not for long.
async fn soon<T>(permit: impl Future<Output = Result<T, AcquireError>>) -> Result<T, ApiError> {
    match tokio::time::timeout(PERMIT_TIMEOUT, permit).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(ApiError::Busy),
    }
}
