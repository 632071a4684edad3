//! The process dies at every single write, before it is carried out or after: the end is the same.

use serde_json::json;
use sluice_store::Fault;

use crate::app::{BAD_IMAGE, Commit};
use crate::engine::Engine;

/// Fewer writes than any of these releases needs: a sweep that crashes at less has swept nothing.
const WRITES_MIN: usize = 20;

/// Small and quick: a sweep runs it hundreds of times.
fn quick(number: u32, image: &str) -> Commit {
    Commit::new(number, image).with(|commit| {
        commit.object("Deployment")["spec"]["replicas"] = json!(2);
        let canary = &mut commit.object("Rollout")["spec"]["strategy"]["canary"];
        canary["steps"] = json!([{"weight": 50, "hold": "3s"}]);
        canary["bake"] = json!("3s");
    })
}

/// Breaks each write of a release in a run of its own, begun by a new process just before the pass that makes the write, and
/// compares the end with that of a run in which nothing breaks.
async fn sweep(image: &str, fault: Fault) {
    let mut calm = Engine::installed_with(&quick(1, "shop:1")).await;
    calm.push(&quick(2, image)).await;
    let mut passes = Vec::new();
    loop {
        let before = calm.fork();
        let from = before.store.rest_writes().len();
        let rests = calm.turn().await.is_none();
        let writes = calm.store.rest_writes().len() - from;
        if writes > 0 {
            passes.push((before, writes));
        }
        if rests {
            break;
        }
    }
    let expected = calm.end_state();
    assert!(passes.iter().map(|(_, writes)| writes).sum::<usize>() > WRITES_MIN);
    for (before, writes) in passes {
        for n in 0..writes {
            let mut engine = before.fork();
            let failures = engine.failures.len();
            engine.store.fail_write(n, fault);
            engine.turn().await;
            let line = engine.store.rest_writes().last().map(ToString::to_string).unwrap_or_default();
            let place = format!("write {n} of {:?}: {line}", before.states.last());
            // a Rollout's status for people and the collection of what nobody needs may fail unnoticed
            let may_fail = ["Rollout", "Delete Secret", "Delete Release"].iter().any(|kind| line.contains(kind));
            assert!(engine.failures.len() > failures || may_fail, "{place} was not broken");
            engine.restart();
            engine.run().await;
            assert_eq!(engine.end_state(), expected, "{place}: {:?} {:?}", engine.states, engine.failures);
            assert_eq!(engine.holes, Vec::<String>::new(), "{place}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_promotion_survives_a_crash_before_every_write() {
    sweep("shop:2", Fault::BreakBefore).await;
}

#[tokio::test(start_paused = true)]
async fn a_promotion_survives_a_crash_after_every_write() {
    sweep("shop:2", Fault::BreakAfter).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_survives_a_crash_before_every_write() {
    sweep(BAD_IMAGE, Fault::BreakBefore).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_survives_a_crash_after_every_write() {
    sweep(BAD_IMAGE, Fault::BreakAfter).await;
}

#[tokio::test(start_paused = true)]
async fn a_promotion_survives_a_conflict_at_every_write() {
    sweep("shop:2", Fault::Conflict).await;
}
