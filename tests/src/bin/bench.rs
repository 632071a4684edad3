//! `make bench`: the speed figures of the design, as medians. Exit code 0 only if all goals are met.

use std::process::ExitCode;

use clap::Parser;
use sluice_tests::bench::{Options, run};

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(if runtime.block_on(run(&options))? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
