//! `hostsync-demo`: shows hostsync at work on the development servers. `make demo` builds and runs it.

use std::process::ExitCode;

use clap::Parser;
use hostsync_bench::demo::{DemoArgs, run};
use hostsync_bench::program;

#[tokio::main]
async fn main() -> ExitCode {
    let args = DemoArgs::parse();
    program::to_the_end("demonstration", &args.folder, run(&args)).await
}
