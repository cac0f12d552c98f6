//! Searches against a stand-in, for what a healthy engine will not answer.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use hostsync_mapping::Mapping;
use hostsync_model::window::Window;
use hostsync_source::EndpointKind;
use hostsync_source::{
    Endpoint, EndpointAuth, EndpointSettings, RefusalKind, SearchAnswer, SearchError, max_answer_bytes,
};
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const TIMEOUT: Duration = Duration::from_secs(30);

fn endpoint_at(url: &str, auth: EndpointAuth, timeout: Duration) -> Endpoint {
    endpoint_of(EndpointKind::Cluster, url, auth, timeout)
}

fn endpoint_of(kind: EndpointKind, url: &str, auth: EndpointAuth, timeout: Duration) -> Endpoint {
    // All tests of the process share the provider that the first one installs.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = url.parse().expect("a URL");
    let settings = EndpointSettings { name: "test".to_owned(), kind, url, auth, ca_file: None, timeout };
    Endpoint::new(settings).expect("an endpoint")
}

fn window_of_a_day() -> Window {
    let from = DateTime::from_timestamp_millis(1_750_000_000_123).expect("a time");
    Window { from, to: from + TimeDelta::days(1) }
}

fn texts<const N: usize>(hosts: [&str; N]) -> Vec<String> {
    hosts.map(str::to_owned).to_vec()
}

fn caps() -> Value {
    let of = |kind: &str| json!({kind: {"type": kind, "searchable": true, "aggregatable": true}});
    json!({"indices": ["logs-1"], "fields": {
        "@timestamp": of("date"), "hostIp": of("keyword"), "cpu": of("double"),
        "available_memory": of("double"), "total_disk_space_all": of("double"),
    }})
}

fn whole() -> Value {
    json!({
        "took": 3, "timed_out": false,
        "_shards": {"total": 2, "successful": 2, "skipped": 0, "failed": 0},
        "aggregations": {"hosts": {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}},
    })
}

const FIELDS: &str = "@timestamp,hostIp,hostIp.*,cpu,cpu.*,available_memory,available_memory.*,\
                      total_disk_space_all,total_disk_space_all.*";

async fn stand_in(search: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/logs-*/_field_caps"))
        .and(query_param("fields", FIELDS))
        .and(query_param("include_unmapped", "true"))
        .respond_with(ResponseTemplate::new(200).set_body_json(caps()))
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/logs-*/_search"))
        .and(query_param("allow_partial_search_results", "true"))
        .respond_with(search)
        .mount(&server)
        .await;
    server
}

async fn ask(endpoint: &Endpoint) -> Result<SearchAnswer, SearchError> {
    endpoint.search("logs-*", &Mapping::zabbix(), window_of_a_day(), &texts(["10.0.0.1"])).await
}

async fn answered_with(search: ResponseTemplate) -> SearchError {
    let server = stand_in(search).await;
    ask(&endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT)).await.expect_err("no answer to take")
}

fn status(status: u16, kind: &str) -> ResponseTemplate {
    let error = json!({"type": kind, "reason": "why", "root_cause": [{"type": kind, "reason": "why"}]});
    ResponseTemplate::new(status).set_body_json(json!({"error": error, "status": status}))
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_incomplete() {
    for (key, value, sign) in [
        ("timed_out", json!(true), "timed_out"),
        ("_clusters", json!({"total": 2, "successful": 1, "skipped": 1}), "1 skipped"),
        (
            "_shards",
            json!({"total": 2, "successful": 1, "failed": 1, "failures": [
                {"shard": 0, "index": "logs-1", "reason": {"type": "io_exception", "reason": "disk on fire"}},
            ]}),
            "1 of 2 shards failed: io_exception: disk on fire",
        ),
        ("aggregations", json!({"hosts": {"buckets": []}}), "malformed"),
    ] {
        let mut answer = whole();
        answer[key] = value;
        match answered_with(ResponseTemplate::new(200).set_body_json(answer)).await {
            SearchError::Incomplete { reason } => {
                assert!(reason.starts_with("endpoint \"test\", index \"logs-*\": the answer is "), "{reason}");
                assert!(reason.contains(sign), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    let page = ResponseTemplate::new(200).set_body_raw("<html>log in</html>", "text/html");
    assert!(matches!(answered_with(page).await, SearchError::Incomplete { .. }));
}

#[tokio::test]
async fn a_list_cut_short_is_too_large() {
    let mut answer = whole();
    answer["aggregations"]["hosts"]["sum_other_doc_count"] = json!(7);
    let error = answered_with(ResponseTemplate::new(200).set_body_json(answer)).await;
    assert!(matches!(error, SearchError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn statuses_are_sorted_into_what_comes_next() {
    let busy = answered_with(status(429, "es_rejected_execution_exception")).await;
    assert!(matches!(busy, SearchError::Outage { busy: true, .. }), "{busy:?}");
    let busy = answered_with(ResponseTemplate::new(429)).await;
    assert!(matches!(busy, SearchError::Outage { busy: true, .. }), "{busy:?}");
    let busy = answered_with(status(429, "circuit_breaking_exception")).await;
    assert!(matches!(busy, SearchError::Outage { busy: true, .. }), "{busy:?}");
    for code in [400, 503] {
        let large = answered_with(status(code, "too_many_buckets_exception")).await;
        assert!(matches!(large, SearchError::TooLarge { .. }), "{large:?}");
    }
    let down = answered_with(status(503, "cluster_block_exception")).await;
    assert!(matches!(down, SearchError::Outage { busy: false, .. }), "{down:?}");
    let failed = answered_with(status(500, "null_pointer_exception")).await;
    assert!(matches!(failed, SearchError::Incomplete { .. }), "{failed:?}");
    for code in [400, 401, 403, 404] {
        let refused = answered_with(status(code, "some_exception")).await;
        assert!(matches!(refused, SearchError::Refused { .. }), "{refused:?}");
        assert!(refused.reason().ends_with(&format!("(HTTP {code}): some_exception: why")), "{refused}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = MockServer::start().await;
    let location = format!("{}/elsewhere?token=hunter2", target.uri());
    let error = answered_with(ResponseTemplate::new(307).insert_header("location", location)).await;
    match error {
        SearchError::Refused { reason, .. } => {
            assert!(reason.contains("redirects (HTTP 307 to ") && reason.contains("/elsewhere)"), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(target.received_requests().await.expect("recorded").len(), 0);
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_given_up() {
    let most = max_answer_bytes(&Mapping::zabbix(), window_of_a_day(), 1);
    assert!(most < 1 << 20, "{most} bytes for one host");
    let oversize = ResponseTemplate::new(200).set_body_bytes(vec![b' '; most + 1]);
    // 16 KiB that become 2.5 MB.
    let bomb =
        ResponseTemplate::new(200).insert_header("content-encoding", "gzip").set_body_bytes(blanks_in_gzip(10_000));
    for answer in [oversize, bomb] {
        match answered_with(answer).await {
            SearchError::TooLarge { reason } => assert!(reason.contains("larger than the 260 KiB"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

/// So many times 258 blanks: one block of fixed Huffman codes (RFC 1951, section 3.2.6). Without the sum at its end, which
/// nobody comes to.
fn blanks_in_gzip(times: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut code = |value: u32, length: u32| bits.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
    code(0x30 + 0x20, 8);
    for _ in 0..times {
        // A length of 258, from 1 back.
        code(0b1100_0101, 8);
        code(0, 5);
    }
    code(0, 7);
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend(bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))));
    gzip
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_told_apart_from_no_connection() {
    let server = stand_in(ResponseTemplate::new(200).set_body_json(whole()).set_delay(Duration::from_mins(1))).await;
    let endpoint = endpoint_at(&server.uri(), EndpointAuth::None, Duration::from_secs(1));
    let error = ask(&endpoint).await.expect_err("no answer");
    assert!(matches!(error, SearchError::TimedOut { .. }), "{error:?}");
    assert!(error.reason().ends_with("the search engine did not answer within 1s"), "{error}");
    assert_eq!(endpoint.ping().await, Ok(()));

    // A listener is bound to find a free port and gone before the port is used.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let endpoint = endpoint_at(&format!("http://127.0.0.1:{port}"), EndpointAuth::None, TIMEOUT);
    for error in [ask(&endpoint).await.map(|_| ()), endpoint.ping().await] {
        match error {
            Err(SearchError::Outage { reason, busy: false }) => {
                assert!(reason.contains("cannot connect to the search engine: "), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_an_outage() {
    // Accepts, and never says a word of the TLS handshake.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let endpoint = endpoint_at(&format!("https://127.0.0.1:{port}"), EndpointAuth::None, Duration::from_secs(2));
    let error = ask(&endpoint).await.expect_err("no connection");
    drop(listener);
    assert!(matches!(error, SearchError::Outage { busy: false, .. }), "{error:?}");
    assert!(error.reason().contains("cannot connect"), "{error}");
}

/// Answers every search by these very bytes and closes the connection; everything else as an engine does.
async fn engine_that_says(search: Vec<u8>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 16 << 10];
            let length = tokio::io::AsyncReadExt::read(&mut connection, &mut request).await.unwrap_or_default();
            let whole = |body: Value| {
                let body = body.to_string();
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
                    .into_bytes()
            };
            let answer = match String::from_utf8_lossy(&request[..length]) {
                request if request.contains("/_search?") => search.clone(),
                request if request.contains("/_field_caps?") => whole(caps()),
                _ => whole(json!({"version": {"number": "8.1.0"}})),
            };
            let _ = tokio::io::AsyncWriteExt::write_all(&mut connection, &answer).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut connection).await;
        }
    });
    port
}

#[tokio::test]
async fn an_answer_that_breaks_off_anywhere_is_an_outage() {
    let body = whole().to_string();
    let half = &body[..body.len() / 2];
    let head = |status: u16, more: &str| format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{more}\r\n");
    let zipped = gzip(&whole());
    let with = |head: String, body: &[u8]| [head.as_bytes(), body].concat();
    for (answer, what) in [
        (Vec::new(), "closed before the headers"),
        (b"HTTP/1.1 200 O".to_vec(), "closed within the status"),
        (with(head(200, &format!("content-length: {}\r\n", body.len())), half.as_bytes()), "half a body"),
        (with(head(200, ""), half.as_bytes()), "half a body of unknown length"),
        (with(head(200, ""), b""), "no body at all"),
        (
            with(head(200, "transfer-encoding: chunked\r\n"), format!("{:x}\r\n{half}\r\n", half.len()).as_bytes()),
            "chunks without an end",
        ),
        (with(head(200, "content-encoding: gzip\r\n"), &zipped[..zipped.len() / 2]), "half a gzip"),
        (with(head(200, "content-encoding: gzip\r\n"), &zipped[..zipped.len() - 4]), "gzip without its sums"),
        (with(head(400, "content-length: 1000\r\n"), b"{\"error\": {\"type\""), "half a refusal"),
        (with(head(401, "content-length: 1000\r\n"), b""), "a refusal without its body"),
    ] {
        let port = engine_that_says(answer).await;
        let endpoint = endpoint_at(&format!("http://127.0.0.1:{port}"), EndpointAuth::None, TIMEOUT);
        let error = ask(&endpoint).await.expect_err(what);
        assert!(matches!(error, SearchError::Outage { busy: false, .. }), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_believed_when_it_is_seen_twice_but_one_of_credentials_is_the_fleets_matter() {
    for (code, searches, is_answered) in [(404, 2, true), (400, 2, true), (401, 1, false), (403, 1, false)] {
        let server = stand_in(ResponseTemplate::new(200).set_body_json(whole())).await;
        let once = Mock::given(method("POST")).respond_with(status(code, "some_exception")).with_priority(1);
        once.up_to_n_times(1).mount(&server).await;
        let answer = ask(&endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT)).await;
        assert_eq!(answer.is_ok(), is_answered, "{code}: {answer:?}");
        let requests = server.received_requests().await.expect("recorded");
        let seen = |end: &str| requests.iter().filter(|request| request.url.path().ends_with(end)).count();
        assert_eq!((seen("/_search"), seen("/_field_caps")), (searches, searches), "{code}");
    }
}

#[tokio::test]
async fn an_alias_that_leads_elsewhere_is_noticed_by_the_number_of_its_shards() {
    let bucket = json!({"key": "10.0.0.1", "doc_count": 1, "cpu": {"count": 0, "max": null, "avg": null, "min": null},
        "memory": {"count": 0, "max": null, "avg": null, "min": null}, "disk": {"count": 0, "max": null, "avg": null, "min": null}});
    let mut found = whole();
    found["aggregations"]["hosts"]["buckets"] = json!([bucket]);
    let server = stand_in(ResponseTemplate::new(200).set_body_json(found.clone())).await;
    let endpoint = endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT);
    assert_eq!(ask(&endpoint).await.expect("an answer").readings.len(), 1);
    server.reset().await;
    // Now a text with a keyword beside it, in an index of more shards: by the old field nobody is found.
    let mut moved = caps();
    moved["fields"]["hostIp"] = json!({"text": {"type": "text", "searchable": true, "aggregatable": false}});
    moved["fields"]["hostIp.keyword"] =
        json!({"keyword": {"type": "keyword", "searchable": true, "aggregatable": true}});
    let answer = move |request: &Request| {
        let by_keyword = String::from_utf8_lossy(&request.body).contains("hostIp.keyword");
        let mut answer = if by_keyword { found.clone() } else { whole() };
        answer["_shards"] = json!({"total": 3, "successful": 3, "skipped": 0, "failed": 0});
        ResponseTemplate::new(200).set_body_json(answer)
    };
    Mock::given(path("/logs-*/_field_caps"))
        .respond_with(ResponseTemplate::new(200).set_body_json(moved))
        .mount(&server)
        .await;
    Mock::given(path("/logs-*/_search")).respond_with(answer).mount(&server).await;
    assert_eq!(ask(&endpoint).await.expect("an answer").readings.len(), 1);
}

#[tokio::test]
async fn a_flag_that_says_no_is_told_only_where_the_engine_refuses_that_field() {
    let mut flagged = caps();
    flagged["fields"]["@timestamp"]["date"]["searchable"] = json!(false);
    for (reason, is_of_field) in [
        ("failed to create query: Cannot search on field [@timestamp] since it is not indexed.", true),
        ("unknown setting [other]", false),
    ] {
        let error = json!({"error": {"type": "query_shard_exception", "reason": reason}, "status": 400});
        let mut can = whole();
        can["aggregations"]["indices"] = json!({"buckets": [{"key": "logs-1", "doc_count": 1}]});
        let server = engine(json!({"version": {"number": "7.10.2"}}), can, flagged.clone()).await;
        let endpoint = endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT);
        ask(&endpoint).await.expect("the engine can");
        let refusal = ResponseTemplate::new(400).set_body_json(error);
        Mock::given(method("POST")).respond_with(refusal).with_priority(1).mount(&server).await;
        match ask(&endpoint).await {
            Err(SearchError::Refused { reason: told, kind }) => {
                assert_eq!(kind == RefusalKind::Field, is_of_field, "{told}");
                assert!(told.contains(reason), "{told}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_an_outage() {
    // Speaks no TLS at all, which is no worse and no better than a certificate that cannot be trusted.
    let server = MockServer::start().await;
    let endpoint = endpoint_at(&server.uri().replace("http://", "https://"), EndpointAuth::None, TIMEOUT);
    let error = ask(&endpoint).await.expect_err("no trust");
    assert!(matches!(error, SearchError::Outage { busy: false, .. }), "{error:?}");
    assert!(error.reason().contains("does not speak TLS") && error.reason().contains("http://"), "{error}");
}

#[tokio::test]
async fn credentials_go_into_the_header_and_not_into_reasons() {
    for (auth, value) in [
        (
            EndpointAuth::Basic { username: "reader".to_owned(), password: "p:ss wörd".into() },
            "Basic cmVhZGVyOnA6c3Mgd8O2cmQ=",
        ),
        (EndpointAuth::ApiKey("aWQ6a2V5".into()), "ApiKey aWQ6a2V5"),
        (EndpointAuth::Bearer("to.ken".into()), "Bearer to.ken"),
    ] {
        let server = MockServer::start().await;
        Mock::given(header("authorization", value))
            .and(path("/logs-*/_field_caps"))
            .respond_with(ResponseTemplate::new(200).set_body_json(caps()))
            .mount(&server)
            .await;
        Mock::given(header("authorization", value))
            .and(path("/logs-*/_search"))
            .respond_with(ResponseTemplate::new(200).set_body_json(whole()))
            .mount(&server)
            .await;
        ask(&endpoint_at(&server.uri(), auth.clone(), TIMEOUT)).await.expect("an answer");

        let echo = MockServer::start().await;
        let secret = value.split_once(' ').expect("two words").1.to_owned();
        Mock::given(path("/logs-*/_field_caps"))
            .respond_with(move |request: &Request| {
                let sent = request.headers["authorization"].to_str().expect("text").to_owned();
                ResponseTemplate::new(401).set_body_json(json!({"error": {"type": "x", "reason": sent}}))
            })
            .mount(&echo)
            .await;
        let error = ask(&endpoint_at(&echo.uri(), auth, TIMEOUT)).await.expect_err("refused");
        assert!(matches!(error, SearchError::Refused { .. }), "{error:?}");
        assert!(error.reason().contains("***") && !error.reason().contains(&secret), "{error}");
    }
}

#[tokio::test]
async fn field_types_are_looked_up_once_and_again_after_an_answer_that_makes_no_sense() {
    let server = stand_in(ResponseTemplate::new(200).set_body_json(whole())).await;
    let endpoint = endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT);
    let look_ups = async || {
        let requests = server.received_requests().await.expect("recorded");
        requests.iter().filter(|request| request.url.path().ends_with("/_field_caps")).count()
    };
    for _ in 0..3 {
        ask(&endpoint).await.expect("an answer");
    }
    assert_eq!(look_ups().await, 1);
    let other = Mapping { group_field: None, ..Mapping::zabbix() };
    endpoint.search("logs-*", &other, window_of_a_day(), &texts(["10.0.0.1"])).await.expect("an answer");
    assert_eq!(look_ups().await, 2);

    let failing = Mock::given(method("POST")).respond_with(status(500, "x")).with_priority(1).up_to_n_times(1);
    failing.mount(&server).await;
    ask(&endpoint).await.expect_err("a failure");
    ask(&endpoint).await.expect("an answer");
    assert_eq!(look_ups().await, 3);
}

#[tokio::test]
async fn a_skipped_cluster_is_not_mistaken_for_a_missing_field_or_index() {
    let mut skipped = whole();
    skipped["_shards"] = json!({"total": 0, "successful": 0, "skipped": 0, "failed": 0});
    skipped["_clusters"] = json!({"total": 1, "successful": 0, "skipped": 1});
    let mut lacking = caps();
    lacking["fields"].as_object_mut().expect("an object").remove("cpu");
    for types in [json!({"indices": [], "fields": {}}), lacking] {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_json(types)).mount(&server).await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(200).set_body_json(skipped.clone()))
            .mount(&server)
            .await;
        let error = ask(&endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT)).await.expect_err("no answer");
        assert!(matches!(error, SearchError::Incomplete { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn any_answer_but_an_overload_or_a_failure_shows_that_the_engine_is_reachable() {
    for (code, reachable) in
        [(200, true), (401, true), (404, true), (301, true), (429, false), (500, false), (503, false)]
    {
        let server = MockServer::start().await;
        Mock::given(method("GET")).and(path("/deep/")).respond_with(ResponseTemplate::new(code)).mount(&server).await;
        let endpoint = endpoint_at(&format!("{}/deep", server.uri()), EndpointAuth::None, TIMEOUT);
        assert_eq!(endpoint.ping().await.is_ok(), reachable, "{code}");
    }
}

// ---------------------------------------------------------------------------------------------------------
// What differs between the engines

/// An engine that says who it is.
async fn engine(root: Value, search: Value, fields: Value) -> MockServer {
    let server = MockServer::start().await;
    let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    Mock::given(method("GET")).and(path("/")).respond_with(json(root)).mount(&server).await;
    Mock::given(method("GET")).and(path("/logs-*/_field_caps")).respond_with(json(fields)).mount(&server).await;
    Mock::given(method("POST")).and(path("/logs-*/_search")).respond_with(json(search)).mount(&server).await;
    server
}

fn metricbeat_caps() -> Value {
    let of = |kind: &str| json!({kind: {"type": kind, "searchable": true, "aggregatable": true}});
    json!({"indices": ["logs-1"], "fields": {
        "@timestamp": of("date"), "host.ip": of("ip"),
        "system.cpu.total.norm.pct": of("scaled_float"), "system.memory.actual.used.pct": of("scaled_float"),
        "system.memory.actual.used.bytes": of("long"), "system.memory.total": of("long"),
        "system.filesystem.used.bytes": of("long"), "system.filesystem.total": of("long"),
        "system.filesystem.mount_point": of("keyword"),
    }})
}

#[tokio::test]
async fn the_version_is_asked_for_once_and_decides_how_a_slice_is_named() {
    for (number, distribution, name, other) in [
        ("7.0.1", "none", "interval", "fixed_interval"),
        ("7.10.2", "none", "fixed_interval", "interval"),
        ("9.1.0", "none", "fixed_interval", "interval"),
        ("3.0.0", "opensearch", "fixed_interval", "interval"),
    ] {
        let root = json!({"version": {"number": number, "distribution": distribution}});
        let server = engine(root, whole(), metricbeat_caps()).await;
        let endpoint = endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT);
        for index_pattern in ["logs-*", "logs-*"] {
            let hosts = texts(["10.0.0.1"]);
            endpoint.search(index_pattern, &Mapping::metricbeat(), window_of_a_day(), &hosts).await.expect(number);
        }
        let requests = server.received_requests().await.expect("recorded");
        assert_eq!(requests.iter().filter(|request| request.url.path() == "/").count(), 1, "{number}");
        let search = requests.iter().find(|request| request.url.path() == "/logs-*/_search").expect("a search");
        let body: Value = serde_json::from_slice(&search.body).expect("JSON");
        let histogram = &body["aggs"]["hosts"]["aggs"]["disk_slices"]["aggs"]["slices"]["date_histogram"];
        assert_eq!((&histogram[name], &histogram[other]), (&json!("3600s"), &Value::Null), "{number}");
    }
}

#[tokio::test]
async fn an_engine_older_than_any_that_is_known_is_refused() {
    let server = engine(json!({"version": {"number": "6.8.23"}}), whole(), caps()).await;
    let error = ask(&endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT)).await.expect_err("refused");
    assert!(matches!(error, SearchError::Refused { .. }), "{error:?}");
    assert!(error.reason().contains("Elasticsearch 6.8.23 is not supported"), "{error}");
}

#[tokio::test]
async fn an_answer_in_gzip_is_read() {
    // `printf … | gzip` of an answer without hosts.
    let server =
        stand_in(ResponseTemplate::new(200).insert_header("content-encoding", "gzip").set_body_bytes(gzip(&whole())))
            .await;
    ask(&endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT)).await.expect("an answer");
    let requests = server.received_requests().await.expect("recorded");
    assert!(
        requests.iter().all(|request| request.headers["accept-encoding"].to_str().is_ok_and(|it| it.contains("gzip")))
    );
}

/// RFC 1952 with one stored block (RFC 1951, section 3.2.4): no library is needed to write it.
fn gzip(answer: &Value) -> Vec<u8> {
    let text = answer.to_string().into_bytes();
    let length = u16::try_from(text.len()).expect("a short answer");
    let mut crc = !0_u32;
    for byte in &text {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    gzip.extend(length.to_le_bytes());
    gzip.extend((!length).to_le_bytes());
    gzip.extend(&text);
    gzip.extend((!crc).to_le_bytes());
    gzip.extend(u32::from(length).to_le_bytes());
    gzip
}

/// Answers a page of as many addresses as it is asked for, each another host's, for ever.
fn endless_page(request: &Request) -> ResponseTemplate {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let composite = &body["aggs"]["hosts"]["composite"];
    let size = composite["size"].as_u64().expect("a size");
    let first = composite["after"]["host"]
        .as_str()
        .map_or(0x0a00_0000, |last| u32::from(last.parse::<std::net::Ipv4Addr>().expect("an address")) + 1);
    let address = |n: u64| std::net::Ipv4Addr::from(first + u32::try_from(n).expect("small")).to_string();
    let buckets: Vec<Value> =
        (0..size).map(|n| json!({"key": {"host": address(n)}, "doc_count": 1, "names": {"buckets": []}})).collect();
    let mut answer = whole();
    answer["aggregations"] = json!({
        "documents": {"doc_count": size, "documents": {"value": size}}, "addresses": {"value": size},
        "hosts": {"after_key": {"host": address(size - 1)}, "buckets": buckets},
    });
    ResponseTemplate::new(200).set_body_json(answer)
}

#[tokio::test]
async fn a_group_of_more_hosts_than_are_taken_is_refused_and_not_cut() {
    let mut fields = caps();
    for field in ["group", "hostName"] {
        fields["fields"][field] = json!({"keyword": {"type": "keyword", "searchable": true, "aggregatable": true}});
    }
    let server = engine(json!({"version": {"number": "8.15.1"}}), json!({}), fields).await;
    let pages = Mock::given(method("POST")).and(path("/logs-*/_search")).respond_with(endless_page).with_priority(1);
    pages.mount(&server).await;
    let endpoint = endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT);
    let result = endpoint.group_hosts("logs-*", &Mapping::zabbix(), window_of_a_day(), "db", 10_000).await;
    match result {
        Err(SearchError::Refused { reason, .. }) => assert!(reason.contains("more than 100000 hosts"), "{reason}"),
        other => panic!("{:?}", other.map(|hosts| hosts.hosts.len())),
    }
}

// ---------------------------------------------------------------------------------------------------------
// A query proxy

fn proxied() -> Value {
    let nothing = json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []});
    let mut answer = whole();
    answer["aggregations"] = json!({"hosts": nothing, "documents": {"doc_count": 0}, "values": nothing});
    answer
}

async fn proxy(answer: ResponseTemplate) -> (MockServer, Endpoint) {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/es/query")).respond_with(answer).mount(&server).await;
    let url = format!("{}/es/query", server.uri());
    let endpoint = endpoint_of(EndpointKind::Proxy, &url, EndpointAuth::Bearer("to.ken".into()), TIMEOUT);
    (server, endpoint)
}

#[tokio::test]
async fn a_query_proxy_gets_the_index_beside_the_query_and_nothing_else() {
    let (server, endpoint) = proxy(ResponseTemplate::new(200).set_body_json(proxied())).await;
    for _ in 0..2 {
        ask(&endpoint).await.expect("an answer");
    }
    let requests = server.received_requests().await.expect("recorded");
    // Once to find out how the host stands there, then a search each.
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!((request.url.path(), request.url.query()), ("/es/query", None));
        assert_eq!(request.headers["authorization"], "Bearer to.ken");
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(body["index"], "logs-*");
        let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
        assert!(keys.iter().all(|key| ["index", "query", "aggs", "size"].contains(&key.as_str())), "{keys:?}");
    }
}

#[tokio::test]
async fn what_a_query_proxy_passes_on_is_sorted_as_from_the_engine() {
    let mut timed_out = proxied();
    timed_out["timed_out"] = json!(true);
    let mut skipped = proxied();
    skipped["_clusters"] = json!({"total": 2, "successful": 1, "skipped": 1});
    for answer in [timed_out, skipped] {
        let (_server, endpoint) = proxy(ResponseTemplate::new(200).set_body_json(answer)).await;
        let error = ask(&endpoint).await.expect_err("no answer");
        assert!(matches!(error, SearchError::Incomplete { .. }), "{error:?}");
    }
    let error = json!({"error": {"type": "index_not_found_exception", "reason": "why"}, "status": 404});
    for status in [200, 404] {
        let (_server, endpoint) = proxy(ResponseTemplate::new(status).set_body_json(error.clone())).await;
        let error = ask(&endpoint).await.expect_err("refused");
        assert!(matches!(error, SearchError::Refused { .. }), "{error:?}");
    }
    for (status, busy) in [(502, false), (503, false), (429, true)] {
        let (_server, endpoint) = proxy(ResponseTemplate::new(status)).await;
        match ask(&endpoint).await {
            Err(SearchError::Outage { busy: found, .. }) => assert_eq!(found, busy, "{status}"),
            other => panic!("{status}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_query_proxy_lives_only_if_it_can_pass_on_what_it_was_asked_before() {
    let (server, endpoint) = proxy(ResponseTemplate::new(200).set_body_json(proxied())).await;
    assert_eq!(endpoint.ping().await, Ok(()), "a 404 to GET is an answer");
    ask(&endpoint).await.expect("an answer");
    assert_eq!(endpoint.ping().await, Ok(()));
    let requests = server.received_requests().await.expect("recorded");
    let body: Value = serde_json::from_slice(&requests.last().expect("a request").body).expect("JSON");
    assert_eq!(body, json!({"index": "logs-*", "size": 0, "query": {"match_none": {}}}));
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(502)).mount(&server).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    assert!(matches!(endpoint.ping().await, Err(SearchError::Outage { .. })));
    // The engine's own words: it is there, and one pattern's trouble is not the proxy's.
    let shards = json!({"error": {"type": "no_shard_available_action_exception", "reason": "why"}, "status": 503});
    let passed_on = ResponseTemplate::new(503).set_body_json(shards);
    Mock::given(method("POST")).respond_with(passed_on).with_priority(1).mount(&server).await;
    assert_eq!(endpoint.ping().await, Ok(()));
}

// ---------------------------------------------------------------------------------------------------------
// An authority of one's own

/// An engine behind TLS, with a certificate that `authority` signed for `name`.
async fn behind_tls(authority: &rcgen::CertifiedIssuer<'_, rcgen::KeyPair>, name: &str) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec![name.to_owned()];
    let certificate =
        rcgen::CertificateParams::new(names).and_then(|it| it.signed_by(&key, authority)).expect("signed");
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = acceptor.accept(connection).await else { return };
                let mut request = [0; 4_096];
                let _ = tokio::io::AsyncReadExt::read(&mut connection, &mut request).await;
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut connection, answer.as_bytes()).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut connection).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_where_the_endpoint_names_it_and_nowhere_else() {
    let authority = |name: &str| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().expect("a key")).expect("an authority")
    };
    let (own, other) = (authority("own"), authority("other"));
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = directory.path().join("ca.pem");
    std::fs::write(&bundle, own.pem()).expect("a file");
    let endpoint = |port: u16, ca_file: Option<std::path::PathBuf>| {
        let url = format!("https://localhost:{port}").parse().expect("a URL");
        let (name, kind) = ("test".to_owned(), EndpointKind::Cluster);
        let settings = EndpointSettings { name, kind, url, auth: EndpointAuth::None, ca_file, timeout: TIMEOUT };
        Endpoint::new(settings).expect("an endpoint")
    };
    let port = behind_tls(&own, "localhost").await;
    assert_eq!(endpoint(port, Some(bundle.clone())).ping().await, Ok(()));
    let elsewhere = behind_tls(&own, "elsewhere.example").await;
    let foreign = behind_tls(&other, "localhost").await;
    for (port, ca_file) in [(port, None), (elsewhere, Some(bundle.clone())), (foreign, Some(bundle))] {
        match endpoint(port, ca_file).ping().await {
            Err(SearchError::Outage { reason, busy: false }) => {
                assert!(reason.contains("invalid peer certificate") && reason.contains("ca_file"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_probe_keeps_what_was_answered_in_time() {
    let server = stand_in(ResponseTemplate::new(200).set_body_json(whole()).set_delay(Duration::from_secs(20))).await;
    let root = ResponseTemplate::new(200).set_body_json(json!({"version": {"number": "8.1.0"}}));
    Mock::given(method("GET")).and(path("/")).respond_with(root).mount(&server).await;
    let endpoint = endpoint_at(&server.uri(), EndpointAuth::None, TIMEOUT);
    let longest = Duration::from_secs(1);
    let probe = endpoint.probe("logs-*", &Mapping::zabbix(), window_of_a_day(), None, longest).await;
    assert_eq!((probe.reachable, probe.version.as_deref(), probe.documents), (true, Some("8.1.0"), None));
    assert_eq!(probe.problems.len(), 1);
    assert!(probe.problems[0].ends_with("not everything was answered within 1 s"), "{:?}", probe.problems);
}
