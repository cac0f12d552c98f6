//! KEDA and the horizontal pod autoscaler together: who looks when, and how many workers they ask for.

use std::time::Duration;

use super::activation::Activation;
use super::hpa::Hpa;
use super::rendered::Scaling;
use super::scaler::{Reading, Scaler};
use crate::screen::note;

/// The autoscaler of one `ScaledObject`.
#[derive(Debug)]
pub(crate) struct Autoscaler {
    scalers: Vec<Scaler>,
    activation: Activation,
    hpa: Hpa,
    poll_every: Duration,
    next_poll: Duration,
    sync_every: Duration,
    next_sync: Duration,
    /// Looks in a row that failed.
    failures: u32,
    /// From so many on KEDA would fall back.
    failure_threshold: u32,
}

impl Autoscaler {
    /// As the chart says it. `sync_every` is the cluster's matter (`--horizontal-pod-autoscaler-sync-period`, 15 s).
    pub(crate) fn new(scaling: &Scaling, scalers: Vec<Scaler>, sync_every: Duration) -> Self {
        let (min, max) = (scaling.min_replica_count, scaling.max_replica_count);
        Self {
            scalers,
            activation: Activation::new(min, Duration::from_secs(scaling.cooldown_period)),
            hpa: Hpa::new(min, max, scaling.behavior().clone()),
            poll_every: Duration::from_secs(scaling.polling_interval),
            next_poll: Duration::ZERO,
            sync_every,
            next_sync: Duration::ZERO,
            failures: 0,
            failure_threshold: scaling.fallback.failure_threshold,
        }
    }

    /// Does what is due at `at`, with `workers` asked for until now. `None`: the number stays.
    ///
    /// # Errors
    ///
    /// The triggers could not be read so often in a row that KEDA would fall back, which is not what is played here.
    pub(crate) async fn turn(&mut self, at: Duration, workers: u32) -> anyhow::Result<Option<u32>> {
        if at >= self.next_poll {
            self.next_poll = at + self.poll_every;
            if let Some(readings) = self.read().await? {
                let is_active = readings.iter().any(|reading| reading.is_active);
                if let Some(wanted) = self.activation.poll(at, workers, is_active) {
                    return Ok(Some(wanted));
                }
            }
        }
        if at >= self.next_sync {
            self.next_sync = at + self.sync_every;
            // Without a reading the number stays, as in both of them.
            if workers > 0
                && let Some(readings) = self.read().await?
            {
                return Ok(self.hpa.sync(at, workers, &readings));
            }
        }
        Ok(None)
    }

    async fn read(&mut self) -> anyhow::Result<Option<Vec<Reading>>> {
        let mut readings = Vec::new();
        for scaler in &self.scalers {
            match scaler.read().await {
                Ok(reading) => readings.push(reading),
                Err(error) => {
                    self.failures += 1;
                    note(format_args!("a trigger could not be read: {error:#}"));
                    return if self.failures < self.failure_threshold { Ok(None) } else { Err(error) };
                }
            }
        }
        self.failures = 0;
        Ok(Some(readings))
    }
}
