//! The hosts of a group, found page by page.

use chrono::TimeDelta;
use hostsync_mapping::{GroupHosts, Mapping};
use hostsync_source::{GROUP_PAGE, SearchError};
use serde_json::{Value, json};

use crate::bed::*;

fn properties(text: &Value) -> Value {
    let mut properties = zabbix_properties(text);
    properties["group"] = text.clone();
    properties["hostName"] = text.clone();
    properties
}

fn member(host: &str, name: &str, group: &str) -> Value {
    let mut document = document(host, start(), 1.0, 1.0, 1.0);
    document["hostName"] = json!(name);
    document["group"] = json!(group);
    document
}

fn found(hosts: &GroupHosts) -> Vec<(String, Option<&str>)> {
    hosts.hosts.iter().map(|host| (host.host_ip.to_string(), host.host_name.as_deref())).collect()
}

#[tokio::test]
async fn the_hosts_of_a_group_are_found_beyond_ten_thousand() {
    let indices = Indices::new();
    let index = indices.create("many", &properties(&text_and_keyword_host())).await;
    let ip = |number: u32| format!("10.{}.{}.{}", number >> 16, (number >> 8) & 0xff, number & 0xff);
    let many = (0..10_500).flat_map(|number| [member(&ip(number), "a", "db"), member(&ip(number), "a", "db")]);
    let others = (20_000..20_050).map(|number| member(&ip(number), "a", "db servers"));
    indices.add(&index, many.chain(others)).await;
    let hosts = real().group_hosts(&index, &Mapping::zabbix(), window_of_a_day(), "db", GROUP_PAGE).await;
    let hosts = hosts.expect("hosts");
    assert_eq!((hosts.hosts.len(), hosts.skipped), (10_500, 0));
    assert_eq!(hosts.hosts[10_499].host_ip.to_string(), ip(10_499));
}

#[tokio::test]
async fn a_group_is_found_in_indices_of_every_shape_and_each_host_once() {
    let indices = Indices::new();
    let text = indices.create("text", &properties(&text_and_keyword_host())).await;
    let keyword = indices.create("keyword", &properties(&keyword_host())).await;
    indices
        .add(
            &text,
            [member("10.0.0.1", "one", "db"), member("10.0.0.2", "two", "db"), member("10.0.0.3", "x", "web db")],
        )
        .await;
    indices
        .add(
            &keyword,
            [
                member("10.0.0.2", "two", "db"),
                member("10.0.0.4", "four", "db"),
                member("10.0.0.5", "x", "web"),
                member("no address", "x", "db"),
                member("127.0.0.1", "x", "db"),
            ],
        )
        .await;
    let proxy = QueryProxy::start().await;
    let (pattern, mapping) = (indices.pattern(), Mapping::zabbix());
    for endpoint in [real(), proxy.endpoint()] {
        for page_size in [1, 2, 100] {
            let hosts =
                endpoint.group_hosts(&pattern, &mapping, window_of_a_day(), "db", page_size).await.expect("hosts");
            assert_eq!(
                found(&hosts),
                [
                    ("10.0.0.1".to_owned(), Some("one")),
                    ("10.0.0.2".to_owned(), Some("two")),
                    ("10.0.0.4".to_owned(), Some("four")),
                ]
            );
            assert_eq!(hosts.skipped, 2);
        }
    }
}

#[tokio::test]
async fn a_host_with_many_addresses_is_found_once_by_its_own() {
    let indices = Indices::new();
    let index = indices.named("beat");
    let beat = |ips: &[&str], name: &str, tags: &[&str]| {
        json!({
            "@timestamp": start().to_rfc3339(), "tags": tags, "host": {"ip": ips, "name": name},
            "system": {
                "cpu": {"total": {"norm": {"pct": 0.5}}},
                "memory": {"total": 1, "actual": {"used": {"pct": 0.5, "bytes": 1}}},
                "filesystem": {"mount_point": "/", "type": "xfs", "total": 2, "used": {"bytes": 1}},
            },
        })
    };
    indices
        .add(
            &index,
            [
                beat(&["172.18.0.1", "192.168.0.1", "fe80::1", "2001:db8::1", "127.0.0.1"], "one", &["db", "prod"]),
                beat(&["172.18.0.1", "192.168.0.2", "fe80::2"], "two", &["db"]),
                beat(&["192.168.0.3"], "three", &["web"]),
            ],
        )
        .await;
    let proxy = QueryProxy::start().await;
    for endpoint in [real(), proxy.endpoint()] {
        let hosts =
            endpoint.group_hosts(&index, &Mapping::metricbeat(), window_of_a_day(), "db", 2).await.expect("hosts");
        assert_eq!(found(&hosts), [("192.168.0.1".to_owned(), Some("one")), ("192.168.0.2".to_owned(), Some("two"))]);
        assert_eq!(hosts.hosts[0].other_ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["2001:db8::1"]);
        let nobody = endpoint.group_hosts(&index, &Mapping::metricbeat(), window_of_a_day(), "none", 2).await;
        assert_eq!(nobody.expect("hosts"), GroupHosts::default());
    }
}

#[tokio::test]
async fn hosts_whose_names_are_keywords_in_some_indices_and_texts_in_others_are_known_by_their_own_address() {
    let indices = Indices::new();
    let properties = |name: &Value| {
        json!({
            "@timestamp": {"type": "date"}, "tags": {"type": "keyword"},
            "host": {"properties": {"ip": {"type": "ip"}, "name": name}},
        })
    };
    let keyword = indices.create("named-keyword", &properties(&keyword_host())).await;
    let text = indices.create("named-text", &properties(&text_and_keyword_host())).await;
    let nameless = indices.named("named-not");
    let beat = |minute: i64, host: &str, name: Option<&str>| {
        let mut document = json!({
            "@timestamp": (start() + TimeDelta::minutes(minute)).to_rfc3339(), "tags": ["db"],
            "host": {"ip": [host, "172.18.0.1"], "name": name},
            "system": {
                "cpu": {"total": {"norm": {"pct": 0.5}}},
                "memory": {"total": 1, "actual": {"used": {"pct": 0.5, "bytes": 1}}},
                "filesystem": {"mount_point": "/", "type": "xfs", "total": 2, "used": {"bytes": 1}},
            },
        });
        if name.is_none() {
            document["host"]["ip"] = json!([host]);
        }
        document
    };
    // The second host was renamed within the window; the fourth has no name.
    let named = |minute| {
        [("192.168.0.1", "one"), ("192.168.0.2", "two"), ("192.168.0.3", "three")]
            .map(|(ip, name)| beat(minute, ip, Some(name)))
    };
    indices.add(&keyword, named(1)).await;
    indices.add(&text, named(2).into_iter().chain([beat(3, "192.168.0.2", Some("two.example"))])).await;
    let no_name = json!({"properties": {"tags": {"type": "keyword"}, "host": {"properties": {"ip": {"type": "ip"}}}}});
    indices.send(reqwest::Method::PUT, &nameless, &json!({"mappings": no_name})).await;
    indices.add(&nameless, [beat(4, "192.168.0.4", None)]).await;
    let proxy = QueryProxy::start().await;
    for endpoint in [real(), proxy.endpoint()] {
        for page_size in [1, 100] {
            let hosts = endpoint
                .group_hosts(&indices.pattern(), &Mapping::metricbeat(), window_of_a_day(), "db", page_size)
                .await
                .expect("hosts");
            assert_eq!(
                found(&hosts),
                [
                    ("192.168.0.1".to_owned(), Some("one")),
                    ("192.168.0.2".to_owned(), Some("two")),
                    ("192.168.0.3".to_owned(), Some("three")),
                    ("192.168.0.4".to_owned(), None),
                ]
            );
        }
    }
}

#[tokio::test]
async fn documents_that_stand_for_several_make_no_host_of_each_address() {
    let indices = Indices::new();
    let index = indices.named("downsampled");
    let beat = |minute: i64, ips: &[&str], name: &str, stands_for: u64| {
        json!({
            "@timestamp": (start() + TimeDelta::minutes(minute)).to_rfc3339(), "tags": ["db"],
            "host": {"ip": ips, "name": name}, "_doc_count": stands_for,
            "system": {
                "cpu": {"total": {"norm": {"pct": 0.5}}},
                "memory": {"total": 1, "actual": {"used": {"pct": 0.5, "bytes": 1}}},
                "filesystem": {"mount_point": "/", "type": "xfs", "total": 2, "used": {"bytes": 1}},
            },
        })
    };
    let documents = (0..4).flat_map(|minute| {
        [
            beat(minute, &["172.18.0.1", "192.168.0.1", "192.168.1.1"], "one", 6),
            beat(minute, &["172.18.0.1", "192.168.0.2", "192.168.1.2"], "two", 100),
        ]
    });
    indices.add(&index, documents).await;
    let proxy = QueryProxy::start().await;
    for endpoint in [real(), proxy.endpoint()] {
        let hosts = endpoint.group_hosts(&index, &Mapping::metricbeat(), window_of_a_day(), "db", 2).await;
        let hosts = hosts.expect("hosts");
        assert_eq!(found(&hosts), [("192.168.0.1".to_owned(), Some("one")), ("192.168.0.2".to_owned(), Some("two"))]);
    }
}

#[tokio::test]
async fn a_group_that_cannot_be_asked_for_is_refused() {
    let indices = Indices::new();
    let index = indices.create("none", &zabbix_properties(&keyword_host())).await;
    let ask = async |mapping: &Mapping, index: &str| {
        real().group_hosts(index, mapping, window_of_a_day(), "db", GROUP_PAGE).await.expect_err("refused")
    };
    let no_field = ask(&Mapping { group_field: None, ..Mapping::zabbix() }, &index).await;
    assert!(no_field.reason().ends_with("the mapping names no group_field"), "{no_field}");
    let missing = ask(&Mapping::zabbix(), &index).await;
    assert!(missing.reason().ends_with("no index has the field \"group\" (group_field of the mapping)"), "{missing}");
    let unmatched = ask(&Mapping::zabbix(), &indices.named("other-*")).await;
    assert!(matches!(unmatched, SearchError::Refused { .. }), "{unmatched:?}");
}
