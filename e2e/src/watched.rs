//! A whole installation in processes of its own, watched by a real Prometheus with the chart's rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;

use crate::prometheus::{INTERVAL, Prometheus, Target, rules};
use crate::runbook::Section;
use hostsync_testing::bed::Bed;
use hostsync_testing::client::{Client, wait_for};
use hostsync_testing::documents::SampleHost;
use hostsync_testing::ports::free_port;
use hostsync_testing::process::{Process, binary, run_command};

/// What every duration of the rules is divided by: 5 minutes become 30 s, and 15 minutes 90 s.
const FACTOR: u64 = 10;

/// How long an alert fires before a test takes it that no other one comes. The longest `for` of the rules is 5 minutes.
const SETTLED: Duration = Duration::from_secs(35);

/// Longest wait for anything; what takes longest is an alert that looks back over 15 minutes.
pub const LIMIT: Duration = Duration::from_mins(5);

/// Longest time for an operator's command.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// Time after which a process gives no answer; one that moves answers within milliseconds.
const NO_ANSWER: Duration = Duration::from_secs(10);

/// Hosts in the pool, each with documents of the last day.
pub const HOSTS: u32 = 60;

/// The services, each once, by the ends of their names.
const SERVICES: [&str; 3] = ["api", "scheduler", "worker"];

/// The installation.
pub struct Watched<'a> {
    /// Where it stands.
    pub bed: &'a Bed,
    /// A caller of its API.
    pub client: Client,
    /// Who watches it.
    pub prometheus: Prometheus,
    http: reqwest::Client,
    environment: Vec<(String, String)>,
    addresses: BTreeMap<&'static str, String>,
    processes: BTreeMap<&'static str, Process>,
}

impl<'a> Watched<'a> {
    /// Starts an API, a scheduler, a worker, and the Prometheus that scrapes them. Returns when all is well: a run has
    /// succeeded, every process is scraped, the doctor finds nothing, and no alert fires or is about to.
    ///
    /// # Errors
    ///
    /// It does not get well, or an alert fired on the way.
    pub async fn start(bed: &'a Bed, more: &[(&str, &str)]) -> anyhow::Result<Self> {
        bed.add_to_pool((0..HOSTS).map(SampleHost)).await?;
        bed.index_last_day((0..HOSTS).map(SampleHost), TimeDelta::hours(1)).await?;
        let mut environment = bed.environment(more);
        // What goes well is nothing to read in the output of a test.
        environment.push(("HOSTSYNC_TELEMETRY__LOG_LEVEL".to_owned(), "error".to_owned()));
        let mut addresses = BTreeMap::new();
        for service in SERVICES {
            let address = format!("127.0.0.1:{}", free_port()?);
            let key = format!("HOSTSYNC_{}__LISTEN", service.to_uppercase());
            environment.retain(|(name, _)| *name != key);
            environment.push((key, address.clone()));
            addresses.insert(service, address);
        }
        let client = Client::new(&format!("http://{}", addresses["api"]));
        let mut processes = BTreeMap::new();
        for service in SERVICES {
            processes.insert(service, Process::start(&format!("hostsync-{service}"), &environment)?);
        }
        let http = reqwest::Client::new();
        for address in addresses.values() {
            wait_for("every service to be ready", LIMIT, async || {
                let answer = http.get(format!("http://{address}/readyz")).send().await;
                Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
            })
            .await?;
        }
        run_to_success(&client, "all is well").await?;
        // Not sooner: on a busy machine a service may start for longer than an alert waits that is sped up.
        let prometheus = Prometheus::start(&rules::sped_up(&rules::of_the_chart()?, FACTOR)).await?;
        let watched = Self { bed, client, prometheus, http, environment, addresses, processes };
        watched.prometheus.scrape(&watched.targets(|_| true)).await?;
        wait_for("every service to be scraped", LIMIT, async || {
            Ok((watched.prometheus.query("up == 1").await?.len() == SERVICES.len()).then_some(()))
        })
        .await?;
        let doctor = watched.hs(&["doctor"]).await?;
        anyhow::ensure!(doctor.contains(": 0 FAIL"), "the doctor finds something while all is well:\n{doctor}");
        wait_for("quiet", LIMIT, async || Ok(watched.prometheus.alerts().await?.is_empty().then_some(()))).await?;
        let fired = watched.prometheus.fired().await?;
        anyhow::ensure!(fired.is_empty(), "{fired:?} fired while all was well");
        Ok(watched)
    }

    /// A service of it, such as `worker`.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn service(&self, service: &str) -> anyhow::Result<&Process> {
        self.processes.get(service).with_context(|| format!("no {service} runs"))
    }

    /// Where a service listens; what Prometheus calls its `instance`.
    pub fn address(&self, service: &str) -> &str {
        &self.addresses[service]
    }

    /// Starts a service, at the address that it has always had.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub async fn start_service(&mut self, service: &'static str) -> anyhow::Result<()> {
        self.processes.insert(service, Process::start(&format!("hostsync-{service}"), &self.environment)?);
        self.prometheus.scrape(&self.targets(|_| true)).await
    }

    /// Stops a service in good order. Prometheus goes on to scrape it, as one that should be there.
    ///
    /// # Errors
    ///
    /// It does not run, or does not stop.
    pub async fn stop_service(&mut self, service: &str) -> anyhow::Result<()> {
        let process = self.processes.remove(service).with_context(|| format!("no {service} runs"))?;
        let code = process.terminate(LIMIT).await?;
        anyhow::ensure!(code == 0, "{service} ended with {code}");
        Ok(())
    }

    /// Takes a service away, as a scaler does with a worker: stopped, and no longer a target.
    ///
    /// # Errors
    ///
    /// As [`Watched::stop_service`].
    pub async fn remove_service(&mut self, service: &str) -> anyhow::Result<()> {
        self.prometheus.scrape(&self.targets(|other| other != service)).await?;
        self.stop_service(service).await
    }

    fn targets(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<Target> {
        let wanted = self.addresses.iter().filter(|(service, _)| is_wanted(service));
        wanted
            .map(|(service, address)| Target {
                address: address.clone(),
                job: format!("hostsync-{service}"),
                namespace: self.bed.name.clone(),
            })
            .collect()
    }

    /// Enqueues a run over the whole pool; returns its id.
    ///
    /// # Errors
    ///
    /// The API refused it.
    pub async fn enqueue(&self, name: &str) -> anyhow::Result<u64> {
        enqueue(&self.client, name).await
    }

    /// Runs the whole pool to a success.
    ///
    /// # Errors
    ///
    /// It did not succeed.
    pub async fn run(&self, name: &str) -> anyhow::Result<()> {
        run_to_success(&self.client, name).await
    }

    /// Waits until the alert with this label has fired for long enough to bring out any other one.
    ///
    /// # Errors
    ///
    /// It did not fire, or another one did.
    pub async fn alert(&self, name: &str, label: &str, value: &str) -> anyhow::Result<()> {
        let evaluations = SETTLED.as_secs() / INTERVAL.as_secs();
        let namespace = &self.bed.name;
        let series = format!("{{alertname={name:?},alertstate=\"firing\",namespace={namespace:?},{label}={value:?}}}");
        let settled = format!("ALERTS{series} and count_over_time(ALERTS{series}[1h]) >= {evaluations}");
        wait_for(&format!("{name} of the {label} {value} to fire"), LIMIT, async || {
            self.only_ever(name).await?;
            Ok((!self.prometheus.query(&settled).await?.is_empty()).then_some(()))
        })
        .await
    }

    /// Waits until nothing fires or is about to, after a failure that was mended; still no other alert than this fired.
    ///
    /// # Errors
    ///
    /// It did not resolve, or another one fired.
    pub async fn all_clear(&self, name: &str) -> anyhow::Result<()> {
        wait_for(&format!("{name} to resolve"), LIMIT, async || {
            self.only_ever(name).await?;
            Ok(self.prometheus.alerts().await?.is_empty().then_some(()))
        })
        .await?;
        anyhow::ensure!(self.prometheus.fired().await? == BTreeSet::from([name.to_owned()]), "{name} did not fire");
        Ok(())
    }

    async fn only_ever(&self, name: &str) -> anyhow::Result<()> {
        let fired = self.prometheus.fired().await?;
        let others: Vec<&String> = fired.iter().filter(|fired| *fired != name).collect();
        anyhow::ensure!(others.is_empty(), "{others:?} fired, and it was only {name} that should");
        Ok(())
    }

    /// What an operator's command prints (`hs …` in the runbook), where the alert's section gives it.
    ///
    /// # Errors
    ///
    /// The section does not give it, or it does not end.
    pub async fn command(&self, alert: &str, command: &str) -> anyhow::Result<String> {
        anyhow::ensure!(Section::of(alert)?.says(command), "{alert}: the runbook does not give {command}");
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        self.hs(&arguments).await
    }

    async fn hs(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let program = binary("hostsync-api")?;
        let running = run_command(&program, arguments, &self.environment);
        let (_, said) = tokio::time::timeout(COMMAND_LIMIT, running).await.context("it did not end in time")??;
        Ok(said)
    }

    /// Whether the alert's section says this.
    ///
    /// # Errors
    ///
    /// There is no such section.
    pub fn says(&self, alert: &str, words: &str) -> anyhow::Result<bool> {
        Ok(Section::of(alert)?.says(words))
    }

    /// The metrics of a service, asked for by themselves; `None`: no answer.
    pub async fn metrics(&self, service: &str) -> Option<String> {
        let request = self.http.get(format!("http://{}/metrics", self.address(service))).timeout(NO_ANSWER);
        request.send().await.ok()?.text().await.ok()
    }

    /// What the statements of the alert's section find.
    ///
    /// # Errors
    ///
    /// There is no such section, or the database's.
    pub async fn statements(&self, alert: &str) -> anyhow::Result<String> {
        Section::of(alert)?.ask(&self.bed.pool, "default").await
    }
}

async fn enqueue(client: &Client, name: &str) -> anyhow::Result<u64> {
    let hosts: Vec<String> = (0..HOSTS).map(|number| SampleHost(number).ip()).collect();
    client.execute(name, &hosts, "6h").await
}

async fn run_to_success(client: &Client, name: &str) -> anyhow::Result<()> {
    let id = enqueue(client, name).await?;
    let log = client.wait_for_end(id, LIMIT).await?;
    anyhow::ensure!(log["execution_status"] == "success", "{log}");
    Ok(())
}
