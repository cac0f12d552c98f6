//! `hostsync-worker`: reads the configuration and runs a worker.

use std::io::IsTerminal;
use std::process::ExitCode;

use hostsync_service::config::Service;
use hostsync_service::plain_main::plain_main;
use hostsync_service::process::Surroundings;

/// What `--help` says first.
const ABOUT: &str =
    "Takes jobs from RabbitMQ, reads the load of hundreds of hosts with one search, and writes it to the CMDB";

fn main() -> ExitCode {
    let surroundings =
        Surroundings { environment: std::env::vars_os().collect(), is_terminal: std::io::stderr().is_terminal() };
    plain_main("hostsync-worker", ABOUT, Service::Worker, &surroundings, hostsync_worker::run)
}
