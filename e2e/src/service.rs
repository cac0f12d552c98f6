//! The three services within this process, through their own `serve`, each on a port of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use hostsync_service::config::Config;
use hostsync_service::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A service that runs in this process.
pub struct RunningService {
    /// Where it listens.
    pub address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Grace period of services in tests: long enough for whatever they have begun.
const GRACE: Duration = Duration::from_secs(20);

macro_rules! start {
    ($(#[$doc:meta])* $name:ident, $serve:path) => {
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// No port is free.
        pub async fn $name(config: Config) -> anyhow::Result<RunningService> {
            let listener = TcpListener::bind("127.0.0.1:0").await.context("a free port")?;
            let address = listener.local_addr()?;
            let shutdown = Shutdown::manual(GRACE);
            let task = tokio::spawn($serve(config, listener, shutdown.clone()));
            Ok(RunningService { address, shutdown, task })
        }
    };
}

start!(
    /// Starts an API.
    api,
    hostsync_api::serve
);
start!(
    /// Starts a scheduler.
    scheduler,
    hostsync_scheduler::serve
);
start!(
    /// Starts a worker.
    worker,
    hostsync_worker::serve
);

impl RunningService {
    /// Base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    ///
    /// It ended with an error.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.begin();
        self.task.await?
    }
}
