//! The `metricbeat` family: several addresses in a document, a document a metricset and mount point.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_mapping::{Capacity, Mapping, Stats, host_values, max_hosts};
use hostsync_model::window::Window;
use hostsync_source::SearchError;
use serde_json::{Value, json};

use crate::bed::*;

const GB: f64 = 1_073_741_824.0;

fn properties() -> Value {
    json!({
        "@timestamp": {"type": "date"},
        "tags": {"type": "keyword"},
        "host": {"properties": {"ip": {"type": "ip"}, "name": {"type": "keyword"}}},
        "system": {"properties": {
            "cpu": {"properties": {"total": {"properties": {"norm": {"properties": {
                "pct": {"type": "scaled_float", "scaling_factor": 1_000},
            }}}}}},
            "memory": {"properties": {
                "total": {"type": "long"},
                "actual": {"properties": {"used": {"properties": {
                    "pct": {"type": "scaled_float", "scaling_factor": 1_000}, "bytes": {"type": "long"},
                }}}},
            }},
            "filesystem": {"properties": {
                "mount_point": {"type": "keyword"}, "type": {"type": "keyword"}, "total": {"type": "long"},
                "used": {"properties": {"pct": {"type": "scaled_float", "scaling_factor": 1_000}, "bytes": {"type": "long"}}},
            }},
        }},
    })
}

fn of_host(ips: &[&str], at: DateTime<Utc>, system: &Value) -> Value {
    json!({"@timestamp": at.to_rfc3339(), "host": {"ip": ips, "name": ips[0]}, "system": system})
}

fn cpu(ips: &[&str], at: DateTime<Utc>, ratio: f64) -> Value {
    of_host(ips, at, &json!({"cpu": {"total": {"norm": {"pct": ratio}}}}))
}

fn memory(ips: &[&str], at: DateTime<Utc>, used_gb: f64, ratio: f64) -> Value {
    of_host(
        ips,
        at,
        &json!({"memory": {"total": 16.0 * GB, "actual": {"used": {"pct": ratio, "bytes": used_gb * GB}}}}),
    )
}

fn disk(ips: &[&str], at: DateTime<Utc>, mount: &str, kind: &str, used_gb: f64, total_gb: f64) -> Value {
    of_host(
        ips,
        at,
        &json!({"filesystem": {
            "mount_point": mount, "type": kind, "total": total_gb * GB,
            "used": {"bytes": used_gb * GB, "pct": used_gb / total_gb},
        }}),
    )
}

const IPS: [&str; 4] = ["10.0.0.1", "172.17.0.1", "fe80::1", "2001:db8::1"];
const NEIGHBOUR: [&str; 2] = ["10.0.0.2", "172.17.0.1"];

/// A host with a disk of two mount points, in three slices of an hour.
fn documents() -> Vec<Value> {
    let at = |minutes| start() + TimeDelta::minutes(minutes);
    vec![
        cpu(&IPS, at(1), 0.25),
        cpu(&IPS, at(2), 0.75),
        memory(&IPS, at(1), 4.0, 0.25),
        memory(&IPS, at(2), 8.0, 0.5),
        // First hour: / twice, /data in one of the two fetches.
        disk(&IPS, at(1), "/", "ext4", 10.0, 50.0),
        disk(&IPS, at(2), "/", "ext4", 30.0, 50.0),
        disk(&IPS, at(2), "/data", "xfs", 100.0, 150.0),
        disk(&IPS, at(2), "/run", "tmpfs", 7.0, 8.0),
        disk(&IPS, at(2), "/var/lib/docker/overlay2/x", "overlay", 10.0, 50.0),
        disk(&IPS, at(2), "/snap/core/1", "squashfs", 1.0, 1.0),
        disk(&IPS, at(2), "/dev", "devtmpfs", 1.0, 1.0),
        // Second hour.
        disk(&IPS, at(61), "/", "ext4", 20.0, 50.0),
        disk(&IPS, at(119), "/data", "xfs", 140.0, 150.0),
        // Third.
        disk(&IPS, at(121), "/", "ext4", 20.0, 50.0),
        disk(&IPS, at(121), "/data", "xfs", 20.0, 150.0),
        cpu(&NEIGHBOUR, at(3), 1.0),
    ]
}

fn check(reading: &hostsync_mapping::HostReading) {
    assert_eq!(reading.data_point_count, 11, "documents of the file systems that are skipped do not count");
    assert_close(reading.cpu, Stats { max: 0.75, avg: 0.5, min: 0.25 });
    assert_close(reading.memory, Stats { max: 8.0 * GB, avg: 6.0 * GB, min: 4.0 * GB });
    // 140 of two fetches; 160 of one; 40 of one.
    assert_close(reading.disk, Stats { max: 160.0 * GB, avg: 90.0 * GB, min: 40.0 * GB });
    assert_close(reading.memory_share.percent, Stats { max: 50.0, avg: 37.5, min: 25.0 });
    assert_close(reading.disk_share.percent, Stats { max: 80.0, avg: 52.0, min: 20.0 });
    let values = host_values(&Mapping::metricbeat(), reading, &Capacity::default()).expect("values");
    assert_eq!((values.cpu_load, values.used_memory_gb, values.used_disk_gb), (Some(75.0), Some(8.0), Some(160.0)));
    assert_close(values.mem_percent, Stats { max: 50.0, avg: 37.5, min: 25.0 });
    assert_close(values.disk_percent, Stats { max: 80.0, avg: 52.0, min: 20.0 });
}

#[tokio::test]
async fn ratios_bytes_totals_and_mount_points_are_read_as_computed_by_hand() {
    let indices = Indices::new();
    let index = indices.create("beat", &properties()).await;
    indices.add(&index, documents()).await;
    let proxy = QueryProxy::start().await;
    for endpoint in [real(), proxy.endpoint()] {
        let hosts = texts(["10.0.0.1", "10.0.0.9"]);
        let answer =
            endpoint.search(&index, &Mapping::metricbeat(), window_of_a_day(), &hosts).await.expect("an answer");
        assert_eq!(answer.readings.keys().collect::<Vec<_>>(), ["10.0.0.1"], "no address that nobody asked for");
        check(&answer.readings["10.0.0.1"]);
    }
}

fn hours(hours: i64) -> Window {
    Window { from: start(), to: start() + TimeDelta::hours(hours) }
}

#[tokio::test]
async fn a_volume_with_an_ever_new_mount_point_is_counted_once() {
    let indices = Indices::new();
    let index = indices.create("renamed", &properties()).await;
    let fetch = |minute: i64| {
        let at = start() + TimeDelta::minutes(minute);
        let volume = format!("/var/lib/volumes/{}", minute / 10);
        [disk(&IPS, at, "/", "ext4", 20.0, 100.0), disk(&IPS, at, &volume, "xfs", 50.0, 100.0)]
    };
    indices.add(&index, (0..24 * 60).step_by(2).flat_map(fetch)).await;
    for range in [1, 24, 30 * 24] {
        let answer = real().search(&index, &Mapping::metricbeat(), hours(range), &texts(["10.0.0.1"])).await;
        let reading = answer.expect("an answer").readings["10.0.0.1"];
        assert_close(reading.disk, expected(&[70.0 * GB]));
        assert_close(reading.disk_share.percent, expected(&[35.0]));
    }
}

#[tokio::test]
async fn a_fetch_on_both_sides_of_a_border_is_whole() {
    let indices = Indices::new();
    let index = indices.create("border", &properties()).await;
    // The window begins 0.123 s after a full second; so do its slices.
    let fetch = |minute: i64| {
        let at = start() + TimeDelta::minutes(minute) - TimeDelta::milliseconds(250);
        let late = at + TimeDelta::milliseconds(500);
        [disk(&IPS, at, "/", "ext4", 20.0, 100.0), disk(&IPS, late, "/data", "xfs", 300.0, 400.0)]
    };
    indices.add(&index, (-2..=24 * 60).flat_map(fetch)).await;
    for range in [TimeDelta::minutes(5), TimeDelta::minutes(30), TimeDelta::hours(1), TimeDelta::hours(24)] {
        let window = Window { from: start(), to: start() + range };
        let answer = real().search(&index, &Mapping::metricbeat(), window, &texts(["10.0.0.1"])).await;
        let reading = answer.expect("an answer").readings["10.0.0.1"];
        assert_close(reading.disk, expected(&[320.0 * GB]));
        assert_close(reading.disk_share.percent, expected(&[64.0]));
        let slice = reading.disk_slices.expect("slices").max;
        assert!((slice.sum / slice.fetches - slice.quotient).abs() < 1.0, "{slice:?}");
    }
}

#[tokio::test]
async fn optical_and_network_file_systems_are_no_disk_of_the_host() {
    let indices = Indices::new();
    let index = indices.create("optical", &properties()).await;
    let at = start() + TimeDelta::minutes(1);
    let mount = |kind: &str| disk(&IPS, at, &format!("/mnt/{kind}"), kind, 1_000.0, 1_000.0);
    let skipped =
        ["iso9660", "udf", "UDF", "CDFS", "nfs", "nfs4", "cifs", "CIFS", "smb3", "smbfs", "fuse.sshfs", "tmpfs"];
    let kept = [disk(&IPS, at, "/", "ext4", 10.0, 20.0), disk(&IPS, at, "C:", "NTFS", 10.0, 20.0)];
    let windows = [disk(&IPS, at, "/win", "fuseblk", 10.0, 60.0)];
    indices.add(&index, skipped.map(mount).into_iter().chain(kept).chain(windows)).await;
    let dynamic = indices.named("optical-dynamic");
    indices.add(&dynamic, skipped.map(mount).into_iter().chain([cpu(&IPS, at, 0.5), memory(&IPS, at, 1.0, 0.5)])).await;
    let proxy = QueryProxy::start().await;
    for endpoint in [real(), proxy.endpoint()] {
        let search = async |index: &str| {
            let answer = endpoint.search(index, &Mapping::metricbeat(), hours(24), &texts(["10.0.0.1"])).await;
            answer.expect("an answer").readings["10.0.0.1"]
        };
        let reading = search(&index).await;
        assert_eq!(reading.data_point_count, 3);
        assert_close(reading.disk, expected(&[30.0 * GB]));
        assert_eq!(reading.disk_share.total, Some(100.0 * GB));
        // All documents that have the field were skipped in the one index, not in the other.
        let says_skip = |reading: &hostsync_mapping::HostReading| {
            reading.coverage.missing(&Mapping::metricbeat()).iter().any(|warning| warning.contains("(skip.field"))
        };
        assert!(!says_skip(&reading));
        let dynamic = search(&dynamic).await;
        assert_eq!((dynamic.data_point_count, dynamic.disk), (2, None), "text fields are skipped by too");
        assert!(says_skip(&dynamic));
    }
}

#[tokio::test]
async fn the_load_before_metricbeat_7_7_is_the_sum_over_cores_by_their_number() {
    let indices = Indices::new();
    let index = indices.named("old-beat");
    let old = |ips: &[&str], minute: i64, pct: f64, cores: u64| {
        of_host(ips, start() + TimeDelta::minutes(minute), &json!({"cpu": {"cores": cores, "total": {"pct": pct}}}))
    };
    let at = start() + TimeDelta::minutes(1);
    let others = [memory(&IPS, at, 1.0, 0.5), disk(&IPS, at, "/", "ext4", 10.0, 20.0)];
    // One host with four cores, then with eight; its neighbour never says how many it has.
    let loads = [old(&IPS, 1, 1.0, 4), old(&IPS, 2, 3.0, 4), old(&IPS, 3, 4.0, 8)];
    let half = of_host(&["10.0.0.3"], at, &json!({"cpu": {"total": {"pct": 2.0}}}));
    indices.add(&index, loads.into_iter().chain(others).chain([half])).await;
    let proxy = QueryProxy::start().await;
    let hosts = texts(["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    for endpoint in [real(), proxy.endpoint()] {
        let answer = endpoint.search(&index, &Mapping::metricbeat(), hours(24), &hosts).await.expect("an answer");
        assert_close(answer.readings["10.0.0.1"].cpu, Stats { max: 0.75, avg: 0.5, min: 0.25 });
        assert_eq!(answer.readings["10.0.0.3"].cpu, None);
        let missing = answer.readings["10.0.0.3"].coverage.missing(&Mapping::metricbeat());
        assert!(missing[0].contains("\"system.cpu.total.norm.pct\""), "{missing:?}");
    }
    // Documents of a newer Metricbeat have both, and say the share themselves.
    let new = |ips: &[&str], ratio: f64| {
        of_host(ips, at, &json!({"cpu": {"cores": 4, "total": {"pct": 0.1, "norm": {"pct": ratio}}}}))
    };
    indices.add(&index, [new(&["10.0.0.2"], 0.875), new(&IPS, 0.5)]).await;
    let answer = real().search(&index, &Mapping::metricbeat(), hours(23), &hosts).await.expect("an answer");
    assert_close(answer.readings["10.0.0.2"].cpu, expected(&[0.875]));
    assert_close(answer.readings["10.0.0.1"].cpu, Stats { max: 0.75, avg: 0.5, min: 0.25 });
}

#[tokio::test]
async fn a_host_without_data_is_told_when_its_last_document_was() {
    let indices = Indices::new();
    let index = indices.create("last", &properties()).await;
    let last = start() - TimeDelta::days(9);
    let of_mount = |at: DateTime<Utc>, kind: &str| disk(&IPS, at, "/", kind, 10.0, 20.0);
    indices
        .add(&index, [of_mount(last - TimeDelta::days(1), "ext4"), of_mount(last, "ext4"), of_mount(start(), "tmpfs")])
        .await;
    let proxy = QueryProxy::start().await;
    for endpoint in [real(), proxy.endpoint()] {
        let ask = async |host: &str| endpoint.last_document(&index, &Mapping::metricbeat(), hours(1), host).await;
        assert_eq!(ask("10.0.0.1").await.expect("an answer"), Some(last));
        assert_eq!(ask("10.0.0.9").await.expect("an answer"), None);
    }
}

#[tokio::test]
async fn each_of_a_hosts_addresses_finds_it() {
    let indices = Indices::new();
    let index = indices.create("addresses", &properties()).await;
    indices.add(&index, documents()).await;
    let hosts = texts(["2001:db8::1", "10.0.0.2"]);
    let answer = real().search(&index, &Mapping::metricbeat(), window_of_a_day(), &hosts).await.expect("an answer");
    check(&answer.readings["2001:db8::1"]);
    assert_eq!(answer.readings["10.0.0.2"].data_point_count, 1);
    assert_eq!(answer.readings.len(), 2);
}

#[tokio::test]
async fn documents_of_dynamic_mapping_are_read_too() {
    let indices = Indices::new();
    let index = indices.named("dynamic");
    indices.add(&index, documents()).await;
    let proxy = QueryProxy::start().await;
    for endpoint in [real(), proxy.endpoint()] {
        let mapping = Mapping::metricbeat();
        let hosts = texts(["10.0.0.1"]);
        let answer = endpoint.search(&index, &mapping, window_of_a_day(), &hosts).await.expect("an answer");
        check(&answer.readings["10.0.0.1"]);
    }
}

#[tokio::test]
async fn a_hosts_values_do_not_depend_on_its_neighbours_in_the_search() {
    let indices = Indices::new();
    let index = indices.create("neighbours", &properties()).await;
    indices.add(&index, documents()).await;
    let (endpoint, mapping) = (real(), Mapping::metricbeat());
    for days in [1, 3, 30] {
        let window = Window { from: start() - TimeDelta::hours(5), to: start() + TimeDelta::days(days) };
        let most = max_hosts(&mapping, window);
        let alone = endpoint.search(&index, &mapping, window, &texts(["10.0.0.1"])).await.expect("an answer");
        let many: Vec<String> = (1..=most).map(|number| format!("10.0.{}.{}", number / 256, number % 256)).collect();
        let among = endpoint.search(&index, &mapping, window, &many).await.expect("an answer");
        assert_eq!(among.readings["10.0.0.1"], alone.readings["10.0.0.1"], "{days}");
        assert_eq!(among.readings["10.0.0.2"].data_point_count, 1);
    }
}

#[tokio::test]
async fn more_hosts_or_parts_than_there_is_room_for_ask_for_a_smaller_search() {
    let indices = Indices::new();
    let index = indices.create("parts", &properties()).await;
    let mounts = (0..30).map(|n| disk(&IPS, start() + TimeDelta::minutes(5), &format!("/m{n}"), "xfs", 1.0, 2.0));
    indices.add(&index, mounts).await;
    let (endpoint, mapping, window) = (real(), Mapping::metricbeat(), window_of_a_day());
    let most = max_hosts(&mapping, window);
    let mut hosts: Vec<String> = (1..=most + 1).map(|number| format!("10.0.0.{number}")).collect();
    for too_many in [most + 1, most] {
        hosts.truncate(too_many);
        let result = endpoint.search(&index, &mapping, window, &hosts).await;
        assert!(matches!(result, Err(SearchError::TooLarge { .. })), "{too_many}: {result:?}");
    }
    // Half of the hosts leave room for twice the parts.
    hosts.truncate(most / 2);
    let answer = endpoint.search(&index, &mapping, window, &hosts).await.expect("an answer");
    assert_close(answer.readings["10.0.0.1"].disk, expected(&[30.0 * GB]));
}

#[tokio::test]
async fn a_search_as_large_as_it_may_be_stays_within_the_engines_bound() {
    let indices = Indices::new();
    let index = indices.create("large", &properties()).await;
    let (mapping, window) = (Mapping::metricbeat(), window_of_a_day());
    let hosts: Vec<String> = (1..=max_hosts(&mapping, window)).map(|number| format!("10.0.0.{number}")).collect();
    let mut documents = Vec::new();
    for host in &hosts {
        for hour in 0..24 {
            for mount in 0..20 {
                let at = start() + TimeDelta::hours(hour) + TimeDelta::minutes(7);
                documents.push(disk(&[host], at, &format!("/m{mount}"), "xfs", 1.0, 4.0));
            }
        }
    }
    indices.add(&index, documents).await;
    let answer = real().search(&index, &mapping, window, &hosts).await.expect("an answer");
    assert_eq!(answer.readings.len(), hosts.len());
    for reading in answer.readings.values() {
        assert_eq!(reading.data_point_count, 480);
        assert_close(reading.disk, expected(&[20.0 * GB]));
        assert_close(reading.disk_share.percent, expected(&[25.0]));
    }
}
