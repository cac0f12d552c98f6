//! `hostsync-bench`: measures hostsync against the shape of the program in use today. `make bench` builds and runs it.

use std::process::ExitCode;

use clap::Parser;
use hostsync_bench::measure::{BenchArgs, run};
use hostsync_bench::program;

#[tokio::main]
async fn main() -> ExitCode {
    let args = BenchArgs::parse();
    program::to_the_end("benchmark", &args.folder, run(&args)).await
}
