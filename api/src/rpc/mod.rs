//! The gRPC API, for the gateways and clients that speak it: the calls of `proto/cmpool.proto`, health and reflection.
//!
//! Owns the transport alone: what a call is admitted by, how its fields become those of REST, how an answer is told and
//! cut. Every rule, limit and sentence is that of the services which REST calls too.

mod admit;
mod answer;
mod convert;
mod frame;
mod observe;
mod run;
mod service;

/// What `build.rs` makes of `proto/cmpool.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::doc_markdown,
    rustdoc::invalid_html_tags,
    reason = "generated"
)]
mod proto {
    include!("generated/server.rs");
}

use std::time::Duration;

use axum::middleware;
use hostsync_service::connections::Server;
use tokio::net::TcpListener;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use self::proto::cmpool_server::CmpoolServer;
use self::service::CmpoolService;
use crate::app::Api;

/// Largest request, in bytes: a host file of 8 MiB or 100,000 addresses, with the other fields.
const MAX_REQUEST_BYTES: usize = 9 * 1024 * 1024;

/// The descriptors of `proto/cmpool.proto`, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!("generated/cmpool.bin");

/// Largest request to the services of health and reflection, which need no token.
const MAX_OPEN_REQUEST_BYTES: usize = 16 * 1024;

/// Connections at once; further ones are closed. A client needs one for all its calls.
const MAX_CONNECTIONS: usize = 200;

/// Pause between two looks at what the health service tells.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves until the shutdown begins; then finishes the calls that have begun.
///
/// # Errors
///
/// The descriptors of reflection are none.
pub(super) async fn serve(api: Api, listener: TcpListener) -> anyhow::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, ServingStatus::NotServing).await;
    drop(api.shutdown.spawn("watch_rpc_health", watch_health(api.clone(), reporter)));

    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let calls = CmpoolServer::new(CmpoolService { api: api.clone() }).max_decoding_message_size(MAX_REQUEST_BYTES);
    let routes = Routes::new(calls)
        .add_service(health.max_decoding_message_size(MAX_OPEN_REQUEST_BYTES))
        .add_service(reflection().build_v1()?.max_decoding_message_size(MAX_OPEN_REQUEST_BYTES))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(MAX_OPEN_REQUEST_BYTES))
        .into_axum_router()
        .layer(middleware::from_fn_with_state(api.clone(), admit::admit))
        .layer(middleware::from_fn_with_state(api.clone(), observe::observe));
    Server::http2(routes, MAX_CONNECTIONS).run(listener, api.shutdown.token()).await;
    Ok(())
}

const SERVICE: &str = <CmpoolServer<CmpoolService> as NamedService>::NAME;

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for service in ["", SERVICE] {
        reporter.set_service_status(service, status).await;
    }
}

/// Tells the health service what `/readyz` says, until the shutdown begins. Whoever watches then hears the end, since an
/// open stream would hold the shutdown up.
async fn watch_health(api: Api, mut reporter: HealthReporter) {
    let mut told = false;
    loop {
        let is_ready = api.readiness.is_ready();
        if is_ready != told {
            report(&reporter, if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
            told = is_ready;
        }
        tokio::select! {
            () = api.shutdown.stopping() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    report(&reporter, ServingStatus::NotServing).await;
    for service in ["", SERVICE] {
        reporter.clear_service_status(service).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn every_method_of_the_document_is_admitted_by_its_own_rule() {
        let descriptors = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors");
        let service = &descriptors.file[0].service[0];
        assert_eq!((descriptors.file[0].package(), service.name()), ("cmpool", "cmpool"));
        let names: Vec<&str> = service.method.iter().map(prost_types::MethodDescriptorProto::name).collect();
        let admitted: Vec<&str> = admit::CALLS.iter().map(|call| call.name).collect();
        assert_eq!(names, admitted);
    }

    #[test]
    fn what_is_generated_is_of_the_document() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rpc/generated");
        let digests = std::fs::read_to_string(folder.join("digests.txt")).expect("digests");
        assert_eq!(digests.lines().count(), 4);
        for line in digests.lines() {
            let (expected, file) = line.split_once(' ').expect("a digest and a file");
            let digest = Sha256::digest(std::fs::read(folder.join(file)).expect("a file"));
            let number = u128::from_str_radix(&expected[..32], 16).expect("a digest");
            assert_eq!(digest[..16], number.to_be_bytes(), "{file} was changed by itself: run `make proto`");
        }
    }

    /// A message as one line: number, name and type of each field.
    fn message_line(message: &prost_types::DescriptorProto) -> String {
        use prost_types::field_descriptor_proto::{Label, Type};
        let fields = message.field.iter().map(|field| {
            let of = match field.r#type() {
                Type::Int64 => "int64",
                Type::Int32 => "int32",
                Type::Bool => "bool",
                Type::String => "string",
                Type::Bytes => "bytes",
                Type::Double => "double",
                _ => field.type_name().trim_start_matches(".cmpool."),
            };
            let many = if field.label() == Label::Repeated { "repeated " } else { "" };
            format!("{} {} {many}{of}", field.number(), field.name())
        });
        format!("{}: {}", message.name(), fields.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn names_numbers_and_types_are_those_that_existing_clients_were_built_with() {
        const METHODS: &str = include_str!("../../tests/data/cmpool_methods.txt");
        const MESSAGES: &str = include_str!("../../tests/data/cmpool_messages.txt");
        let descriptors = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors");
        let file = &descriptors.file[0];
        let methods = file.service[0].method.iter().map(|method| {
            assert!(!method.client_streaming() && !method.server_streaming(), "{}", method.name());
            let [request, response] =
                [method.input_type(), method.output_type()].map(|name| name.replace(".cmpool.", ""));
            format!("/{}.{}/{} {request} {response}", file.package(), file.service[0].name(), method.name())
        });
        assert_eq!(methods.collect::<Vec<_>>(), METHODS.lines().collect::<Vec<_>>());
        let mut messages: Vec<String> = file.message_type.iter().map(message_line).collect();
        messages.sort_unstable();
        assert_eq!(messages, MESSAGES.lines().collect::<Vec<_>>());
    }
}
