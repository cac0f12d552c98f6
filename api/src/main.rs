//! `hostsync-api`: reads the configuration and serves, migrates, shows what is in force, or does what an operator asks.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hostsync_api::operate::dead_letters::{self, MAX_LETTERS};
use hostsync_api::operate::executions;
use hostsync_model::audit::Actor;
use hostsync_model::execution::ExecutionId;
use hostsync_service::config::{CommonArgs, Config, Service, help_table};
use hostsync_service::healthcheck::healthcheck;
use hostsync_service::process::{self, EXIT_CONFIGURATION, Surroundings};
use hostsync_service::telemetry;

/// Manages tasks, enqueues by hand, aggregates the execution logs.
#[derive(Debug, Parser)]
#[command(name = "hostsync-api", version = process::version(), after_long_help = help_table(), after_help = help_table())]
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
    /// Ask the running service whether it is ready; exit code 0 if it is, 1 if not
    Healthcheck,
    /// Test every dependency, right, queue, version and clock; say what is wrong and how to mend it
    ///
    /// Writes nothing. Exit code: 0 if nothing fails (a warning may stand), 1 if something does, 2 if the
    /// configuration cannot be used.
    Doctor {
        /// Print JSON: {"well", "checks": [{"check", "level", "found", "next"}]}
        #[arg(long)]
        json: bool,
    },
    /// Look at the messages that could not be worked on, put jobs back, or drop them
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Find runs that stand still, and publish one anew
    #[command(subcommand)]
    Executions(Executions),
}

#[derive(Debug, Subcommand)]
enum DeadLetters {
    /// Show each with its reason and its job; none is removed
    List(Limit),
    /// Put jobs back onto their queue; what is no job stays
    Requeue(Limit),
    /// Remove them for good
    Drop {
        #[command(flatten)]
        limit: Limit,
        /// Yes, remove them
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Limit {
    /// Most messages to take
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LETTERS)))]
    limit: u32,
}

#[derive(Debug, Subcommand)]
enum Executions {
    /// Show the runs without progress: since when, what holds them, what to do
    Stuck {
        /// Minutes without progress
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100_000))]
        minutes: u32,
    },
    /// Publish the pending hosts of a run anew; spends no attempt, and twice is as good as once
    Republish {
        /// The execution
        id: u64,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let surroundings =
        Surroundings { environment: std::env::vars_os().collect(), is_terminal: std::io::stderr().is_terminal() };
    match args.command {
        None => process::run_service("hostsync-api", Service::Api, &args.common, &surroundings, hostsync_api::run),
        Some(Command::Migrate) => match configuration(Service::Migrate, &args.common, &surroundings) {
            Ok(config) => migrate(&config),
            Err(code) => code,
        },
        Some(Command::Config) => show(&args.common, surroundings),
        Some(Command::Healthcheck) => healthcheck(Service::Api, &args.common, &surroundings),
        Some(Command::Doctor { json }) => match process::configuration(Service::Api, &args.common, &surroundings) {
            Ok(config) => doctor(&config, surroundings.config_path(&args.common).as_deref(), json),
            Err(code) => code,
        },
        Some(Command::DeadLetters(command)) => {
            operate(&args.common, &surroundings, async |config, actor| match command {
                DeadLetters::List(Limit { limit }) => dead_letters::list(config, limit, say).await,
                DeadLetters::Requeue(Limit { limit }) => dead_letters::requeue(config, actor, limit, say).await,
                DeadLetters::Drop { limit: Limit { limit }, yes: _ } => {
                    dead_letters::drop(config, actor, limit, say).await
                }
            })
        }
        Some(Command::Executions(command)) => {
            operate(&args.common, &surroundings, async |config, actor| match command {
                Executions::Stuck { minutes } => executions::stuck(config, i64::from(minutes) * 60, say).await,
                Executions::Republish { id } => executions::republish(config, actor, ExecutionId(id), say).await,
            })
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn doctor(config: &Config, file: Option<&Path>, json: bool) -> ExitCode {
    telemetry::use_ring();
    #[expect(clippy::disallowed_methods, reason = "this machine's clock is compared with the database's")]
    let report = hostsync_api::doctor::examine(config, file, chrono::Utc::now).await;
    say(&if json { report.json().to_string() } else { report.to_string() });
    if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The configuration of a command; what stands in it as a warning is said beside the output.
fn configuration(service: Service, args: &CommonArgs, surroundings: &Surroundings) -> Result<Config, ExitCode> {
    process::configuration(service, args, surroundings).inspect(warn)
}

fn warn(config: &Config) {
    for warning in &config.warnings {
        complain(&format!("warning: {warning}"));
    }
}

/// Does what an operator asks, with the configuration that a scheduler needs: the database and the broker.
fn operate(
    args: &CommonArgs,
    surroundings: &Surroundings,
    command: impl AsyncFnOnce(&Config, Actor) -> anyhow::Result<()>,
) -> ExitCode {
    let config = match configuration(Service::Scheduler, args, surroundings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    telemetry::use_ring();
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(command(&config, hostsync_api::operate::actor(&user(surroundings)))));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&hostsync_api::explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Who gives the command: as the environment says it, else the number of the user.
fn user(surroundings: &Surroundings) -> String {
    let named = ["USER", "LOGNAME"].into_iter().find_map(|name| {
        let (_, user) = surroundings.environment.iter().find(|(known, _)| known == name)?;
        user.to_str().filter(|user| !user.is_empty()).map(str::to_owned)
    });
    let number = || std::fs::metadata("/proc/self").map(|own| own.uid().to_string()).unwrap_or_default();
    named.unwrap_or_else(number)
}

/// Shows what is in force, whatever of it a service would lack.
fn show(args: &CommonArgs, surroundings: Surroundings) -> ExitCode {
    match Config::load(surroundings.config_path(args).as_deref(), surroundings.environment) {
        Ok(config) => {
            warn(&config);
            say(config.masked_toml().trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(EXIT_CONFIGURATION)
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
