//! RabbitMQ: the only folder that names lapin.
//!
//! Owns the topology, the job message, publishing with confirms and consuming with acks. Decides nothing about
//! executions: what is published when is [`crate::outbox`]'s business, what a job means is the worker's.

mod acks;
mod consumer;
mod dead_letters;
mod inspect;
mod job;
mod published_at;
mod publisher;
mod refusal;
mod topology;

use std::time::Duration;

use lapin::{Connection, ConnectionProperties};

pub use acks::{Acker, ack_all, give_back};
pub use consumer::{JobConsumer, Received};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use inspect::{Broker, Declared, Depth};
pub use job::{Job, UnreadableJob};
pub use publisher::{Depths, OutgoingJob, PublishReport, Publisher};
pub use refusal::Refusal;
pub use topology::{MAX_JOBS, Topology};

/// Longest wait for one answer of the broker (connecting, declaring, confirming).
const BROKER_TIMEOUT: Duration = Duration::from_secs(20);

/// What the queue needs to know of the broker.
#[derive(Clone)]
pub struct QueueSettings {
    /// `amqp://` or `amqps://`, with credentials: never logged.
    pub url: String,
    /// Exchange and queue names.
    pub topology: Topology,
    /// Shown by the broker's management page.
    pub connection_name: String,
}

/// A fault of the broker or of the way to it. Nothing is lost by it: the outbox publishes again, unacknowledged jobs
/// come again.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The broker, or the connection to it, reported an error.
    #[error("the broker failed while {doing}")]
    Broker {
        /// What was being done.
        doing: &'static str,
        /// The client's error.
        #[source]
        source: Box<lapin::Error>,
    },
    /// No answer in time.
    #[error("the broker did not answer within {} s while {doing}", BROKER_TIMEOUT.as_secs())]
    TimedOut {
        /// What was being done.
        doing: &'static str,
    },
    /// The stream of deliveries ended without having been told to.
    #[error("the stream of deliveries ended")]
    Ended,
    /// The broker rejected a message, or no queue is bound for it.
    #[error("the broker did not take the message")]
    NotTaken,
    /// The consumer lives, but the broker has messages and sends none.
    #[error("the broker holds messages for this consumer but delivers none")]
    Stuck,
}

/// Bounds a call to the broker and says what it was for.
async fn bounded<T>(doing: &'static str, call: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, QueueError> {
    match tokio::time::timeout(BROKER_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(QueueError::Broker { doing, source: Box::new(source) }),
        Err(_) => Err(QueueError::TimedOut { doing }),
    }
}

/// Connects and declares the topology, so that whoever comes first finds or makes the queues.
async fn connect(settings: &QueueSettings) -> Result<Connection, QueueError> {
    let properties = ConnectionProperties::default()
        .with_connection_name(settings.connection_name.clone().into())
        .configure_backoff(|backoff| {
            backoff.with_max_times(3).with_min_delay(Duration::from_millis(200)).with_max_delay(Duration::from_secs(2))
        })
        .enable_auto_recover();
    let connection = bounded("connecting", Connection::connect(&settings.url, properties)).await?;
    let channel = bounded("opening a channel", connection.create_channel()).await?;
    settings.topology.declare(&channel).await?;
    bounded("closing a channel", channel.close(200, "declared".into())).await?;
    Ok(connection)
}

/// Connects once and declares nothing: for who looks at the broker as it is.
async fn connect_to_look(settings: &QueueSettings) -> Result<Connection, QueueError> {
    let properties = ConnectionProperties::default().with_connection_name(settings.connection_name.clone().into());
    bounded("connecting", Connection::connect(&settings.url, properties)).await
}
