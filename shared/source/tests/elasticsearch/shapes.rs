//! Indices of different shape under one pattern, by a cluster's own address and through a query proxy.

use hostsync_mapping::{Mapping, Stats};
use hostsync_source::{Endpoint, SearchError};
use serde_json::{Value, json};

use crate::bed::*;

fn roll_up_type() -> Value {
    json!({"properties": {
        "value_min": {"type": "float"}, "value_max": {"type": "double"}, "value_avg": {"type": "double"},
        "min": {"type": "double"}, "max": {"type": "double"}, "zabbix_value_count": {"type": "integer"},
    }})
}

fn roll_up(max: f64, avg: f64, min: f64, count: u32) -> Value {
    // `min` and `max` are of another meaning, and far off on purpose.
    json!({"value_max": max, "value_avg": avg, "value_min": min, "min": -7.0, "max": 7_000.0, "zabbix_value_count": count})
}

fn properties_of(host: &Value, rolled_up: &[&str]) -> Value {
    let mut properties = zabbix_properties(host);
    for field in rolled_up {
        properties[*field] = roll_up_type();
    }
    properties
}

fn rolled_up_document(host: &str, [cpu, memory, disk]: [Value; 3]) -> Value {
    json!({
        "@timestamp": start().to_rfc3339(), "hostIp": host,
        "cpu": cpu, "available_memory": memory, "total_disk_space_all": disk,
    })
}

/// Both ways to the engine: its own address, and a query proxy before it.
async fn both_ways() -> [(&'static str, Endpoint, Option<QueryProxy>); 2] {
    let proxy = QueryProxy::start().await;
    [("cluster", real(), None), ("proxy", proxy.endpoint(), Some(proxy))]
}

#[tokio::test]
async fn roll_ups_give_the_largest_the_smallest_and_the_average_by_weight() {
    let indices = Indices::new();
    let all = ["cpu", "available_memory", "total_disk_space_all"];
    let index = indices.create("rolled-up", &properties_of(&keyword_host(), &all)).await;
    let documents = [
        rolled_up_document(
            "10.0.0.1",
            [roll_up(90.0, 10.0, 1.0, 1), roll_up(8.0, 4.0, 2.0, 5), roll_up(50.0, 40.0, 30.0, 5)],
        ),
        rolled_up_document(
            "10.0.0.1",
            [roll_up(50.0, 40.0, 0.5, 5), roll_up(6.0, 5.0, 4.0, 5), roll_up(60.0, 55.0, 50.0, 0)],
        ),
        rolled_up_document(
            "10.0.0.2",
            [json!({"value_max": 5.0, "value_avg": 3.0, "value_min": 1.0}), Value::Null, Value::Null],
        ),
    ];
    indices.add(&index, documents).await;
    for (way, endpoint, _proxy) in both_ways().await {
        let hosts = texts(["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let answer = endpoint.search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect(way);
        assert_eq!(answer.readings.len(), 2, "{way}");
        let reading = answer.readings["10.0.0.1"];
        assert_eq!(reading.data_point_count, 2, "{way}");
        assert_close(reading.cpu, Stats { max: 90.0, avg: 35.0, min: 0.5 });
        assert_close(reading.memory, Stats { max: 8.0, avg: 4.5, min: 2.0 });
        assert_close(reading.disk, Stats { max: 60.0, avg: 40.0, min: 30.0 });
        // A roll-up that does not say of how many values it is weighs 1.
        let other = answer.readings["10.0.0.2"];
        assert_close(other.cpu, Stats { max: 5.0, avg: 3.0, min: 1.0 });
        assert_eq!((other.memory, other.disk), (None, None), "{way}");
    }
}

#[tokio::test]
async fn indices_of_every_shape_under_one_pattern_are_read_together_and_each_document_once() {
    let indices = Indices::new();
    let keyword = indices.create("keyword", &properties_of(&keyword_host(), &[])).await;
    let text = indices.create("text", &properties_of(&text_and_keyword_host(), &["cpu"])).await;
    // A keyword that has a `.keyword` below it nevertheless: both searches could read it.
    let both = json!({"type": "keyword", "fields": {"keyword": {"type": "keyword"}}});
    let both = indices.create("both", &properties_of(&both, &["available_memory"])).await;
    indices
        .add(
            &keyword,
            [
                document("10.0.0.1", start(), 10.0, 1.0, 100.0),
                document("10.0.0.1", start(), 20.0, 2.0, 100.0),
                document("10.0.0.2", start(), 1.0, 1.0, 1.0),
            ],
        )
        .await;
    indices
        .add(
            &text,
            [
                rolled_up_document("10.0.0.1", [roll_up(95.0, 65.0, 5.0, 8), json!(3.0), json!(130.0)]),
                rolled_up_document("10.0.0.3", [roll_up(9.0, 6.0, 3.0, 4), json!(3.0), json!(3.0)]),
            ],
        )
        .await;
    indices.add(&both, [rolled_up_document("10.0.0.1", [json!(50.0), roll_up(9.0, 6.0, 0.5, 3), json!(70.0)])]).await;
    for (way, endpoint, _proxy) in both_ways().await {
        let hosts = texts(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        for _ in 0..2 {
            let answer =
                endpoint.search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect(way);
            assert_eq!(answer.readings.len(), 3, "{way}");
            let reading = answer.readings["10.0.0.1"];
            assert_eq!(reading.data_point_count, 4, "{way}");
            // A plain number weighs 1, a roll-up as many values as it stands for.
            let cpu = (10.0 + 20.0 + 50.0 + 8.0 * 65.0) / 11.0;
            assert_close(reading.cpu, Stats { max: 95.0, avg: cpu, min: 5.0 });
            let memory = (1.0 + 2.0 + 3.0 + 3.0 * 6.0) / 6.0;
            assert_close(reading.memory, Stats { max: 9.0, avg: memory, min: 0.5 });
            assert_close(reading.disk, Stats { max: 130.0, avg: 100.0, min: 70.0 });
            assert_eq!(answer.readings["10.0.0.2"].data_point_count, 1, "{way}");
            assert_close(answer.readings["10.0.0.3"].cpu, Stats { max: 9.0, avg: 6.0, min: 3.0 });
        }
    }
}

#[tokio::test]
async fn a_text_without_a_keyword_among_others_is_refused_and_not_dropped() {
    let indices = Indices::new();
    let keyword = indices.create("keyword", &zabbix_properties(&keyword_host())).await;
    let with = indices.create("with", &zabbix_properties(&text_and_keyword_host())).await;
    let without = indices.create("without", &zabbix_properties(&json!({"type": "text"}))).await;
    for index in [&keyword, &with, &without] {
        indices.add(index, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
    }
    for (_, endpoint, _proxy) in both_ways().await {
        let hosts = texts(["10.0.0.1"]);
        let result = endpoint.search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
        assert_refused(result, "\"hostIp.keyword\"");
        let result = endpoint.search(&without, &Mapping::zabbix(), window_of_a_day(), &hosts).await;
        assert_refused(result, "(host_field of the mapping) is text");
    }
}

#[tokio::test]
async fn an_index_of_another_shape_that_comes_later_is_not_dropped_in_silence() {
    let indices = Indices::new();
    for (suffix, host) in [("a", keyword_host()), ("b", text_and_keyword_host())] {
        let index = indices.create(suffix, &zabbix_properties(&host)).await;
        indices.add(&index, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
    }
    let (hosts, mapping) = (texts(["10.0.0.1"]), Mapping::zabbix());
    for (number, (way, endpoint, _proxy)) in both_ways().await.into_iter().enumerate() {
        let before = u64::try_from(2 + number).expect("small");
        let search = async || endpoint.search(&indices.pattern(), &mapping, window_of_a_day(), &hosts).await;
        assert_eq!(search().await.expect(way).readings["10.0.0.1"].data_point_count, before, "{way}");
        let later = indices.create(&format!("c-{way}"), &zabbix_properties(&text_and_keyword_host())).await;
        indices.add(&later, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
        // What is remembered does not cover it: that is told, and looked up again.
        match search().await {
            Err(SearchError::Incomplete { reason }) => assert!(reason.contains("shards failed"), "{reason}"),
            other => panic!("{way}: {other:?}"),
        }
        assert_eq!(search().await.expect(way).readings["10.0.0.1"].data_point_count, before + 1, "{way}");
    }
}

#[tokio::test]
async fn a_document_with_two_weights_asks_for_a_smaller_search_and_fails_its_host_alone() {
    let indices = Indices::new();
    let index = indices.create("weights", &properties_of(&keyword_host(), &["cpu"])).await;
    let mut bad = roll_up(9.0, 5.0, 1.0, 1);
    bad["zabbix_value_count"] = json!([1, 2]);
    let good = rolled_up_document("10.0.0.1", [roll_up(9.0, 5.0, 1.0, 1), json!(1.0), json!(1.0)]);
    indices.add(&index, [good, rolled_up_document("10.0.0.2", [bad, json!(1.0), json!(1.0)])]).await;
    let (endpoint, mapping) = (real(), Mapping::zabbix());
    let both = texts(["10.0.0.1", "10.0.0.2"]);
    let result = endpoint.search(&index, &mapping, window_of_a_day(), &both).await;
    assert!(matches!(result, Err(SearchError::TooLarge { .. })), "{result:?}");
    let alone = endpoint.search(&index, &mapping, window_of_a_day(), &both[..1]).await.expect("an answer");
    assert_close(alone.readings["10.0.0.1"].cpu, Stats { max: 9.0, avg: 5.0, min: 1.0 });
}

#[tokio::test]
async fn every_numeric_type_is_read() {
    let indices = Indices::new();
    let mut properties = zabbix_properties(&keyword_host());
    properties["cpu"] = json!({"type": "scaled_float", "scaling_factor": 100});
    properties["available_memory"] = json!({"type": "integer"});
    properties["total_disk_space_all"] = json!({"type": "long"});
    let index = indices.create("types", &properties).await;
    indices.add(&index, [document("10.0.0.1", start(), 12.25, 3.0, 40.0)]).await;
    for (way, endpoint, _proxy) in both_ways().await {
        let hosts = texts(["10.0.0.1"]);
        let answer = endpoint.search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await.expect(way);
        let reading = answer.readings["10.0.0.1"];
        assert_close(reading.cpu, expected(&[12.25]));
        assert_close(reading.memory, expected(&[3.0]));
        assert_close(reading.disk, expected(&[40.0]));
    }
}

#[tokio::test]
async fn through_a_query_proxy_a_wrong_pattern_and_a_bad_field_are_refused() {
    let indices = Indices::new();
    let proxy = QueryProxy::start().await;
    let endpoint = proxy.endpoint();
    let hosts = texts(["10.0.0.1"]);
    let unmatched = endpoint.search(&indices.pattern(), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(unmatched, "no index matches the pattern");
    let missing = endpoint.search(&indices.named("none"), &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(missing, "what was searched does not exist (HTTP 404): index_not_found_exception");
    let mut properties = zabbix_properties(&keyword_host());
    properties["cpu"] = json!({"type": "text"});
    let index = indices.create("text", &properties).await;
    indices.add(&index, [document("10.0.0.1", start(), 1.0, 1.0, 1.0)]).await;
    let text = endpoint.search(&index, &Mapping::zabbix(), window_of_a_day(), &hosts).await;
    assert_refused(text, "fielddata=true on [cpu]");
    assert_eq!(endpoint.ping().await, Ok(()));
}
