//! Who may call what; health and reflection, which anybody may.

use std::time::Duration;

use futures_util::StreamExt as _;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::client::{by, channel, proto, status};
use crate::harness::{Ground, OPERATOR, Server, VIEWER, with_server, with_server_of};

const READS: [&str; 4] =
    ["get_es_sync_tasks", "get_es_sync_task_detail", "get_es_sync_execution_logs", "get_es_sync_execution_detail"];
const WRITES: [&str; 7] = [
    "create_es_sync_task",
    "update_es_sync_task",
    "delete_es_sync_task",
    "enable_es_sync_task",
    "execute_es_sync_by_host_list",
    "execute_es_sync_by_file",
    "execute_es_sync_full_sync",
];

/// Calls a method with an empty message, by its path; the first two fields of every answer are the same.
async fn call(
    server: &Server,
    method: &str,
    request: Request<proto::DeleteEsSyncTaskReq>,
) -> Result<tonic::Response<proto::DeleteEsSyncTaskResp>, Status> {
    let mut client = tonic::client::Grpc::new(channel(server).await);
    client.ready().await.expect("connected");
    let path: PathAndQuery = format!("/cmpool.cmpool/{method}").parse().expect("a path");
    let codec: tonic_prost::ProstCodec<proto::DeleteEsSyncTaskReq, proto::DeleteEsSyncTaskResp> =
        tonic_prost::ProstCodec::default();
    client.unary(request, path, codec).await
}

fn nothing() -> proto::DeleteEsSyncTaskReq {
    proto::DeleteEsSyncTaskReq::default()
}

#[tokio::test]
async fn nothing_is_answered_without_a_known_token() {
    with_server(async |server| {
        for method in READS.iter().chain(&WRITES) {
            let (code, message, metadata) = status(call(server, method, Request::new(nothing())).await);
            assert_eq!((code, message.as_str()), (Code::Unauthenticated, NO_TOKEN), "{method}");
            assert!(metadata.get("x-request-id").is_some());
            let (code, message, _) = status(call(server, method, by("operator-token-012345678", nothing())).await);
            assert_eq!((code, message.as_str()), (Code::Unauthenticated, "the token is not known here"), "{method}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_is_turned_away_before_its_message_has_come() {
    with_server(async |server| {
        for (token, code) in [("unknown", Code::Unauthenticated), (VIEWER, Code::PermissionDenied)] {
            let mut client = tonic::client::Grpc::new(channel(server).await);
            client.ready().await.expect("connected");
            let path = PathAndQuery::from_static("/cmpool.cmpool/delete_es_sync_task");
            let codec: tonic_prost::ProstCodec<proto::DeleteEsSyncTaskReq, proto::DeleteEsSyncTaskResp> =
                tonic_prost::ProstCodec::default();
            // Its message never comes.
            let answer = client.client_streaming(by(token, futures_util::stream::pending()), path, codec);
            let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("answered in time");
            assert_eq!(status(answer).0, code);
        }
    })
    .await;
}

const NO_TOKEN: &str = "this needs a token: send the header `Authorization: Bearer <token>`";

#[tokio::test]
async fn a_viewer_reads_and_an_operator_also_writes() {
    with_server(async |server| {
        for method in READS {
            call(server, method, by(VIEWER, nothing())).await.expect(method);
            call(server, method, by(OPERATOR, nothing())).await.expect(method);
        }
        for method in WRITES {
            let (code, message, _) = status(call(server, method, by(VIEWER, nothing())).await);
            assert_eq!(code, Code::PermissionDenied, "{method}");
            assert_eq!(message, "a viewer's token may only read; this needs the operator's");
            let answer = call(server, method, by(OPERATOR, nothing())).await.expect(method).into_inner();
            assert!(!answer.success && !answer.message.is_empty(), "{method}: {answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_authentication_nobody_needs_a_token() {
    let more =
        [("HOSTSYNC_API__AUTH", "none"), ("HOSTSYNC_API__OPERATOR_TOKEN", ""), ("HOSTSYNC_API__VIEWER_TOKEN", "")];
    with_server_of(Ground::new(true).await, &more, async |server| {
        let answer = call(server, "get_es_sync_tasks", Request::new(nothing())).await.expect("an answer");
        assert!(answer.get_ref().success);
    })
    .await;
}

#[tokio::test]
async fn a_method_that_is_not_there_is_told_as_such() {
    with_server(async |server| {
        assert_eq!(status(call(server, "CreateEsSyncTask", by(OPERATOR, nothing())).await).0, Code::Unimplemented);
    })
    .await;
}

#[tokio::test]
async fn the_health_service_tells_what_readyz_says_and_ends_its_streams_at_the_end() {
    with_server(async |server| {
        let mut client = HealthClient::new(channel(server).await);
        for service in ["", "cmpool.cmpool"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let mut watching = client.watch(request.clone()).await.expect("a stream").into_inner();
            let mut last = ServingStatus::Unknown;
            while last != ServingStatus::Serving {
                last = watching.next().await.expect("a status").expect("a status").status();
            }
            assert_eq!(client.check(request).await.expect("an answer").get_ref().status(), ServingStatus::Serving);
        }
        let request = HealthCheckRequest { service: "other".to_owned() };
        assert_eq!(status(client.check(request).await).0, Code::NotFound);

        let request = HealthCheckRequest { service: String::new() };
        let mut watching = client.watch(request).await.expect("a stream").into_inner();
        assert_eq!(watching.next().await.expect("one").expect("a status").status(), ServingStatus::Serving);
        server.shutdown.begin();
        assert_eq!(watching.next().await.expect("one").expect("a status").status(), ServingStatus::NotServing);
        assert!(watching.next().await.is_none(), "the stream ends");
    })
    .await;
}

#[tokio::test]
async fn the_reflection_service_knows_the_document() {
    with_server(async |server| {
        let mut client = ServerReflectionClient::new(channel(server).await);
        let ask = async |client: &mut ServerReflectionClient<_>, request: MessageRequest| {
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
            let answers = client.server_reflection_info(futures_util::stream::iter([request])).await;
            let answer: ServerReflectionResponse =
                answers.expect("a stream").into_inner().next().await.expect("one").expect("an answer");
            answer.message_response.expect("an answer")
        };
        let MessageResponse::ListServicesResponse(list) =
            ask(&mut client, MessageRequest::ListServices(String::new())).await
        else {
            panic!("no list")
        };
        let services: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
        assert!(services.contains(&"cmpool.cmpool") && services.contains(&"grpc.health.v1.Health"), "{services:?}");
        let symbol = MessageRequest::FileContainingSymbol("cmpool.cmpool.get_es_sync_tasks".to_owned());
        assert!(matches!(ask(&mut client, symbol).await, MessageResponse::FileDescriptorResponse(_)));
    })
    .await;
}
