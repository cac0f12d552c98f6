//! `hostsync-autoscale`: plays the autoscaler's loop on this machine. `make autoscale` builds and runs it.
#![allow(clippy::print_stderr, reason = "what went wrong is said on standard error")]

use std::process::ExitCode;

use clap::Parser;
use hostsync_bench::autoscale::{Args, run};

/// Exit code after Ctrl-C, as shells have it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tokio::select! {
        outcome = run(&args) => match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("\nThe play failed: {error:#}");
                eprintln!("Logs of the services: {}/*.log", args.folder.display());
                ExitCode::FAILURE
            }
        },
        // Dropping the rest of the play stops the services.
        _ = tokio::signal::ctrl_c() => ExitCode::from(INTERRUPTED),
    }
}
