//! `make demo`: a good and a bad release on a real cluster. Exit code 0 only if all of it was seen.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(if runtime.block_on(sluice_tests::demo::run())? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
