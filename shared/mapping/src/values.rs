//! From what was measured to what the CMDB keeps: GB, percentages, and what is refused.
//!
//! Owns the units, the rule by which a percentage is found, and the bounds of a value that makes sense.
//! An unknown stays unknown: never 0, never GB in a percentage. A value that makes no sense fails its host
//! alone, with a sentence for the people who keep the CMDB. It rounds nothing and knows no column but by
//! its bounds.

use super::{HostReading, Mapping, Metric, Share, Stats, Unit};

/// Largest percentage taken. Measurements overshoot by a little; what overshoots is kept as measured. It is
/// below what `decimal(5,2)` holds, so that a processor load that passes fits its column.
pub const MAX_PERCENT: f64 = 101.0;

/// Largest number of GB taken: what `decimal(10,2)` holds.
pub const MAX_GB: f64 = 99_999_999.99;

/// Bytes in a GB.
const BYTES_PER_GB: f64 = 1_073_741_824.0;

/// How far, relative to the larger of two, an average may lie beyond a maximum or a minimum by the
/// rounding of floating-point sums alone.
const ROUNDING: f64 = 1e-6;

/// What a host has, by the row of `hosts_pool`. 0 says as little as `NULL` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    /// `hosts_pool.ram`, in GB.
    pub ram_gb: Option<u32>,
    /// `hosts_pool.disk_size`, in GB.
    pub disk_gb: Option<u32>,
}

impl Capacity {
    /// Capacity and its place for a metric that has one, if it is known.
    fn of(self, metric: Metric) -> Option<(f64, &'static str)> {
        let (gb, column) = match metric {
            Metric::Cpu => return None,
            Metric::Memory => (self.ram_gb, "hosts_pool.ram"),
            Metric::Disk => (self.disk_gb, "hosts_pool.disk_size"),
        };
        gb.filter(|gb| *gb > 0).map(|gb| (f64::from(gb), column))
    }
}

/// What is written for one host. Every number is finite, not negative and within [`MAX_PERCENT`] or
/// [`MAX_GB`]; in every [`Stats`], `min <= avg <= max`. `None` is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostValues {
    /// `server_resources.cpu_load`: the maximum of the processor load, in percent.
    pub cpu_load: Option<f64>,
    /// `server_resources.used_memory`: the maximum, in GB.
    pub used_memory_gb: Option<f64>,
    /// `server_resources.used_disk`: the maximum, in GB.
    pub used_disk_gb: Option<f64>,
    /// `cpu_percent_max`, `_avg`, `_min`.
    pub cpu_percent: Option<Stats>,
    /// `mem_percent_max`, `_avg`, `_min`.
    pub mem_percent: Option<Stats>,
    /// `disk_percent_max`, `_avg`, `_min`.
    pub disk_percent: Option<Stats>,
    /// `max_cpu` of the execution detail, in percent.
    pub max_cpu: Option<f64>,
    /// `avg_cpu` of the execution detail, in percent.
    pub avg_cpu: Option<f64>,
    /// `max_memory` of the execution detail, in GB.
    pub max_memory_gb: Option<f64>,
    /// `avg_memory` of the execution detail, in GB.
    pub avg_memory_gb: Option<f64>,
    /// `max_disk` of the execution detail, in GB.
    pub max_disk_gb: Option<f64>,
    /// `avg_disk` of the execution detail, in GB.
    pub avg_disk_gb: Option<f64>,
}

/// A measurement that is not written, with its reason: the host fails, no other does.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadValue {
    /// Infinite, or not a number at all.
    #[error("the {statistic} {} is not a finite number ({value})", name(*metric))]
    NotFinite {
        /// Of which metric.
        metric: Metric,
        /// `maximum`, `average` or `minimum`.
        statistic: &'static str,
        /// As it was read.
        value: f64,
    },
    /// Below zero.
    #[error("the {statistic} {} is negative ({})", name(*metric), with_unit(*value, *unit))]
    Negative {
        /// Of which metric.
        metric: Metric,
        /// `maximum`, `average` or `minimum`.
        statistic: &'static str,
        /// As it was read, in `unit`.
        value: f64,
        /// Unit of the mapping.
        unit: Unit,
    },
    /// The maximum is below the average or the minimum, or the average below the minimum.
    #[error(
        "maximum {}, average {} and minimum {} of the {} contradict each other: \
         do the fields of the mapping belong together?",
        number(stats.max), number(stats.avg), number(stats.min), name(*metric)
    )]
    Disordered {
        /// Of which metric.
        metric: Metric,
        /// As they were read, in the unit of the mapping.
        stats: Stats,
    },
    /// A percentage of the source is above [`MAX_PERCENT`].
    #[error(
        "the maximum {} is {} %, more than 100 %: is the unit of the mapping right?",
        name(*metric), number(*percent)
    )]
    PercentTooHigh {
        /// Of which metric.
        metric: Metric,
        /// The maximum, in percent.
        percent: f64,
    },
    /// The capacity that the source gives is negative or not finite.
    #[error("the capacity for the {} is no capacity ({value})", name(*metric))]
    NoCapacity {
        /// Of which metric.
        metric: Metric,
        /// As it was read.
        value: f64,
    },
    /// More is in use than there is, by more than [`MAX_PERCENT`] allows.
    #[error("{} {} GB is more than the {} GB of {column}", name(*metric), number(*used_gb), capacity(*capacity_gb))]
    MoreThanCapacity {
        /// Of which metric.
        metric: Metric,
        /// The maximum, in GB.
        used_gb: f64,
        /// Capacity, in GB.
        capacity_gb: f64,
        /// Where the capacity stands.
        column: &'static str,
    },
    /// More GB than [`MAX_GB`].
    #[error(
        "{} {} GB is more than can be kept ({MAX_GB} GB): is the unit of the mapping right?",
        name(*metric), number(*used_gb)
    )]
    TooManyGb {
        /// Of which metric.
        metric: Metric,
        /// The maximum, in GB.
        used_gb: f64,
    },
    /// Documents without a single measurement. It is not `no_data`, since there are documents, and not a
    /// success, which would overwrite what is known with unknowns.
    #[error("none of the mapped fields holds a number in {documents} documents of this host")]
    NoNumber {
        /// How many documents there are.
        documents: u64,
    },
}

/// What is to be written for a host that has data.
///
/// GB: as they are, bytes ÷ 2^30, else the percentage of the capacity if both are known. Percentages: those of the
/// source, else used ÷ capacity if that is known, the source's own before that of the pool. What cannot be
/// found so is `None`.
///
/// # Errors
///
/// The first [`BadValue`], in the order cpu, memory, disk.
pub fn host_values(mapping: &Mapping, reading: &HostReading, capacity: &Capacity) -> Result<HostValues, BadValue> {
    let is_known = |metric| reading.metric(metric).is_some() || reading.share(metric).percent.is_some();
    if !Metric::ALL.into_iter().any(is_known) {
        return Err(BadValue::NoNumber { documents: reading.data_point_count });
    }
    let convert =
        |metric| convert(metric, mapping.metric(metric).unit, reading.metric(metric), reading.share(metric), *capacity);
    let cpu = convert(Metric::Cpu)?.percent;
    let memory = convert(Metric::Memory)?;
    let disk = convert(Metric::Disk)?;
    let max = |stats: Option<Stats>| stats.map(|stats| stats.max);
    let avg = |stats: Option<Stats>| stats.map(|stats| stats.avg);
    Ok(HostValues {
        cpu_load: max(cpu),
        used_memory_gb: max(memory.gb),
        used_disk_gb: max(disk.gb),
        cpu_percent: cpu,
        mem_percent: memory.percent,
        disk_percent: disk.percent,
        max_cpu: max(cpu),
        avg_cpu: avg(cpu),
        max_memory_gb: max(memory.gb),
        avg_memory_gb: avg(memory.gb),
        max_disk_gb: max(disk.gb),
        avg_disk_gb: avg(disk.gb),
    })
}

/// One metric in both units, as far as they can be known.
#[derive(Default)]
struct MetricValues {
    percent: Option<Stats>,
    gb: Option<Stats>,
}

/// Where a capacity stands that the source gives.
const OF_THE_SOURCE: &str = "the source's own total";

fn convert(
    metric: Metric,
    unit: Unit,
    measured: Option<Stats>,
    share: Share,
    pool: Capacity,
) -> Result<MetricValues, BadValue> {
    let own_percent = share.percent.map(|percent| sound(metric, Unit::Percent, percent)).transpose()?;
    own_percent.map_or(Ok(()), |percent| sensible(metric, percent))?;
    let Some(measured) = measured else {
        let capacity = if own_percent.is_some() { capacity_of(metric, unit, share, pool)? } else { None };
        let gb = own_percent.zip(capacity).map(|(percent, (gb, _))| scaled(percent, gb / 100.0));
        gb.map_or(Ok(()), |gb| fits(metric, gb))?;
        return Ok(MetricValues { percent: own_percent, gb });
    };
    let measured = sound(metric, unit, measured)?;
    let capacity = capacity_of(metric, unit, share, pool)?;
    match unit {
        Unit::Percent | Unit::Ratio => {
            let percent = if unit == Unit::Ratio { scaled(measured, 100.0) } else { measured };
            sensible(metric, percent)?;
            let gb = capacity.map(|(gb, _)| scaled(percent, gb / 100.0));
            gb.map_or(Ok(()), |gb| fits(metric, gb))?;
            Ok(MetricValues { percent: Some(percent), gb })
        }
        Unit::Bytes | Unit::Gb => {
            let gb = if unit == Unit::Bytes { scaled(measured, 1.0 / BYTES_PER_GB) } else { measured };
            fits(metric, gb)?;
            let (None, Some((capacity_gb, column))) = (own_percent, capacity) else {
                return Ok(MetricValues { percent: own_percent, gb: Some(gb) });
            };
            let percent = scaled(gb, 100.0 / capacity_gb);
            if percent.max > MAX_PERCENT {
                return Err(BadValue::MoreThanCapacity { metric, used_gb: gb.max, capacity_gb, column });
            }
            Ok(MetricValues { percent: Some(percent), gb: Some(gb) })
        }
    }
}

/// The source's own capacity, else that of the pool, in GB. 0 says as little in the one as in the other.
fn capacity_of(
    metric: Metric,
    unit: Unit,
    share: Share,
    pool: Capacity,
) -> Result<Option<(f64, &'static str)>, BadValue> {
    let Some(total) = share.total.filter(|total| *total != 0.0) else { return Ok(pool.of(metric)) };
    if !total.is_finite() || total < 0.0 {
        return Err(BadValue::NoCapacity { metric, value: total });
    }
    let gb = if unit == Unit::Bytes { total / BYTES_PER_GB } else { total };
    Ok(Some((gb, OF_THE_SOURCE)))
}

fn sensible(metric: Metric, percent: Stats) -> Result<(), BadValue> {
    if percent.max > MAX_PERCENT {
        return Err(BadValue::PercentTooHigh { metric, percent: percent.max });
    }
    Ok(())
}

fn fits(metric: Metric, gb: Stats) -> Result<(), BadValue> {
    if gb.max > MAX_GB {
        return Err(BadValue::TooManyGb { metric, used_gb: gb.max });
    }
    Ok(())
}

/// Finite, not negative and in order; an average beside its bounds by rounding is put onto them.
fn sound(metric: Metric, unit: Unit, stats: Stats) -> Result<Stats, BadValue> {
    let Stats { max, avg, min } = stats;
    for (statistic, value) in [("maximum", max), ("average", avg), ("minimum", min)] {
        if !value.is_finite() {
            return Err(BadValue::NotFinite { metric, statistic, value });
        }
        if value < 0.0 {
            return Err(BadValue::Negative { metric, statistic, value, unit });
        }
    }
    if min > max || above(avg, max) || above(min, avg) {
        return Err(BadValue::Disordered { metric, stats });
    }
    // `+ 0.0` makes a zero of a negative zero.
    Ok(Stats { max: max + 0.0, avg: avg.clamp(min, max) + 0.0, min: min + 0.0 })
}

fn above(a: f64, b: f64) -> bool {
    a - b > ROUNDING * a
}

/// Multiplication by a positive number keeps the order, also after rounding.
fn scaled(stats: Stats, factor: f64) -> Stats {
    Stats { max: stats.max * factor, avg: stats.avg * factor, min: stats.min * factor }
}

fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cpu => "cpu load",
        Metric::Memory => "used memory",
        Metric::Disk => "used disk",
    }
}

fn with_unit(value: f64, unit: Unit) -> String {
    let value = number(value);
    match unit {
        Unit::Percent => format!("{value} %"),
        Unit::Ratio => value,
        Unit::Bytes => format!("{value} bytes"),
        Unit::Gb => format!("{value} GB"),
    }
}

/// As whole as it is: the pool's capacities have no decimals.
fn capacity(gb: f64) -> String {
    if gb.fract() == 0.0 && gb < 1e15 { format!("{gb}") } else { number(gb) }
}

/// Two decimals, or powers of ten for what would be too long or round to nothing.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(0.01..1e15).contains(&size) { format!("{value:e}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MetricFields;
    use proptest::prelude::*;

    const NO_CAPACITY: Capacity = Capacity { ram_gb: None, disk_gb: None };

    #[expect(clippy::unnecessary_wraps, reason = "a reading has it so")]
    fn flat(value: f64) -> Option<Stats> {
        Some(Stats { max: value, avg: value, min: value })
    }

    fn reading(cpu: Option<Stats>, memory: Option<Stats>, disk: Option<Stats>) -> HostReading {
        HostReading { data_point_count: 288, cpu, memory, disk, ..HostReading::default() }
    }

    fn mapping(cpu: Unit, memory: Unit, disk: Unit) -> Mapping {
        let mut mapping = Mapping::zabbix();
        mapping.cpu = MetricFields::single("c", cpu);
        mapping.memory = MetricFields::single("m", memory);
        mapping.disk = MetricFields::single("d", disk);
        mapping
    }

    fn error(mapping: &Mapping, reading: &HostReading, capacity: Capacity) -> String {
        host_values(mapping, reading, &capacity).expect_err("a bad value").to_string()
    }

    #[test]
    fn gigabytes_become_a_percentage_of_the_capacity_of_the_pool() {
        let memory = Stats { max: 8.0, avg: 4.0, min: 2.0 };
        let disk = Stats { max: 50.0, avg: 40.0, min: 25.0 };
        let cpu = Stats { max: 90.0, avg: 45.5, min: 0.0 };
        let capacity = Capacity { ram_gb: Some(16), disk_gb: Some(100) };
        let values = host_values(&Mapping::zabbix(), &reading(Some(cpu), Some(memory), Some(disk)), &capacity);
        assert_eq!(
            values,
            Ok(HostValues {
                cpu_load: Some(90.0),
                used_memory_gb: Some(8.0),
                used_disk_gb: Some(50.0),
                cpu_percent: Some(cpu),
                mem_percent: Some(Stats { max: 50.0, avg: 25.0, min: 12.5 }),
                disk_percent: Some(disk),
                max_cpu: Some(90.0),
                avg_cpu: Some(45.5),
                max_memory_gb: Some(8.0),
                avg_memory_gb: Some(4.0),
                max_disk_gb: Some(50.0),
                avg_disk_gb: Some(40.0),
            })
        );
    }

    #[test]
    fn without_a_capacity_the_percentage_is_unknown_and_the_gigabytes_are_kept() {
        for capacity in [NO_CAPACITY, Capacity { ram_gb: Some(0), disk_gb: Some(0) }] {
            let values =
                host_values(&Mapping::zabbix(), &reading(None, flat(8.0), flat(50.0)), &capacity).expect("values");
            assert_eq!((values.mem_percent, values.disk_percent), (None, None));
            assert_eq!((values.used_memory_gb, values.used_disk_gb), (Some(8.0), Some(50.0)));
            assert_eq!((values.cpu_load, values.cpu_percent, values.avg_cpu), (None, None, None));
        }
    }

    #[test]
    fn ratios_and_percentages_of_the_source_are_its_own() {
        let mapping = mapping(Unit::Ratio, Unit::Percent, Unit::Ratio);
        let reading = reading(flat(0.5), flat(75.0), flat(0.25));
        let capacity = Capacity { ram_gb: Some(16), disk_gb: None };
        let values = host_values(&mapping, &reading, &capacity).expect("values");
        assert_eq!(values.cpu_load, Some(50.0));
        assert_eq!(values.mem_percent, flat(75.0));
        assert_eq!(values.used_memory_gb, Some(12.0));
        assert_eq!(values.disk_percent, flat(25.0));
        assert_eq!(values.used_disk_gb, None, "a share of an unknown capacity is unknown");
    }

    #[test]
    fn bytes_are_counted_in_binary_gigabytes() {
        let mapping = mapping(Unit::Percent, Unit::Bytes, Unit::Gb);
        let capacity = Capacity { ram_gb: Some(4), disk_gb: None };
        let values = host_values(&mapping, &reading(None, flat(2_147_483_648.0), None), &capacity).expect("values");
        assert_eq!(values.used_memory_gb, Some(2.0));
        assert_eq!(values.mem_percent, flat(50.0));
    }

    #[test]
    fn the_sources_own_percentage_goes_before_its_capacity_and_that_before_the_pools() {
        let mapping = mapping(Unit::Percent, Unit::Bytes, Unit::Gb);
        let capacity = Capacity { ram_gb: Some(100), disk_gb: Some(1_000) };
        let mut reading = reading(None, flat(BYTES_PER_GB), flat(30.0));
        let percents = |reading: &HostReading| {
            let values = host_values(&mapping, reading, &capacity).expect("values");
            assert_eq!((values.used_memory_gb, values.used_disk_gb), (Some(1.0), Some(30.0)));
            (values.mem_percent, values.disk_percent)
        };
        assert_eq!(percents(&reading), (flat(1.0), flat(3.0)));
        reading.memory_share.total = Some(4.0 * BYTES_PER_GB);
        reading.disk_share.total = Some(60.0);
        assert_eq!(percents(&reading), (flat(25.0), flat(50.0)));
        reading.memory_share.percent = flat(20.0);
        reading.disk_share.percent = flat(45.0);
        assert_eq!(percents(&reading), (flat(20.0), flat(45.0)));
    }

    #[test]
    fn a_percentage_alone_is_kept_and_a_capacity_of_zero_says_nothing() {
        let mut reading = reading(None, None, flat(50.0));
        reading.memory_share.percent = flat(20.0);
        reading.disk_share.total = Some(0.0);
        let pool = Capacity { ram_gb: None, disk_gb: Some(100) };
        let values = host_values(&Mapping::zabbix(), &reading, &pool).expect("values");
        assert_eq!((values.mem_percent, values.used_memory_gb), (flat(20.0), None));
        assert_eq!(values.disk_percent, flat(50.0));
        reading.disk = None;
        assert!(host_values(&Mapping::zabbix(), &reading, &pool).is_ok());
    }

    #[test]
    fn without_bytes_the_gigabytes_are_the_percentage_of_the_capacity() {
        let mut reading = reading(flat(0.5), None, None);
        reading.memory_share.percent = Some(Stats { max: 50.0, avg: 25.0, min: 12.5 });
        let pool = Capacity { ram_gb: Some(16), disk_gb: None };
        let metricbeat = Mapping::metricbeat();
        let values = host_values(&metricbeat, &reading, &pool).expect("values");
        assert_eq!(
            (values.used_memory_gb, values.max_memory_gb, values.avg_memory_gb),
            (Some(8.0), Some(8.0), Some(4.0))
        );
        assert_eq!(values.mem_percent.map(|percent| percent.max), Some(50.0));
        // The source's own capacity goes before that of the pool.
        reading.memory_share.total = Some(4.0 * BYTES_PER_GB);
        let values = host_values(&metricbeat, &reading, &pool).expect("values");
        assert_eq!(values.used_memory_gb, Some(2.0));
    }

    #[test]
    fn shares_and_capacities_that_make_no_sense_have_a_sentence() {
        let mut too_much = reading(None, None, flat(50.0));
        too_much.disk_share.total = Some(40.5);
        let sentence = error(&Mapping::zabbix(), &too_much, NO_CAPACITY);
        assert_eq!(sentence, "used disk 50.00 GB is more than the 40.50 GB of the source's own total");
        let mut negative = reading(None, flat(5.0), None);
        negative.memory_share.total = Some(-1.0);
        let sentence = error(&Mapping::zabbix(), &negative, NO_CAPACITY);
        assert_eq!(sentence, "the capacity for the used memory is no capacity (-1)");
        let mut percent = reading(None, flat(5.0), None);
        percent.memory_share.percent = flat(6_400.0);
        let sentence = error(&Mapping::zabbix(), &percent, NO_CAPACITY);
        assert!(sentence.starts_with("the maximum used memory is 6400.00 %, more than 100 %"), "{sentence}");
    }

    #[test]
    fn what_overshoots_a_little_is_kept_as_measured() {
        let capacity = Capacity { ram_gb: Some(100), disk_gb: None };
        let values = host_values(&Mapping::zabbix(), &reading(flat(100.7), flat(101.0), None), &capacity);
        let values = values.expect("values");
        assert_eq!(values.cpu_load, Some(100.7));
        assert_eq!(values.mem_percent, flat(101.0));
    }

    #[test]
    fn an_average_beside_its_bounds_by_rounding_is_put_onto_them() {
        let stats = Stats { max: 0.3, avg: 0.300_000_000_000_000_04, min: 0.3 };
        let values = host_values(&Mapping::zabbix(), &reading(Some(stats), None, None), &NO_CAPACITY);
        assert_eq!(values.expect("values").cpu_percent, flat(0.3));
    }

    #[test]
    fn every_bad_value_has_a_sentence() {
        let zabbix = Mapping::zabbix();
        let ratio = mapping(Unit::Ratio, Unit::Bytes, Unit::Percent);
        let pool = Capacity { ram_gb: Some(8), disk_gb: Some(100) };
        for (mapping, reading, sentence) in [
            (&zabbix, reading(flat(f64::NAN), None, None), "the maximum cpu load is not a finite number (NaN)"),
            (&zabbix, reading(None, flat(-1.0), None), "the maximum used memory is negative (-1.00 GB)"),
            (&zabbix, reading(None, None, flat(-1e-9)), "the maximum used disk is negative (-1e-9 GB)"),
            (
                &zabbix,
                reading(flat(6_400.0), None, None),
                "the maximum cpu load is 6400.00 %, more than 100 %: is the unit of the mapping right?",
            ),
            (
                &ratio,
                reading(flat(64.0), None, None),
                "the maximum cpu load is 6400.00 %, more than 100 %: is the unit of the mapping right?",
            ),
            (
                &ratio,
                reading(None, None, flat(101.01)),
                "the maximum used disk is 101.01 %, more than 100 %: is the unit of the mapping right?",
            ),
            (&zabbix, reading(None, flat(10.0), None), "used memory 10.00 GB is more than the 8 GB of hosts_pool.ram"),
            (
                &zabbix,
                reading(None, None, flat(200.0)),
                "used disk 200.00 GB is more than the 100 GB of hosts_pool.disk_size",
            ),
            (
                &zabbix,
                reading(None, None, flat(1e20)),
                "used disk 1e20 GB is more than can be kept (99999999.99 GB): is the unit of the mapping right?",
            ),
            (
                &zabbix,
                reading(Some(Stats { max: 1.0, avg: 2.0, min: 0.0 }), None, None),
                "maximum 1.00, average 2.00 and minimum 0.00 of the cpu load contradict each other: \
                 do the fields of the mapping belong together?",
            ),
            (
                &zabbix,
                reading(None, None, None),
                "none of the mapped fields holds a number in 288 documents of this host",
            ),
        ] {
            assert_eq!(error(mapping, &reading, pool), sentence);
        }
    }

    #[test]
    fn one_bad_metric_fails_the_host_even_beside_good_ones() {
        let reading = reading(flat(50.0), flat(f64::INFINITY), flat(10.0));
        let error = error(&Mapping::zabbix(), &reading, NO_CAPACITY);
        assert_eq!(error, "the maximum used memory is not a finite number (inf)");
    }

    fn any_unit() -> impl Strategy<Value = Unit> {
        prop::sample::select(vec![Unit::Percent, Unit::Ratio, Unit::Bytes, Unit::Gb])
    }

    /// Numbers of all sizes, the odd ones among them.
    fn any_stats() -> impl Strategy<Value = Option<Stats>> {
        let number = prop_oneof![4 => 0.0..120.0_f64, 1 => 0.0..1e12_f64, 1 => any::<f64>()];
        prop::option::of(prop_oneof![
            3 => prop::array::uniform3(number.clone()).prop_map(|mut numbers| {
                numbers.sort_by(f64::total_cmp);
                Stats { max: numbers[2], avg: numbers[1], min: numbers[0] }
            }),
            1 => prop::array::uniform3(number).prop_map(|[max, avg, min]| Stats { max, avg, min }),
        ])
    }

    fn within(stats: Option<Stats>, most: f64) -> bool {
        stats.is_none_or(|Stats { max, avg, min }| 0.0 <= min && min <= avg && avg <= max && max <= most)
    }

    proptest! {
        #[test]
        fn what_passes_is_finite_ordered_and_fits_its_column(
            cpu_unit in prop::sample::select(vec![Unit::Percent, Unit::Ratio]),
            (memory_unit, disk_unit) in (any_unit(), any_unit()),
            (cpu, memory, disk) in (any_stats(), any_stats(), any_stats()),
            (ram_gb, disk_gb) in (any::<Option<u32>>(), any::<Option<u32>>()),
        ) {
            let mapping = mapping(cpu_unit, memory_unit, disk_unit);
            let reading = reading(cpu, memory, disk);
            if let Ok(values) = host_values(&mapping, &reading, &Capacity { ram_gb, disk_gb }) {
                prop_assert!(within(values.cpu_percent, MAX_PERCENT));
                prop_assert!(within(values.mem_percent, MAX_PERCENT));
                prop_assert!(within(values.disk_percent, MAX_PERCENT));
                for gb in [values.used_memory_gb, values.avg_memory_gb, values.used_disk_gb, values.avg_disk_gb] {
                    prop_assert!(gb.is_none_or(|gb| (0.0..=MAX_GB).contains(&gb)));
                }
                // Unknown exactly where it must be.
                prop_assert_eq!(values.cpu_percent.is_some(), cpu.is_some());
                for (measured, unit, capacity, percent, gb) in [
                    (memory, memory_unit, ram_gb, values.mem_percent, values.used_memory_gb),
                    (disk, disk_unit, disk_gb, values.disk_percent, values.used_disk_gb),
                ] {
                    let known = capacity.is_some_and(|gb| gb > 0);
                    let own_percent = matches!(unit, Unit::Percent | Unit::Ratio);
                    prop_assert_eq!(percent.is_some(), measured.is_some() && (own_percent || known));
                    prop_assert_eq!(gb.is_some(), measured.is_some() && (!own_percent || known));
                }
            }
        }

        #[test]
        fn no_sensible_measurement_is_refused(
            cpu in 0.0..=MAX_PERCENT, memory_share in 0.0..=1.0_f64, disk_gb in 0.0..=MAX_GB,
            ram_gb in 1_u32..=10_000,
        ) {
            let used = memory_share * f64::from(ram_gb);
            let capacity = Capacity { ram_gb: Some(ram_gb), disk_gb: None };
            let values = host_values(&Mapping::zabbix(), &reading(flat(cpu), flat(used), flat(disk_gb)), &capacity);
            let values = values.expect("sensible");
            let percent = values.mem_percent.expect("known").max;
            prop_assert!((percent - memory_share * 100.0).abs() < 1e-6);
            prop_assert_eq!(values.used_disk_gb, Some(disk_gb));
        }

        #[test]
        fn every_refusal_is_a_short_sentence(
            (cpu, memory, disk) in (any_stats(), any_stats(), any_stats()),
        ) {
            if let Err(error) = host_values(&Mapping::zabbix(), &reading(cpu, memory, disk), &NO_CAPACITY) {
                prop_assert!(error.to_string().len() < 300, "{}", error);
            }
        }
    }
}
