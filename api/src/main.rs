//! `hostsync-api`: reads the configuration and serves, migrates, or shows what is in force.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use hostsync_shared::config::{CONFIG_VARIABLE, CommonArgs, Config, Service, help_table};
use hostsync_shared::shutdown::Shutdown;
use hostsync_shared::telemetry;

/// Exit code for a configuration that cannot be used.
const BAD_CONFIGURATION: u8 = 2;

/// Manages tasks, enqueues by hand, aggregates the execution logs
#[derive(Parser)]
#[command(name = "hostsync-api", version)]
struct Arguments {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Apply the migrations that the database lacks, and exit
    Migrate,
    /// Print the configuration in force, secrets masked, and exit
    Config,
}

fn main() -> ExitCode {
    let matches = Arguments::command().after_long_help(help_table()).after_help(help_table()).get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let path = arguments.common.config_path(std::env::var_os(CONFIG_VARIABLE));
    let environment = std::env::vars_os();
    let loaded = match arguments.command {
        None => Config::load_for(Service::Api, path.as_deref(), environment),
        Some(Command::Migrate) => Config::load_for(Service::Migrate, path.as_deref(), environment),
        Some(Command::Config) => Config::load(path.as_deref(), environment),
    };
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let outcome = match arguments.command {
        None => serve(config),
        Some(Command::Migrate) => migrate(&config),
        Some(Command::Config) => {
            say(config.masked_toml().trim_end());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&hostsync_api::explain(&error));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    install_ring();
    let _telemetry = telemetry::init("hostsync-api", &config.telemetry, std::io::stderr().is_terminal())?;
    let shutdown = Shutdown::on_signals(hostsync_api::SHUTDOWN_GRACE)?;
    hostsync_api::run(config, shutdown).await
}

#[tokio::main(flavor = "current_thread")]
async fn migrate(config: &Config) -> anyhow::Result<()> {
    install_ring();
    let applied = hostsync_api::migrate(config).await?;
    for migration in &applied {
        say(&format!("applied {migration}"));
    }
    say("the schema of the database is up to date");
    Ok(())
}

fn install_ring() {
    // Fails only when a provider has been installed already, and nobody does so before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[expect(clippy::print_stdout, reason = "the output of a command")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "logging is not set up, or its last word has been said")]
fn complain(text: &str) {
    eprintln!("hostsync-api: {text}");
}
