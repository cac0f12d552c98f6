//! Consuming jobs. A consumer owns its connection; on any error or end the caller drops it and connects anew.
//!
//! After a reconnect by the client library deliveries come again and old acks do nothing: both are harmless, since a
//! delivery whose row is no longer open at its attempt is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use tokio::sync::mpsc;

use super::acks::Acker;
use super::job::{Job, MAX_BYTES, UnreadableJob};
use super::published_at;
use super::{QueueError, QueueSettings, bounded, close, connect, look_at};
use hostsync_model::execution::JobQueue;

/// Silence after which the watchdog asks the broker whether this consumer still lives.
const WATCHDOG: Duration = Duration::from_secs(10);

/// Silent rounds with ready messages in the queue, and none in this consumer's hands, before it counts as stuck.
const STUCK_ROUNDS: u32 = 3;

/// A consumer of one queue, with its connection.
pub struct JobConsumer {
    // Deliveries end when the connection is dropped.
    connection: Connection,
    channel: Channel,
    tag: ShortString,
    /// At most as many as the prefetch.
    deliveries: mpsc::UnboundedReceiver<Result<QueueDelivery, lapin::Error>>,
    queue: String,
    silent_rounds: u32,
}

/// A delivery. It is acked after the commit of its outcome, never before.
#[derive(Debug)]
pub struct QueueDelivery {
    /// The job, or why it is none.
    pub job: Result<Job, UnreadableJob>,
    /// The raw message; empty where it is too long for a job.
    pub body: Vec<u8>,
    /// Whether this message was delivered before, to whomever.
    pub redelivered: bool,
    /// How long ago it was published, for a first delivery whose publisher said when.
    pub on_its_way: Option<Duration>,
    /// Trace context of the publisher; empty where the headers are too long.
    pub headers: BTreeMap<String, String>,
    /// To ack or give back.
    pub acker: Acker,
}

impl JobConsumer {
    /// Connects, declares the topology and starts to consume `queue` with `prefetch` unacknowledged deliveries at most.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn connect(settings: &QueueSettings, queue: JobQueue, prefetch: u16) -> Result<Self, QueueError> {
        let connection = connect(settings).await?;
        let channel = bounded("opening a channel", connection.create_channel()).await?;
        bounded("setting the prefetch", channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let name = settings.topology.queue(queue);
        let consumer = bounded(
            "consuming",
            channel.basic_consume(
                name.as_str().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            ),
        )
        .await?;
        let (sender, deliveries) = mpsc::unbounded_channel();
        let tag = consumer.tag();
        tokio::spawn(take_at_once(consumer, sender));
        Ok(Self { connection, channel, tag, deliveries, queue: name, silent_rounds: 0 })
    }

    /// The next delivery. `in_hand` is how many deliveries the caller holds unacknowledged: while it holds some, silence
    /// is normal. It is asked every 10 s of silence. Safe to drop and call again.
    ///
    /// # Errors
    ///
    /// The consumer is dead: drop it and connect anew.
    pub async fn next(&mut self, in_hand: impl Fn() -> usize) -> Result<QueueDelivery, QueueError> {
        loop {
            match tokio::time::timeout(WATCHDOG, self.deliveries.recv()).await {
                Ok(Some(Ok(received))) => {
                    self.silent_rounds = 0;
                    return Ok(received);
                }
                Ok(Some(Err(source))) => {
                    return Err(QueueError::Broker { doing: "delivering", source: Box::new(source) });
                }
                Ok(None) => return Err(QueueError::Ended),
                Err(_) => self.check_alive(in_hand()).await?,
            }
        }
    }

    async fn check_alive(&mut self, in_hand: usize) -> Result<(), QueueError> {
        let declared = look_at("asking whether the consumer lives", &self.channel, &self.queue).await?;
        if declared.message_count() > 0 && in_hand == 0 {
            self.silent_rounds += 1;
            if self.silent_rounds >= STUCK_ROUNDS {
                return Err(QueueError::Stuck);
            }
        } else {
            self.silent_rounds = 0;
        }
        Ok(())
    }

    /// Stops taking deliveries; what has been delivered can still be acked.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn cancel(&self) -> Result<(), QueueError> {
        bounded("cancelling the consumer", self.channel.basic_cancel(self.tag.clone(), BasicCancelOptions::default()))
            .await
    }

    /// Closes the channel, then the connection; the broker gives unacknowledged deliveries to others.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn close(self) -> Result<(), QueueError> {
        close(&self.channel, &self.connection).await
    }
}

/// Takes deliveries from the client library as they come, whatever the lane waits for, and keeps of each what a job needs:
/// the broker bounds those on their way by their number alone, and a message may have any length.
async fn take_at_once(mut consumer: Consumer, deliveries: mpsc::UnboundedSender<Result<QueueDelivery, lapin::Error>>) {
    // Of the channel as it is since its last recovery.
    let mut outstanding = Arc::default();
    let mut last_tag = 0;
    while let Some(delivery) = consumer.next().await {
        let received = delivery.map(|delivery| {
            // Tags count up within a channel: one that does not is of a channel that was opened anew.
            if delivery.delivery_tag <= last_tag {
                outstanding = Arc::default();
            }
            last_tag = delivery.delivery_tag;
            let acker = Acker::new(delivery.acker.clone(), delivery.delivery_tag, &outstanding);
            QueueDelivery::new(delivery, acker)
        });
        // After an error the stream may hang for ever, and whoever takes these builds the consumer anew.
        let is_last = received.is_err();
        if deliveries.send(received).is_err() || is_last {
            return;
        }
    }
}

impl QueueDelivery {
    fn new(delivery: lapin::message::Delivery, acker: Acker) -> Self {
        let mut headers = BTreeMap::new();
        let redelivered = delivery.redelivered;
        let on_its_way = delivery.properties.headers().as_ref().and_then(published_at::elapsed);
        let on_its_way = on_its_way.filter(|_| !redelivered);
        if let Some(table) = delivery.properties.headers() {
            for (name, value) in table {
                if let AMQPValue::LongString(text) = value {
                    headers.insert(name.to_string(), text.to_string());
                }
            }
        }
        if headers.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>() > MAX_BYTES {
            headers.clear();
        }
        let job = Job::decode(&delivery.data);
        let body = if matches!(job, Err(UnreadableJob::TooLong { .. })) { Vec::new() } else { delivery.data };
        Self { job, body, redelivered, on_its_way, headers, acker }
    }
}

/// Deliveries of a message before this one, as the quorum queue counts them: RabbitMQ 3.10 every return, 4.3 all but those
/// by nack.
pub(super) fn earlier_deliveries(delivery: &lapin::message::Delivery) -> u32 {
    let headers = delivery.properties.headers().as_ref();
    headers.and_then(|headers| headers.inner().get("x-delivery-count")).map_or(0, count)
}

fn count(value: &AMQPValue) -> u32 {
    let count = match value {
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        _ => 0,
    };
    u32::try_from(count).unwrap_or(0)
}
