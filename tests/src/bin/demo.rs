//! `make demo`: a good and a bad release on a real cluster. Exit code 0 only if all of it was seen.

use std::process::ExitCode;

use clap::Parser;
use sluice_tests::demo::{Options, run};

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(if runtime.block_on(run(&options))? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
