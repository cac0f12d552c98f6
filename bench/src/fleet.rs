//! The three services as real processes.
//!
//! They are stopped in good order when their [`ServiceFleet`] is dropped, however that comes about, unless they are left up.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use hostsync_testing::process::start_detached;

/// Longest wait for services to be ready, and for their end after SIGTERM.
const READY_WITHIN: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(15);

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Lines of its log that are shown when a service has ended.
const LOG_LINES: usize = 5;

/// How many of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) workers: usize,
}

/// The ports of a fleet on 127.0.0.1.
#[derive(Debug, Clone)]
pub(crate) struct FleetPorts {
    pub(crate) rpc: u16,
    pub(crate) api: u16,
    pub(crate) scheduler: u16,
    pub(crate) workers: Vec<u16>,
}

impl FleetPorts {
    /// The default ports where those are free.
    ///
    /// # Errors
    ///
    /// None is free.
    pub(crate) fn free(size: Size) -> anyhow::Result<Self> {
        let mut ports = Ports::default();
        Ok(Self {
            rpc: ports.take(8080)?,
            api: ports.take(8888)?,
            scheduler: ports.take(8891)?,
            workers: (0..size.workers).map(|_| ports.take(8892)).collect::<anyhow::Result<_>>()?,
        })
    }
}

/// A running service.
#[derive(Debug)]
pub(crate) struct FleetService {
    /// `api`, `scheduler`, `worker` or `worker-2`.
    pub(crate) name: String,
    /// Where it answers.
    pub(crate) url: String,
    /// Its log.
    pub(crate) log: PathBuf,
    child: Child,
}

/// The services of one database.
#[derive(Debug)]
pub(crate) struct ServiceFleet {
    /// The API first, then the scheduler, then the workers.
    pub(crate) services: Vec<FleetService>,
    is_left_up: bool,
}

impl ServiceFleet {
    /// Starts one API, one scheduler and the workers, on the default ports where those are free. Logs and pids go into
    /// `folder`.
    ///
    /// # Errors
    ///
    /// A program is not built or cannot be started.
    pub(crate) fn start(size: Size, environment: &[(String, String)], folder: &Path) -> anyhow::Result<Self> {
        Self::start_at(&FleetPorts::free(size)?, environment, folder)
    }

    /// As [`Self::start`], at places that are known before.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub(crate) fn start_at(
        places: &FleetPorts,
        environment: &[(String, String)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut fleet = Self { services: Vec::new(), is_left_up: false };
        let rpc_listen = listen(places.rpc);
        fleet.add("api", "HOSTSYNC_API__LISTEN", places.api, &rpc_listen, environment, folder)?;
        fleet.add("scheduler", "HOSTSYNC_SCHEDULER__LISTEN", places.scheduler, &rpc_listen, environment, folder)?;
        for (n, port) in (1..).zip(&places.workers) {
            let name = if n == 1 { "worker".to_owned() } else { format!("worker-{n}") };
            fleet.add(&name, "HOSTSYNC_WORKER__LISTEN", *port, &rpc_listen, environment, folder)?;
        }
        Ok(fleet)
    }

    fn add(
        &mut self,
        name: &str,
        listen_variable: &str,
        port: u16,
        rpc_listen: &str,
        environment: &[(String, String)],
        folder: &Path,
    ) -> anyhow::Result<()> {
        let program = format!("hostsync-{}", name.split('-').next().unwrap_or(name));
        let log = folder.join(format!("{name}.log"));
        let mut environment = environment.to_vec();
        let ours = [(listen_variable, listen(port)), ("HOSTSYNC_API__RPC_LISTEN", rpc_listen.to_owned())];
        for (variable, value) in ours {
            environment.retain(|(name, _)| name != variable);
            environment.push((variable.to_owned(), value));
        }
        let child = start_detached(&program, &environment, &log)?;
        let pid = child.id();
        self.services.push(FleetService { name: name.to_owned(), url: format!("http://{}", listen(port)), log, child });
        fs::write(folder.join(format!("{name}.pid")), format!("{pid}\n")).context("the file of a pid")?;
        Ok(())
    }

    /// Base URL of the API.
    pub(crate) fn api_url(&self) -> &str {
        &self.services[0].url
    }

    /// Base URLs of the workers.
    pub(crate) fn worker_urls(&self) -> impl Iterator<Item = &str> {
        self.services.iter().filter(|service| service.name.starts_with("worker")).map(|service| service.url.as_str())
    }

    /// Waits until all of them are ready.
    ///
    /// # Errors
    ///
    /// One has ended, or is not ready in time.
    pub(crate) async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let started = Instant::now();
        for place in 0..self.services.len() {
            let url = format!("{}/readyz", self.services[place].url);
            loop {
                self.check()?;
                let answer = client.get(&url).send().await;
                if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                    break;
                }
                let service = &self.services[place];
                anyhow::ensure!(
                    started.elapsed() < READY_WITHIN,
                    "the {} is not ready after {} s: {}; its log is {}",
                    service.name,
                    READY_WITHIN.as_secs(),
                    match answer {
                        Ok(answer) => answer.text().await.unwrap_or_default(),
                        Err(_) => format!("{url} does not answer"),
                    },
                    service.log.display()
                );
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Whether all of them still run.
    ///
    /// # Errors
    ///
    /// One has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for service in &mut self.services {
            if let Some(status) = service.child.try_wait()? {
                anyhow::bail!(
                    "the {} has ended ({status}); its log is {}, which ends:\n{}",
                    service.name,
                    service.log.display(),
                    last_lines(&service.log)
                );
            }
        }
        Ok(())
    }

    /// Leaves them up when this is dropped.
    pub(crate) fn leave_up(mut self) {
        self.is_left_up = true;
    }
}

impl FleetService {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServiceFleet {
    fn drop(&mut self) {
        if self.is_left_up {
            return;
        }
        end(self.services.iter_mut().map(|service| &mut service.child));
        for service in &self.services {
            let _ = fs::remove_file(service.log.with_extension("pid"));
        }
    }
}

/// Ends processes, in good order if they end in time; for a drop, which cannot await.
#[allow(clippy::disallowed_methods, reason = "a drop cannot await, and nothing else is left to do")]
pub(crate) fn end<'a>(children: impl Iterator<Item = &'a mut Child>) {
    let mut children: Vec<&mut Child> = children.collect();
    for child in &children {
        let _ = tell_to_end(child);
    }
    let started = Instant::now();
    for child in &mut children {
        while started.elapsed() < END_WITHIN && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Sends SIGTERM to a child that was not waited for: its pid cannot have passed to somebody else.
///
/// # Errors
///
/// There is no `kill`.
pub(crate) fn tell_to_end(child: &Child) -> std::io::Result<()> {
    Command::new("kill").arg("-TERM").arg(child.id().to_string()).stderr(Stdio::null()).status().map(|_| ())
}

/// The end of a log, for a message.
pub(crate) fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Ports that have been given out, since a service binds its own only a moment later.
#[derive(Debug, Default)]
pub(crate) struct Ports(BTreeSet<u16>);

impl Ports {
    /// `preferred` if it is free on 127.0.0.1, else any that is; 0 prefers none.
    ///
    /// # Errors
    ///
    /// None is free.
    pub(crate) fn take(&mut self, preferred: u16) -> anyhow::Result<u16> {
        let mut wanted = preferred;
        loop {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).and_then(|listener| listener.local_addr());
            match port {
                Ok(address) if self.0.insert(address.port()) => return Ok(address.port()),
                Err(error) if wanted == 0 => return Err(error).context("no port is free on 127.0.0.1"),
                _ => wanted = 0,
            }
        }
    }
}

/// 127.0.0.1 with this port.
pub(crate) fn listen(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_given_out_and_none_twice() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let mut ports = Ports::default();
        let first = ports.take(port).expect("a port");
        assert_ne!(first, port);
        assert_ne!(ports.take(first).expect("a port"), first);
    }
}
