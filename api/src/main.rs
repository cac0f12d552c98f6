//! `hostsync-api`: reads the configuration and serves, migrates, or shows what is in force.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hostsync_shared::config::{CONFIG_VARIABLE, CommonArgs, Config, Service, help_table};
use hostsync_shared::process::{self, Surroundings};
use hostsync_shared::telemetry;

/// Exit code of a configuration that cannot be used, as of the services.
const BAD_CONFIGURATION: u8 = 2;

/// Manages tasks, enqueues by hand, aggregates the execution logs.
#[derive(Debug, Parser)]
#[command(name = "hostsync-api", version, after_long_help = help_table(), after_help = help_table())]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Apply the migrations that the database lacks, and exit
    Migrate,
    /// Print the configuration in force, secrets masked, and exit
    Config,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let surroundings =
        Surroundings { environment: std::env::vars_os().collect(), is_terminal: std::io::stderr().is_terminal() };
    match args.command {
        None => process::run_service("hostsync-api", Service::Api, &args.common, &surroundings, hostsync_api::run),
        Some(Command::Migrate) => match process::configuration(Service::Migrate, &args.common, &surroundings) {
            Ok(config) => migrate(&config),
            Err(code) => code,
        },
        Some(Command::Config) => show(&args.common, surroundings),
    }
}

/// Shows what is in force, whatever of it a service would lack.
fn show(args: &CommonArgs, surroundings: Surroundings) -> ExitCode {
    let named = surroundings.environment.iter().find(|(name, _)| name == CONFIG_VARIABLE).map(|(_, path)| path.clone());
    match Config::load(args.config_path(named).as_deref(), surroundings.environment) {
        Ok(config) => {
            say(config.masked_toml().trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn migrate(config: &Config) -> ExitCode {
    telemetry::use_ring();
    match hostsync_api::migrate(config).await {
        Ok(applied) => {
            for migration in applied {
                say(&format!("applied {migration}"));
            }
            say("the schema of the database is up to date");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&hostsync_api::explain(&error));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the output of a command")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a command has no log")]
fn complain(text: &str) {
    eprintln!("hostsync-api: {text}");
}
