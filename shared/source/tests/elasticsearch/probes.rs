//! What a source says of itself before a task reads it.

use hostsync_mapping::Mapping;
use hostsync_source::{EndpointAuth, Probe, Product};
use serde_json::json;

use crate::bed::*;

fn field<'a>(probe: &'a Probe, key: &str) -> &'a hostsync_mapping::FieldUse {
    probe.fields.iter().find(|field| field.key == key).expect(key)
}

#[tokio::test]
async fn a_good_source_shows_its_version_fields_documents_and_a_host() {
    let indices = Indices::new();
    let mut properties = zabbix_properties(&text_and_keyword_host());
    properties["group"] = keyword_host();
    properties["hostName"] = keyword_host();
    let index = indices.create("good", &properties).await;
    let documents = [
        document("127.0.0.1", start(), 1.0, 1.0, 1.0),
        document("10.0.0.1", start(), 1.0, 1.0, 1.0),
        document("10.0.0.2", start(), 50.0, 1.0, 1.0),
    ];
    indices.add(&index, documents).await;
    let (mapping, window) = (Mapping::zabbix(), window_of_a_day());
    let probe = real().probe(&index, &mapping, window, Some("10.0.0.2"), TIMEOUT).await;
    assert_eq!(probe.problems, [] as [String; 0]);
    assert!(probe.reachable && probe.version.as_deref().is_some_and(|version| !version.is_empty()));
    assert!(matches!(probe.product, Some(Product::OpenSearch | Product::Elasticsearch)));
    assert_eq!((probe.index_exists, probe.indices, probe.documents), (Some(true), Some(1), Some(3)));
    assert_eq!(field(&probe, "host_field").types.as_deref(), Some("text"));
    assert_eq!(field(&probe, "cpu.max").types.as_deref(), Some("double"));
    let host = probe.host.expect("a host");
    assert_eq!(host.host_ip, "10.0.0.2");
    assert_close(host.reading.expect("a reading").cpu, expected(&[50.0]));

    let any = real().probe(&index, &mapping, window, None, TIMEOUT).await;
    assert_eq!(any.host.expect("a host").host_ip, "10.0.0.1");
    let unknown = real().probe(&index, &mapping, window, Some("10.0.0.9"), TIMEOUT).await;
    assert_eq!(unknown.host.expect("a host").reading, None);

    let proxy = QueryProxy::start().await;
    let through = proxy.endpoint().probe(&index, &mapping, window, None, TIMEOUT).await;
    assert_eq!(through.problems, [] as [String; 0]);
    assert_eq!((through.product, through.version, through.indices), (None, None, None));
    assert_eq!((through.index_exists, through.documents), (Some(true), Some(3)));
    assert_eq!(through.host.expect("a host").host_ip, "10.0.0.1");
}

#[tokio::test]
async fn a_bad_field_a_missing_index_and_a_dead_endpoint_are_told_field_by_field() {
    let indices = Indices::new();
    let mut properties = zabbix_properties(&keyword_host());
    properties["cpu"] = json!({"type": "text"});
    properties.as_object_mut().expect("an object").remove("available_memory");
    let index = indices.create("bad", &properties).await;
    indices.add(&index, [json!({"@timestamp": start().to_rfc3339(), "hostIp": "10.0.0.1", "cpu": "5"})]).await;
    let (mapping, window) = (Mapping::zabbix(), window_of_a_day());
    let probe = real().probe(&index, &mapping, window, None, TIMEOUT).await;
    assert!(
        !field(&probe, "cpu.max").usable && !field(&probe, "memory.avg").usable && field(&probe, "disk.min").usable
    );
    assert_eq!(field(&probe, "memory.avg").types.as_deref(), Some("in no index"));
    assert_eq!((probe.documents, probe.host.is_none()), (Some(1), true));
    assert!(probe.problems.iter().any(|problem| problem.contains("\"cpu\" (cpu.max of the mapping) is text")));

    for pattern in [indices.named("none"), indices.named("none-*")] {
        let missing = real().probe(&pattern, &mapping, window, None, TIMEOUT).await;
        assert_eq!(
            (missing.reachable, missing.index_exists, missing.documents),
            (true, Some(false), None),
            "{missing:?}"
        );
        assert_eq!(missing.problems.len(), 1, "{missing:?}");
    }

    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let dead = endpoint_at(&format!("http://127.0.0.1:{port}"), EndpointAuth::None, TIMEOUT);
    let dead = dead.probe(&index, &mapping, window, None, TIMEOUT).await;
    assert_eq!((dead.reachable, dead.index_exists), (false, None));
    assert!(dead.problems[0].contains("cannot connect"), "{dead:?}");
}
