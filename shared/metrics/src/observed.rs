//! Gauges that are read when somebody looks: the state that is said last, or how old something is by then.
//!
//! A series that is not said any more is gone, where an ordinary gauge would repeat its last value for ever: a broker that
//! is away has no depth, a task that is disabled no stale hosts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::loops::{Loops, WeakLoops};

/// A gauge with one label whose series are those that were said last, and no others.
#[derive(Clone, Default)]
pub(super) struct Series(Arc<Mutex<Vec<(String, f64)>>>);

impl Series {
    /// A gauge in `unit` (empty: a number) by `label`.
    pub(super) fn new(
        meter: &Meter,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        label: &'static str,
    ) -> Self {
        let series = Self::default();
        let said = series.clone();
        let mut gauge = meter.f64_observable_gauge(name).with_description(description);
        if !unit.is_empty() {
            gauge = gauge.with_unit(unit);
        }
        // The meter's provider keeps the callback.
        let _ = gauge
            .with_callback(move |observer| {
                for (value, number) in said.lock().iter() {
                    observer.observe(*number, &[KeyValue::new(label, value.clone())]);
                }
            })
            .build();
        series
    }

    /// Says all series anew: the label's value and the number of each.
    pub(super) fn say(&self, series: impl IntoIterator<Item = (String, f64)>) {
        *self.lock() = series.into_iter().collect();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, f64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values of two labels, and a number.
type NumberOfPair = ([String; 2], f64);

/// A gauge of two labels, said anew each time.
#[derive(Clone, Default)]
pub(super) struct PairSeries(Arc<Mutex<Vec<NumberOfPair>>>);

impl PairSeries {
    /// A gauge of numbers by `labels`.
    pub(super) fn new(meter: &Meter, name: &'static str, description: &'static str, labels: [&'static str; 2]) -> Self {
        let series = Self::default();
        let said = series.clone();
        // The meter's provider keeps the callback.
        let _ = meter
            .f64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| {
                for ([one, other], number) in said.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    let values = [KeyValue::new(labels[0], one.clone()), KeyValue::new(labels[1], other.clone())];
                    observer.observe(*number, &values);
                }
            })
            .build();
        series
    }

    /// Says all series anew: the labels' values and the number of each.
    pub(super) fn say(&self, series: impl IntoIterator<Item = ([String; 2], f64)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = series.into_iter().collect();
    }
}

/// The ages of the loops of all services in this process.
#[derive(Clone, Default)]
pub(super) struct LoopAges(Arc<Mutex<Vec<WeakLoops>>>);

impl LoopAges {
    pub(super) fn new(meter: &Meter) -> Self {
        let ages = Self::default();
        let shown = ages.clone();
        let _ = meter
            .f64_observable_gauge("hostsync.loop.age")
            .with_unit("s")
            .with_description("Since each long-lived loop of the process last went round.")
            .with_callback(move |observer| {
                for (name, age) in shown.oldest() {
                    observer.observe(age, &[KeyValue::new("loop", name)]);
                }
            })
            .build();
        ages
    }

    pub(super) fn show(&self, loops: &Loops) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|loops| loops.upgrade().is_some());
        known.push(loops.downgrade());
    }

    /// In seconds; where several services of the process have a loop of the same name, the older one.
    fn oldest(&self) -> BTreeMap<&'static str, f64> {
        let mut oldest = BTreeMap::new();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, age) in known.iter().filter_map(WeakLoops::upgrade).flat_map(|loops| loops.ages()) {
            let seconds: &mut f64 = oldest.entry(name).or_default();
            *seconds = seconds.max(age.as_secs_f64());
        }
        oldest
    }
}
