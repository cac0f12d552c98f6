//! Plain numbers: the values of a sync, its window, its hosts, and what is no answer.

use std::collections::HashMap;

use chrono::TimeDelta;
use hostsync_mapping::{Capacity, Mapping, MetricFields, Stats, Unit};
use hostsync_model::window::Window;
use hostsync_source::{Endpoint, IndexState, SearchError};
use serde_json::{Value, json};

use crate::bed::*;

async fn values_equal_those_computed_from_the_documents(host_type: &Value) {
    let indices = Indices::new();
    let properties = zabbix_properties(host_type);
    let days = [indices.create("day-1", &properties).await, indices.create("day-2", &properties).await];
    let hosts: Vec<String> = (1..=20).map(|number| format!("10.0.0.{number}")).collect();
    let mut values: HashMap<&str, [Vec<f64>; 3]> = HashMap::new();
    let mut documents = [Vec::new(), Vec::new()];
    for (number, host) in (0_u32..).zip(&hosts) {
        for step in 0..48_u32 {
            let seed = number * 1_000 + step;
            let (cpu, memory, disk) = (noise(seed), noise(seed + 1) / 10.0, noise(seed + 2) * 7.0);
            let at = start() + TimeDelta::minutes(30) * i32::try_from(step).expect("a small number");
            documents[usize::from(step >= 24)].push(document(host, at, cpu, memory, disk));
            let [cpus, memories, disks] = values.entry(host).or_default();
            cpus.push(cpu);
            memories.push(memory);
            disks.push(disk);
        }
    }
    for (index, documents) in days.iter().zip(documents) {
        indices.add(index, documents).await;
    }
    let endpoint = real();
    let answer =
        endpoint.search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    assert_eq!(answer.readings.len(), hosts.len());
    for (host, [cpu, memory, disk]) in values {
        let reading = answer.readings[host];
        assert_eq!(reading.data_point_count, 48);
        assert_close(reading.cpu, expected(&cpu));
        assert_close(reading.memory, expected(&memory));
        assert_close(reading.disk, expected(&disk));
    }
}

#[tokio::test]
async fn values_equal_those_computed_from_the_documents_by_a_keyword() {
    values_equal_those_computed_from_the_documents(&keyword_host()).await;
}

#[tokio::test]
async fn values_equal_those_computed_from_the_documents_by_the_keyword_of_a_text() {
    values_equal_those_computed_from_the_documents(&text_and_keyword_host()).await;
}

#[tokio::test]
async fn values_equal_those_computed_from_the_documents_by_an_ip() {
    values_equal_those_computed_from_the_documents(&json!({"type": "ip"})).await;
}

#[tokio::test]
async fn documents_of_dynamic_mapping_are_read_too() {
    let indices = Indices::new();
    let index = indices.named("dynamic");
    indices.add(&index, [document("10.0.0.1", start(), 12.5, 3.0, 40.0)]).await;
    let answer =
        real().search(&index, &Mapping::zabbix(), window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    assert_close(answer.readings["10.0.0.1"].cpu, expected(&[12.5]));
}

#[tokio::test]
async fn several_numeric_types_under_one_pattern_are_read_together() {
    let indices = Indices::new();
    for (suffix, kind, cpu) in [("a", "long", 10.0), ("b", "float", 20.5), ("c", "half_float", 30.0)] {
        let mut properties = zabbix_properties(&keyword_host());
        properties["cpu"] = json!({"type": kind});
        let index = indices.create(suffix, &properties).await;
        indices.add(&index, [document("10.0.0.1", start(), cpu, 3.0, 40.0)]).await;
    }
    let hosts = texts(["10.0.0.1"]);
    let answer =
        real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    assert_eq!(answer.readings["10.0.0.1"].data_point_count, 3);
    assert_close(answer.readings["10.0.0.1"].cpu, expected(&[10.0, 20.5, 30.0]));
}

#[tokio::test]
async fn a_document_without_a_number_counts_but_measures_nothing() {
    let indices = Indices::new();
    let index = indices.create("gaps", &zabbix_properties(&keyword_host())).await;
    let at = start().to_rfc3339();
    indices
        .add(
            &index,
            [
                json!({"@timestamp": at, "hostIp": "10.0.0.1", "cpu": 5.0, "available_memory": null}),
                json!({"@timestamp": at, "hostIp": "10.0.0.1", "available_memory": null}),
            ],
        )
        .await;
    let answer =
        real().search(&index, &Mapping::zabbix(), window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    let reading = answer.readings["10.0.0.1"];
    assert_eq!(reading.data_point_count, 2);
    assert_close(reading.cpu, expected(&[5.0]));
    assert_eq!((reading.memory, reading.disk), (None, None));
}

#[tokio::test]
async fn more_than_ten_thousand_documents_of_a_host_are_counted_exactly() {
    let indices = Indices::new();
    let index = indices.create("many", &zabbix_properties(&keyword_host())).await;
    let documents = (0..12_345_u32).map(|number| {
        let at = start() + TimeDelta::seconds(i64::from(number));
        document("10.0.0.1", at, noise(number), 1.0, 1.0)
    });
    indices.add(&index, documents).await;
    let answer =
        real().search(&index, &Mapping::zabbix(), window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    assert_eq!(answer.readings["10.0.0.1"].data_point_count, 12_345);
}

#[tokio::test]
async fn only_hosts_that_were_asked_for_and_have_data_come_back() {
    let indices = Indices::new();
    let index = indices.create("several", &zabbix_properties(&keyword_host())).await;
    let mut shared = document("10.0.0.1", start(), 10.0, 1.0, 1.0);
    shared["hostIp"] = json!(["10.0.0.1", "172.17.0.1", "fe80::1"]);
    let other = document("10.0.0.2", start(), 90.0, 1.0, 1.0);
    indices.add(&index, [shared, other]).await;
    let hosts = texts(["10.0.0.1", "10.0.0.3"]);
    let answer = real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    assert_eq!(answer.readings.keys().collect::<Vec<_>>(), ["10.0.0.1"]);
}

#[tokio::test]
async fn an_ip_field_finds_each_way_of_writing_an_address() {
    let indices = Indices::new();
    let index = indices.create("ip", &zabbix_properties(&json!({"type": "ip"}))).await;
    indices
        .add(&index, [document("2001:db8::1", start(), 10.0, 1.0, 1.0), document("10.0.0.1", start(), 20.0, 1.0, 1.0)])
        .await;
    let hosts = texts(["2001:DB8:0::1", "::ffff:10.0.0.1", "10.0.0.9"]);
    let answer = real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    assert_eq!(answer.readings.len(), 2);
    assert_close(answer.readings["2001:DB8:0::1"].cpu, expected(&[10.0]));
    assert_close(answer.readings["::ffff:10.0.0.1"].cpu, expected(&[20.0]));
}

#[tokio::test]
async fn the_window_begins_with_its_first_instant_and_ends_before_its_last() {
    let indices = Indices::new();
    let index = indices.create("edges", &zabbix_properties(&keyword_host())).await;
    let Window { from, to } = window_of_a_day();
    let millisecond = TimeDelta::milliseconds(1);
    let documents = [
        document("before", from - millisecond, 1.0, 1.0, 1.0),
        document("first", from, 2.0, 1.0, 1.0),
        document("last", to - millisecond, 3.0, 1.0, 1.0),
        document("after", to, 4.0, 1.0, 1.0),
    ];
    indices.add(&index, documents).await;
    let hosts = texts(["before", "first", "last", "after"]);
    let answer = real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect("an answer");
    let mut found: Vec<_> = answer.readings.keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, ["first", "last"]);
}

#[tokio::test]
async fn a_mapping_of_ones_own_with_separate_fields_and_a_filter_is_followed() {
    let indices = Indices::new();
    let index = indices.named("own");
    let own = |kind: &str, high: f64| {
        json!({
            "when": start().to_rfc3339(), "address": "10.0.0.1", "kind": kind,
            "load": {"high": high, "mean": 0.5, "low": 0.25}, "memory_bytes": 1_073_741_824_u64, "disk": 7,
        })
    };
    indices.add(&index, [own("host", 0.75), own("container", 1.0)]).await;
    let single = MetricFields::single;
    let mapping = Mapping {
        time_field: "when".to_owned(),
        host_field: "address".to_owned(),
        host_name_field: None,
        group_field: None,
        cpu: MetricFields {
            max: "load.high".to_owned(),
            avg: "load.mean".to_owned(),
            min: "load.low".to_owned(),
            ..single("", Unit::Ratio)
        },
        memory: single("memory_bytes", Unit::Bytes),
        disk: single("disk", Unit::Gb),
        filter: Some(json!({"term": {"kind.keyword": "host"}})),
        skip: None,
    };
    mapping.validate().expect("a valid mapping");
    let answer = real().search(&index, &mapping, window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    let reading = answer.readings["10.0.0.1"];
    assert_eq!(reading.data_point_count, 1);
    assert_eq!(reading.cpu, Some(Stats { max: 0.75, avg: 0.5, min: 0.25 }));
    assert_close(reading.memory, expected(&[1_073_741_824.0]));
}

#[tokio::test]
async fn an_index_that_does_not_exist_and_a_pattern_without_match_are_refused() {
    let indices = Indices::new();
    let hosts = texts(["10.0.0.1"]);
    let (endpoint, mapping) = (real(), Mapping::zabbix());
    let missing = endpoint.search(&indices.named("none"), &mapping, window_of_a_day(), &hosts).await;
    assert_refused(missing, "what was searched does not exist (HTTP 404): index_not_found_exception");
    let unmatched = endpoint.search(&indices.pattern(), &mapping, window_of_a_day(), &hosts).await;
    assert_refused(unmatched, "no index matches the pattern");
    let default = endpoint.search("cluster*:data-zabbix-none-*", &mapping, window_of_a_day(), &hosts).await;
    assert_refused(default, "endpoint \"test\", index \"cluster*:data-zabbix-none-*\": no index matches");
    let hostile = endpoint.search("../_cluster", &mapping, window_of_a_day(), &hosts).await;
    assert_refused(hostile, "the index pattern must not contain '/'");
}

#[tokio::test]
async fn fields_that_cannot_be_used_are_refused_by_name_and_type() {
    let indices = Indices::new();
    let hosts = texts(["10.0.0.1"]);
    for (suffix, field, kind, sign) in [
        ("a", "cpu", json!({"type": "text"}), "\"cpu\" (cpu.max of the mapping) is text"),
        ("b", "cpu", json!({"properties": {"value_max": {"type": "float"}}}), "is object"),
        ("c", "hostIp", json!({"type": "text"}), "\"hostIp\" (host_field of the mapping) is text"),
        ("d", "hostIp", json!({"type": "long"}), "must be keyword or ip"),
        ("e", "@timestamp", json!({"type": "keyword"}), "it must be a date"),
        ("f", "available_memory", json!({"type": "float", "doc_values": false}), "not aggregatable"),
    ] {
        let mut properties = zabbix_properties(&keyword_host());
        properties[field] = kind;
        let index = indices.create(suffix, &properties).await;
        assert_refused(real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await, sign);
    }
    let mut properties = zabbix_properties(&keyword_host());
    properties.as_object_mut().expect("an object").remove("total_disk_space_all");
    let index = indices.create("g", &properties).await;
    let missing = real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(missing, "no index has the field \"total_disk_space_all\" (disk.max of the mapping)");
}

#[tokio::test]
async fn shapes_that_do_not_go_together_are_refused_and_not_read_in_part() {
    let hosts = texts(["10.0.0.1"]);
    let indices = Indices::new();
    indices.create("a", &zabbix_properties(&keyword_host())).await;
    indices.create("b", &zabbix_properties(&json!({"type": "ip"}))).await;
    let mixed = real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(mixed, "it must have one type in all indices");

    let indices = Indices::new();
    indices.create("a", &zabbix_properties(&keyword_host())).await;
    let mut rolled_up = zabbix_properties(&keyword_host());
    rolled_up["cpu"] = json!({"properties": {"value_max": {"type": "float"}}});
    indices.create("b", &rolled_up).await;
    let mixed = real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(mixed, "or a roll-up with the numbers value_max, value_min, value_avg and zabbix_value_count");

    let indices = Indices::new();
    indices.create("a", &zabbix_properties(&text_and_keyword_host())).await;
    indices.create("b", &zabbix_properties(&json!({"type": "text"}))).await;
    let lacking = real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(lacking, "\"hostIp.keyword\" is missing or cannot be aggregated in some of the indices");
}

#[tokio::test]
async fn more_hosts_than_the_index_takes_are_too_large() {
    let indices = Indices::new();
    // Two addresses, each in two spellings.
    let settings = json!({"number_of_replicas": 0, "max_terms_count": 4});
    let index = indices.create_with("strict", &settings, &zabbix_properties(&keyword_host())).await;
    indices.add(&index, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
    let (endpoint, mapping) = (real(), Mapping::zabbix());
    let three = texts(["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let result = endpoint.search(&index, &mapping, window_of_a_day(), &three).await;
    assert!(matches!(result, Err(SearchError::TooLarge { .. })), "{result:?}");
    let two = endpoint.search(&index, &mapping, window_of_a_day(), &three[..2]).await;
    assert_eq!(two.expect("an answer").readings.len(), 1);

    // One strict index among others fails alone: an answer in part.
    let other = indices.create("lenient", &zabbix_properties(&keyword_host())).await;
    indices.add(&other, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
    let result = endpoint.search(&indices.pattern(), &mapping, window_of_a_day(), &three).await;
    match result {
        Err(SearchError::TooLarge { reason }) => assert!(reason.contains("1 of 2 shards failed"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_index_that_no_node_holds_is_an_outage_of_its_pattern() {
    let indices = Indices::new();
    let properties = zabbix_properties(&keyword_host());
    let there = indices.create("there", &properties).await;
    indices.add(&there, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
    let nowhere = json!({"number_of_replicas": 0, "routing.allocation.require._name": "no such node"});
    indices.create_with("nowhere", &nowhere, &properties).await;
    let hosts = texts(["10.0.0.1"]);
    let result = real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    match result {
        Err(SearchError::Outage { reason, .. }) => assert!(reason.contains("1 of 2 shards"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let probe = Endpoint::probe_of(&Mapping::zabbix(), None, window_of_a_day(), &hosts);
    let probed = real().probe_pattern(&indices.pattern(), &probe).await;
    assert!(matches!(probed, Err(SearchError::Outage { .. })), "{probed:?}");
    assert_eq!(real().probe_pattern(&there, &probe).await, Ok(()));
}

#[tokio::test]
async fn an_index_that_is_closed_or_blocked_is_told_from_one_that_is_gone() {
    let indices = Indices::new();
    let index = indices.create("there", &zabbix_properties(&keyword_host())).await;
    assert_eq!(real().state_of(&index).await, IndexState::Searchable);
    indices.send(reqwest::Method::PUT, &format!("{index}/_settings"), &json!({"index.blocks.read": true})).await;
    assert!(matches!(real().state_of(&index).await, IndexState::Skipped { why } if why.contains("block")));
    let hosts = texts(["10.0.0.1"]);
    let blocked = real().search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    match blocked {
        Err(SearchError::Outage { reason, .. }) => assert!(reason.contains("blocked for reading"), "{reason}"),
        other => panic!("{other:?}"),
    }
    indices.send(reqwest::Method::PUT, &format!("{index}/_settings"), &json!({"index.blocks.read": null})).await;
    indices.send(reqwest::Method::POST, &format!("{index}/_close"), &json!({})).await;
    assert!(matches!(real().state_of(&index).await, IndexState::Skipped { why } if why.contains("closed")));
    assert_eq!(real().state_of(&indices.named("never")).await, IndexState::Gone);
}

#[tokio::test]
async fn a_field_without_an_index_is_read_where_the_engine_can_and_refused_in_its_words_where_not() {
    let indices = Indices::new();
    let hosts = texts(["10.0.0.1"]);
    for (suffix, field, kind) in [
        ("metric", "cpu", "double"),
        ("other-metric", "available_memory", "scaled_float"),
        ("time", "@timestamp", "date"),
        ("host", "hostIp", "keyword"),
        ("address", "hostIp", "ip"),
    ] {
        let mut properties = zabbix_properties(&keyword_host());
        properties[field] = json!({"type": kind, "index": false});
        if kind == "scaled_float" {
            properties[field]["scaling_factor"] = json!(100);
        }
        let index = indices.create(suffix, &properties).await;
        indices.add(&index, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
        match real().search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await {
            Ok(answer) => {
                assert_close(answer.readings["10.0.0.1"].cpu, Stats { max: 10.0, avg: 10.0, min: 10.0 });
            }
            // Elasticsearch 7 finds nothing by a field without an index.
            Err(SearchError::Refused { reason, .. }) if matches!(field, "@timestamp" | "hostIp") => {
                assert!(reason.contains(&format!("\"{field}\"")) && reason.contains("not indexed"), "{reason}");
            }
            other => panic!("{suffix}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_real_engine_is_reachable() {
    assert_eq!(real().ping().await, Ok(()));
}

#[tokio::test]
async fn the_sample_documents_of_every_family_give_what_their_generator_expects() {
    use hostsync_testing::documents::{Extent, Family, SampleHost, SampleIndex};
    let indices = Indices::new();
    let (window, step) = (window_of_a_day(), TimeDelta::minutes(30));
    let hosts: Vec<SampleHost> = (0..3).map(SampleHost).collect();
    for (family, name, mapping) in [
        (Family::Zabbix, "plain", Mapping::zabbix()),
        (Family::ZabbixRollUp, "roll-up", Mapping::zabbix()),
        (Family::Metricbeat, "beat", Mapping::metricbeat()),
    ] {
        let index = SampleIndex::create_of(family, &engine_url(), &indices.named(name)).await.expect("an index");
        index.fill(hosts.iter().copied(), window.from, window.to, step, |_| {}).await.expect("documents");
        let ips: Vec<String> = hosts.iter().map(|host| host.ip()).collect();
        let answer = real().search(&index.name, &mapping, window, &ips).await.expect("an answer");
        for host in &hosts {
            let reading = answer.readings[&host.ip()];
            let expected = host.expected_of(family, window.from, window.to, step);
            assert_eq!(reading.data_point_count, expected.documents as u64, "{name}");
            let values = hostsync_mapping::host_values(&mapping, &reading, &Capacity::default()).expect("values");
            let close = |found: Option<f64>, expected: f64| {
                let found = found.expect("known");
                assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{name}: {found} {expected}");
            };
            let Extent { max, avg, .. } = expected.cpu;
            close(values.max_cpu, max);
            close(values.avg_cpu, avg);
            close(values.max_memory_gb, expected.memory_gb.max);
            close(values.avg_memory_gb, expected.memory_gb.avg);
            close(values.max_disk_gb, expected.disk_gb.max);
            close(values.avg_disk_gb, expected.disk_gb.avg);
        }
    }
}
