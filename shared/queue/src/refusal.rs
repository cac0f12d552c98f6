//! What a broker means by refusing: the causes that an operator mends in different places.

use lapin::ErrorKind;

use super::QueueError;

/// Reply codes of AMQP 0-9-1 ("Constants") as RabbitMQ uses them.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// Why the broker does not do what it was asked for. Each holds the broker's own sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerRefusal {
    /// The user or the password is wrong.
    Credentials(String),
    /// There is no such vhost, or the user may not enter it.
    Vhost(String),
    /// The user lacks a permission on a queue or an exchange.
    Permission(String),
    /// There is no such queue or exchange.
    Missing(String),
    /// It stands with other arguments; the sentence names it and the argument.
    Arguments(String),
    /// Nobody answers, or not in AMQP.
    Away(String),
}

impl QueueError {
    /// Why, by the broker's reply code.
    pub fn refusal(&self) -> BrokerRefusal {
        let Self::Broker { doing, source } = self else { return BrokerRefusal::Away(self.to_string()) };
        let ErrorKind::ProtocolError(error) = source.kind() else { return BrokerRefusal::Away(source.to_string()) };
        let text = error.get_message().to_string();
        match error.get_id() {
            ACCESS_REFUSED if *doing == "connecting" => BrokerRefusal::Credentials(text),
            ACCESS_REFUSED => BrokerRefusal::Permission(text),
            NOT_FOUND => BrokerRefusal::Missing(text),
            PRECONDITION_FAILED => BrokerRefusal::Arguments(text),
            NOT_ALLOWED => BrokerRefusal::Vhost(text),
            _ => BrokerRefusal::Away(text),
        }
    }
}
