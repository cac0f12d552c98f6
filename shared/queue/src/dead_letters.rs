//! The dead letters on their way out of the broker, to where people look at them.
//!
//! Messages are taken one by one and stay the broker's until they are acked: whatever happens on the way, they come back
//! to the queue when this connection ends. Decides nothing: the caller says what becomes of each.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::{BasicAckOptions, BasicGetOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection};
use sha2::{Digest as _, Sha256};

use super::consumer::earlier_deliveries;
use super::job::{Job, UnreadableJob};
use super::{QueueError, QueueSettings, Topology, bounded, close, connect_to_look, publish_one, published_at};
use hostsync_model::execution::JobQueue;

/// Looks that a letter is given before it is put in anew. RabbitMQ 4 drops a message of a quorum queue after 20
/// deliveries where the queue sets no limit ("Quorum Queues", poison message handling), and a look is one.
const LOOKS: u32 = 10;

/// A letter in hand.
pub struct DeadLetter {
    /// Why it was set aside, as whoever set it aside says.
    pub reason: String,
    /// The job, or why it is none that this release can read.
    pub job: Result<Job, UnreadableJob>,
    /// The raw message.
    pub body: Vec<u8>,
    /// The queue that it died in; bulk if it does not say.
    pub queue: JobQueue,
    /// When it died, by the clock of who set it aside; `None`: it does not say.
    pub dead_at: Option<SystemTime>,
    /// What tells it from every other letter, so that one that is taken twice is known again. `None`: somebody else
    /// published it, and nothing in it does.
    pub identity: Option<[u8; 32]>,
    /// The headers that go on with its job: trace context.
    pub trace: BTreeMap<String, String>,
    delivery: Delivery,
}

/// The queue of dead letters, opened.
pub struct DeadLetters {
    connection: Connection,
    channel: Channel,
    topology: Topology,
}

impl DeadLetters {
    /// Connects and takes nothing yet.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn open(settings: &QueueSettings) -> Result<Self, QueueError> {
        let connection = connect_to_look(settings).await?;
        let channel = bounded("opening a channel", connection.create_channel()).await?;
        bounded("asking for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { connection, channel, topology: settings.topology.clone() })
    }

    /// Takes the first letter that is not in hand; `None`: there is none. What was looked at before comes in any order.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn take(&self) -> Result<Option<DeadLetter>, QueueError> {
        let getting = self.channel.basic_get(self.topology.dead_queue().into(), BasicGetOptions::default());
        let message = bounded("taking a dead letter", getting).await?;
        Ok(message.map(|BasicGetMessage { delivery, .. }| self.read(delivery)))
    }

    /// Leaves a letter where it is; one that was looked at often is put in anew, at the end, where [`Self::take`] meets it.
    ///
    /// # Errors
    ///
    /// The broker's; the letter is still there.
    pub async fn keep(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        if earlier_deliveries(&letter.delivery) < LOOKS {
            return Ok(());
        }
        let headers = headers(&letter.delivery, |name| name != "x-delivery-count");
        self.publish(self.topology.dead_exchange(), "".into(), letter, headers).await?;
        self.drop(letter).await
    }

    /// Removes a letter.
    ///
    /// # Errors
    ///
    /// The broker's; the letter is still there.
    pub async fn drop(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        bounded("removing a dead letter", letter.delivery.acker.ack(BasicAckOptions::default())).await.map(|_| ())
    }

    /// Ends the connection; what is in hand goes back to the queue.
    ///
    /// # Errors
    ///
    /// The broker's.
    pub async fn close(self) -> Result<(), QueueError> {
        close(&self.channel, &self.connection).await
    }

    async fn publish(
        &self,
        exchange: String,
        key: ShortString,
        letter: &DeadLetter,
        headers: FieldTable,
    ) -> Result<(), QueueError> {
        let properties = letter.delivery.properties.clone().with_headers(headers);
        publish_one(&self.channel, exchange, key, &letter.body, properties).await
    }

    fn read(&self, delivery: Delivery) -> DeadLetter {
        let job = Job::decode(&delivery.data);
        let reason = match (text(&delivery, "x-hostsync-reason"), text(&delivery, "x-first-death-reason"), &job) {
            (Some(reason), _, _) => reason,
            // A worker refused it without a word.
            (None, Some(death), Err(reason)) if death == "rejected" => reason.to_string(),
            (None, Some(death), _) => format!("given up by the broker: {death}"),
            (None, None, _) => "it says no reason: somebody else published it there".to_owned(),
        };
        let died_in = text(&delivery, "x-first-death-queue");
        let is_manual = died_in.is_some_and(|name| name == self.topology.queue(JobQueue::Manual));
        DeadLetter {
            reason,
            job,
            body: delivery.data.clone(),
            queue: if is_manual { JobQueue::Manual } else { JobQueue::Bulk },
            dead_at: dead_at(&delivery),
            identity: identity(&delivery),
            trace: trace(&delivery),
            delivery,
        }
    }
}

/// When a letter died: as the broker says that moved it (RabbitMQ: "Dead Letter Exchanges", `x-death`), or as the worker that
/// published it.
fn dead_at(delivery: &Delivery) -> Option<SystemTime> {
    let headers = delivery.properties.headers().as_ref()?;
    if let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") {
        let Some(AMQPValue::FieldTable(first)) = deaths.as_slice().first() else { return None };
        let Some(AMQPValue::Timestamp(seconds)) = first.inner().get("time") else { return None };
        return UNIX_EPOCH.checked_add(Duration::from_secs(*seconds));
    }
    text(delivery, "x-hostsync-reason").and(published_at::of(headers))
}

/// A hash of what stays the same however often a letter is delivered. The broker gives a message no id of its own; a worker
/// gives one to what it sets aside, and every job says to the millisecond when it was published.
fn identity(delivery: &Delivery) -> Option<[u8; 32]> {
    let id = delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
    let published = delivery.properties.headers().as_ref().and_then(published_at::of);
    if id.is_empty() && published.is_none() {
        return None;
    }
    if !id.is_empty() {
        return Some(hash_of(&[id.as_bytes(), &delivery.data]));
    }
    let published_ms = published.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default().as_millis();
    let death = text(delivery, "x-first-death-queue").unwrap_or_default();
    Some(hash_of(&[published_ms.to_string().as_bytes(), death.as_bytes(), &delivery.data]))
}

/// A hash of texts in their order, each with its length before it.
fn hash_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Texts among the headers that are not the broker's or ours.
fn trace(delivery: &Delivery) -> BTreeMap<String, String> {
    let wanted = headers(delivery, |name| !name.starts_with("x-"));
    let texts = wanted.inner().iter().filter_map(|(name, value)| match value {
        AMQPValue::LongString(text) => Some((name.to_string(), text.to_string())),
        _ => None,
    });
    texts.collect()
}

/// The headers of a letter whose names are wanted.
fn headers(delivery: &Delivery, is_wanted: impl Fn(&str) -> bool) -> FieldTable {
    let mut wanted = FieldTable::default();
    for (name, value) in delivery.properties.headers().iter().flatten() {
        if is_wanted(name.as_str()) {
            wanted.insert(name.clone(), value.clone());
        }
    }
    wanted
}

fn text(delivery: &Delivery, header: &str) -> Option<String> {
    match delivery.properties.headers().as_ref()?.inner().get(header)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        _ => None,
    }
}
