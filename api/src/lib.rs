//! The API, as REST and as gRPC: manages tasks, enqueues runs by hand, shows executions.
//!
//! `rest` (a file a resource) and `rpc` are the outside; `tasks`, `runs` and `hosts` are the rules, which know no transport;
//! `access` says who may call and how much; `request` is what a request says, whatever carried it. `app` puts them
//! together. `doctor` and `operate` are an operator's commands. All SQL is in `hostsync_store`. This crate knows neither
//! the scheduler nor the worker.

mod access;
mod app;
mod audit;
mod database;
mod dead_letters;
pub mod doctor;
mod error;
mod hosts;
pub mod operate;
mod pause;
mod readiness;
mod request;
mod rest;
mod rpc;
mod runs;
mod sources;
mod tasks;

use std::time::Duration;

use anyhow::Context as _;
use hostsync_model::causes::causes;
use hostsync_service::config::{ApiAuth, Config};
use hostsync_service::connections::{ConnectionLimits, Server};
use hostsync_service::shutdown::Shutdown;
use hostsync_service::startup;
use hostsync_store::database::{self as schema, MIGRATOR, SchemaError};
use hostsync_store::denied::{Denied, RIGHTS_OF_MIGRATIONS, grant};
use hostsync_store::tables::diagnosis;
use secrecy::ExposeSecret as _;
use sqlx::Connection as _;
use tokio::net::TcpListener;
use utoipa::openapi::OpenApi;

use crate::app::Api;

/// Connections for REST and the console. When they are taken, an operator's tools are still answered and everybody else
/// is told to come back: 600 of 10 KiB are nothing, 600 that send a body wait for one another.
const PLACES: ConnectionLimits = ConnectionLimits { usual: 600, spare: 50 };

/// Serves on `api.listen` and `api.rpc_listen` until the shutdown begins; then finishes what has begun.
///
/// Starts while the database and the broker are down, and goes on when they come.
///
/// # Errors
///
/// The address is taken, or the database can be reached but not be used (`hostsync-api migrate` has not been run).
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let address = config.api.listen;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (api.listen)"))?;
    serve(config, listener, shutdown).await
}

/// As [`run`], with REST on a listener that is bound already: a test binds port 0 and knows the address.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(config: Config, listener: TcpListener, shutdown: Shutdown) -> anyhow::Result<()> {
    let address = config.api.rpc_listen;
    let rpc_listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (api.rpc_listen)"))?;
    serve_on(config, listener, rpc_listener, shutdown).await
}

/// As [`run`], with REST and gRPC on listeners that are bound already.
///
/// # Errors
///
/// As [`run`].
pub async fn serve_on(
    config: Config,
    listener: TcpListener,
    rpc_listener: TcpListener,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let rpc_address = rpc_listener.local_addr()?;
    let api = Api::new(&config, shutdown.clone())?;
    startup::follow_secrets(&config, [api.database.pool()], &api.loops, &shutdown);
    let broker =
        startup::watch_broker(api.publisher.clone(), api.readiness.clone(), api.loops.clone(), shutdown.clone());
    let broker = shutdown.spawn("broker watch", broker);
    let database = readiness::watch_database(api.clone());
    let rpc_server = rpc::serve(api.clone(), rpc_listener);

    let server =
        Server::http1(rest::router(api.clone())?, rest::router_when_full(api), PLACES).run(listener, shutdown.token());
    tracing::info!(%address, "listening on http://{address}");
    tracing::info!(address = %rpc_address, "listening for gRPC on {rpc_address}");
    if config.api.auth == ApiAuth::None {
        tracing::warn!("api.auth is none: whoever can reach {address} or {rpc_address} may do everything");
    }
    let serving = async {
        tokio::select! {
            result = async { tokio::try_join!(async { server.await; Ok(()) }, rpc_server) } => result.map(|_| ()),
            () = shutdown.ending(Duration::ZERO) => {
                tracing::warn!("requests that had begun are given up: the grace period is over");
                Ok(())
            }
        }
    };
    // Ends with the server, or at once when the database cannot be used.
    let outcome = tokio::try_join!(serving, database);
    shutdown.begin();
    drop(broker);
    if let Err(left) = shutdown.wait().await {
        tracing::warn!("{left}");
    }
    outcome.map(|_| ())
}

/// Applies the migrations that the database lacks; returns one line for each.
///
/// # Errors
///
/// The database is away or too old, a migration fails, or the user lacks a right: then with the line that gives it.
pub async fn migrate(config: &Config) -> anyhow::Result<Vec<String>> {
    let url = config.database.url()?;
    let url = url.expose_secret();
    match apply_migrations(url).await {
        Ok(applied) => Ok(applied),
        Err(error) => {
            let advice = advice(url, &error).await;
            let error = explain(&error.into());
            Err(anyhow::anyhow!("{}", [error].into_iter().chain(advice).collect::<Vec<_>>().join(" → ")))
        }
    }
}

async fn apply_migrations(url: &str) -> Result<Vec<String>, SchemaError> {
    let mut connection = schema::connect_once(url).await?;
    // They are applied in order: what is missing is the first one and all behind it.
    let first_missing = match schema::check_version(&mut connection).await {
        Ok(_) => None,
        Err(SchemaError::Older { missing }) => Some(missing),
        Err(error) => return Err(error),
    };
    connection.close().await?;
    schema::migrate(url).await?;
    let applied = MIGRATOR.iter().filter(|migration| first_missing.is_some_and(|first| migration.version >= first));
    Ok(applied.map(|migration| format!("{:04} {}", migration.version, migration.description)).collect())
}

/// What to do about a migration that failed, where that is known.
async fn advice(url: &str, error: &SchemaError) -> Option<String> {
    let (database, account) = match Denied::behind(error)? {
        Denied::Login => return Some("correct the user and the password in database.url".to_owned()),
        Denied::Database { database, account } => (database, account),
        Denied::Table { .. } | Denied::Other(_) => {
            let mut connection = schema::connect_once(url).await.ok()?;
            let server = diagnosis::server(&mut connection).await.ok()?;
            (server.database, server.user)
        }
    };
    let grant = grant(RIGHTS_OF_MIGRATIONS, &database, &account);
    Some(format!("let an administrator of the database say: {grant}"))
}

/// An error with what caused it, in one line.
pub fn explain(error: &anyhow::Error) -> String {
    causes(error.as_ref()).to_string()
}

/// The OpenAPI document as it is served.
pub fn openapi() -> OpenApi {
    rest::openapi()
}
