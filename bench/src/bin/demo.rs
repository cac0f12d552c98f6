//! `hostsync-demo`: shows hostsync at work on the development servers. `make demo` builds and runs it.
#![allow(clippy::print_stderr, reason = "what went wrong is said on standard error")]

use std::process::ExitCode;

use clap::Parser;
use hostsync_bench::demo::{Args, run};

/// Exit code after Ctrl-C, as shells have it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tokio::select! {
        outcome = run(&args) => match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("\nThe demonstration failed: {error:#}");
                eprintln!("Logs: of the services {}/*.log, of the servers .dev/log. Run `make demo` again when it is mended.", args.folder.display());
                ExitCode::FAILURE
            }
        },
        // Dropping the rest of the run stops the services that it has started.
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nInterrupted: the services are stopped. `make demo` starts again where it can go on.");
            ExitCode::from(INTERRUPTED)
        }
    }
}
