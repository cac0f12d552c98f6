//! What the three `main`s have in common: configuration, logs, runtime, signals, exit code.
//!
//! The environment and the terminal test are passed in by `main`; a configuration that cannot be used ends the process
//! with 2 before it touches anything, any other failure with 1.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use crate::config::{CONFIG_VARIABLE, CommonArgs, Config, Service};
use crate::shutdown::Shutdown;
use crate::telemetry;
use hostsync_model::causes::causes;
use hostsync_schedule::ZoneRules;

/// Exit code of a configuration that cannot be used.
pub const EXIT_CONFIGURATION: u8 = 2;

/// Grace period of the scheduler and the API after SIGTERM; the worker has its own key.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

/// What `--version` says: the release, and by which rules of time zones it reckons.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| format!("{}\ntime zone rules {}", env!("CARGO_PKG_VERSION"), ZoneRules::in_force()))
}

/// What `main` knows of its surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether standard error is a terminal.
    pub is_terminal: bool,
}

impl Surroundings {
    /// The file of the configuration: that of the arguments, else that of the environment.
    pub fn config_path(&self, args: &CommonArgs) -> Option<PathBuf> {
        let named = self.environment.iter().find(|(name, _)| name == CONFIG_VARIABLE);
        args.config_path(named.map(|(_, path)| path.clone()))
    }
}

/// Reads the configuration that `service` needs.
///
/// # Errors
///
/// The exit code; what is wrong has been said on standard error.
pub fn configuration(service: Service, args: &CommonArgs, surroundings: &Surroundings) -> Result<Config, ExitCode> {
    let path = surroundings.config_path(args);
    Config::load_for(service, path.as_deref(), surroundings.environment.iter().cloned()).map_err(|error| {
        say(&error.to_string());
        ExitCode::from(EXIT_CONFIGURATION)
    })
}

/// Runs a service to its end: configuration, logs, runtime, signals.
pub fn run_service<F>(
    name: &'static str,
    service: Service,
    args: &CommonArgs,
    surroundings: &Surroundings,
    run: impl FnOnce(Config, Shutdown) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let config = match configuration(service, args, surroundings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    telemetry::use_ring();
    let telemetry = match telemetry::init(name, &config.telemetry, surroundings.is_terminal) {
        Ok(guard) => guard,
        Err(error) => return failed(&error),
    };
    for warning in &config.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let grace = if service == Service::Worker { config.worker.shutdown_grace } else { SHUTDOWN_GRACE };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::on_signals(grace)?;
        run(config, shutdown).await
    });
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %causes(error.as_ref()), "{name} ends");
            ExitCode::FAILURE
        }
    };
    // Nothing that is still running may hold up the end.
    runtime.shutdown_background();
    drop(telemetry);
    code
}

fn failed(error: &anyhow::Error) -> ExitCode {
    say(&causes(error.as_ref()).to_string());
    ExitCode::FAILURE
}

/// Before there is a log.
#[allow(clippy::print_stderr, reason = "there is no log yet")]
fn say(text: &str) {
    eprintln!("{text}");
}
