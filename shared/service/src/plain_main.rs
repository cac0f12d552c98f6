//! The `main` of a service that does nothing but run: its arguments, and what they say is to be done.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::{CommonArgs, Config, Service, help_table};
use crate::healthcheck::healthcheck;
use crate::process::{Surroundings, run_service, version};
use crate::shutdown::Shutdown;

#[derive(Debug, Parser)]
#[command(version = version(), after_long_help = help_table())]
struct PlainArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: Option<PlainCommand>,
}

#[derive(Debug, Subcommand)]
enum PlainCommand {
    /// Ask the running service whether it is ready; exit code 0 if it is, 1 if not
    Healthcheck,
}

/// Reads the arguments of the process; then [`run_service`], or [`healthcheck`] if they ask for it.
pub fn plain_main<F>(
    name: &'static str,
    about: &'static str,
    service: Service,
    surroundings: &Surroundings,
    run: impl FnOnce(Config, Shutdown) -> F,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let given = PlainArgs::command().name(name).about(about).get_matches();
    let PlainArgs { common, command } = PlainArgs::from_arg_matches(&given).unwrap_or_else(|error| error.exit());
    match command {
        None => run_service(name, service, &common, surroundings, run),
        Some(PlainCommand::Healthcheck) => healthcheck(service, &common, surroundings),
    }
}
