//! The process dies at every single write, before it is carried out or after: the end is the same.

use sluice_store::Fault;

use crate::app::{BAD_IMAGE, Commit};
use crate::engine::Engine;

/// Fewer writes than any of these releases needs: a sweep that crashes at less has swept nothing.
const WRITES_MIN: usize = 20;

/// Breaks each write of a release in a run of its own, begun by a new process just before the pass that makes the write, and
/// compares the end with that of a run in which nothing breaks.
async fn sweep(image: &str, fault: Fault) {
    let mut calm = Engine::installed().await;
    calm.push(&Commit::new(2, image)).await;
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
            // a Rollout's status for people may fail unnoticed
            assert!(engine.failures.len() > failures || line.contains("Rollout"), "{place} was not broken");
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
