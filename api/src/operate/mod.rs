//! An operator's commands, for the runbook (`docs/operations.md`): dead letters, and runs that stand still.
//!
//! Each says line by line what it did, through `say`, once it is done. What can be done by REST is not done here.

pub mod dead_letters;
pub mod executions;
pub(crate) mod stuck;

use std::time::Duration;

use anyhow::Context as _;
use hostsync_model::audit::{Actor, Role};
use hostsync_service::config::Config;
use hostsync_store::database;
use secrecy::ExposeSecret as _;
use sqlx::MySqlConnection;

/// Longest wait for the database or the broker.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

/// Most characters of the user of a command in the audit.
const MAX_USER_CHARS: usize = 64;

/// Who gives a command, for the audit.
pub fn actor(user: &str) -> Actor {
    let user: String = user.chars().filter(|c| !c.is_control()).take(MAX_USER_CHARS).collect();
    // Linux says here what the machine is called; elsewhere nobody does.
    let from = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let from = from.trim().chars().take(MAX_USER_CHARS).collect();
    Actor { who: format!("command:{user}"), role: Role::Operator, from }
}

async fn connect(config: &Config) -> anyhow::Result<MySqlConnection> {
    let url = config.database.url()?;
    let connecting = database::connect_once(url.expose_secret());
    let connected = tokio::time::timeout(LONGEST_ANSWER, connecting).await.context("the database does not answer")?;
    connected.context("cannot connect to the database; `hostsync-api doctor` says why")
}

/// What these commands call themselves at the broker.
const CONNECTION_NAME: &str = "hostsync-api operator";
