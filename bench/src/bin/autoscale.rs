//! `hostsync-autoscale`: plays the autoscaler's loop on this machine. `make autoscale` builds and runs it.

use std::process::ExitCode;

use clap::Parser;
use hostsync_bench::autoscale::{AutoscaleArgs, run};
use hostsync_bench::program;

#[tokio::main]
async fn main() -> ExitCode {
    let args = AutoscaleArgs::parse();
    program::to_the_end("play", &args.folder, run(&args)).await
}
