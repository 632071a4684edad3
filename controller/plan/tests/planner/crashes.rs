//! I45: a process that ends at any write leaves the same end as one that never does, and makes and removes no object more often.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_crds::release::State;
use sluice_plan::Id;
use sluice_plan::view::intent_digest;

use crate::model::app::sha;
use crate::model::{App, Fate, Git, Reply, Sim, invariants, script};

/// What is left in the end: every object of the application by its intent, and what is good and quarantined.
#[derive(Debug, PartialEq)]
struct End {
    objects: BTreeMap<Id, String>,
    good: Option<String>,
    quarantine: Vec<String>,
    births: BTreeMap<Id, (u32, u32)>,
}

fn end(sim: &Sim) -> End {
    let bare = |object: &Value| {
        let mut object = object.clone();
        for field in ["uid", "ownerReferences"] {
            sluice_plan::view::remove(&mut object, &["metadata", field]);
        }
        intent_digest(&object)
    };
    let is_of_the_application = |id: &Id| id.group != "sluice.dev" && id.kind != "Pod";
    let status = sim.sync_status();
    End {
        objects: sim
            .store
            .all()
            .filter(|(id, _)| is_of_the_application(id))
            .map(|(id, object)| (id.clone(), bare(object)))
            .collect(),
        good: status.good.map(|good| good.sha),
        quarantine: status.quarantine.into_iter().map(|entry| entry.sha).collect(),
        births: sim
            .store
            .births
            .iter()
            .filter(|(id, _)| is_of_the_application(id))
            .map(|(id, count)| (id.clone(), *count))
            .collect(),
    }
}

fn app() -> App {
    App { steps: vec![(25, 2, false), (50, 2, false)], bake_s: 2, config: Some("blue".to_owned()), ..App::new("shop") }
}

/// Something that happens to a settled application, up to its end.
type Story = fn(&mut Sim);

fn is_promoted(sim: &mut Sim) {
    sim.git.app("shop").image = "shop:2".to_owned();
    sim.git.app("shop").config = Some("green".to_owned());
    sim.push("b0b5e");
    sim.run(300_000);
    assert_eq!(sim.good(), Some(sha("b0b5e")), "{}", sim.teller.tail());
}

fn is_rolled_back(sim: &mut Sim) {
    sim.replies.insert("shop".to_owned(), Reply::Value(0.5));
    sim.git.app("shop").image = "shop:2".to_owned();
    sim.push("b0b5e");
    sim.run(300_000);
    assert_eq!(sim.good(), Some(sha("a11ce")), "{}", sim.teller.tail());
}

fn never_starts(sim: &mut Sim) {
    sim.fates.insert("shop:2".to_owned(), Fate::Crash);
    sim.git.app("shop").image = "shop:2".to_owned();
    sim.push("b0b5e");
    sim.run(300_000);
    assert_eq!(sim.good(), Some(sha("a11ce")), "{}", sim.teller.tail());
}

fn comes_back_to_an_old_version(sim: &mut Sim) {
    is_promoted(sim);
    sim.git.app("shop").image = "shop:1".to_owned();
    sim.git.app("shop").config = Some("blue".to_owned());
    sim.push("c0ffee");
    sim.run(300_000);
    assert_eq!(sim.good(), Some(sha("c0ffee")), "{}", sim.teller.tail());
}

fn installed() -> Sim {
    Sim::installed(Git::of(app()), "a11ce")
}

fn finished(mut sim: Sim, story: Story) -> Sim {
    story(&mut sim);
    sim.dies_after = None;
    sim.advance(3000, |_| false);
    invariants::at_rest(&sim.store);
    script::quiet(&mut sim, 5);
    sim
}

#[test]
fn one_world_has_one_plan_and_no_memory_decides() {
    for story in [is_promoted as Story, is_rolled_back] {
        let mut sim = installed();
        sim.is_thorough = true;
        finished(sim, story);
    }
}

fn survives_crashes(story: Story, writes_each: usize) {
    let expected = end(&finished(installed(), story));
    let mut sim = installed();
    sim.dies_after = Some(writes_each);
    assert_eq!(end(&finished(sim, story)), expected);
}

/// The process ends once, before the write after so many in one pass: between records and effects of the same decision.
fn survives_a_crash_in_the_middle_of_a_pass(story: Story) {
    let expected = end(&finished(installed(), story));
    for writes in 0..6 {
        let mut sim = installed();
        sim.crash_after = Some(writes);
        assert_eq!(end(&finished(sim, story)), expected, "the crash before write {}", writes + 1);
    }
}

#[test]
fn a_promotion_survives_a_crash_after_every_write() {
    survives_crashes(is_promoted, 1);
}

#[test]
fn a_rollback_survives_a_crash_after_every_second_write() {
    survives_crashes(is_rolled_back, 2);
}

#[test]
fn a_rollback_survives_a_crash_after_every_write() {
    survives_crashes(is_rolled_back, 1);
}

/// The process ends between the record of the quarantine and that of the way back, and the metric is well again afterwards.
#[test]
fn a_decision_to_go_back_survives_a_crash_between_its_two_records() {
    let mut sim = installed();
    sim.git.app("shop").image = "shop:2".to_owned();
    sim.push("b0b5e");
    sim.advance(60_000, |sim| sim.status().is_some_and(|status| matches!(status.state, State::Judging { step: 1 })));
    sim.replies.insert("shop".to_owned(), Reply::Value(0.5));
    sim.crash_after = Some(1);
    sim.advance(60_000, |sim| !sim.sync_status().quarantine.is_empty());
    sim.replies.clear();
    sim.run(300_000);
    assert_eq!(sim.good(), Some(sha("a11ce")), "what is quarantined became good:\n{}", sim.teller.tail());
}

#[test]
fn a_release_that_never_starts_survives_a_crash_after_every_write() {
    survives_crashes(never_starts, 1);
}

#[test]
fn a_return_to_an_old_version_survives_a_crash_after_every_write() {
    survives_crashes(comes_back_to_an_old_version, 1);
}

#[test]
fn a_rollback_survives_a_crash_in_the_middle_of_a_pass() {
    survives_a_crash_in_the_middle_of_a_pass(is_rolled_back);
}

/// Every write of a promotion, one run each.
#[test]
#[ignore = "takes minutes: cargo test -p sluice-plan -- --ignored"]
fn a_promotion_survives_a_crash_at_each_single_write() {
    let expected = end(&finished(installed(), is_promoted));
    for write in 0..120 {
        let mut sim = installed();
        sim.crash_at_write = Some(write);
        assert_eq!(end(&finished(sim, is_promoted)), expected, "the crash before write {}", write + 1);
    }
}
