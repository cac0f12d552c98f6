//! Whole fleets within this process.

use std::time::Duration;

use crate::service::{self, RunningService};
use hostsync_testing::bed::Bed;
use hostsync_testing::client::Client;

/// Longest wait for an API to be ready.
const LIMIT: Duration = Duration::from_mins(2);

/// Keys of the configuration and their values, on top of the bed's.
type More<'a> = &'a [(&'a str, &'a str)];

/// An API, a scheduler and workers.
pub struct Fleet {
    /// The API, the scheduler, then the workers.
    pub services: Vec<RunningService>,
    /// Of the API.
    pub client: Client,
}

impl Fleet {
    /// One of each over one configuration; the API is ready.
    ///
    /// # Panics
    ///
    /// It does not start.
    pub async fn start(bed: &Bed, more: More<'_>) -> Self {
        Self::with_workers(bed, more, &[more]).await
    }

    /// As [`Self::start`], with a worker over each of some configurations.
    ///
    /// # Panics
    ///
    /// It does not start.
    pub async fn with_workers(bed: &Bed, more: More<'_>, workers: &[More<'_>]) -> Self {
        let config = |more| bed.config(more).expect("a configuration");
        let mut services = vec![
            service::api(config(more)).await.expect("an API"),
            service::scheduler(config(more)).await.expect("a scheduler"),
        ];
        for more in workers {
            services.push(service::worker(config(more)).await.expect("a worker"));
        }
        let client = Client::new(&services[0].url());
        client.wait_until_ready(LIMIT).await.expect("ready");
        Self { services, client }
    }

    /// Stops them all, and waits for their ends.
    ///
    /// # Panics
    ///
    /// One ends with an error.
    pub async fn stop(self) {
        for service in self.services {
            service.stop().await.expect("a quiet end");
        }
    }
}
