//! The process dies at every single write, before it is carried out or after: the end is the same.

use sluice_store::Fault;

use crate::app::{BAD_IMAGE, Commit};
use crate::engine::Engine;

/// More writes than any of these releases needs.
const WRITES_MAX: usize = 400;

/// Runs the commits with the n-th write broken and the process restarted after it. `None`: there was no such write.
async fn crashed(images: &[&str], n: usize, fault: Fault) -> Option<Engine> {
    let mut engine = Engine::installed().await;
    for (index, image) in (2..).zip(images) {
        engine.push(&Commit::new(index, image)).await;
        if index == 2 {
            engine.store.clear_trace();
            engine.store.fail_write(n, fault);
        }
        let failures = engine.failures.len();
        engine.run_until(|engine| engine.failures.len() > failures).await;
        engine.restart();
        engine.run().await;
    }
    (engine.store.rest_writes().len() > n).then_some(engine)
}

async fn sweep(images: &[&str], fault: Fault) {
    let expected = crashed(images, WRITES_MAX * 10, fault).await;
    assert!(expected.is_none());
    let mut calm = Engine::installed().await;
    for (index, image) in (2..).zip(images) {
        calm.push(&Commit::new(index, image)).await;
        calm.run().await;
    }
    let expected = calm.end_state();
    for n in 0..WRITES_MAX {
        let Some(engine) = crashed(images, n, fault).await else {
            assert!(n > 20, "only {n} writes");
            return;
        };
        let line = engine.store.rest_writes()[n].to_string();
        assert_eq!(engine.end_state(), expected, "write {n} ({line}): {:?} {:?}", engine.states, engine.failures);
        assert_eq!(engine.holes, Vec::<String>::new(), "write {n} ({line})");
    }
    panic!("more than {WRITES_MAX} writes");
}

#[tokio::test(start_paused = true)]
async fn a_promotion_survives_a_crash_before_every_write() {
    sweep(&["shop:2"], Fault::BreakBefore).await;
}

#[tokio::test(start_paused = true)]
async fn a_promotion_survives_a_crash_after_every_write() {
    sweep(&["shop:2"], Fault::BreakAfter).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_survives_a_crash_before_every_write() {
    sweep(&[BAD_IMAGE], Fault::BreakBefore).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_survives_a_crash_after_every_write() {
    sweep(&[BAD_IMAGE], Fault::BreakAfter).await;
}

#[tokio::test(start_paused = true)]
async fn a_promotion_survives_a_conflict_at_every_write() {
    sweep(&["shop:2"], Fault::Conflict).await;
}
