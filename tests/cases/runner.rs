//! Runs tests: several at once on threads of their own, those that break things for others alone at the end.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use sluice_tests::audit::Audit;
use sluice_tests::case::{Case, SYNC};
use sluice_tests::cluster::{Cluster, Kind};
use sluice_tests::describe::describe;
use sluice_tests::env::Env;
use sluice_tests::sink::Sink;
use sluice_tests::wait::{Look, wait_until};
use tokio::runtime::{Builder, Runtime};

use crate::Args;
use crate::support::{Test, controller};

/// A test that takes longer hangs.
const TEST_LIMIT: Duration = Duration::from_secs(300);
/// How long a GitSync may take to go. A namespace that is deleted first takes the rights with it that the way back needs.
const SYNC_GOES_LIMIT: Duration = Duration::from_secs(30);

/// What all tests of a run share.
struct Run {
    env: Env,
    sink: Arc<Sink>,
    /// Tells the namespaces of this run from those of an earlier one.
    id: String,
    keep: bool,
    total: usize,
    done: AtomicUsize,
    failed: Mutex<Vec<(&'static str, String)>>,
}

/// Runs all; returns whether all passed.
pub fn run(args: &Args, tests: Vec<Test>) -> Result<bool> {
    let began = Instant::now();
    let runtime = runtime(2)?;
    let env = Env::read()?;
    let sink = Arc::new(runtime.block_on(Sink::start(&env.own_host))?);
    let audit = env.audit_log.as_deref().map(Audit::from_now_on).transpose()?;
    let cluster = runtime.block_on(Cluster::connect())?;
    eprintln!("installing the controller");
    runtime.block_on(controller::install(&cluster, &env, &sink.url()))?;
    let id = format!("{:x}", chrono::Utc::now().timestamp() % 0xf_ffff);
    let total = tests.len();
    eprintln!("running {total} tests");
    let run = Run { env, sink, id, keep: args.keep, total, done: AtomicUsize::new(0), failed: Mutex::default() };
    let (alone, beside): (Vec<_>, Vec<_>) = tests.into_iter().enumerate().partition(|(_, test)| test.alone);
    run.all(beside.into(), args.jobs.max(1));
    run.all(alone.into(), 1);
    let mut failed = run.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let complaints = runtime.block_on(controller::complaints(&cluster, audit.as_ref()))?;
    if !complaints.is_empty() {
        failed.push(("the controller itself", complaints.join("\n")));
    }
    if !failed.is_empty() {
        println!("\nfailures:");
        failed.iter().for_each(|(name, why)| println!("\n---- {name} ----\n{why}"));
        println!("\nfailures:");
        failed.iter().for_each(|(name, _)| println!("    {name}"));
    }
    let broken = failed.iter().filter(|(name, _)| *name != "the controller itself").count();
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s",
        if failed.is_empty() { "ok" } else { "FAILED" },
        total - broken,
        failed.len(),
        crate::all().len() - total,
        began.elapsed().as_secs_f64()
    );
    Ok(failed.is_empty())
}

fn runtime(workers: usize) -> Result<Runtime> {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().context("no runtime can be made")
}

impl Run {
    fn all(&self, tests: VecDeque<(usize, Test)>, jobs: usize) {
        let queue = Mutex::new(tests);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some((index, test)) = next(&queue) {
                        self.one(index, &test);
                    }
                });
            }
        });
    }

    fn one(&self, index: usize, test: &Test) {
        let began = Instant::now();
        let namespace = format!("t{index:02}-{}", self.id);
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| self.within_runtime(&namespace, test)));
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("the test panicked; see above")));
        let done = self.done.fetch_add(1, Ordering::SeqCst) + 1;
        let word = if outcome.is_ok() { "ok  " } else { "FAIL" };
        eprintln!("[{done}/{}] {word} {} ({} s, {namespace})", self.total, test.name, began.elapsed().as_secs());
        if let Err(error) = outcome {
            eprintln!("{error:#}");
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push((test.name, format!("{error:#}")));
        }
    }

    fn within_runtime(&self, namespace: &str, test: &Test) -> Result<()> {
        // one runtime for each test: what it spawns ends with it, and a test that blocks delays nobody else's clients
        let runtime = runtime(1)?;
        runtime.block_on(async {
            let cluster = Cluster::connect().await?;
            let mut case = Case::create(&self.env, &cluster, self.sink.clone(), namespace).await?;
            case.tree.app()?.rolling().steps = vec![(25, 2, false), (50, 2, false)];
            let outcome = match tokio::time::timeout(TEST_LIMIT, (test.run)(case)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(anyhow!("it did not end within {} s", TEST_LIMIT.as_secs())),
            };
            let outcome = match outcome {
                Ok(()) => Ok(()),
                Err(error) => {
                    // waits of a case bring the description along
                    let text = format!("{error:#}");
                    let state = if text.contains("\nGitSync ") { String::new() } else { describe(&cluster, namespace).await };
                    Err(anyhow!("{text}\n{state}log of the controller:\n{}", controller::log_about(namespace)))
                }
            };
            let cleared = if outcome.is_err() && self.keep { Ok(()) } else { clear(&cluster, namespace).await };
            outcome.and(cleared)
        })
    }
}

/// Removes what a test left, first what needs rights to go.
async fn clear(cluster: &Cluster, namespace: &str) -> Result<()> {
    for sync in cluster.list(Kind::GitSync, namespace, "").await? {
        let name = sync.pointer("/metadata/name").and_then(serde_json::Value::as_str).unwrap_or(SYNC);
        cluster.delete(Kind::GitSync, namespace, name).await?;
    }
    let gone = wait_until("the GitSync to go", SYNC_GOES_LIMIT, async || {
        Ok(Look::at(cluster.list(Kind::GitSync, namespace, "").await?.is_empty(), "it is there"))
    })
    .await;
    cluster.delete_namespace(namespace).await?;
    gone
}

fn next(queue: &Mutex<VecDeque<(usize, Test)>>) -> Option<(usize, Test)> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}
