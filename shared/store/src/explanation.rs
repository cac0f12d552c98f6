//! Why a host got its values: what the source said, what was made of it, what it replaced.
//!
//! Pure. Owns the JSON of a host that `tables::evidence` packs, and the form in which the body of a search is kept.
//! Both are written millions of times, so they are short: arrays in a fixed order, one body for all hosts of a search.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tables::server_resources::ResourceValues;
use hostsync_mapping::{Extremes, FieldTypes, HostReading, Mapping, SliceSum, Stats, search_body};
use hostsync_model::host::HostIp;
use hostsync_model::window::Window;

/// Stands for the hosts in a kept body. No address, so it cannot be mistaken for one.
const HOSTS_PLACEHOLDER: &str = "{host_ip}";

/// Longest body kept, in bytes: a longer one is left out (its column holds 65,535).
const MAX_BODY_BYTES: usize = 16 << 10;

/// Maximum, average, minimum; null where the engine said something that is no finite number.
pub type Triple = [Option<f64>; 3];

/// A slice of time: its begin in milliseconds since the epoch, the sum of its documents, its fetches, the quotient.
pub type Slice = (i64, f64, f64, f64);

/// What the source said of a host, in the units of its fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RawValues {
    /// Documents in the window.
    pub documents: u64,
    /// Processor load.
    #[serde(default)]
    pub cpu: Option<Triple>,
    /// Used memory.
    #[serde(default)]
    pub memory: Option<Triple>,
    /// Used disk space.
    #[serde(default)]
    pub disk: Option<Triple>,
    /// The slices behind the largest and the smallest disk, where it is the sum of mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_slices: Option<[Slice; 2]>,
}

impl From<&HostReading> for RawValues {
    fn from(reading: &HostReading) -> Self {
        let triple = |stats: Option<Stats>| {
            stats.map(|stats| {
                [stats.max, stats.avg, stats.min].map(|value| Some(value).filter(|value| value.is_finite()))
            })
        };
        Self {
            documents: reading.data_point_count,
            cpu: triple(reading.cpu),
            memory: triple(reading.memory),
            disk: triple(reading.disk),
            disk_slices: reading.disk_slices.and_then(both),
        }
    }
}

/// `None` where the engine said something that is no finite number: JSON has no word for it.
fn both(Extremes { max, min }: Extremes) -> Option<[Slice; 2]> {
    let slice = |SliceSum { begin_ms, sum, fetches, quotient }: SliceSum| (begin_ms, sum, fetches, quotient);
    [max, min].iter().all(|slice| slice.quotient.is_finite()).then(|| [max, min].map(slice))
}

/// What explains the outcome of a host that has documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What the source said.
    pub raw: RawValues,
    /// What was made of it; `None`: it made no sense.
    #[serde(default)]
    pub converted: Option<ResourceValues>,
    /// What stood in `server_resources` before; `None`: there was no row, or nothing was written.
    #[serde(default)]
    pub previous: Option<ResourceValues>,
    /// Whether `converted` was written: not where a later window stands.
    #[serde(default)]
    pub written: bool,
}

impl Explanation {
    /// Of a host whose values have not been written (yet).
    pub fn unwritten(reading: &HostReading) -> Self {
        Self { raw: reading.into(), converted: None, previous: None, written: false }
    }

    /// As an earlier version stored it on the detail; `None`: by no version that this one can read.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The body of a search by `types` as it is kept: for one placeholder instead of its hosts. Where a search asks by two
/// host fields at once, both bodies, as a list. `None`: it would be too long.
pub fn kept_body(mapping: &Mapping, types: &FieldTypes, window: Window) -> Option<String> {
    let hosts = [HOSTS_PLACEHOLDER.to_owned()];
    let bodies = types.hosts.iter().map(|field| search_body(mapping, types, field, window, &hosts));
    let mut bodies = bodies.collect::<Result<Vec<Value>, _>>().ok()?;
    let kept = if bodies.len() == 1 { bodies.remove(0) } else { Value::Array(bodies) };
    Some(kept.to_string()).filter(|kept| kept.len() <= MAX_BODY_BYTES)
}

/// A kept body made into the one that asks for `host_ip` alone, or into those: what one can send to see the same answer.
pub fn bodies_for(kept: &str, host_ip: &str) -> Vec<Value> {
    let Ok(mut kept) = serde_json::from_str(kept) else { return Vec::new() };
    put_host(&mut kept, host_ip);
    match kept {
        Value::Array(bodies) => bodies,
        body => vec![body],
    }
}

fn put_host(value: &mut Value, host_ip: &str) {
    match value {
        Value::Array(items) if matches!(&items[..], [Value::String(text)] if text == HOSTS_PLACEHOLDER) => {
            let spellings = host_ip.parse().map_or_else(|_| vec![host_ip.to_owned()], HostIp::spellings);
            *items = spellings.into_iter().map(Value::String).collect();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| put_host(item, host_ip)),
        Value::Object(map) => {
            map.values_mut().for_each(|item| put_host(item, host_ip));
            // The list of hosts and its length.
            if let Some(hosts) = map.get("include").and_then(Value::as_array).map(Vec::len) {
                map.insert("size".to_owned(), hosts.into());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostsync_mapping::Grouping;

    fn reading() -> HostReading {
        HostReading {
            data_point_count: 288,
            cpu: Some(Stats { max: 50.5, avg: 20.25, min: f64::INFINITY }),
            ..HostReading::default()
        }
    }

    #[test]
    fn an_explanation_is_short_and_comes_back_as_it_was() {
        let mut explanation = Explanation::unwritten(&reading());
        explanation.converted = Some([Some(50.5); 12]);
        explanation.written = true;
        let text = serde_json::to_string(&explanation).expect("JSON");
        assert!(text.len() < 300, "{text}");
        assert!(text.contains(r#""cpu":[50.5,20.25,null]"#), "{text}");
        assert_eq!(Explanation::from_json(&text), Some(explanation));
        assert_eq!(Explanation::from_json("{}"), None);
        let of_a_later_version = r#"{"raw":{"documents":1,"gpu":[1,1,1]},"more":true}"#;
        assert_eq!(Explanation::from_json(of_a_later_version).map(|e| e.raw.documents), Some(1));
    }

    #[test]
    fn a_kept_body_asks_for_one_host() {
        let window = Window { from: chrono::DateTime::UNIX_EPOCH, to: chrono::DateTime::UNIX_EPOCH };
        let mapping = Mapping::zabbix();
        let hosts = ["10.0.0.1".to_owned()];
        let mixed = Grouping::Mixed { text: vec!["b".to_owned()], keyword: vec!["a".to_owned()], both: Vec::new() };
        for grouping in [Grouping::Keyword, Grouping::Text, mixed] {
            let types = FieldTypes::of_any_shape(&mapping, grouping.host_fields("hostIp"));
            let kept = kept_body(&mapping, &types, window).expect("a body");
            let sent = types.hosts.iter().map(|field| search_body(&mapping, &types, field, window, &hosts));
            let sent: Vec<Value> = sent.collect::<Result<_, _>>().expect("bodies");
            assert_eq!(bodies_for(&kept, "10.0.0.1"), sent);
        }
        assert_eq!(bodies_for("no JSON", "10.0.0.1"), [] as [Value; 0]);
    }
}
