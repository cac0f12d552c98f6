//! `hostsync-scheduler`: reads the configuration and runs a scheduler.

use std::io::IsTerminal;
use std::process::ExitCode;

use hostsync_service::config::Service;
use hostsync_service::plain_main::plain_main;
use hostsync_service::process::Surroundings;

/// What `--help` says first.
const ABOUT: &str = "Turns cron schedules into executions and publishes one job a host to RabbitMQ";

fn main() -> ExitCode {
    let surroundings =
        Surroundings { environment: std::env::vars_os().collect(), is_terminal: std::io::stderr().is_terminal() };
    plain_main("hostsync-scheduler", ABOUT, Service::Scheduler, &surroundings, hostsync_scheduler::run)
}
