//! Publishing with pipelined confirms over a pool of channels.
//!
//! A publish counts as done when the broker has confirmed it and returned nothing (`mandatory`): an ack with a returned
//! message is a failure. Publishing twice is harmless, so whoever is in doubt publishes again.

use std::collections::BTreeMap;
use std::sync::Arc;

use deadpool::managed::{self, Metrics, Pool, RecycleError, RecycleResult};
use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection};
use lapin::{Confirmation, PublisherConfirm};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::inspect::Depth;
use super::job::Job;
use super::published_at;
use super::topology::Topology;
use super::{BROKER_TIMEOUT, QueueError, QueueSettings, bounded, connect, look_at, publish_one};
use hostsync_metrics::PublishOutcome;
use hostsync_model::causes::causes;
use hostsync_model::execution::JobQueue;

/// Publishes in flight on one channel before their confirms are awaited.
const PIPELINE: usize = 1_000;

/// Channels of one process.
const CHANNELS: usize = 4;

/// `delivery_mode` of a message that survives a restart of the broker (AMQP 0-9-1, basic properties).
const PERSISTENT: u8 = 2;

/// What is said of a look at a queue that fails.
const ASKING: &str = "asking for the depth of a queue";

/// A job on its way out.
#[derive(Debug, Clone)]
pub struct OutgoingJob {
    /// The job.
    pub job: Job,
    /// Where it goes.
    pub queue: JobQueue,
}

/// Messages that are ready for delivery, by queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depths {
    /// Jobs of schedules and large runs.
    pub bulk: u32,
    /// Jobs of small runs made by a person.
    pub manual: u32,
    /// What could not be read.
    pub dead: u32,
}

/// What became of a batch of publishes.
#[derive(Debug)]
pub struct PublishReport {
    /// One entry a job, in order: whether the broker has it for sure.
    pub confirmed: Vec<bool>,
    /// The first fault, for the metrics and for people.
    pub error: Option<(PublishOutcome, String)>,
}

impl PublishReport {
    /// Length of the contiguous confirmed prefix.
    pub fn confirmed_prefix(&self) -> usize {
        self.confirmed.iter().take_while(|confirmed| **confirmed).count()
    }

    /// Whether every job was confirmed.
    pub fn is_complete(&self) -> bool {
        self.error.is_none() && self.confirmed.iter().all(|confirmed| *confirmed)
    }
}

/// A pool of publishing channels over one connection. Cheap to clone. Connects when first used, and again when the
/// connection is gone.
#[derive(Clone)]
pub struct Publisher {
    pool: Pool<ChannelManager>,
    topology: Topology,
}

struct ChannelManager {
    settings: QueueSettings,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl ChannelManager {
    async fn connection(&self) -> Result<Arc<Connection>, QueueError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(connect(&self.settings).await?);
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    async fn forget_connection(&self) {
        *self.connection.lock().await = None;
    }
}

impl managed::Manager for ChannelManager {
    type Type = Channel;
    type Error = QueueError;

    async fn create(&self) -> Result<Channel, QueueError> {
        let connection = self.connection().await?;
        let channel = bounded("opening a channel", connection.create_channel()).await?;
        bounded("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    async fn recycle(&self, channel: &mut Channel, _: &Metrics) -> RecycleResult<QueueError> {
        if channel.status().connected() { Ok(()) } else { Err(RecycleError::message("the channel is closed")) }
    }
}

impl Publisher {
    /// A publisher that has not connected yet.
    pub fn new(settings: QueueSettings) -> Self {
        let topology = settings.topology.clone();
        let manager = ChannelManager { settings, connection: Mutex::new(None) };
        // No runtime time-outs are set, so building cannot fail for want of a runtime.
        let pool = Pool::builder(manager)
            .max_size(CHANNELS)
            .build()
            .unwrap_or_else(|error| unreachable!("a pool without time-outs needs no runtime: {error}"));
        Self { pool, topology }
    }

    /// Publishes `jobs` and waits for every confirm. `headers` (trace context) go with each.
    pub async fn publish(&self, jobs: &[OutgoingJob], headers: &BTreeMap<String, String>) -> PublishReport {
        let mut report = PublishReport { confirmed: Vec::with_capacity(jobs.len()), error: None };
        let channel = match self.channel().await {
            Ok(channel) => channel,
            Err(error) => {
                report.confirmed.resize(jobs.len(), false);
                report.error = Some((PublishOutcome::Failed, causes(&error).to_string()));
                return report;
            }
        };
        let exchange = self.topology.jobs_exchange();
        for chunk in jobs.chunks(PIPELINE) {
            let began = Instant::now();
            let properties = properties(headers);
            let bodies: Vec<Vec<u8>> = chunk.iter().map(|outgoing| outgoing.job.encode()).collect();
            let publishes = chunk.iter().zip(&bodies).map(|(outgoing, body)| {
                channel.basic_publish(
                    exchange.as_str().into(),
                    Topology::routing_key(outgoing.queue),
                    BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() },
                    body,
                    properties.clone(),
                )
            });
            // Handed over together, in order: awaited one by one, each wakes the connection's task for itself.
            let sent = tokio::time::timeout(BROKER_TIMEOUT, join_all(publishes)).await;
            let deadline = Instant::now() + BROKER_TIMEOUT;
            let Ok(sent) = sent else {
                let error = QueueError::TimedOut { doing: "publishing" };
                report.error = Some((PublishOutcome::Failed, causes(&error).to_string()));
                break;
            };
            for sent in sent {
                match confirmed(sent, deadline).await {
                    Ok(()) => report.confirmed.push(true),
                    Err((outcome, reason)) => {
                        report.confirmed.push(false);
                        report.error.get_or_insert((outcome, reason));
                        if outcome == PublishOutcome::Failed {
                            break;
                        }
                    }
                }
            }
            if report.error.is_some() {
                break;
            }
            if let Some(first) = chunk.first() {
                hostsync_metrics::Metrics::global().publish_confirm_duration(first.queue, began.elapsed());
            }
        }
        report.confirmed.resize(jobs.len(), false);
        if let Some((outcome, _)) = &report.error {
            // Whatever is wrong with this channel, the next publish starts on a fresh one; and where a queue is missing,
            // on a connection that declares it.
            drop(managed::Object::take(channel));
            if *outcome == PublishOutcome::Returned {
                self.pool.manager().forget_connection().await;
            }
        }
        report
    }

    /// Puts an unreadable message among the dead letters, with its reason in the header `x-hostsync-reason`.
    ///
    /// # Errors
    ///
    /// The broker has not confirmed it: do not ack the original.
    pub async fn publish_dead_letter(&self, body: &[u8], reason: &str) -> Result<(), QueueError> {
        let channel = self.channel().await?;
        let mut headers = FieldTable::default();
        headers.insert("x-hostsync-reason".into(), AMQPValue::LongString(reason.into()));
        published_at::mark(&mut headers);
        // By it a letter that is taken out twice is known again.
        let id = format!("{:032x}", rand::random::<u128>());
        let properties =
            BasicProperties::default().with_delivery_mode(PERSISTENT).with_message_id(id.into()).with_headers(headers);
        publish_one(&channel, self.topology.dead_exchange(), "".into(), body, properties).await
    }

    /// Messages of a queue that are ready for delivery.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn ready_messages(&self, queue: JobQueue) -> Result<u32, QueueError> {
        Ok(self.depth(queue).await?.ready)
    }

    /// What is in a queue, and who consumes it.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn depth(&self, queue: JobQueue) -> Result<Depth, QueueError> {
        let channel = self.channel().await?;
        let queue = look_at(ASKING, &channel, &self.topology.queue(queue)).await?;
        Ok(Depth { ready: queue.message_count(), consumers: queue.consumer_count() })
    }

    /// Dead letters that are ready to be taken.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn ready_dead_letters(&self) -> Result<u32, QueueError> {
        let channel = self.channel().await?;
        ready_in(&channel, &self.topology.dead_queue()).await
    }

    /// Messages of every queue that are ready for delivery.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn depths(&self) -> Result<Depths, QueueError> {
        let channel = self.channel().await?;
        Ok(Depths {
            bulk: ready_in(&channel, &self.topology.queue(JobQueue::Bulk)).await?,
            manual: ready_in(&channel, &self.topology.queue(JobQueue::Manual)).await?,
            dead: ready_in(&channel, &self.topology.dead_queue()).await?,
        })
    }

    async fn channel(&self) -> Result<managed::Object<ChannelManager>, QueueError> {
        const DOING: &str = "waiting for a publishing channel";
        match tokio::time::timeout(BROKER_TIMEOUT * 2, self.pool.get()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(managed::PoolError::Backend(error))) => Err(error),
            Ok(Err(_)) | Err(_) => Err(QueueError::TimedOut { doing: DOING }),
        }
    }
}

async fn ready_in(channel: &Channel, queue: &str) -> Result<u32, QueueError> {
    Ok(look_at(ASKING, channel, queue).await?.message_count())
}

fn properties(headers: &BTreeMap<String, String>) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(name.as_str().into(), AMQPValue::LongString(value.as_str().into()));
    }
    published_at::mark(&mut table);
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_headers(table)
}

async fn confirmed(
    sent: Result<PublisherConfirm, lapin::Error>,
    deadline: Instant,
) -> Result<(), (PublishOutcome, String)> {
    let failed = |reason: String| (PublishOutcome::Failed, reason);
    let confirm = sent.map_err(|error| failed(causes(&error).to_string()))?;
    match tokio::time::timeout_at(deadline, confirm).await {
        Ok(Ok(Confirmation::Ack(None))) => Ok(()),
        Ok(Ok(Confirmation::Ack(Some(_)))) => {
            Err((PublishOutcome::Returned, "the broker returned a job: no queue is bound for it".to_owned()))
        }
        Ok(Ok(Confirmation::Nack(_))) => {
            Err((PublishOutcome::Rejected, "the broker rejected a job: the queue is full".to_owned()))
        }
        Ok(Ok(Confirmation::NotRequested)) => Err(failed("the broker confirms nothing on this channel".to_owned())),
        Ok(Err(error)) => Err(failed(causes(&error).to_string())),
        Err(_) => Err(failed(format!("the broker did not confirm within {} s", BROKER_TIMEOUT.as_secs()))),
    }
}
