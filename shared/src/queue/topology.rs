//! Names and arguments of every exchange and queue. Nothing else declares.
//!
//! Names carry a version: arguments of a queue cannot change in place (406 `PRECONDITION_FAILED`), so a release that
//! needs others declares a new name beside the old one. Works on RabbitMQ 3.10 and 4.x.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use super::{QueueError, bounded};
use crate::execution::JobQueue;

/// Deliveries of a message beyond the first before the broker dead-letters it (RabbitMQ: "Quorum Queues", poison
/// message handling). Nacks and closed channels count too; a dead letter by accident is mended by Repair.
const DELIVERY_LIMIT: i64 = 20;

/// Most messages in a job queue; beyond it publishes are rejected and tried again later.
const MAX_JOBS: i64 = 1_000_000;

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

    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), QueueError> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        for (exchange, kind) in
            [(self.jobs_exchange(), ExchangeKind::Direct), (self.dead_exchange(), ExchangeKind::Fanout)]
        {
            bounded(
                "declaring an exchange",
                channel.exchange_declare(exchange.into(), kind, durable, FieldTable::default()),
            )
            .await?;
        }

        let dead = self.dead_queue();
        let mut arguments = quorum();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_DEAD_LETTERS));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
        self.declare_queue(channel, &dead, arguments, &self.dead_exchange(), "".into()).await?;

        for queue in [JobQueue::Bulk, JobQueue::Manual] {
            let mut arguments = quorum();
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
            arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_JOBS));
            arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
            arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(self.dead_exchange().into()));
            arguments.insert("x-dead-letter-strategy".into(), AMQPValue::LongString("at-least-once".into()));
            let key = Self::routing_key(queue);
            self.declare_queue(channel, &self.queue(queue), arguments, &self.jobs_exchange(), key).await?;
        }
        Ok(())
    }

    async fn declare_queue(
        &self,
        channel: &Channel,
        name: &str,
        arguments: FieldTable,
        exchange: &str,
        key: ShortString,
    ) -> Result<(), QueueError> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        bounded("declaring a queue", channel.queue_declare(name.into(), durable, arguments)).await?;
        bounded(
            "binding a queue",
            channel.queue_bind(name.into(), exchange.into(), key, QueueBindOptions::default(), FieldTable::default()),
        )
        .await
    }
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}
