//! `hostsync-worker`: reads the configuration and runs a worker.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use hostsync_shared::config::{CommonArgs, Service, help_table};
use hostsync_shared::process::{self, Surroundings};

/// Takes jobs from RabbitMQ, reads the load of hundreds of hosts with one search, and writes it to the CMDB.
#[derive(Debug, Parser)]
#[command(name = "hostsync-worker", version, after_long_help = help_table())]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let surroundings =
        Surroundings { environment: std::env::vars_os().collect(), is_terminal: std::io::stderr().is_terminal() };
    process::run_service("hostsync-worker", Service::Worker, &args.common, &surroundings, hostsync_worker::run)
}
