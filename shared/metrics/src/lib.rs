//! What the services count and measure, for Prometheus and, where configured, by OTLP.
//!
//! Owns every instrument: its name, unit, labels and buckets. All labels come from closed sets (an
//! endpoint's name comes from the configuration): never a host, an id or a text from outside; a task's name
//! only for as many tasks as the caller bounds. One set of instruments serves the whole process, also when it runs
//! several services, and works uninitialised.

pub mod loops;
mod observed;
pub mod spans;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{MeterProviderBuilder, SdkMeterProvider};

use self::observed::{LoopAges, PairSeries, Series};
use crate::loops::Loops;
use hostsync_mapping::RefusalKind;
use hostsync_model::execution::{ClosingCause, ExecutionStatus, JobQueue, SyncStatus, TaskId, WaitKind};
use hostsync_model::freshness::FreshnessState;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Upper bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds of the buckets of a fire's lateness, in seconds.
const LATENESS_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0];

/// Upper bounds of the buckets of a job's time in its queue, in seconds.
const QUEUE_SECONDS: [f64; 13] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0];

/// The one pool of connections that a process has.
const POOL: &str = "database";

/// Upper bounds of the buckets of a batch's size, in hosts.
const HOSTS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0];

static PROCESS: OnceLock<Metrics> = OnceLock::new();

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// As it stands in a label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

labels! {
    /// What became of a fire.
    FireOutcome {
        /// An execution runs.
        Started = "started",
        /// Not run, since the task's last run is going.
        Skipped = "skipped",
        /// Not run, since it was later than the task's catch-up window allows.
        Missed = "missed",
        /// An execution waits for the one before it (overlap policy `queue`).
        Waiting = "waiting",
    }
}

labels! {
    /// Why a job ended as it did, or why an attempt failed.
    ReasonClass {
        /// Nothing to explain.
        None = "none",
        /// A newer window had been written.
        Newer = "newer",
        /// The search was not whole or failed at the source.
        Source = "source",
        /// The source refused the search for good; the execution failed once.
        Refused = "refused",
        /// A value makes no sense or does not fit its column.
        Value = "value",
        /// The host is no address.
        Address = "address",
        /// The search was too heavy even for one host.
        TooHeavy = "too_heavy",
        /// The database refused this host's rows.
        Database = "database",
        /// The process that had this job died of it, by the mark it left.
        Crash = "crash",
        /// The execution's deadline had passed.
        Deadline = "deadline",
        /// The execution was cancelled.
        Cancel = "cancel",
        /// Anything else.
        Other = "other",
    }
}

impl From<ClosingCause> for ReasonClass {
    fn from(cause: ClosingCause) -> Self {
        match cause {
            ClosingCause::Cancel => Self::Cancel,
            ClosingCause::Refused => Self::Refused,
            ClosingCause::Deadline => Self::Deadline,
        }
    }
}

labels! {
    /// How a search ended.
    SearchOutcome {
        /// A whole answer.
        Complete = "complete",
        /// Some shards or clusters are missing from the answer.
        Partial = "partial",
        /// No answer in time.
        Timeout = "timeout",
        /// Cannot connect, TLS, 502–504.
        Outage = "outage",
        /// 429, or the like.
        Throttled = "throttled",
        /// Too many buckets or too much memory: halve it.
        TooHeavy = "too_heavy",
        /// 400, 401, 403, 404, no shards: it will never work.
        Refused = "refused",
        /// Any other failure, such as a 500 or an answer that cannot be read.
        Failed = "failed",
    }
}

labels! {
    /// What became of a published job.
    PublishOutcome {
        /// The broker has it.
        Confirmed = "confirmed",
        /// No queue took it.
        Returned = "returned",
        /// The broker refused it (a full queue).
        Rejected = "rejected",
        /// No word from the broker: the channel or the connection broke.
        Failed = "failed",
    }
}

labels! {
    /// How a transaction that writes a batch ended.
    WriteOutcome {
        /// Committed.
        Committed = "committed",
        /// Rolled back, to be done again.
        RolledBack = "rolled_back",
    }
}

labels! {
    /// A queue of the broker.
    QueueName {
        /// Jobs of schedules and large runs.
        Bulk = "bulk",
        /// Jobs of small runs made by a person.
        Manual = "manual",
        /// What could not be read.
        Dead = "dead",
    }
}

impl From<JobQueue> for QueueName {
    fn from(queue: JobQueue) -> Self {
        match queue {
            JobQueue::Bulk => Self::Bulk,
            JobQueue::Manual => Self::Manual,
        }
    }
}

/// The instruments of this process. Cheap to clone; every method may be called at any time from anywhere.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: prometheus::Registry,
    // Instruments fall silent when their provider is gone.
    provider: SdkMeterProvider,
    fires: Counter<u64>,
    fire_lateness: Histogram<f64>,
    jobs_published: Counter<u64>,
    jobs_finished: Counter<u64>,
    attempts_failed: Counter<u64>,
    retries_scheduled: Counter<u64>,
    deliveries_dropped: Counter<u64>,
    dead_letters: Counter<u64>,
    batch_hosts: Histogram<u64>,
    search_duration: Histogram<f64>,
    write_duration: Histogram<f64>,
    executions_ended: Counter<u64>,
    endpoint_closed: Gauge<u64>,
    http_duration: Histogram<f64>,
    rpc_duration: Histogram<f64>,
    source_refusals: Counter<u64>,
    job_queue_duration: Histogram<f64>,
    publish_confirm_duration: Histogram<f64>,
    dependency_ready: Gauge<u64>,
    paused: Gauge<u64>,
    connections: Gauge<u64>,
    connections_max: Gauge<u64>,
    queue_depth: Series,
    queue_oldest_job_age: Series,
    outbox_depth: Series,
    hosts_stale: Series,
    freshness_hosts: PairSeries,
    searches_allowed: Series,
    search_hosts_allowed: Series,
    patterns_set_aside: Series,
    indices_missing: Series,
    doubts: Series,
    /// By the key that names the file.
    secret_files_failing: Series,
    executions_waiting: Series,
    loop_ages: LoopAges,
}

impl Metrics {
    /// The instruments of this process, set up without OTLP if nobody has set them up yet.
    pub fn global() -> Self {
        PROCESS.get_or_init(|| Self::new(Resource::builder().build())).clone()
    }

    /// Instruments of their own, seen by nobody else: for a test that reads them.
    pub fn detached() -> Self {
        Self::new(Resource::builder_empty().build())
    }

    /// Sets up the instruments of this process and returns their provider, to be shut down at the end. `more` may add readers
    /// that send them elsewhere. Whoever comes second gets what the first has set up.
    pub fn init(
        resource: Resource,
        more: impl FnOnce(MeterProviderBuilder) -> MeterProviderBuilder,
    ) -> SdkMeterProvider {
        let metrics = PROCESS.get_or_init(|| Self::with_readers(resource, more));
        opentelemetry::global::set_meter_provider(metrics.0.provider.clone());
        metrics.0.provider.clone()
    }

    /// As [`Self::init`], of instruments of their own: for a test.
    pub fn detached_with(
        resource: Resource,
        more: impl FnOnce(MeterProviderBuilder) -> MeterProviderBuilder,
    ) -> (Self, SdkMeterProvider) {
        let metrics = Self::with_readers(resource, more);
        let provider = metrics.0.provider.clone();
        (metrics, provider)
    }

    fn new(resource: Resource) -> Self {
        Self::with_readers(resource, |builder| builder)
    }

    fn with_readers(resource: Resource, more: impl FnOnce(MeterProviderBuilder) -> MeterProviderBuilder) -> Self {
        let registry = prometheus::Registry::new();
        let mut builder = more(SdkMeterProvider::builder().with_resource(resource));
        let reader =
            opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false).build();
        // Fails only for a registry that already has a collector; this one is new.
        if let Ok(reader) = reader {
            builder = builder.with_reader(reader);
        }
        let provider = builder.build();
        Self(Arc::new(Inner::new(registry, provider)))
    }

    /// Everything as Prometheus text of the type [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.0.registry.gather()).unwrap_or_default()
    }

    /// Fires that came to the same outcome.
    pub fn fires(&self, outcome: FireOutcome, count: u64) {
        self.0.fires.add(count, &[KeyValue::new("outcome", outcome.as_str())]);
    }

    /// How long after its time a fire started an execution.
    pub fn fire_lateness(&self, lateness: Duration) {
        self.0.fire_lateness.record(lateness.as_secs_f64(), &[]);
    }

    /// Jobs handed to the broker.
    pub fn jobs_published(&self, queue: JobQueue, outcome: PublishOutcome, count: u64) {
        let labels = [KeyValue::new("queue", queue.as_str()), KeyValue::new("outcome", outcome.as_str())];
        self.0.jobs_published.add(count, &labels);
    }

    /// Hosts that reached their outcome.
    pub fn jobs_finished(&self, status: SyncStatus, reason: ReasonClass, count: u64) {
        let labels = [KeyValue::new("status", status.as_str()), KeyValue::new("reason", reason.as_str())];
        self.0.jobs_finished.add(count, &labels);
    }

    /// Attempts that were spent without an outcome.
    pub fn attempts_failed(&self, reason: ReasonClass, count: u64) {
        self.0.attempts_failed.add(count, &[KeyValue::new("reason", reason.as_str())]);
    }

    /// Jobs whose retry clock was set, whether or not an attempt was spent.
    pub fn retries_scheduled(&self, reason: ReasonClass, count: u64) {
        self.0.retries_scheduled.add(count, &[KeyValue::new("reason", reason.as_str())]);
    }

    /// Deliveries acked without work, since their row was not pending at their attempt.
    pub fn deliveries_dropped(&self, count: u64) {
        self.0.deliveries_dropped.add(count, &[]);
    }

    /// A message that could not be read went to the dead-letter queue.
    pub fn dead_letter(&self) {
        self.0.dead_letters.add(1, &[]);
    }

    /// A batch of so many hosts was searched for.
    pub fn batch(&self, hosts: usize) {
        self.0.batch_hosts.record(hosts as u64, &[]);
    }

    /// One search, by the name of its endpoint.
    pub fn search(&self, endpoint: &str, outcome: SearchOutcome, duration: Duration) {
        let labels = [KeyValue::new("endpoint", endpoint.to_owned()), KeyValue::new("outcome", outcome.as_str())];
        self.0.search_duration.record(duration.as_secs_f64(), &labels);
    }

    /// One transaction that wrote a batch, from its begin to its end.
    pub fn write(&self, outcome: WriteOutcome, duration: Duration) {
        self.0.write_duration.record(duration.as_secs_f64(), &[KeyValue::new("outcome", outcome.as_str())]);
    }

    /// An execution ended. Count it where the transaction that ended it has been committed.
    pub fn execution_ended(&self, status: ExecutionStatus) {
        self.0.executions_ended.add(1, &[KeyValue::new("status", status.as_str())]);
    }

    /// Whether an endpoint is closed for the fleet, by its name.
    pub fn endpoint_closed(&self, endpoint: &str, is_closed: bool) {
        self.0.endpoint_closed.record(u64::from(is_closed), &[KeyValue::new("endpoint", endpoint.to_owned())]);
    }

    /// What the fleet allows, by the name of each endpoint that this process searches now: searches at once against it, and
    /// hosts in one search.
    pub fn searches_allowed(&self, allowed: impl IntoIterator<Item = (String, u32, u32)>) {
        let (searches, hosts): (Vec<_>, Vec<_>) = allowed
            .into_iter()
            .map(|(endpoint, searches, hosts)| ((endpoint.clone(), f64::from(searches)), (endpoint, f64::from(hosts))))
            .unzip();
        self.0.searches_allowed.say(searches);
        self.0.search_hosts_allowed.say(hosts);
    }

    /// One request answered. `route` is the route's template, never the path; a method that is none of
    /// HTTP's usual ones is counted as `_OTHER`.
    pub fn http_request(&self, method: &str, route: &str, status: u16, duration: Duration) {
        const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER");
        let labels = [
            KeyValue::new("method", method),
            KeyValue::new("route", route.to_owned()),
            KeyValue::new("status", i64::from(status)),
        ];
        self.0.http_duration.record(duration.as_secs_f64(), &labels);
    }

    /// One gRPC call answered. `method` comes from the served methods, never from the path; `code` is gRPC's name of the
    /// status, or `REFUSED` for an answer that says so itself.
    pub fn rpc_request(&self, method: &str, code: &'static str, duration: Duration) {
        let labels = [KeyValue::new("method", method.to_owned()), KeyValue::new("code", code)];
        self.0.rpc_duration.record(duration.as_secs_f64(), &labels);
    }

    /// A search that an endpoint will never answer, by the endpoint's name.
    pub fn source_refusal(&self, endpoint: &str, kind: RefusalKind) {
        let labels = [KeyValue::new("endpoint", endpoint.to_owned()), KeyValue::new("reason", kind.as_str())];
        self.0.source_refusals.add(1, &labels);
    }

    /// How long a job was on its way from its publish to its first delivery.
    pub fn job_queue_duration(&self, queue: JobQueue, duration: Duration) {
        self.0.job_queue_duration.record(duration.as_secs_f64(), &[KeyValue::new("queue", queue.as_str())]);
    }

    /// How long a chunk of jobs took from its publish to its last confirm.
    pub fn publish_confirm_duration(&self, queue: JobQueue, duration: Duration) {
        self.0.publish_confirm_duration.record(duration.as_secs_f64(), &[KeyValue::new("queue", queue.as_str())]);
    }

    /// Whether a dependency answered when it was last used, by its name in `/readyz`.
    pub fn dependency_ready(&self, dependency: &'static str, is_ready: bool) {
        self.0.dependency_ready.record(u64::from(is_ready), &[KeyValue::new("dependency", dependency)]);
    }

    /// Whether the fleet is paused.
    pub fn paused(&self, is_paused: bool) {
        self.0.paused.record(u64::from(is_paused), &[]);
    }

    /// Connections of the process to the database: those that are idle, those in use, and the most there may be.
    pub fn connections(&self, idle: u64, used: u64, max: u64) {
        let pool = || KeyValue::new("db.client.connection.pool.name", POOL);
        let of = |state: &'static str| [pool(), KeyValue::new("db.client.connection.state", state)];
        self.0.connections.record(idle, &of("idle"));
        self.0.connections.record(used, &of("used"));
        self.0.connections_max.record(max, &[pool()]);
    }

    /// Messages that are ready in each queue; a queue that is left out has no depth until it is said again.
    pub fn queue_depths(&self, depths: impl IntoIterator<Item = (QueueName, u32)>) {
        self.0.queue_depth.say(depths.into_iter().map(|(queue, depth)| (queue.as_str().to_owned(), f64::from(depth))));
    }

    /// How long the oldest published job of each queue has waited for its first attempt; nothing waits: zero.
    pub fn oldest_jobs(&self, ages: impl IntoIterator<Item = (JobQueue, Duration)>) {
        let ages = ages.into_iter().map(|(queue, age)| (queue.as_str().to_owned(), age.as_secs_f64()));
        self.0.queue_oldest_job_age.say(ages);
    }

    /// Jobs that wait in the database to be published, by their queue.
    pub fn outbox_depths(&self, depths: impl IntoIterator<Item = (JobQueue, u64)>) {
        self.0.outbox_depth.say(depths.into_iter().map(|(queue, depth)| (queue.as_str().to_owned(), number(depth))));
    }

    /// Stale hosts by the name of their task. The caller bounds how many tasks there are.
    pub fn stale_hosts(&self, tasks: impl IntoIterator<Item = (TaskId, u64)>) {
        self.0.hosts_stale.say(tasks.into_iter().map(|(task, hosts)| (task.to_string(), number(hosts))));
    }

    /// Hosts by their task and how fresh they are. The caller bounds how many tasks there are.
    pub fn freshness_hosts(&self, hosts: impl IntoIterator<Item = (TaskId, FreshnessState, u64)>) {
        let said = |(task, state, hosts): (TaskId, FreshnessState, u64)| {
            ([task.to_string(), state.as_str().to_owned()], number(hosts))
        };
        self.0.freshness_hosts.say(hosts.into_iter().map(said));
    }

    /// Index patterns that are set aside, by the name of their endpoint.
    pub fn patterns_set_aside(&self, endpoints: impl IntoIterator<Item = (String, u64)>) {
        self.0.patterns_set_aside.say(endpoints.into_iter().map(|(endpoint, patterns)| (endpoint, number(patterns))));
    }

    /// Indices that were matched before and are skipped now, by the name of their endpoint.
    pub fn indices_missing(&self, endpoints: impl IntoIterator<Item = (String, u64)>) {
        self.0.indices_missing.say(endpoints.into_iter().map(|(endpoint, indices)| (endpoint, number(indices))));
    }

    /// What workers say of sources and nobody has refuted, by its kind.
    pub fn doubts(&self, kinds: impl IntoIterator<Item = (String, u64)>) {
        self.0.doubts.say(kinds.into_iter().map(|(kind, doubts)| (kind, number(doubts))));
    }

    /// Which files of secrets cannot be used as they are now, by the key that names each.
    pub fn secret_files_failing(&self, files: impl IntoIterator<Item = (String, bool)>) {
        self.0.secret_files_failing.say(files.into_iter().map(|(key, fails)| (key, f64::from(u8::from(fails)))));
    }

    /// Running executions that wait, by what kind of thing they wait for.
    pub fn executions_waiting(&self, kinds: impl IntoIterator<Item = (WaitKind, u64)>) {
        self.0.executions_waiting.say(kinds.into_iter().map(|(kind, runs)| (kind.as_str().to_owned(), number(runs))));
    }

    /// No loops yet; the ages of those that come are shown here for as long as the list lives.
    pub fn new_loops(&self) -> Loops {
        let loops = Loops::default();
        self.0.loop_ages.show(&loops);
        loops
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, far more than there are hosts")]
fn number(count: u64) -> f64 {
    count as f64
}

impl Inner {
    #[allow(clippy::too_many_lines, reason = "a list of instruments")]
    fn new(registry: prometheus::Registry, provider: SdkMeterProvider) -> Self {
        let meter = provider.meter("hostsync");
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        let seconds = |name, description, bounds: &[f64]| seconds(&meter, name, description, bounds);
        Self {
            fires: counter("hostsync.fires", "Fires by what became of them."),
            fire_lateness: seconds(
                "hostsync.fire.lateness",
                "How long after its time a fire started an execution.",
                &LATENESS_SECONDS,
            ),
            jobs_published: counter("hostsync.jobs.published", "Jobs handed to the broker by what it said."),
            jobs_finished: counter("hostsync.jobs.finished", "Hosts by outcome and reason."),
            attempts_failed: counter("hostsync.attempts.failed", "Attempts spent without an outcome, by reason."),
            retries_scheduled: counter("hostsync.retries.scheduled", "Jobs put off to a later time, by reason."),
            deliveries_dropped: counter(
                "hostsync.deliveries.dropped",
                "Deliveries acked without work, since their row was not pending at their attempt.",
            ),
            dead_letters: counter("hostsync.dead_letters", "Messages sent to the dead-letter queue."),
            batch_hosts: meter
                .u64_histogram("hostsync.batch.hosts")
                .with_description("Hosts in one search.")
                .with_boundaries(HOSTS.to_vec())
                .build(),
            search_duration: seconds("hostsync.search.duration", "Searches by endpoint and outcome.", &SECONDS),
            write_duration: seconds("hostsync.write.duration", "Transactions that write a batch.", &SECONDS),
            executions_ended: counter("hostsync.executions.ended", "Executions by the status they ended with."),
            endpoint_closed: meter
                .u64_gauge("hostsync.endpoint.closed")
                .with_description("1 while an endpoint is closed for the fleet, else 0.")
                .build(),
            http_duration: seconds("hostsync.http.request.duration", "Requests by method, route and status.", &SECONDS),
            rpc_duration: seconds("hostsync.rpc.request.duration", "gRPC calls by method and code.", &SECONDS),
            source_refusals: counter("hostsync.source.refusals", "Searches that an endpoint will never answer."),
            job_queue_duration: seconds(
                "hostsync.job.queue.duration",
                "From the publish of a job to its first delivery to a worker.",
                &QUEUE_SECONDS,
            ),
            publish_confirm_duration: seconds(
                "hostsync.publish.confirm.duration",
                "From the publish of a chunk of jobs to its last confirm.",
                &SECONDS,
            ),
            dependency_ready: meter
                .u64_gauge("hostsync.dependency.ready")
                .with_description("1 if the dependency answered when it was last used, else 0.")
                .build(),
            connections: meter
                .u64_gauge("db.client.connection.count")
                .with_description("Connections of the process to the database, by state.")
                .build(),
            connections_max: meter
                .u64_gauge("db.client.connection.max")
                .with_description("The most connections that the process may have to the database.")
                .build(),
            queue_depth: Series::new(
                &meter,
                "hostsync.queue.depth",
                "",
                "Messages that are ready in a queue.",
                "queue",
            ),
            queue_oldest_job_age: Series::new(
                &meter,
                "hostsync.queue.oldest_job.age",
                "s",
                "How long the oldest published job has waited for its first attempt.",
                "queue",
            ),
            outbox_depth: Series::new(
                &meter,
                "hostsync.outbox.depth",
                "",
                "Jobs that wait in the database to be published.",
                "queue",
            ),
            paused: meter
                .u64_gauge("hostsync.paused")
                .with_description("Whether the fleet is paused: no fire runs, no waiting run starts.")
                .build(),
            hosts_stale: Series::new(
                &meter,
                "hostsync.hosts.stale",
                "",
                "Hosts that the last ended run of a task left without new data.",
                "task_id",
            ),
            freshness_hosts: PairSeries::new(
                &meter,
                "hostsync.freshness.hosts",
                "Hosts of the pool by how fresh their values are for a task.",
                ["task_id", "state"],
            ),
            searches_allowed: Series::new(
                &meter,
                "hostsync.searches.allowed",
                "",
                "Searches that the fleet may have at once against an endpoint that this process searches.",
                "endpoint",
            ),
            search_hosts_allowed: Series::new(
                &meter,
                "hostsync.search.hosts.allowed",
                "",
                "Hosts that may stand in one search of an endpoint that this process searches.",
                "endpoint",
            ),
            patterns_set_aside: Series::new(
                &meter,
                "hostsync.patterns.set_aside",
                "",
                "Index patterns whose searches fail while their endpoint answers.",
                "endpoint",
            ),
            indices_missing: Series::new(
                &meter,
                "hostsync.indices.missing",
                "",
                "Indices that a pattern matched before and that are skipped now.",
                "endpoint",
            ),
            doubts: Series::new(
                &meter,
                "hostsync.doubts",
                "",
                "What workers say of sources and nobody has refuted: refused credentials, names that no worker knows.",
                "kind",
            ),
            secret_files_failing: Series::new(
                &meter,
                "hostsync.secret_files.failing",
                "",
                "1: the file of a secret cannot be used as it is now, and its last value is in force.",
                "key",
            ),
            executions_waiting: Series::new(
                &meter,
                "hostsync.executions.waiting",
                "",
                "Running executions that wait, by the kind of thing they wait for.",
                "kind",
            ),
            loop_ages: LoopAges::new(&meter),
            registry,
            provider,
        }
    }
}

fn seconds(meter: &Meter, name: &'static str, description: &'static str, bounds: &[f64]) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_description(description).with_boundaries(bounds.to_vec()).build()
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls every method once.
    fn touch(metrics: &Metrics) {
        let second = Duration::from_secs(1);
        metrics.fires(FireOutcome::Missed, 3);
        metrics.fire_lateness(second);
        metrics.jobs_published(JobQueue::Bulk, PublishOutcome::Confirmed, 1_000);
        metrics.jobs_finished(SyncStatus::NoData, ReasonClass::None, 20);
        metrics.attempts_failed(ReasonClass::Source, 1);
        metrics.retries_scheduled(ReasonClass::Source, 1);
        metrics.deliveries_dropped(2);
        metrics.dead_letter();
        metrics.batch(500);
        metrics.search("default", SearchOutcome::Complete, second);
        metrics.write(WriteOutcome::Committed, second);
        metrics.execution_ended(ExecutionStatus::Partial);
        metrics.endpoint_closed("default", true);
        metrics.searches_allowed([("default".to_owned(), 4, 250)]);
        metrics.http_request("GET", "/api/cmdb/v1/es-sync-tasks/{task_id}", 200, second);
        metrics.http_request("BREW", "/", 405, second);
        metrics.rpc_request("cmpool.cmpool/get_es_sync_tasks", "OK", second);
        metrics.source_refusal("default", RefusalKind::IndexPattern);
        metrics.job_queue_duration(JobQueue::Bulk, second);
        metrics.publish_confirm_duration(JobQueue::Manual, second);
        metrics.dependency_ready("rabbitmq", true);
        metrics.connections(1, 2, 10);
        metrics.queue_depths([(JobQueue::Bulk.into(), 5), (QueueName::Dead, 1)]);
        metrics.oldest_jobs([(JobQueue::Bulk, second)]);
        metrics.outbox_depths([(JobQueue::Manual, 7)]);
        metrics.stale_hosts([(TaskId(7), 3)]);
        metrics.paused(true);
        metrics.freshness_hosts([(TaskId(7), FreshnessState::Late, 4)]);
        metrics.patterns_set_aside([("default".to_owned(), 1)]);
        metrics.indices_missing([("default".to_owned(), 2)]);
        metrics.doubts([("credentials".to_owned(), 1)]);
        metrics.secret_files_failing([("api.viewer_token_file".to_owned(), true)]);
        metrics.executions_waiting([(WaitKind::NoConsumer, 2)]);
    }

    #[test]
    fn everything_counted_is_rendered_under_its_name() {
        let metrics = Metrics::detached();
        touch(&metrics);
        let text = metrics.render();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
    db_client_connection_count{db_client_connection_pool_name="database",db_client_connection_state="idle"} 1
    db_client_connection_count{db_client_connection_pool_name="database",db_client_connection_state="used"} 2
    db_client_connection_max{db_client_connection_pool_name="database"} 10
    hostsync_attempts_failed_total{reason="source"} 1
    hostsync_batch_hosts_sum 500
    hostsync_batch_hosts_count 1
    hostsync_dead_letters_total 1
    hostsync_deliveries_dropped_total 2
    hostsync_dependency_ready{dependency="rabbitmq"} 1
    hostsync_doubts{kind="credentials"} 1
    hostsync_endpoint_closed{endpoint="default"} 1
    hostsync_executions_ended_total{status="partial"} 1
    hostsync_executions_waiting{kind="no_consumer"} 2
    hostsync_fire_lateness_seconds_sum 1
    hostsync_fire_lateness_seconds_count 1
    hostsync_fires_total{outcome="missed"} 3
    hostsync_freshness_hosts{state="late",task_id="7"} 4
    hostsync_hosts_stale{task_id="7"} 3
    hostsync_http_request_duration_seconds_sum{method="GET",route="/api/cmdb/v1/es-sync-tasks/{task_id}",status="200"} 1
    hostsync_http_request_duration_seconds_count{method="GET",route="/api/cmdb/v1/es-sync-tasks/{task_id}",status="200"} 1
    hostsync_http_request_duration_seconds_sum{method="_OTHER",route="/",status="405"} 1
    hostsync_http_request_duration_seconds_count{method="_OTHER",route="/",status="405"} 1
    hostsync_indices_missing{endpoint="default"} 2
    hostsync_job_queue_duration_seconds_sum{queue="bulk"} 1
    hostsync_job_queue_duration_seconds_count{queue="bulk"} 1
    hostsync_jobs_finished_total{reason="none",status="no_data"} 20
    hostsync_jobs_published_total{outcome="confirmed",queue="bulk"} 1000
    hostsync_outbox_depth{queue="manual"} 7
    hostsync_patterns_set_aside{endpoint="default"} 1
    hostsync_paused 1
    hostsync_publish_confirm_duration_seconds_sum{queue="manual"} 1
    hostsync_publish_confirm_duration_seconds_count{queue="manual"} 1
    hostsync_queue_depth{queue="bulk"} 5
    hostsync_queue_depth{queue="dead"} 1
    hostsync_queue_oldest_job_age_seconds{queue="bulk"} 1
    hostsync_retries_scheduled_total{reason="source"} 1
    hostsync_rpc_request_duration_seconds_sum{code="OK",method="cmpool.cmpool/get_es_sync_tasks"} 1
    hostsync_rpc_request_duration_seconds_count{code="OK",method="cmpool.cmpool/get_es_sync_tasks"} 1
    hostsync_search_duration_seconds_sum{endpoint="default",outcome="complete"} 1
    hostsync_search_duration_seconds_count{endpoint="default",outcome="complete"} 1
    hostsync_search_hosts_allowed{endpoint="default"} 250
    hostsync_searches_allowed{endpoint="default"} 4
    hostsync_secret_files_failing{key="api.viewer_token_file"} 1
    hostsync_source_refusals_total{endpoint="default",reason="index_pattern"} 1
    hostsync_write_duration_seconds_sum{outcome="committed"} 1
    hostsync_write_duration_seconds_count{outcome="committed"} 1
    "#);
        assert!(text.contains(
            "hostsync_search_duration_seconds_bucket{endpoint=\"default\",outcome=\"complete\",le=\"0.5\"} 0"
        ));
    }

    #[test]
    fn nothing_needs_to_be_set_up() {
        touch(&Metrics::global());
        assert!(Metrics::global().render().contains("hostsync_fires_total{outcome=\"missed\"}"));
    }

    #[test]
    fn state_that_is_not_said_any_more_is_gone() {
        let metrics = Metrics::detached();
        metrics.queue_depths([(QueueName::Bulk, 5), (QueueName::Dead, 1)]);
        assert!(metrics.render().contains("hostsync_queue_depth{queue=\"dead\"} 1"));
        metrics.queue_depths([(QueueName::Bulk, 6)]);
        let text = metrics.render();
        assert!(text.contains("hostsync_queue_depth{queue=\"bulk\"} 6"), "{text}");
        assert!(!text.contains("queue=\"dead\""), "{text}");
    }

    #[test]
    fn a_loop_has_an_age_while_its_service_lives() {
        let metrics = Metrics::detached();
        let (loops, others) = (metrics.new_loops(), metrics.new_loops());
        let _turns = loops.begin("fire", Duration::from_secs(1));
        let turns = others.begin("prune", Duration::from_secs(1));
        let text = metrics.render();
        assert!(text.contains("hostsync_loop_age_seconds{loop=\"fire\"} "), "{text}");
        assert!(text.contains("hostsync_loop_age_seconds{loop=\"prune\"} "), "{text}");
        drop((turns, others));
        assert!(!metrics.render().contains("prune"));
    }

    #[test]
    fn a_gauge_says_what_was_said_last() {
        let metrics = Metrics::detached();
        metrics.endpoint_closed("default", true);
        metrics.endpoint_closed("default", false);
        assert!(metrics.render().contains("hostsync_endpoint_closed{endpoint=\"default\"} 0"));
    }
}
