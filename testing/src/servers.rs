//! Where the real servers are.

use anyhow::Context;

/// Addresses of the development servers, as `make up` writes them to `.dev/env`.
#[derive(Debug, Clone)]
pub struct Servers {
    /// `mysql://root@127.0.0.1:port`, without a database.
    pub database_url: String,
    /// `amqp://…`.
    pub rabbitmq_url: String,
    /// Management HTTP API, with credentials.
    pub management_url: String,
    /// Search engine.
    pub elasticsearch_url: String,
}

impl Servers {
    /// From the environment.
    ///
    /// # Errors
    ///
    /// A variable is missing: the servers are not up, or `.dev/env` was not read.
    pub fn from_environment() -> anyhow::Result<Self> {
        let read = |name: &str| {
            std::env::var(name).with_context(|| format!("{name} is not set: run `make up`, then `. .dev/env`"))
        };
        Ok(Self {
            database_url: read("HOSTSYNC_DEV_DATABASE_URL")?,
            rabbitmq_url: read("HOSTSYNC_DEV_RABBITMQ_URL")?,
            management_url: read("HOSTSYNC_DEV_RABBITMQ_MANAGEMENT_URL")?,
            elasticsearch_url: read("HOSTSYNC_DEV_ELASTICSEARCH_URL")?,
        })
    }
}
