//! Which fields of a mapping held a number in any document, host by host and over a whole run.
//!
//! Owns the set and its words: a field that no document has is told, not left as an unknown without a reason.

use super::found::MetricFound;
use super::{Mapping, Metric, MetricFields};

/// Uses of a field of one metric, in the order of their bits.
const USES: usize = 5;

/// Stands for "there was a document".
const ANY_DOCUMENT: u32 = 1 << 31;

/// The fields that held a number. Each metric has a bit for maximum, average, minimum, total and percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldsSeen(u32);

impl FieldsSeen {
    /// Of a host that has documents.
    pub(super) fn of(metrics: &[MetricFound; 3]) -> Self {
        let mut seen = ANY_DOCUMENT;
        for (metric, found) in metrics.iter().enumerate() {
            let parts = || found.slices.values().flat_map(|parts| parts.values());
            let is_split_seen = parts().next().is_some();
            let uses = [
                is_split_seen || found.shapes.iter().any(|shape| shape.max.is_some()),
                is_split_seen || found.shapes.iter().any(|shape| shape.avg.is_some()),
                is_split_seen || found.shapes.iter().any(|shape| shape.min.is_some()),
                found.total.is_some() || parts().any(|part| part.total.is_some()),
                found.percent.iter().any(|percent| percent.max.is_some()),
            ];
            for (nth, _) in uses.iter().enumerate().filter(|(_, is_seen)| **is_seen) {
                seen |= 1 << (metric * USES + nth);
            }
        }
        Self(seen)
    }

    /// As it is stored.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// As it was stored.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// What either has seen.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// A sentence for each field of the mapping that no document had; none where there was no document at all.
    pub fn missing(self, mapping: &Mapping) -> Vec<String> {
        if self.0 & ANY_DOCUMENT == 0 {
            return Vec::new();
        }
        Metric::ALL.into_iter().flat_map(|metric| self.missing_of(metric, mapping.metric(metric))).collect()
    }

    fn missing_of(self, metric: Metric, fields: &MetricFields) -> Vec<String> {
        let uses: [(&str, Option<&String>); USES] = [
            ("max", Some(&fields.max)),
            ("avg", Some(&fields.avg)),
            ("min", Some(&fields.min)),
            ("total", fields.total.as_ref()),
            ("percent", fields.percent.as_ref().map(|share| &share.field)),
        ];
        let mut missing: Vec<(&String, Vec<String>)> = Vec::new();
        for (nth, (name, field)) in uses.into_iter().enumerate() {
            let Some(field) = field.filter(|_| self.0 >> (metric as usize * USES + nth) & 1 == 0) else { continue };
            let key = format!("{}.{name}", metric.key());
            match missing.iter_mut().find(|(known, _)| *known == field) {
                Some((_, keys)) => keys.push(key),
                None => missing.push((field, vec![key])),
            }
        }
        let beside = fields.split.as_ref().map(|split| format!(" beside \"{}\"", split.field)).unwrap_or_default();
        let sentence = |(field, keys): (&String, Vec<String>)| {
            let otherwise = match &fields.per_core {
                Some(other) if keys.iter().any(|key| key.rsplit('.').next() == Some("max")) => {
                    format!(", nor in \"{}\" beside \"{}\"", other.field, other.cores)
                }
                _ => String::new(),
            };
            let keys = keys.join(", ");
            format!(
                "no document of this run holds a number in \"{field}\"{beside} ({keys} of the mapping){otherwise}: \
                 what comes from it is unknown (NULL)"
            )
        };
        missing.into_iter().map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::found::Weighed;

    fn number() -> MetricFound {
        let shape = Weighed { max: Some(2.0), avg: Some(1.0), min: Some(0.0), weight: 3.0 };
        MetricFound { shapes: vec![shape], ..MetricFound::default() }
    }

    #[test]
    fn what_no_document_has_is_named_with_its_keys_and_with_the_other_way_to_read_it() {
        let memory = MetricFound { total: Some(16.0), ..number() };
        let seen = FieldsSeen::of(&[MetricFound::default(), memory, MetricFound::default()]);
        let missing = seen.missing(&Mapping::metricbeat());
        assert_eq!(missing.len(), 4, "{missing:?}");
        assert_eq!(
            missing[0],
            "no document of this run holds a number in \"system.cpu.total.norm.pct\" (cpu.max, cpu.avg, cpu.min of the \
             mapping), nor in \"system.cpu.total.pct\" beside \"system.cpu.cores\": what comes from it is unknown (NULL)"
        );
        assert!(missing[1].contains("\"system.memory.actual.used.pct\" (memory.percent of"), "{}", missing[1]);
        assert!(missing[2].contains("used.bytes\" beside \"system.filesystem.mount_point\" ("), "{}", missing[2]);
        assert!(missing[3].contains("(disk.total of the mapping)"), "{}", missing[3]);
    }

    #[test]
    fn what_one_host_has_the_run_has() {
        let none = MetricFound::default;
        let cpu = FieldsSeen::of(&[number(), none(), none()]);
        let others = FieldsSeen::of(&[none(), number(), number()]);
        assert_eq!(cpu.missing(&Mapping::zabbix()).len(), 2);
        let all = FieldsSeen::from_bits(cpu.and(others).bits());
        assert_eq!(all.missing(&Mapping::zabbix()), [""; 0]);
        assert_eq!(FieldsSeen::default().missing(&Mapping::zabbix()), [""; 0], "there was no document");
    }
}
