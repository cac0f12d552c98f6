//! Looks at the broker as it is, for an operator who asks what is wrong.
//!
//! Makes nothing: each name is first declared passively, which only says whether it stands. What stands is then declared
//! as every service declares it, since a passive declare does not compare arguments; of a queue that stands this changes
//! nothing, and one with other arguments is told by its name and the argument (406). Bindings cannot be looked at by AMQP:
//! every service makes them as it connects.

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ExchangeKind};

use super::refusal::BrokerRefusal;
use super::topology::{QueueDeclaration, declare_exchange};
use super::version::version;
use super::{QueueError, QueueSettings, Topology, bounded, connect_to_look, look_at};
use hostsync_model::execution::JobQueue;
use hostsync_model::secret::Secret;
use secrecy::ExposeSecret as _;

/// What is in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that are ready for delivery.
    pub ready: u32,
    /// Consumers of the queue.
    pub consumers: u32,
}

/// How a queue or an exchange stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclarationState<T> {
    /// As we declare it.
    AsOurs(T),
    /// It is not there.
    Missing,
    /// It is there with other arguments, or cannot be looked at.
    Refused(BrokerRefusal),
}

/// A permission of RabbitMQ on the names of our queues and exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// To declare them.
    Configure,
    /// To publish, and to bind a queue.
    Write,
    /// To consume, and to bind to an exchange.
    Read,
}

impl Permission {
    /// As `rabbitmqctl` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// A connection to look through.
pub struct Broker {
    connection: Connection,
    url: Secret,
    topology: Topology,
}

impl Broker {
    /// Connects, once.
    ///
    /// # Errors
    ///
    /// The broker's; [`QueueError::refusal`] tells credentials from a vhost.
    pub async fn connect(settings: &QueueSettings) -> Result<Self, QueueError> {
        Ok(Self {
            connection: connect_to_look(settings).await?,
            url: settings.url.clone(),
            topology: settings.topology.clone(),
        })
    }

    /// The version that it says it has; `None`: it does not say.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub async fn version(&self) -> Result<Option<String>, QueueError> {
        version(self.url.get().expose_secret()).await
    }

    /// As whom and where we are: the user and the vhost.
    pub fn place(&self) -> (String, String) {
        let status = self.connection.status();
        (status.username(), status.vhost().to_string())
    }

    /// The permissions that we lack on names that begin with the prefix. Each is tried on a name that nobody has: the
    /// broker looks at the permission first, and then finds nothing that it could delete, publish to or read.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub async fn lacking(&self) -> Result<Vec<Permission>, QueueError> {
        let name = format!("{}.doctor.{:016x}", self.topology.prefix(), rand::random::<u64>());
        let mut lacking = Vec::new();
        for permission in [Permission::Configure, Permission::Write, Permission::Read] {
            if let DeclarationState::Refused(BrokerRefusal::Permission(_)) =
                sorted(self.attempt(permission, &name).await)?
            {
                lacking.push(permission);
            }
        }
        Ok(lacking)
    }

    async fn attempt(&self, permission: Permission, name: &str) -> Result<(), QueueError> {
        const DOING: &str = "trying a permission";
        let channel = bounded("opening a channel", self.connection.create_channel()).await?;
        match permission {
            Permission::Configure => {
                let unused = QueueDeleteOptions { if_unused: true, if_empty: true, ..QueueDeleteOptions::default() };
                bounded(DOING, channel.queue_delete(name.into(), unused)).await.map(|_| ())
            }
            // To an exchange that is not there: a publish has no answer, its confirm fails with the channel.
            Permission::Write => {
                bounded(DOING, channel.confirm_select(ConfirmSelectOptions::default())).await?;
                let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
                let sent =
                    bounded(DOING, channel.basic_publish(name.into(), "".into(), options, b"", properties)).await?;
                bounded(DOING, sent).await.map(|_| ())
            }
            Permission::Read => {
                bounded(DOING, channel.basic_get(name.into(), BasicGetOptions::default())).await.map(|_| ())
            }
        }
    }

    /// The exchanges by name.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub async fn exchanges(&self) -> Result<Vec<(String, DeclarationState<()>)>, QueueError> {
        let mut found = Vec::new();
        for (name, kind) in self.topology.exchanges() {
            let stands = sorted(self.exchange(&name, kind).await)?;
            found.push((name, stands));
        }
        Ok(found)
    }

    /// A queue of jobs.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub async fn jobs(&self, queue: JobQueue) -> Result<DeclarationState<Depth>, QueueError> {
        sorted(self.queue(&self.topology.declaration(queue)).await)
    }

    /// The queue of dead letters.
    ///
    /// # Errors
    ///
    /// The connection's.
    pub async fn dead_letters(&self) -> Result<DeclarationState<Depth>, QueueError> {
        sorted(self.queue(&self.topology.dead_declaration()).await)
    }

    /// Ends the connection.
    pub async fn close(self) {
        // A connection that is gone already is closed too.
        let _ = bounded("closing the connection", self.connection.close(200, "seen".into())).await;
    }

    /// A channel of its own for each: a refusal closes it.
    async fn exchange(&self, name: &str, kind: ExchangeKind) -> Result<(), QueueError> {
        let channel = bounded("opening a channel", self.connection.create_channel()).await?;
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let looking = channel.exchange_declare(name.into(), kind.clone(), passive, FieldTable::default());
        bounded("looking for an exchange", looking).await?;
        declare_exchange(&channel, name, kind).await
    }

    async fn queue(&self, declaration: &QueueDeclaration) -> Result<Depth, QueueError> {
        let channel = bounded("opening a channel", self.connection.create_channel()).await?;
        look_at("looking for a queue", &channel, &declaration.name).await?;
        let queue = declaration.declare(&channel).await?;
        Ok(Depth { ready: queue.message_count(), consumers: queue.consumer_count() })
    }
}

/// Sorts what the broker says of one name from a broken connection.
fn sorted<T>(outcome: Result<T, QueueError>) -> Result<DeclarationState<T>, QueueError> {
    match outcome {
        Ok(found) => Ok(DeclarationState::AsOurs(found)),
        Err(error) => match error.refusal() {
            BrokerRefusal::Missing(_) => Ok(DeclarationState::Missing),
            BrokerRefusal::Away(_) => Err(error),
            refusal => Ok(DeclarationState::Refused(refusal)),
        },
    }
}
