//! An operator's commands, for the runbook (`docs/operations.md`): dead letters, and runs that stand still.
//!
//! Each says line by line what it did, through `say`, once it is done. What can be done by REST is not done here.

pub mod dead_letters;
pub mod executions;
pub(crate) mod stuck;

use hostsync_shared::config::Config;
use hostsync_shared::queue::{QueueSettings, Topology};

fn queue_settings(config: &Config) -> anyhow::Result<QueueSettings> {
    Ok(QueueSettings {
        url: config.rabbitmq.url()?.expose().to_owned(),
        topology: Topology::new(&config.rabbitmq.prefix),
        connection_name: "hostsync-api operator".to_owned(),
    })
}
