//! Names and arguments of every exchange and queue. Nothing else declares.
//!
//! Names carry a version: arguments of a queue cannot change in place (406 `PRECONDITION_FAILED`), so a release that
//! needs others declares a new name beside the old one. Works on RabbitMQ 3.10 and 4.x.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind, Queue};

use super::{QueueError, bounded};
use hostsync_model::execution::JobQueue;

/// Deliveries of a message beyond the first before the broker dead-letters it (RabbitMQ: "Quorum Queues", poison
/// message handling). Nacks and closed channels count too; a dead letter by accident is mended by Repair.
const DELIVERY_LIMIT: i64 = 20;

/// Most messages in a job queue; beyond it publishes are rejected and tried again later.
pub const MAX_JOBS: u32 = 1_000_000;

/// Most dead letters kept; the oldest go first.
const MAX_DEAD_LETTERS: i64 = 100_000;

/// The exchange and queue names of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    prefix: String,
}

impl Topology {
    /// Names with `rabbitmq.prefix`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What every name begins with, before a dot.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The direct exchange that jobs are published to.
    pub fn jobs_exchange(&self) -> String {
        format!("{}.jobs.v1", self.prefix)
    }

    /// A queue of jobs.
    pub fn queue(&self, queue: JobQueue) -> String {
        format!("{}.jobs.{}.v1", self.prefix, queue.as_str())
    }

    /// The exchange for what cannot be worked on.
    pub fn dead_exchange(&self) -> String {
        format!("{}.dead.v1", self.prefix)
    }

    /// The queue where dead letters stay until a person looks.
    pub fn dead_queue(&self) -> String {
        format!("{}.dead.v1", self.prefix)
    }

    /// The routing key of a queue.
    pub(super) fn routing_key(queue: JobQueue) -> ShortString {
        queue.as_str().into()
    }

    /// The exchanges with their kinds; all of them durable.
    pub(super) fn exchanges(&self) -> [(String, ExchangeKind); 2] {
        [(self.jobs_exchange(), ExchangeKind::Direct), (self.dead_exchange(), ExchangeKind::Fanout)]
    }

    /// The queue of dead letters with its arguments.
    pub(super) fn dead_declaration(&self) -> QueueDeclaration {
        let mut arguments = quorum();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_DEAD_LETTERS));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
        QueueDeclaration { name: self.dead_queue(), arguments, exchange: self.dead_exchange(), key: "".into() }
    }

    /// A queue of jobs with its arguments.
    pub(super) fn declaration(&self, queue: JobQueue) -> QueueDeclaration {
        let mut arguments = quorum();
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(i64::from(MAX_JOBS)));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(self.dead_exchange().into()));
        arguments.insert("x-dead-letter-strategy".into(), AMQPValue::LongString("at-least-once".into()));
        QueueDeclaration {
            name: self.queue(queue),
            arguments,
            exchange: self.jobs_exchange(),
            key: Self::routing_key(queue),
        }
    }

    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), QueueError> {
        for (exchange, kind) in self.exchanges() {
            declare_exchange(channel, &exchange, kind).await?;
        }
        let jobs = JobQueue::ALL.iter().map(|queue| self.declaration(*queue));
        for queue in std::iter::once(self.dead_declaration()).chain(jobs) {
            queue.declare(channel).await?;
            let QueueDeclaration { name, exchange, key, .. } = queue;
            bounded(
                "binding a queue",
                channel.queue_bind(
                    name.into(),
                    exchange.into(),
                    key,
                    QueueBindOptions::default(),
                    FieldTable::default(),
                ),
            )
            .await?;
        }
        Ok(())
    }
}

/// A queue as we declare it.
pub(super) struct QueueDeclaration {
    pub(super) name: String,
    arguments: FieldTable,
    exchange: String,
    key: ShortString,
}

impl QueueDeclaration {
    /// Declares it; of one that stands this changes nothing, and a difference is an error that names the argument.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<Queue, QueueError> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let name = self.name.as_str().into();
        bounded("declaring a queue", channel.queue_declare(name, durable, self.arguments.clone())).await
    }
}

/// Declares an exchange, as [`QueueDeclaration::declare`].
pub(super) async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), QueueError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    bounded("declaring an exchange", channel.exchange_declare(name.into(), kind, durable, FieldTable::default())).await
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}
