//! `hostsync-sizes`: measures what a run needs of memory, network and disk. `make sizes` builds and runs it.

use std::process::ExitCode;

use clap::Parser;
use hostsync_bench::program;
use hostsync_bench::sizes::{SizesArgs, run};

#[tokio::main]
async fn main() -> ExitCode {
    let args = SizesArgs::parse();
    program::to_the_end("measurement", &args.folder, run(&args)).await
}
