//! Which fields of a mapping held a number in any document, host by host and over a whole run.
//!
//! Owns the set and its words: a field that no document has is told, not left as an unknown without a reason; so is a
//! metric whose fields are there, but never all of them in one host.

use super::aggregates::HostAggregates;
use super::stats::together;
use super::{Mapping, Metric, MetricFields, ROLL_UP_AVG, ROLL_UP_MAX, ROLL_UP_MIN};

/// Uses of a field of one metric, in the order of their bits.
const USES: usize = 5;

/// First of the bits that say that a host had maximum, average and minimum of a metric: one a metric.
const WHOLE: usize = 3 * USES;

/// First of the bits that say that a document had the weight of a metric: one a metric.
const WEIGHT: usize = WHOLE + 3;

/// Stands for "a document had the field by which others are skipped".
const SKIP_FIELD: u32 = 1 << (WEIGHT + 3);

/// Stands for "the bits from [`WHOLE`] on are known": an older process knew none of them.
const KNOWS_ALL: u32 = 1 << 30;

/// Stands for "there was a document".
const ANY_DOCUMENT: u32 = 1 << 31;

/// The fields that held a number. Each metric has a bit for maximum, average, minimum, total and percent, one for its weight,
/// and one for being whole in some host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldCoverage(u32);

impl FieldCoverage {
    /// Of a host that has documents.
    pub(super) fn of(host: &HostAggregates) -> Self {
        let mut seen = ANY_DOCUMENT | KNOWS_ALL;
        if host.has_skip_field {
            seen |= SKIP_FIELD;
        }
        for (metric, found) in host.metrics.iter().enumerate() {
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
            let is_whole = is_split_seen || together(&found.shapes).is_some();
            seen |= u32::from(is_whole) << (WHOLE + metric) | u32::from(found.has_weights) << (WEIGHT + metric);
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

    /// A sentence for each field of the mapping that no document had, and for each metric that no host had whole; none where
    /// there was no document at all.
    pub fn missing(self, mapping: &Mapping) -> Vec<String> {
        if self.0 & ANY_DOCUMENT == 0 {
            return Vec::new();
        }
        let of_metrics = Metric::ALL.into_iter().flat_map(|metric| self.missing_of(metric, mapping.metric(metric)));
        let skip = mapping.skip.as_ref().filter(|_| self.0 & KNOWS_ALL != 0 && self.0 & SKIP_FIELD == 0).map(|skip| {
            format!(
                "no document that was read holds anything in \"{}\" (skip.field of the mapping): documents that should be \
                 skipped by it may be among them",
                skip.field
            )
        });
        of_metrics.chain(skip).collect()
    }

    fn has(self, bit: usize) -> bool {
        self.0 >> bit & 1 == 1
    }

    fn missing_of(self, metric: Metric, fields: &MetricFields) -> Vec<String> {
        let first = metric as usize * USES;
        let is_seen: [bool; USES] = std::array::from_fn(|nth| self.has(first + nth));
        let [max, avg, min, _, percent] = is_seen;
        let in_part = (max || avg || min) && !(max && avg && min);
        // Of a roll-up that lacks one of its numbers that number is meant.
        let of_roll_up =
            |name: &str| in_part.then(|| fields.roll_up_field()).flatten().map(|field| format!("{field}.{name}"));
        let statistic = |field: &String, name: &str| of_roll_up(name).unwrap_or_else(|| field.clone());
        let uses: [(&str, Option<String>); USES] = [
            ("max", Some(statistic(&fields.max, ROLL_UP_MAX))),
            ("avg", Some(statistic(&fields.avg, ROLL_UP_AVG))),
            ("min", Some(statistic(&fields.min, ROLL_UP_MIN))),
            ("total", fields.total.clone()),
            ("percent", fields.percent.as_ref().map(|share| share.field.clone())),
        ];
        let mut missing: Vec<(String, Vec<&str>)> = Vec::new();
        for ((name, field), is_seen) in uses.into_iter().zip(is_seen) {
            let Some(field) = field.filter(|_| !is_seen) else { continue };
            match missing.iter_mut().find(|(known, _)| *known == field) {
                Some((_, names)) => names.push(name),
                None => missing.push((field, vec![name])),
            }
        }
        let beside = fields.split.as_ref().map(|split| format!(" beside \"{}\"", split.field)).unwrap_or_default();
        let sentence = |(field, names): (String, Vec<&str>)| {
            let is_statistic = names.iter().any(|name| matches!(*name, "max" | "avg" | "min"));
            let otherwise = match &fields.per_core {
                Some(other) if names.contains(&"max") => {
                    format!(", nor in \"{}\" beside \"{}\"", other.field, other.cores)
                }
                _ => String::new(),
            };
            let effect = if is_statistic && in_part {
                format!(
                    "all of {} is unknown (NULL), since it is known only with its maximum, average and minimum together",
                    metric.key()
                )
            } else if is_statistic && percent {
                "GB are known only by the percentage of a capacity that is known".to_owned()
            } else {
                "what comes from it is unknown (NULL)".to_owned()
            };
            let keys = names.iter().map(|name| format!("{}.{name}", metric.key())).collect::<Vec<_>>().join(", ");
            format!(
                "no document of this run holds a number in \"{field}\"{beside} ({keys} of the mapping){otherwise}: {effect}"
            )
        };
        let mut sentences: Vec<String> = missing.into_iter().map(sentence).collect();
        let knows_all = self.0 & KNOWS_ALL != 0;
        if knows_all && max && avg && min && !self.has(WHOLE + metric as usize) {
            sentences.push(format!(
                "no host of this run has {0}.max, {0}.avg and {0}.min of the mapping together in all its documents: all of \
                 {0} is unknown (NULL)",
                metric.key()
            ));
        }
        if let Some(weight) = &fields.weight
            && knows_all
            && avg
            && !self.has(WEIGHT + metric as usize)
        {
            sentences.push(format!(
                "no document of this run holds a number in \"{weight}\" ({}.weight of the mapping): each weighs 1 in the \
                 average",
                metric.key()
            ));
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregates::MetricAggregates;
    use crate::stats::WeightedStats;
    use crate::{MetricFields, Unit};

    fn host(metrics: [MetricAggregates; 3]) -> HostAggregates {
        HostAggregates { documents: 1, metrics, has_skip_field: true }
    }

    fn number() -> MetricAggregates {
        let shape = WeightedStats { max: Some(2.0), avg: Some(1.0), min: Some(0.0), weight: 3.0 };
        MetricAggregates { shapes: vec![shape], ..MetricAggregates::default() }
    }

    #[test]
    fn what_no_document_has_is_named_with_its_keys_and_with_the_other_way_to_read_it() {
        let memory = MetricAggregates { total: Some(16.0), ..number() };
        let seen = FieldCoverage::of(&host([MetricAggregates::default(), memory, MetricAggregates::default()]));
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
        let none = MetricAggregates::default;
        let cpu = FieldCoverage::of(&host([number(), none(), none()]));
        let others = FieldCoverage::of(&host([none(), number(), number()]));
        assert_eq!(cpu.missing(&Mapping::zabbix()).len(), 2);
        let all = FieldCoverage::from_bits(cpu.and(others).bits());
        assert_eq!(all.missing(&Mapping::zabbix()), [""; 0]);
        assert_eq!(FieldCoverage::default().missing(&Mapping::zabbix()), [""; 0], "there was no document");
    }

    /// Some of the three statistics of the processor load.
    fn cpu_with(max: bool, avg: bool, min: bool) -> [MetricAggregates; 3] {
        let one = |is_known: bool| is_known.then_some(1.0);
        let shape = WeightedStats { max: one(max), avg: one(avg), min: one(min), weight: 1.0 };
        [MetricAggregates { shapes: vec![shape], ..MetricAggregates::default() }, number(), number()]
    }

    fn separate() -> Mapping {
        let [max, avg, min] = ["c.max", "c.avg", "c.min"].map(str::to_owned);
        let cpu = MetricFields { max, avg, min, ..MetricFields::single("", Unit::Percent) };
        Mapping { cpu, ..Mapping::zabbix() }
    }

    #[test]
    fn fields_that_no_host_has_together_are_told() {
        let one = FieldCoverage::of(&host(cpu_with(true, false, false)));
        let other = FieldCoverage::of(&host(cpu_with(false, true, true)));
        let missing = one.and(other).missing(&separate());
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!(
            missing[0],
            "no host of this run has cpu.max, cpu.avg and cpu.min of the mapping together in all its documents: all of cpu \
             is unknown (NULL)"
        );
        let whole = FieldCoverage::of(&host(cpu_with(true, true, true)));
        assert_eq!(one.and(other).and(whole).missing(&separate()), [""; 0]);
        // As a process of an earlier version stored it: nothing is known of the whole.
        let bits = one.and(other).bits() & !KNOWS_ALL;
        assert_eq!(FieldCoverage::from_bits(bits).missing(&separate()), [""; 0]);
    }

    #[test]
    fn a_field_without_which_the_others_of_its_metric_are_unknown_says_so() {
        let seen = FieldCoverage::of(&host(cpu_with(true, false, true)));
        let expected = "(cpu.avg of the mapping): all of cpu is unknown (NULL), since it is known only with its maximum, \
                        average and minimum together";
        for (mapping, field) in [(separate(), "c.avg"), (Mapping::zabbix(), "cpu.value_avg")] {
            let missing = seen.missing(&mapping);
            assert_eq!(missing, [format!("no document of this run holds a number in \"{field}\" {expected}")]);
        }
    }

    #[test]
    fn a_weight_and_a_field_of_what_is_skipped_that_no_document_has_are_told() {
        let mut mapping = Mapping { skip: Mapping::metricbeat().skip, ..separate() };
        mapping.cpu.weight = Some("samples".to_owned());
        let mut found = host(cpu_with(true, true, true));
        found.has_skip_field = false;
        let missing = FieldCoverage::of(&found).missing(&mapping);
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing[0].contains("\"samples\" (cpu.weight of the mapping): each weighs 1"), "{}", missing[0]);
        assert!(missing[1].contains("\"system.filesystem.type\" (skip.field of the mapping)"), "{}", missing[1]);
        found.has_skip_field = true;
        found.metrics[0].has_weights = true;
        assert_eq!(FieldCoverage::of(&found).missing(&mapping), [""; 0]);
    }

    #[test]
    fn bytes_that_only_a_percentage_stands_for_are_told_with_what_comes_instead() {
        let share = WeightedStats { max: Some(0.5), avg: Some(0.5), min: Some(0.5), weight: 1.0 };
        let memory = MetricAggregates { percent: vec![share], total: Some(1.0), ..MetricAggregates::default() };
        let missing = FieldCoverage::of(&host([number(), memory, number()])).missing(&Mapping::metricbeat());
        assert!(missing[0].contains("GB are known only by the percentage of a capacity"), "{missing:?}");
    }
}
