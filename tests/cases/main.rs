//! What Sluice does on a real cluster: one test for each sentence, each in a namespace and a repository of its own.
//!
//! Reading order: [`runner`], [`support`], then the sentences by topic. `cluster --list` prints them all; words as arguments choose
//! those that contain one of them.

mod approval;
mod autoscaling;
mod broken_content;
mod broken_source;
mod deletion;
mod drift;
mod failover;
mod judgement;
mod outage;
mod promotion;
mod pruning;
mod push;
mod refusal;
mod rollback;
mod rollback_whole;
mod runner;
mod schema;
mod supersede;
mod support;
mod tenancy;
mod uninstall;

use std::process::ExitCode;

use clap::Parser;
use support::Test;

/// Tests that need a cluster.
#[derive(Parser)]
pub struct Args {
    /// Only tests whose sentence contains one of these.
    pub filters: Vec<String>,
    /// Prints the sentences and runs none.
    #[arg(long)]
    pub list: bool,
    /// How many run at once.
    #[arg(long, default_value_t = 4)]
    pub jobs: usize,
    /// Leaves the namespaces of failed tests.
    #[arg(long)]
    pub keep: bool,
}

/// All tests, in the order in which they start.
fn all() -> Vec<Test> {
    [
        rollback::all(),
        promotion::all(),
        judgement::all(),
        supersede::all(),
        approval::all(),
        rollback_whole::all(),
        deletion::all(),
        drift::all(),
        autoscaling::all(),
        pruning::all(),
        refusal::all(),
        tenancy::all(),
        broken_content::all(),
        broken_source::all(),
        schema::all(),
        push::all(),
        outage::all(),
        failover::all(),
        uninstall::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut tests = all();
    if !args.filters.is_empty() {
        tests.retain(|test| args.filters.iter().any(|filter| test.name.contains(filter.as_str())));
    }
    if args.list {
        tests.iter().for_each(|test| println!("{}", test.name));
        return ExitCode::SUCCESS;
    }
    match runner::run(&args, tests) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the tests cannot run: {error:#}");
            ExitCode::FAILURE
        }
    }
}
