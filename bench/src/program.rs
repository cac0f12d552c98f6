//! What the `main`s have in common: exit code, what is said of a failure, and an end that leaves no service behind.

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// Exit codes after Ctrl-C and SIGTERM, as shells have them: 128 + the signal.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Runs `what`, whose services write their logs into `folder`, to its end or until it is told to stop. Dropping the rest of
/// the work stops the services that it has started.
#[allow(clippy::print_stderr, reason = "what went wrong is said on standard error")]
pub async fn to_the_end(what: &str, folder: &Path, work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            // Without a handler the signal ends the process by itself.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = work => match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("\nThe {what} failed: {error:#}");
                eprintln!("Logs: of the services {}/*.log, of the servers .dev/log", folder.display());
                ExitCode::FAILURE
            }
        },
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nInterrupted: its services are stopped.");
            ExitCode::from(INTERRUPTED)
        }
        () = terminated => {
            eprintln!("\nTerminated: its services are stopped.");
            ExitCode::from(TERMINATED)
        }
    }
}
