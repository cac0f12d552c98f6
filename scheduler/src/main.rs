//! `hostsync-scheduler`: reads the configuration and runs a scheduler.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use hostsync_shared::config::{CommonArgs, Service, help_table};
use hostsync_shared::process::{self, Surroundings};

/// Turns cron schedules into executions and publishes one job a host to RabbitMQ.
#[derive(Debug, Parser)]
#[command(name = "hostsync-scheduler", version, after_long_help = help_table())]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let surroundings =
        Surroundings { environment: std::env::vars_os().collect(), is_terminal: std::io::stderr().is_terminal() };
    process::run_service("hostsync-scheduler", Service::Scheduler, &args.common, &surroundings, hostsync_scheduler::run)
}
