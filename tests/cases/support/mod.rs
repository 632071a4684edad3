//! What several topics need beside the library: the form of a test, and questions that are asked again and again.

pub mod controller;
pub mod people;
pub mod release;
pub mod traffic;

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;
use sluice_tests::case::Case;

type Running = Pin<Box<dyn Future<Output = Result<()>>>>;

/// One sentence about what Sluice does, and the proof.
pub struct Test {
    pub name: &'static str,
    /// It breaks what other tests use, so nothing may run beside it.
    pub alone: bool,
    pub run: Box<dyn Fn(Case) -> Running + Send + Sync>,
}

/// A test that may run beside others.
pub fn test<F, Fut>(name: &'static str, run: F) -> Test
where
    F: Fn(Case) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + 'static,
{
    Test { name, alone: false, run: Box::new(move |case| Box::pin(run(case))) }
}

/// A test that runs alone.
pub fn alone<F, Fut>(name: &'static str, run: F) -> Test
where
    F: Fn(Case) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + 'static,
{
    Test { alone: true, ..test(name, run) }
}

/// Fails with a sentence unless something holds.
macro_rules! ensure_that {
    ($holds:expr, $($sentence:tt)+) => {
        anyhow::ensure!($holds, $($sentence)+)
    };
}
pub(crate) use ensure_that;

/// A figure that is worth a line of the output but no assertion.
pub fn say(case: &Case, sentence: &str) {
    eprintln!("        {}: {sentence}", case.namespace);
}
