//! RabbitMQ: the only crate that names lapin.
//!
//! Owns the topology, the job message, publishing with confirms and consuming with acks. Decides nothing about
//! executions: what is published when is the outbox's business, what a job means is the worker's.

mod acks;
mod consumer;
mod dead_letters;
mod inspect;
mod job;
mod published_at;
mod publisher;
mod refusal;
mod topology;
mod version;

use std::time::Duration;

use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Queue};

pub use acks::{Acker, ack_all, give_back, refuse, reject};
pub use consumer::{JobConsumer, QueueDelivery};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use inspect::{Broker, DeclarationState, Depth, Permission};
pub use job::{Job, UnreadableJob};
pub use publisher::{Depths, OutgoingJob, PublishReport, Publisher};
pub use refusal::BrokerRefusal;
pub use topology::{MAX_JOBS, Topology};

use hostsync_model::secret::Secret;
use secrecy::ExposeSecret as _;
use url::{Host, Url};

/// Longest wait for one answer of the broker (connecting, declaring, confirming).
const BROKER_TIMEOUT: Duration = Duration::from_secs(20);

/// What the queue needs to know of the broker.
#[derive(Clone)]
pub struct QueueSettings {
    /// `amqp://` or `amqps://`, with credentials: never logged.
    pub url: Secret,
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

/// Connects, and says of a failure that it was while connecting.
async fn connect_to(url: &Secret, properties: ConnectionProperties) -> Result<Connection, QueueError> {
    bounded("connecting", async { Connection::connect_uri(uri(url.get().expose_secret())?, properties).await }).await
}

/// The URL as lapin takes it, but for two things. A slash behind which no vhost follows is no vhost either: both mean `/`,
/// the default one, where lapin takes the first for the vhost without a name. And an IPv6 host is that host, where lapin
/// takes localhost.
fn uri(url: &str) -> Result<AMQPUri, lapin::Error> {
    let mut uri: AMQPUri = url.parse().map_err(std::io::Error::other)?;
    if uri.vhost.is_empty() {
        "/".clone_into(&mut uri.vhost);
    }
    if let Ok(Some(Host::Ipv6(address))) = Url::parse(url).map(|url| url.host().map(|host| host.to_owned())) {
        uri.authority.host = address.to_string();
    }
    Ok(uri)
}

/// Connects and declares the topology, so that whoever comes first finds or makes the queues.
async fn connect(settings: &QueueSettings) -> Result<Connection, QueueError> {
    let properties = ConnectionProperties::default()
        .with_connection_name(settings.connection_name.clone().into())
        .configure_backoff(|backoff| {
            backoff.with_max_times(3).with_min_delay(Duration::from_millis(200)).with_max_delay(Duration::from_secs(2))
        })
        .enable_auto_recover();
    let connection = connect_to(&settings.url, properties).await?;
    let channel = bounded("opening a channel", connection.create_channel()).await?;
    settings.topology.declare(&channel).await?;
    bounded("closing a channel", channel.close(200, "declared".into())).await?;
    Ok(connection)
}

/// Publishes one message, and waits until the broker has it in a queue.
async fn publish_one(
    channel: &Channel,
    exchange: String,
    key: ShortString,
    body: &[u8],
    properties: BasicProperties,
) -> Result<(), QueueError> {
    let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let publishing = channel.basic_publish(exchange.into(), key, mandatory, body, properties);
    let sent = bounded("publishing a dead letter", publishing).await?;
    match bounded("confirming a dead letter", sent).await? {
        Confirmation::Ack(None) => Ok(()),
        _ => Err(QueueError::NotTaken),
    }
}

/// Looks at a queue that should stand; one that does not is an error.
async fn look_at(doing: &'static str, channel: &Channel, queue: &str) -> Result<Queue, QueueError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    bounded(doing, channel.queue_declare(queue.into(), passive, FieldTable::default())).await
}

/// Ends a connection with its channel. The channel first: its close is answered after the acks before it have been taken, a
/// connection's is not.
async fn close(channel: &Channel, connection: &Connection) -> Result<(), QueueError> {
    bounded("closing the channel", channel.close(200, "bye".into())).await?;
    bounded("closing the connection", connection.close(200, "bye".into())).await
}

/// Connects once and declares nothing: for who looks at the broker as it is.
async fn connect_to_look(settings: &QueueSettings) -> Result<Connection, QueueError> {
    let properties = ConnectionProperties::default().with_connection_name(settings.connection_name.clone().into());
    connect_to(&settings.url, properties).await
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn a_vhost_that_is_left_out_is_the_default_one_and_an_ipv6_host_is_its_own() {
        for (text, host, vhost) in [
            ("amqp://user:password@host:5672", "host", "/"),
            ("amqp://user:password@host:5672/", "host", "/"),
            ("amqp://user:password@host:5672/%2f", "host", "/"),
            ("amqps://user:password@host//", "host", "/"),
            ("amqp://user:password@host/?heartbeat=10", "host", "/"),
            ("amqp://user:password@host?heartbeat=10", "host", "/"),
            ("amqp://user:password@host/other", "host", "other"),
            ("amqp://user:password@[2001:db8::1]:5672/a%2fb", "2001:db8::1", "a/b"),
            ("amqp://10.0.0.1", "10.0.0.1", "/"),
        ] {
            let uri = uri(text).expect(text);
            assert_eq!((uri.authority.host.as_str(), uri.vhost.as_str()), (host, vhost), "{text}");
        }
    }
}
