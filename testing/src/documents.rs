//! Sample documents of both families, and what a sync of them must give, computed from the generator alone.
//!
//! A host's value at a time follows from its number and the time, so that whoever expects something need not keep the
//! documents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hostsync_mapping::Slices;
use hostsync_model::window::Window;
use serde_json::{Value, json};

/// Documents in one bulk request.
const BULK_DOCUMENTS: usize = 5_000;

/// Bulk requests in flight.
const BULKS_AT_ONCE: usize = 3;

/// How often a request is sent again that the engine has no room for, and the pause before each.
const BUSY_TIMES: u32 = 120;
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// A sample host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleHost(pub u32);

/// The addresses of sample hosts.
pub fn ips(hosts: Range<u32>) -> Vec<String> {
    hosts.map(|n| SampleHost(n).ip()).collect()
}

impl SampleHost {
    /// `10.x.y.z`, different for each number below 2^24.
    pub fn ip(self) -> String {
        let n = self.0 + 1;
        format!("10.{}.{}.{}", (n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff)
    }

    /// Its name.
    pub fn name(self) -> String {
        format!("host-{:05}", self.0)
    }

    /// Its memory in the pool, in GB.
    pub fn ram_gb(self) -> u32 {
        [16, 32, 64, 128][(self.0 % 4) as usize]
    }

    /// Its disk in the pool, in GB.
    pub fn disk_gb(self) -> u32 {
        [100, 250, 500, 1_000][(self.0 / 4 % 4) as usize]
    }

    /// What it measured at `at`.
    pub fn sample(self, at: DateTime<Utc>) -> Sample {
        let seed = (u64::from(self.0) << 32) ^ at.timestamp().unsigned_abs();
        let part =
            |n: u64| f64::from(u32::try_from(mix(seed.wrapping_add(n << 56)) >> 40).unwrap_or(0)) / f64::from(1 << 24);
        let cents = |value: f64| (value * 100.0).round() / 100.0;
        Sample {
            cpu: cents(5.0 + 90.0 * part(1)),
            memory_gb: cents(f64::from(self.ram_gb()) * (0.2 + 0.7 * part(2))),
            disk_gb: cents(f64::from(self.disk_gb()) * (0.3 + 0.5 * part(3))),
        }
    }

    /// What a sync over `[from, to)` must find, with documents each `step` from a multiple of it.
    pub fn expected(self, from: DateTime<Utc>, to: DateTime<Utc>, step: TimeDelta) -> Expected {
        let samples: Vec<Sample> = times(from, to, step).map(|at| self.sample(at)).collect();
        let stats = |value: fn(&Sample) -> f64| {
            let values: Vec<f64> = samples.iter().map(value).collect();
            Extent {
                max: values.iter().copied().fold(f64::MIN, f64::max),
                min: values.iter().copied().fold(f64::MAX, f64::min),
                avg: values.iter().sum::<f64>() / values.len() as f64,
            }
        };
        Expected {
            documents: samples.len(),
            cpu: stats(|sample| sample.cpu),
            memory_gb: stats(|sample| sample.memory_gb),
            disk_gb: stats(|sample| sample.disk_gb),
        }
    }
}

/// How sample documents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// A document a host and time, plain numbers.
    #[default]
    Zabbix,
    /// The same with roll-ups in place of numbers, of 1 to 5 values each.
    ZabbixRollUp,
    /// A document a metricset and mount point, several addresses in each.
    Metricbeat,
}

/// Bytes in a GB.
const GB: f64 = 1_073_741_824.0;

/// How far the largest and the smallest value of a roll-up lie from its average.
const ROLL_UP_SPREAD: f64 = 1.0;

/// How many values the roll-up of a time stands for.
fn roll_up_count(at: DateTime<Utc>) -> u32 {
    1 + u32::try_from((at.timestamp() / 60).rem_euclid(5)).unwrap_or(0)
}

impl SampleHost {
    /// As [`SampleHost::expected`], for documents of a family. `from` and `to` are the window's: the disk of
    /// `metricbeat` is read slice by slice, and a slice's value is the mean of its samples.
    pub fn expected_of(self, family: Family, from: DateTime<Utc>, to: DateTime<Utc>, step: TimeDelta) -> Expected {
        let plain = self.expected(from, to, step);
        match family {
            Family::Zabbix => plain,
            Family::ZabbixRollUp => {
                let samples: Vec<(f64, Sample)> =
                    times(from, to, step).map(|at| (f64::from(roll_up_count(at)), self.sample(at))).collect();
                let weight: f64 = samples.iter().map(|(count, _)| count).sum();
                let of = |extent: Extent, value: fn(&Sample) -> f64| Extent {
                    max: extent.max + ROLL_UP_SPREAD,
                    min: extent.min - ROLL_UP_SPREAD,
                    avg: samples.iter().map(|(count, sample)| count * value(sample)).sum::<f64>() / weight,
                };
                Expected {
                    documents: plain.documents,
                    cpu: of(plain.cpu, |sample| sample.cpu),
                    memory_gb: of(plain.memory_gb, |sample| sample.memory_gb),
                    disk_gb: of(plain.disk_gb, |sample| sample.disk_gb),
                }
            }
            Family::Metricbeat => {
                let slice_ms = i64::try_from(Slices::of(Window { from, to }).seconds * 1_000).unwrap_or(i64::MAX);
                let mut slices: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
                for at in times(from, to, step) {
                    let slice = (at - from).num_milliseconds() / slice_ms;
                    slices.entry(slice).or_default().push(self.sample(at).disk_gb);
                }
                let means: Vec<f64> =
                    slices.values().map(|values| values.iter().sum::<f64>() / values.len() as f64).collect();
                let disk_gb = Extent {
                    max: means.iter().copied().fold(f64::MIN, f64::max),
                    min: means.iter().copied().fold(f64::MAX, f64::min),
                    avg: means.iter().sum::<f64>() / means.len() as f64,
                };
                // A processor, a memory and two mount points; the third is skipped and does not count.
                Expected { documents: plain.documents * 4, disk_gb, ..plain }
            }
        }
    }
}

/// SplitMix64's finalizer: equal numbers in, well-spread numbers out.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What a host measured at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Percent.
    pub cpu: f64,
    /// GB in use.
    pub memory_gb: f64,
    /// GB in use.
    pub disk_gb: f64,
}

/// Maximum, mean and minimum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// Highest.
    pub max: f64,
    /// Mean.
    pub avg: f64,
    /// Lowest.
    pub min: f64,
}

/// What a sync must find for a host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// Documents in the window.
    pub documents: usize,
    /// Percent.
    pub cpu: Extent,
    /// GB.
    pub memory_gb: Extent,
    /// GB.
    pub disk_gb: Extent,
}

/// The multiples of `step` in `[from, to)`.
pub fn times(from: DateTime<Utc>, to: DateTime<Utc>, step: TimeDelta) -> impl Iterator<Item = DateTime<Utc>> {
    let step_s = step.num_seconds().max(1);
    let first = (from.timestamp_millis().div_euclid(step_s * 1_000)
        + i64::from(from.timestamp_millis().rem_euclid(step_s * 1_000) != 0))
        * step_s;
    (0..).map_while(move |n| DateTime::from_timestamp(first + n * step_s, 0).filter(|at| *at < to))
}

/// Appends one document as Zabbix's exporter writes it, as two lines of a bulk request. By hand, since a value tree for
/// each of some 100,000 documents would cost more than the engine needs to store them; no text here needs escaping.
fn push_document(body: &mut String, host: SampleHost, at: DateTime<Utc>) {
    let Sample { cpu, memory_gb, disk_gb } = host.sample(at);
    let (ip, name, at) = (host.ip(), host.name(), at.to_rfc3339_opts(SecondsFormat::Secs, true));
    // Writing to a String cannot fail.
    let _ = writeln!(
        body,
        "{{\"index\":{{}}}}\n{{\"@timestamp\":\"{at}\",\"hostIp\":\"{ip}\",\"hostName\":\"{name}\",\"group\":\"demo\",\
         \"cpu\":{cpu},\"available_memory\":{memory_gb},\"total_disk_space_all\":{disk_gb}}}"
    );
}

/// As [`push_document`], with a roll-up in place of each number.
fn push_roll_up(body: &mut String, host: SampleHost, at: DateTime<Utc>) {
    let Sample { cpu, memory_gb, disk_gb } = host.sample(at);
    let count = roll_up_count(at);
    let roll_up = |value: f64| {
        json!({
            "value_max": value + ROLL_UP_SPREAD, "value_min": value - ROLL_UP_SPREAD, "value_avg": value,
            "max": 0.0, "min": 0.0, "zabbix_value_count": count,
        })
    };
    let document = json!({
        "@timestamp": at.to_rfc3339_opts(SecondsFormat::Secs, true),
        "hostIp": host.ip(), "hostName": host.name(), "group": "demo",
        "cpu": roll_up(cpu), "available_memory": roll_up(memory_gb), "total_disk_space_all": roll_up(disk_gb),
    });
    let _ = writeln!(body, "{{\"index\":{{}}}}\n{document}");
}

/// Appends the five documents that Metricbeat writes of a host at a time.
fn push_metricbeat(body: &mut String, host: SampleHost, at: DateTime<Utc>) {
    let Sample { cpu, memory_gb, disk_gb } = host.sample(at);
    let (ram_gb, capacity_gb) = (f64::from(host.ram_gb()), f64::from(host.disk_gb()));
    let mount = |point: &str, kind: &str, used_gb: f64, total_gb: f64| {
        json!({"filesystem": {
            "mount_point": point, "type": kind, "total": total_gb * GB,
            "used": {"bytes": used_gb * GB, "pct": used_gb / total_gb},
        }})
    };
    for system in [
        json!({"cpu": {"total": {"norm": {"pct": cpu / 100.0}}}}),
        json!({"memory": {
            "total": ram_gb * GB, "actual": {"used": {"bytes": memory_gb * GB, "pct": memory_gb / ram_gb}},
        }}),
        mount("/", "ext4", disk_gb * 0.25, capacity_gb * 0.25),
        mount("/data", "xfs", disk_gb * 0.75, capacity_gb * 0.75),
        mount("/run", "tmpfs", 1.0, 2.0),
    ] {
        let document = json!({
            "@timestamp": at.to_rfc3339_opts(SecondsFormat::Secs, true), "tags": ["demo"],
            "host": {"ip": [host.ip(), "172.17.0.1", "fe80::1"], "name": host.name()},
            "system": system,
        });
        let _ = writeln!(body, "{{\"index\":{{}}}}\n{document}");
    }
}

/// The fields of a family. Numbers are doubles, so that what comes back is what was written to the last digit.
fn properties(family: Family) -> Value {
    let text = json!({"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}});
    let double = json!({"type": "double"});
    let number = match family {
        Family::ZabbixRollUp => json!({"properties": {
            "value_max": double, "value_min": double, "value_avg": double, "max": double, "min": double,
            "zabbix_value_count": {"type": "long"},
        }}),
        Family::Zabbix | Family::Metricbeat => double.clone(),
    };
    if family == Family::Metricbeat {
        let used = json!({"properties": {"pct": double, "bytes": double}});
        return json!({
            "@timestamp": {"type": "date"}, "tags": {"type": "keyword"},
            "host": {"properties": {"ip": {"type": "ip"}, "name": {"type": "keyword"}}},
            "system": {"properties": {
                "cpu": {"properties": {"total": {"properties": {"norm": {"properties": {"pct": double}}}}}},
                "memory": {"properties": {"total": double, "actual": {"properties": {"used": used}}}},
                "filesystem": {"properties": {
                    "mount_point": {"type": "keyword"}, "type": {"type": "keyword"}, "total": double, "used": used,
                }},
            }},
        });
    }
    json!({
        "@timestamp": {"type": "date"},
        "hostIp": text, "hostName": text, "group": text,
        "cpu": number, "available_memory": number, "total_disk_space_all": number,
    })
}

/// An index of sample documents.
#[derive(Debug, Clone)]
pub struct SampleIndex {
    family: Family,
    client: reqwest::Client,
    url: String,
    /// Its name.
    pub name: String,
}

impl SampleIndex {
    /// Creates an empty index whose fields are as Zabbix's exporter leaves them: texts with a `.keyword`, plain numbers
    /// (as doubles, so that what comes back is what was written to the last digit).
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn create(url: &str, name: &str) -> anyhow::Result<Self> {
        Self::create_of(Family::Zabbix, url, name).await
    }

    /// The same for documents of another family.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn create_of(family: Family, url: &str, name: &str) -> anyhow::Result<Self> {
        let index = Self::existing_of(family, url, name);
        let body = json!({
            "settings": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"},
            "mappings": {"properties": properties(family)},
        });
        index.send(reqwest::Method::PUT, "", body.to_string(), "application/json").await?;
        Ok(index)
    }

    /// An index that stands already.
    pub fn existing(url: &str, name: &str) -> Self {
        Self::existing_of(Family::Zabbix, url, name)
    }

    /// An index of a family, whether it stands already or not.
    pub fn existing_of(family: Family, url: &str, name: &str) -> Self {
        Self { family, client: reqwest::Client::new(), url: url.to_owned(), name: name.to_owned() }
    }

    /// How its documents are written.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Writes the documents of `hosts` in `[from, to)`, one each `step` (of `metricbeat` five), and makes them visible.
    /// `progress` hears for how many hosts and times.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn fill(
        &self,
        hosts: impl IntoIterator<Item = SampleHost>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        step: TimeDelta,
        mut progress: impl FnMut(usize),
    ) -> anyhow::Result<usize> {
        let mut documents =
            hosts.into_iter().flat_map(|host| times(from, to, step).map(move |at| (host, at))).peekable();
        let push = match self.family {
            Family::Zabbix => push_document,
            Family::ZabbixRollUp => push_roll_up,
            Family::Metricbeat => push_metricbeat,
        };
        let bulks = std::iter::from_fn(move || {
            documents.peek()?;
            let mut body = String::new();
            let count = documents.by_ref().take(BULK_DOCUMENTS).map(|(host, at)| push(&mut body, host, at)).count();
            Some((body, count))
        });
        let mut written = stream::iter(bulks)
            .map(|(body, count)| async move { self.bulk(body).await.map(|()| count) })
            .buffer_unordered(BULKS_AT_ONCE);
        let mut total = 0;
        while let Some(count) = written.try_next().await? {
            total += count;
            progress(total);
        }
        self.send(reqwest::Method::POST, "/_refresh", String::new(), "application/json").await?;
        Ok(total)
    }

    /// A note of ours that stands with the index (`_meta` of its mapping); `None` if there is none or no index.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    pub async fn note(&self) -> anyhow::Result<Option<Value>> {
        let url = format!("{}/{}/_mapping", self.url, self.name);
        let response = self.client.get(&url).send().await.context(url.clone())?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        anyhow::ensure!(response.status().is_success(), "{url} answered {}", response.status());
        let answer: Value = serde_json::from_str(&response.text().await?).context(url)?;
        Ok(answer[&self.name]["mappings"]["_meta"].as_object().map(|meta| Value::Object(meta.clone())))
    }

    /// Replaces the note; an empty object says nothing.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn set_note(&self, note: &Value) -> anyhow::Result<()> {
        let body = json!({"_meta": note}).to_string();
        self.send(reqwest::Method::PUT, "/_mapping", body, "application/json").await?;
        Ok(())
    }

    /// Writes one document as it is given and makes it visible.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn put(&self, document: &Value) -> anyhow::Result<()> {
        self.send(reqwest::Method::POST, "/_doc?refresh=true", document.to_string(), "application/json").await?;
        Ok(())
    }

    async fn bulk(&self, body: String) -> anyhow::Result<()> {
        let answer =
            self.send(reqwest::Method::POST, "/_bulk?filter_path=errors", body, "application/x-ndjson").await?;
        anyhow::ensure!(answer["errors"] == json!(false), "a bulk request had errors");
        Ok(())
    }

    /// Deletes the index.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn delete(&self) -> anyhow::Result<()> {
        self.send(reqwest::Method::DELETE, "?ignore_unavailable=true", String::new(), "application/json").await?;
        Ok(())
    }

    /// Sends again what an engine refuses because it has too much to do, [`BUSY_TIMES`] times at most.
    async fn send(&self, method: reqwest::Method, path: &str, body: String, kind: &str) -> anyhow::Result<Value> {
        let url = format!("{}/{}{path}", self.url, self.name);
        let mut refused = 0;
        loop {
            let request = self.client.request(method.clone(), &url).header("content-type", kind).body(body.clone());
            let response = request.send().await.context(url.clone())?;
            let status = response.status();
            if status == reqwest::StatusCode::TOO_MANY_REQUESTS && refused < BUSY_TIMES {
                refused += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
                continue;
            }
            let text = response.text().await?;
            anyhow::ensure!(status.is_success(), "{url} answered {status}: {text}");
            return Ok(serde_json::from_str(&text).unwrap_or(Value::Null));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_begin_at_or_after_from_and_end_before_to() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let step = TimeDelta::minutes(5);
        let found: Vec<_> = times(at("2026-01-01T00:00:00.001Z"), at("2026-01-01T00:15:00Z"), step).collect();
        assert_eq!(found, [at("2026-01-01T00:05:00Z"), at("2026-01-01T00:10:00Z")]);
        let found: Vec<_> = times(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:05:00.001Z"), step).collect();
        assert_eq!(found, [at("2026-01-01T00:00:00Z"), at("2026-01-01T00:05:00Z")]);
    }

    #[test]
    fn hosts_have_addresses_of_their_own() {
        let addresses: std::collections::HashSet<String> = (0..70_000).map(|n| SampleHost(n).ip()).collect();
        assert_eq!(addresses.len(), 70_000);
        assert!(addresses.iter().all(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok()));
    }
}
