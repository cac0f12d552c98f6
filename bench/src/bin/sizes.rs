//! `hostsync-sizes`: measures what a run needs of memory, network and disk. `make sizes` builds and runs it.
#![allow(clippy::print_stderr, reason = "what went wrong is said on standard error")]

use std::process::ExitCode;

use clap::Parser;
use hostsync_bench::sizes::{Args, run};

/// Exit code after Ctrl-C, as shells have it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tokio::select! {
        outcome = run(&args) => match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("\nThe measurement failed: {error:#}");
                eprintln!("Logs of the services: {}/*.log", args.folder.display());
                ExitCode::FAILURE
            }
        },
        // Dropping the rest of the run stops the services.
        _ = tokio::signal::ctrl_c() => ExitCode::from(INTERRUPTED),
    }
}
