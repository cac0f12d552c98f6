//! A client for the server of a test.

use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::harness::{OPERATOR, Server};

/// What `make proto` makes of `proto/cmpool.proto` for a client.
#[allow(dead_code, unreachable_pub, missing_docs, clippy::pedantic, reason = "generated")]
pub(crate) mod proto {
    include!("../../src/rpc/generated/client.rs");
}

pub(crate) type Client = proto::cmpool_client::CmpoolClient<Channel>;

/// A connection that calls nothing yet.
pub(crate) async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(format!("http://{}", server.rpc_address)).expect("a URL").connect().await.expect("connected")
}

/// A client on a connection of its own.
pub(crate) async fn client(server: &Server) -> Client {
    Client::new(channel(server).await)
}

/// A request by somebody.
pub(crate) fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("a value");
    request.metadata_mut().insert("authorization", value);
    request
}

/// A request by the operator.
pub(crate) fn op<T>(message: T) -> Request<T> {
    by(OPERATOR, message)
}

/// A request by the operator with a deadline.
pub(crate) fn within<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = op(message);
    request.set_timeout(deadline);
    request
}

/// The status and the metadata of a call that has no answer.
#[track_caller]
pub(crate) fn status<T: std::fmt::Debug>(outcome: Result<tonic::Response<T>, Status>) -> (Code, String, MetadataMap) {
    let status = outcome.expect_err("a status");
    (status.code(), status.message().to_owned(), status.metadata().clone())
}
