//! A run from the request to the rows of the CMDB, on real servers.

#![allow(clippy::disallowed_methods, clippy::cast_possible_truncation, reason = "tests make their documents now")]

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Duration as Span, NaiveDate, TimeDelta, Utc};
use hostsync_e2e::service;
use hostsync_store::database;
use hostsync_store::tables::hosts_pool::{self, NewPoolHost};
use hostsync_store::tables::server_resources::{self, Percent, ServerResource};
use hostsync_testing::bed::{Bed, on_bed};
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::{Extent, Family, SampleHost, SampleIndex};
use hostsync_testing::gate::Gate;
use hostsync_testing::own_mariadb::OwnMariadb;
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_mins(1);
const STEP: TimeDelta = TimeDelta::minutes(5);

#[derive(Debug, sqlx::FromRow)]
struct ResourceRow {
    ip: String,
    used_memory: Option<f64>,
    used_disk: Option<f64>,
    cpu_load: Option<f64>,
    cpu_percent_max: Option<f64>,
    cpu_percent_avg: Option<f64>,
    cpu_percent_min: Option<f64>,
    mem_percent_max: Option<f64>,
    mem_percent_avg: Option<f64>,
    mem_percent_min: Option<f64>,
    disk_percent_max: Option<f64>,
    disk_percent_avg: Option<f64>,
    disk_percent_min: Option<f64>,
    mon_date: NaiveDate,
}

async fn resource_rows(bed: &Bed) -> HashMap<String, ResourceRow> {
    let rows: Vec<ResourceRow> = sqlx::query_as(
        "SELECT ip, used_memory, used_disk, cpu_load, cpu_percent_max, cpu_percent_avg, cpu_percent_min,
                mem_percent_max, mem_percent_avg, mem_percent_min, disk_percent_max, disk_percent_avg,
                disk_percent_min, mon_date
         FROM server_resources",
    )
    .fetch_all(&bed.pool)
    .await
    .expect("rows");
    rows.into_iter().map(|row| (row.ip.clone(), row)).collect()
}

fn close(actual: Option<f64>, expected: f64) -> bool {
    actual.is_some_and(|actual| (actual - expected).abs() <= 1e-9 * expected.abs().max(1.0))
}

fn percent_of(extent: Extent, capacity: u32) -> Extent {
    let percent = |value: f64| value / f64::from(capacity) * 100.0;
    Extent { max: percent(extent.max), avg: percent(extent.avg), min: percent(extent.min) }
}

fn assert_row(row: &ResourceRow, host: SampleHost, from: DateTime<Utc>, to: DateTime<Utc>) {
    let expected = host.expected(from, to, STEP);
    let mem = percent_of(expected.memory_gb, host.ram_gb());
    let disk = percent_of(expected.disk_gb, host.disk_gb());
    for (name, actual, expected) in [
        ("cpu_load", row.cpu_load, expected.cpu.max),
        ("used_memory", row.used_memory, expected.memory_gb.max),
        ("used_disk", row.used_disk, expected.disk_gb.max),
        ("cpu_percent_max", row.cpu_percent_max, expected.cpu.max),
        ("cpu_percent_avg", row.cpu_percent_avg, expected.cpu.avg),
        ("cpu_percent_min", row.cpu_percent_min, expected.cpu.min),
        ("mem_percent_max", row.mem_percent_max, mem.max),
        ("mem_percent_avg", row.mem_percent_avg, mem.avg),
        ("mem_percent_min", row.mem_percent_min, mem.min),
        ("disk_percent_max", row.disk_percent_max, disk.max),
        ("disk_percent_avg", row.disk_percent_avg, disk.avg),
        ("disk_percent_min", row.disk_percent_min, disk.min),
    ] {
        assert!(close(actual, expected), "{name} of {}: {actual:?}, expected {expected}", row.ip);
    }
}

fn time(log: &Value, field: &str) -> DateTime<Utc> {
    log[field].as_str().expect(field).parse().expect(field)
}

#[tokio::test]
async fn the_values_in_the_cmdb_equal_those_computed_from_the_documents() {
    on_bed("values", async |bed| {
        let hosts: Vec<SampleHost> = (0..40).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        // The last five have no documents.
        bed.index_last_day(hosts[..35].iter().copied(), STEP).await.expect("documents");
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let scheduler = service::scheduler(config()).await.expect("a scheduler");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");

        // Two more that the pool does not know.
        let asked: Vec<String> = (0..42).map(|n| SampleHost(n).ip()).collect();
        let id = client.execute("values", &asked, "12h").await.expect("accepted");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["execution_status"], "success", "{log}");
        for (counter, expected) in [
            ("total_hosts", 42),
            ("success_count", 35),
            ("no_data_count", 5),
            ("not_in_pool_count", 2),
            ("failed_count", 0),
            ("pending_count", 0),
        ] {
            assert_eq!(log[counter], expected, "{counter} in {log}");
        }
        let (from, to) = (time(&log, "window_from"), time(&log, "window_to"));
        assert_eq!(to - from, Span::hours(12));
        let rows = resource_rows(&bed).await;
        assert_eq!(rows.len(), 35);
        for host in &hosts[..35] {
            let row = &rows[&host.ip()];
            assert_row(row, *host, from, to);
            assert_eq!(row.mon_date, to.date_naive());
        }
        let details: HashMap<String, Value> = client
            .details(id)
            .await
            .expect("details")
            .into_iter()
            .map(|detail| (detail["host_ip"].as_str().expect("an address").to_owned(), detail))
            .collect();
        assert_eq!(details.len(), 42);
        for host in &hosts[..35] {
            let expected = host.expected(from, to, STEP);
            let detail = &details[&host.ip()];
            assert_eq!(detail["sync_status"], "success");
            assert_eq!(detail["attempts"], 1);
            assert_eq!(detail["host_name"], host.name());
            assert_eq!(detail["data_point_count"], expected.documents);
            let avg = detail["avg_memory"].as_f64().expect("a number");
            assert!((avg - expected.memory_gb.avg).abs() <= 0.005 + 1e-9, "{avg} vs {}", expected.memory_gb.avg);
        }
        assert_eq!(details[&SampleHost(36).ip()]["sync_status"], "no_data");
        assert_eq!(details[&SampleHost(36).ip()]["max_cpu"], Value::Null);
        assert_eq!(details[&SampleHost(41).ip()]["sync_status"], "not_in_pool");

        for service in [worker, scheduler, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn a_detail_says_whether_its_row_was_inserted_or_overwritten() {
    on_bed("inserted", async |bed| {
        let hosts: Vec<SampleHost> = (0..3).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        bed.index_last_day(hosts[..2].iter().copied(), STEP).await.expect("documents");
        // The row of the first host stands there, whichever side of midnight the run falls on.
        for days in [0, 1] {
            sqlx::query(
                "INSERT INTO server_resources (pool_id, ip, mon_date, create_time, update_time, is_deleted)
                 VALUES (1, ?, UTC_DATE() + INTERVAL ? DAY, UTC_TIMESTAMP(), UTC_TIMESTAMP(), 0)",
            )
            .bind(hosts[0].ip())
            .bind(days)
            .execute(&bed.pool)
            .await
            .expect("a row");
        }
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let asked: Vec<String> = hosts.iter().map(|host| host.ip()).collect();
        let id = client.execute("inserted", &asked, "12h").await.expect("accepted");
        client.wait_for_end(id, LIMIT).await.expect("an end");
        let rows: Vec<(String, Option<bool>)> =
            sqlx::query_as("SELECT host_ip, inserted FROM es_sync_execution_detail WHERE execution_id = ?")
                .bind(id)
                .fetch_all(&bed.pool)
                .await
                .expect("details");
        let inserted: HashMap<String, Option<bool>> = rows.into_iter().collect();
        assert_eq!(inserted[&hosts[0].ip()], Some(false));
        assert_eq!(inserted[&hosts[1].ip()], Some(true));
        assert_eq!(inserted[&hosts[2].ip()], None);
        for service in [worker, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn a_window_that_ends_earlier_never_overwrites_one_that_ends_later() {
    on_bed("newer", async |bed| {
        let hosts: Vec<SampleHost> = (0..3).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        bed.index_last_day(hosts.iter().copied(), STEP).await.expect("documents");
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let asked: Vec<String> = hosts.iter().map(|host| host.ip()).collect();
        // Both are accepted before a worker lives; the older one is worked on last.
        let older = client.execute("older", &asked, "1h").await.expect("accepted");
        let newer = client.execute("newer", &asked, "2h").await.expect("accepted");
        sqlx::query(
            "INSERT INTO es_sync_newest_window (ip, mon_date, window_to)
             SELECT detail.host_ip, log.mon_date, log.window_to
             FROM es_sync_execution_detail AS detail JOIN es_sync_execution_log AS log ON log.id = detail.execution_id
             WHERE log.id = ?",
        )
        .bind(newer)
        .execute(&bed.pool)
        .await
        .expect("a newer window");
        let worker = service::worker(config()).await.expect("a worker");
        let older_log = client.wait_for_end(older, LIMIT).await.expect("an end");
        let newer_log = client.wait_for_end(newer, LIMIT).await.expect("an end");
        assert_eq!(older_log["success_count"], 3, "{older_log}");
        assert_eq!(newer_log["success_count"], 3, "{newer_log}");
        for detail in client.details(older).await.expect("details") {
            let reason = detail["error_message"].as_str().expect("a reason");
            assert!(reason.starts_with("not written: a window that ends later"), "{reason}");
        }
        let (from, to) = (time(&newer_log, "window_from"), time(&newer_log, "window_to"));
        let rows = resource_rows(&bed).await;
        for host in hosts {
            assert_row(&rows[&host.ip()], host, from, to);
        }
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn rows_that_exist_are_written_again_without_burning_ids() {
    on_bed("ids", async |bed| {
        let hosts: Vec<SampleHost> = (0..20).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        bed.index_last_day(hosts.iter().copied(), STEP).await.expect("documents");
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let asked: Vec<String> = hosts.iter().map(|host| host.ip()).collect();
        let sync = async || {
            let id = client.execute("ids", &asked, "1h").await.expect("accepted");
            let log = client.wait_for_end(id, LIMIT).await.expect("an end");
            assert_eq!(log["success_count"], 20, "{log}");
        };
        sync().await;
        sync().await;
        sync().await;
        sqlx::query("INSERT INTO server_resources (pool_id, ip, mon_date) SELECT id, 'probe', '2000-01-01' FROM hosts_pool LIMIT 1")
            .execute(&bed.pool)
            .await
            .expect("a probe");
        let (highest, rows): (u64, i64) =
            sqlx::query_as("SELECT CAST(MAX(id) AS UNSIGNED), COUNT(*) FROM server_resources")
                .fetch_one(&bed.pool)
                .await
                .expect("a row");
        assert_eq!(rows, 21);
        // One insert of 20 rows may reserve a few more ids than it needs, once.
        assert!(highest <= 40, "the ids stand at {highest} after three runs over 20 hosts");
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

/// Runs over `hosts` as `more` says, and returns the log of the ended run.
async fn run(client: &Client, hosts: &[SampleHost], more: &Value) -> Value {
    let ips: Vec<String> = hosts.iter().map(|host| host.ip()).collect();
    let mut body = json!({"task_name": "run", "host_ip_list": ips, "query_time_range": "12h"});
    for (field, value) in more.as_object().expect("an object") {
        body[field] = value.clone();
    }
    let answer = client.ok(Method::POST, "/es-sync-execute", Some(&body)).await.expect("accepted");
    client.wait_for_end(answer["execution_id"].as_u64().expect("an id"), LIMIT).await.expect("an end")
}

#[tokio::test]
async fn both_families_and_a_mapping_of_ones_own_reach_the_cmdb() {
    on_bed("families", async |bed| {
        let hosts: Vec<SampleHost> = (0..6).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        // A mapping in the configuration alone: fields, units and a filter of its own.
        let own: Vec<(String, &str)> = [
            ("TIME_FIELD", "when"),
            ("HOST_FIELD", "address"),
            ("CPU__MAX", "load"),
            ("CPU__AVG", "load"),
            ("CPU__MIN", "load"),
            ("CPU__UNIT", "ratio"),
            ("MEMORY__MAX", "mem"),
            ("MEMORY__AVG", "mem"),
            ("MEMORY__MIN", "mem"),
            ("MEMORY__UNIT", "bytes"),
            ("DISK__MAX", "disk"),
            ("DISK__AVG", "disk"),
            ("DISK__MIN", "disk"),
            ("DISK__UNIT", "gb"),
            ("FILTER__TERM__KIND", "host"),
        ]
        .map(|(key, value)| (format!("HOSTSYNC_MAPPINGS__OWN__{key}"), value))
        .into();
        let more: Vec<(&str, &str)> = own.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let config = || bed.config(&more).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");

        let url = &bed.servers.elasticsearch_url;
        let now = Utc::now();
        for (family, suffix, mapping) in
            [(Family::ZabbixRollUp, "roll-up", ""), (Family::Metricbeat, "beat", "metricbeat")]
        {
            let index = SampleIndex::create_of(family, url, &format!("{}-{suffix}", bed.index.name)).await;
            let index = index.expect("an index");
            index.fill(hosts.iter().copied(), now - Span::days(1), now + STEP, STEP, |_| {}).await.expect("documents");
            let log = run(&client, &hosts, &json!({"mapping": mapping, "es_index_pattern": index.name})).await;
            index.delete().await.expect("deleted");
            assert_eq!(log["success_count"], 6, "{log}");
            let rows = resource_rows(&bed).await;
            for host in &hosts {
                let (from, to) = (time(&log, "window_from"), time(&log, "window_to"));
                let expected = host.expected_of(family, from, to, STEP);
                let row = &rows[&host.ip()];
                for (name, actual, expected) in [
                    ("cpu_load", row.cpu_load, expected.cpu.max),
                    ("used_memory", row.used_memory, expected.memory_gb.max),
                    ("used_disk", row.used_disk, expected.disk_gb.max),
                    ("cpu_percent_avg", row.cpu_percent_avg, expected.cpu.avg),
                    ("mem_percent_max", row.mem_percent_max, percent_of(expected.memory_gb, host.ram_gb()).max),
                    ("disk_percent_max", row.disk_percent_max, percent_of(expected.disk_gb, host.disk_gb()).max),
                ] {
                    let close = actual.is_some_and(|actual| (actual - expected).abs() <= 1e-6 * expected.abs());
                    assert!(close, "{name} of {} in {suffix}: {actual:?}, expected {expected}", row.ip);
                }
            }
        }

        let index = SampleIndex::existing(url, &format!("{}-own", bed.index.name));
        for (kind, load) in [("host", 0.25), ("host", 0.75), ("container", 1.0)] {
            let document = json!({"when": (now - Span::hours(1)).to_rfc3339(), "address": hosts[0].ip(), "kind": kind,
                                  "load": load, "mem": 2_147_483_648_u64, "disk": 10});
            index.put(&document).await.expect("a document");
        }
        let log = run(&client, &hosts[..1], &json!({"mapping": "own", "es_index_pattern": index.name})).await;
        index.delete().await.expect("deleted");
        assert_eq!(log["success_count"], 1, "{log}");
        let row = &resource_rows(&bed).await[&hosts[0].ip()];
        assert_eq!((row.cpu_load, row.cpu_percent_avg, row.cpu_percent_min), (Some(75.0), Some(50.0), Some(25.0)));
        assert_eq!((row.used_memory, row.used_disk), (Some(2.0), Some(10.0)));
        for service in [worker, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_unknown_is_null_in_the_cmdb() {
    on_bed("unknown", async |bed| {
        let hosts: Vec<SampleHost> = (0..2).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        sqlx::query("UPDATE hosts_pool SET ram = NULL, disk_size = 0").execute(&bed.pool).await.expect("updated");
        let at = (Utc::now() - Span::hours(1)).to_rfc3339();
        for document in [
            json!({"@timestamp": at, "hostIp": hosts[0].ip(), "cpu": 0.0, "available_memory": 8.0,
                   "total_disk_space_all": 50.0}),
            json!({"@timestamp": at, "hostIp": hosts[1].ip(), "cpu": 40.0}),
        ] {
            bed.index.put(&document).await.expect("a document");
        }
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let log = run(&client, &hosts, &json!({})).await;
        assert_eq!(log["success_count"], 2, "{log}");
        let rows = resource_rows(&bed).await;
        let (without_capacity, cpu_alone) = (&rows[&hosts[0].ip()], &rows[&hosts[1].ip()]);
        // Measured and zero is 0; the gigabytes are no percentage.
        assert_eq!((without_capacity.cpu_load, without_capacity.cpu_percent_min), (Some(0.0), Some(0.0)));
        assert_eq!((without_capacity.used_memory, without_capacity.used_disk), (Some(8.0), Some(50.0)));
        assert_eq!((cpu_alone.cpu_load, cpu_alone.used_memory, cpu_alone.used_disk), (Some(40.0), None, None));
        for row in [without_capacity, cpu_alone] {
            let percentages = [
                row.mem_percent_max,
                row.mem_percent_avg,
                row.mem_percent_min,
                row.disk_percent_max,
                row.disk_percent_avg,
                row.disk_percent_min,
            ];
            assert_eq!(percentages, [None; 6], "{row:?}");
        }
        let details = client.details(log["id"].as_u64().expect("an id")).await.expect("details");
        let detail = details.iter().find(|detail| detail["host_ip"] == hosts[1].ip()).expect("a detail");
        assert_eq!((&detail["max_memory"], &detail["avg_disk"]), (&Value::Null, &Value::Null));
        for service in [worker, api] {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn the_counters_add_up_at_every_moment() {
    on_bed("adding_up", async |bed| {
        bed.add_to_pool((0..150).map(SampleHost)).await.expect("a pool");
        bed.index_last_day((0..100).map(SampleHost), Span::hours(1)).await.expect("documents");
        let (gate, url) = Gate::before(&bed.servers.elasticsearch_url).await.expect("a door");
        gate.delay(Duration::from_millis(100));
        let more =
            [("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", url.as_str()), ("HOSTSYNC_WORKER__BATCH_HOSTS", "10")];
        let config = || bed.config(&more).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let workers = [service::worker(config()).await.expect("one"), service::worker(config()).await.expect("two")];
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        let asked: Vec<String> = (0..200).map(|n| SampleHost(n).ip()).collect();
        let id = client.execute("adding up", &asked, "12h").await.expect("accepted");
        let mut pending = Vec::new();
        let log = wait_for("the end", LIMIT, async || {
            let answer = client.ok(Method::GET, &format!("/es-sync-execution-detail/{id}?limit=1"), None).await?;
            let log = answer["execution_log"].clone();
            let count = |field: &str| log[field].as_u64().expect("a number");
            let ended: u64 = ["success_count", "failed_count", "no_data_count", "not_in_pool_count", "cancelled_count"]
                .map(count)
                .iter()
                .sum();
            assert_eq!(ended + count("pending_count"), 200, "{log}");
            assert_eq!(count("total_hosts"), 200);
            let counts: u64 =
                answer["status_counts"].as_object().expect("counts").values().filter_map(Value::as_u64).sum();
            assert_eq!(counts, 200, "{answer}");
            pending.push(count("pending_count"));
            Ok((log["execution_status"] != "running").then_some(log))
        })
        .await
        .expect("an end");
        assert!(pending.is_sorted_by(|a, b| a >= b), "{pending:?}");
        assert!(pending.iter().any(|pending| (1..200).contains(pending)), "it was never seen half-way: {pending:?}");
        assert_eq!((&log["success_count"], &log["no_data_count"]), (&json!(100), &json!(50)));
        assert_eq!(log["not_in_pool_count"], 50);
        for service in workers.into_iter().chain([api]) {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn every_service_says_that_it_lives_whether_it_is_ready_and_what_it_counts() {
    on_bed("operating", async |bed| {
        let config = || bed.config(&[]).expect("a configuration");
        let services = [
            ("api", service::api(config()).await.expect("an API")),
            ("scheduler", service::scheduler(config()).await.expect("a scheduler")),
            ("worker", service::worker(config()).await.expect("a worker")),
        ];
        for (name, service) in &services {
            let get = async |path: &str| reqwest::get(format!("{}{path}", service.url())).await.expect("an answer");
            assert_eq!(get("/healthz").await.status(), 200, "{name}");
            let ready = wait_for("it to be ready", LIMIT, async || {
                let answer = get("/readyz").await;
                Ok(if answer.status() == 200 { Some(answer.json::<Value>().await?) } else { None })
            })
            .await
            .expect("ready");
            assert_eq!((&ready["success"], &ready["checks"]["database"]["required"]), (&json!(true), &json!(true)));
            // What it can do without stands there too.
            let queue = if *name == "worker" { "rabbitmq_manual" } else { "rabbitmq" };
            assert_eq!(ready["checks"][queue]["required"], *name == "worker", "{name}: {ready}");
            let metrics = get("/metrics").await;
            let kind = metrics.headers()["content-type"].to_str().expect("a text").to_owned();
            assert!(kind.starts_with("text/plain"), "{kind}");
            let text = metrics.text().await.expect("a text");
            assert!(text.contains("# TYPE hostsync_"), "{name}: {text}");
        }
        for (_, service) in services {
            service.stop().await.expect("a quiet end");
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_is_its_value_in_the_list_the_pool_the_documents_and_the_cmdbs_rows() {
    on_bed("by_value", async |bed| {
        // As the pool, the documents and the list spell the same hosts.
        let hosts = [
            ("2001:DB8:66::A", "2001:db8:66::a", "2001:0db8:66::000a"),
            ("2001:0db8:0066:0000:0000:0000:0000:000b", "2001:DB8:66::B", "2001:db8:66::b"),
            ("2001:db8:66::c", "2001:db8:66:0:0:0:0:c", "2001:db8:66::c"),
            ("2001:db8:066::0D", "2001:0DB8:0066::000D", "2001:db8:66:0::d"),
            ("10.66.8.2", "::ffff:10.66.8.2", "::ffff:10.66.8.2"),
            ("::FFFF:10.66.8.3", "10.66.8.3", "10.66.8.3"),
        ];
        let at = (Utc::now() - TimeDelta::minutes(20)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        for (n, (pool, document, _)) in hosts.iter().enumerate() {
            sqlx::query("INSERT INTO hosts_pool (host_ip, host_name, ram, disk_size) VALUES (?, ?, 16, 100)")
                .bind(pool)
                .bind(format!("host-{n}"))
                .execute(&bed.pool)
                .await
                .expect("a host");
            bed.index
                .put(&json!({"@timestamp": at, "hostIp": document, "hostName": format!("host-{n}"), "group": "values",
                             "cpu": 10 + n, "available_memory": 8, "total_disk_space_all": 50}))
                .await
                .expect("a document");
        }
        // Two documents of one host in two spellings.
        bed.index
            .put(&json!({"@timestamp": at, "hostIp": "10.66.8.2", "hostName": "host-4", "group": "values", "cpu": 44,
                         "available_memory": 8, "total_disk_space_all": 50}))
            .await
            .expect("a document");
        // What an earlier release wrote for the day in another spelling is found, not doubled.
        sqlx::query("INSERT INTO server_resources (pool_id, ip, mon_date) VALUES (1, '2001:db8:66::a', UTC_DATE())")
            .execute(&bed.pool)
            .await
            .expect("a row");
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");

        let listed: Vec<String> = hosts.iter().map(|(_, _, listed)| (*listed).to_owned()).collect();
        let first = client.execute("by value", &listed, "24h").await.expect("accepted");
        let log = client.wait_for_end(first, LIMIT).await.expect("an end");
        assert_eq!((&log["success_count"], &log["total_hosts"]), (&json!(6), &json!(6)), "{log}");
        let rows = resource_rows(&bed).await;
        let expected: Vec<&str> = ["2001:db8:66::a"].into_iter().chain(hosts[1..].iter().map(|host| host.0)).collect();
        assert_eq!(rows.len(), 6, "{rows:?}");
        for (n, ip) in expected.iter().enumerate() {
            let cpu = if n == 4 { 44.0 } else { 10.0 + f64::from(u32::try_from(n).expect("few")) };
            assert_eq!(rows[*ip].cpu_load, Some(cpu), "{ip}");
        }
        assert_eq!(log["warnings"], json!([]));
        // A run over the pool and a full sync find the same hosts.
        let task = json!({"task_name": "pool", "cron_expression": "@yearly", "query_time_range": "24h"});
        let task = client.ok(Method::POST, "/es-sync-tasks", Some(&task)).await.expect("a task");
        let path = format!("/es-sync-tasks/{}/execute", task["task_id"]);
        let waited = json!({"wait_seconds": 60});
        let answer = client.ok(Method::POST, &path, Some(&waited)).await.expect("a run");
        assert_eq!((&answer["success_count"], &answer["total_hosts"]), (&json!(6), &json!(6)), "{answer}");
        let full = json!({"group_name": "values", "query_time_range": "24h", "wait_seconds": 60});
        let answer = client.ok(Method::POST, "/es-sync-full-sync", Some(&full)).await.expect("a full sync");
        assert_eq!(
            (&answer["success_count"], &answer["total_hosts"], &answer["new_host_count"]),
            (&json!(6), &json!(6), &json!(0)),
            "{answer}"
        );
        let rows = resource_rows(&bed).await;
        let mut ips: Vec<&str> = rows.keys().map(String::as_str).collect();
        ips.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(ips, expected, "nothing is doubled");
        // What stands twice is one host, and told.
        sqlx::query("INSERT INTO hosts_pool (host_ip, host_name) VALUES ('2001:0db8:0066::000c', 'again')")
            .execute(&bed.pool)
            .await
            .expect("a repeat");
        let id = client.execute("twice", &listed[..3], "24h").await.expect("accepted");
        let log = client.wait_for_end(id, LIMIT).await.expect("an end");
        assert_eq!(log["success_count"], 3, "{log}");
        let told = "2001:db8:66::c stands in hosts_pool as \"2001:db8:66::c\" and as \"2001:0db8:0066::000c\"; the older row counts";
        assert_eq!(log["warnings"], json!([told]));
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn a_field_that_no_document_has_is_a_warning_of_the_run() {
    on_bed("fields", async |bed| {
        let hosts: Vec<SampleHost> = (0..3).map(SampleHost).collect();
        bed.add_to_pool(hosts.iter().copied()).await.expect("a pool");
        let at = (Utc::now() - Span::hours(1)).to_rfc3339();
        let document = |host: SampleHost, memory: Value| json!({"@timestamp": at, "hostIp": host.ip(), "cpu": 5.0, "available_memory": memory});
        for host in &hosts {
            bed.index.put(&document(*host, Value::Null)).await.expect("a document");
        }
        let config = || bed.config(&[]).expect("a configuration");
        let api = service::api(config()).await.expect("an API");
        let worker = service::worker(config()).await.expect("a worker");
        let client = Client::new(&api.url());
        client.wait_until_ready(LIMIT).await.expect("ready");

        let log = run(&client, &hosts, &json!({})).await;
        assert_eq!(log["success_count"], 3, "{log}");
        let warnings: Vec<&str> = log["warnings"].as_array().expect("warnings").iter().filter_map(Value::as_str).collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("\"available_memory\" (memory.max, memory.avg, memory.min"), "{warnings:?}");
        assert!(warnings[1].contains("\"total_disk_space_all\""), "{warnings:?}");

        // One document of one host has it, and a run that finds nothing at all has nothing to say of fields.
        bed.index.put(&document(hosts[1], json!(1.0))).await.expect("a document");
        let log = run(&client, &hosts, &json!({})).await;
        assert_eq!(log["warnings"].as_array().map(Vec::len), Some(1), "{log}");
        let log = run(&client, &[SampleHost(9)], &json!({})).await;
        assert_eq!(log["warnings"], json!(["nothing was written: none of 1 hosts is in hosts_pool"]), "{log}");
        worker.stop().await.expect("a quiet end");
        api.stop().await.expect("a quiet end");
    })
    .await;
}

#[tokio::test]
async fn times_in_the_cmdb_are_those_of_its_own_clock() {
    let server = OwnMariadb::start("cmdb").await.expect("a server of its own");
    let url = format!("mysql://root@{}/cmdb", server.address);
    database::migrate(&url).await.expect("migrated");
    let pool = database::connect_lazy(&url, 2).expect("a pool");
    let day = NaiveDate::from_ymd_opt(2026, 1, 31).expect("a day");
    // Both columns as the CMDB's own schema has them, then one of either type.
    let either = "ALTER TABLE server_resources MODIFY update_time TIMESTAMP NULL";
    let other = "ALTER TABLE hosts_pool MODIFY create_time TIMESTAMP NULL";
    for (nth, (zone, alters)) in
        [("+08:00", vec![]), ("-03:30", vec![either, other]), ("SYSTEM", vec![])].into_iter().enumerate()
    {
        sqlx::query("SET GLOBAL time_zone = ?").bind(zone).execute(&server.admin).await.expect("a zone");
        for alter in alters {
            sqlx::query(alter).execute(&server.admin).await.expect("altered");
        }
        let ip = format!("10.1.0.{nth}");
        let mut connection = pool.acquire().await.expect("a connection");
        let host = NewPoolHost { host_ip: ip.clone(), host_name: String::new() };
        hosts_pool::add(&mut connection, &[host]).await.expect("added");
        let none = Percent::default();
        let row = ServerResource {
            pool_id: u32::try_from(nth).expect("small") + 1,
            ip,
            used_memory: None,
            used_disk: None,
            cpu_load: Some(1.0),
            cpu: none,
            mem: none,
            disk: none,
        };
        // Twice: inserted, then overwritten.
        for _ in 0..2 {
            server_resources::upsert(&mut connection, day, std::slice::from_ref(&row)).await.expect("written");
        }
        let mut cmdb = server.admin.acquire().await.expect("a connection");
        sqlx::query("SET time_zone = @@GLOBAL.time_zone").execute(&mut *cmdb).await.expect("the CMDB's zone");
        for table in ["hosts_pool", "server_resources"] {
            let sql = format!(
                "SELECT ABS(TIMESTAMPDIFF(SECOND, create_time, NOW())), ABS(TIMESTAMPDIFF(SECOND, update_time, NOW()))
                 FROM {table} ORDER BY id DESC LIMIT 1"
            );
            let off: (i64, i64) = sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(&mut *cmdb).await.expect("a row");
            assert!(off.0 < 600 && off.1 < 600, "{table} is off by {off:?} s where the server is in {zone}");
        }
    }
}
