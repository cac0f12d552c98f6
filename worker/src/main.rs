//! `hostsync-worker`: reads the configuration and runs a worker.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hostsync_service::config::{CommonArgs, Service, help_table};
use hostsync_service::healthcheck::healthcheck;
use hostsync_service::process::{self, Surroundings};

/// Takes jobs from RabbitMQ, reads the load of hundreds of hosts with one search, and writes it to the CMDB.
#[derive(Debug, Parser)]
#[command(name = "hostsync-worker", version = process::version(), after_long_help = help_table())]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask the running service whether it is ready; exit code 0 if it is, 1 if not
    Healthcheck,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let surroundings =
        Surroundings { environment: std::env::vars_os().collect(), is_terminal: std::io::stderr().is_terminal() };
    let (service, common) = (Service::Worker, &args.common);
    match args.command {
        None => process::run_service("hostsync-worker", service, common, &surroundings, hostsync_worker::run),
        Some(Command::Healthcheck) => healthcheck(service, common, &surroundings),
    }
}
