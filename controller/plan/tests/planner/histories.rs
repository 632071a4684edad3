//! Random histories: commits, commands, failing pods, bad metrics, edits by hand, crashes, clocks that jump. Whatever comes,
//! no invariant breaks; and when it stops coming, the next good commit gets in. SLUICE_CASES=n asks for more than a few.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;
use sluice_crds::names::{ABORT, PAUSE, PROMOTE, PROMOTE_FULL, RETRY};
use sluice_plan::view::set;
use sluice_plan::world::Candidate;

use crate::model::app::{id, sha};
use crate::model::execute::{annotate, delete_by_hand};
use crate::model::observe::SYNC;
use crate::model::{App, Fate, Git, Reply, Sim, invariants, script};

/// Cases of each property in a common run: what fits into some seconds without optimisation.
const CASES: u32 = 8;
/// Virtual time in which everything has to end once nothing goes wrong any more.
const HEALED_MS: i64 = 900_000;

#[derive(Clone, Debug)]
enum Move {
    Push { image: u8, config: u8, replicas: i64 },
    Extra(bool),
    Command { name: &'static str, is_stale: bool },
    Pods { image: u8, fate: Fate },
    Metric(Reply),
    Edit(u8),
    Crash(usize),
    Takeover,
    Clock(i64),
    Hold(bool),
    Suspend(bool),
    Pass(i64),
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (0..4000_i64).prop_map(Fate::ReadyAfter),
        1 => Just(Fate::NeverReady),
        1 => Just(Fate::Crash),
        1 => Just(Fate::PullError),
    ]
}

fn replies() -> impl Strategy<Value = Reply> {
    prop_oneof![3 => Just(Reply::Value(0.0)), 1 => Just(Reply::Value(0.5)), 1 => Just(Reply::Empty), 1 => Just(Reply::NotANumber), 1 => Just(Reply::Error)]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let commands = prop::sample::select(vec![PROMOTE, PROMOTE_FULL, ABORT, RETRY]);
    let one = prop_oneof![
        3 => (1..4_u8, 0..2_u8, 1..5_i64).prop_map(|(image, config, replicas)| Move::Push { image, config, replicas }),
        1 => any::<bool>().prop_map(Move::Extra),
        2 => (commands, any::<bool>()).prop_map(|(name, is_stale)| Move::Command { name, is_stale }),
        1 => (1..4_u8, fates()).prop_map(|(image, fate)| Move::Pods { image, fate }),
        1 => replies().prop_map(Move::Metric),
        2 => (0..7_u8).prop_map(Move::Edit),
        2 => (0..4_usize).prop_map(Move::Crash),
        1 => Just(Move::Takeover),
        1 => prop::sample::select(vec![-3_600_000, -7000, 7000, 3_600_000_i64]).prop_map(Move::Clock),
        1 => any::<bool>().prop_map(Move::Hold),
        1 => any::<bool>().prop_map(Move::Suspend),
        8 => (100..12_000_i64).prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 1..24)
}

fn app() -> App {
    App { steps: vec![(20, 3, false), (50, 3, true)], bake_s: 3, config: Some("0".to_owned()), ..App::new("shop") }
}

struct History {
    sim: Sim,
    commits: u32,
}

impl History {
    fn new() -> Self {
        let mut sim = Sim::installed(Git::of(app()), "a0000000");
        sim.is_thorough = std::env::var_os("SLUICE_LONG").is_some();
        Self { sim, commits: 0 }
    }

    fn commit(&mut self) -> String {
        self.commits += 1;
        format!("{:08x}", 0xb000_0000_u32 + self.commits)
    }

    fn make(&mut self, step: &Move) {
        match step {
            Move::Push { image, config, replicas } => {
                let app = self.sim.git.app("shop");
                app.image = format!("shop:{image}");
                app.config = Some(config.to_string());
                app.replicas = *replicas;
                let commit = self.commit();
                self.sim.push(&commit);
            }
            Move::Extra(is_there) => {
                let extra = ("ConfigMap".to_owned(), "extra".to_owned());
                if *is_there {
                    self.sim.git.others.insert(extra, "1".to_owned())
                } else {
                    self.sim.git.others.remove(&extra)
                };
                let commit = self.commit();
                self.sim.push(&commit);
            }
            Move::Command { name, is_stale } => {
                let target = self.sim.status().map(|status| status.target.sha).unwrap_or_default();
                let value = if *is_stale { "0123456".to_owned() } else { target };
                annotate(&mut self.sim.store, &id("Rollout", "shop"), name, &value);
            }
            Move::Pods { image, fate } => {
                // Stable pods that die are another story than a release: only what is not good may fail.
                let good = self.sim.store.get(&id("Deployment", "shop")).unwrap();
                let image = format!("shop:{image}");
                if crate::model::pods::image(&good["spec"]["template"]) != image {
                    self.sim.fates.insert(image, *fate);
                }
            }
            Move::Metric(reply) => {
                self.sim.replies.insert("shop".to_owned(), reply.clone());
            }
            Move::Edit(which) => self.edit(*which),
            Move::Crash(writes) => self.sim.crash_after = Some(*writes),
            Move::Takeover => {
                self.sim.epoch += 1;
                self.sim.restart();
            }
            Move::Clock(by_ms) => self.sim.skew_ms += by_ms,
            Move::Hold(is_held) => self.pause(*is_held),
            Move::Suspend(is_suspended) => self.sim.configure(|spec| spec["suspend"] = json!(is_suspended)),
            Move::Pass(ms) => self.sim.advance(*ms, |_| false),
        }
        self.sim.wake();
    }

    fn pause(&mut self, is_held: bool) {
        annotate(&mut self.sim.store, &id("Rollout", "shop"), PAUSE, if is_held { "true" } else { "false" });
    }

    fn edit(&mut self, which: u8) {
        let store = &mut self.sim.store;
        let _ = match which {
            0 => store.update(&id("HTTPRoute", "shop"), "kubectl-edit", "", |route| {
                for backend in route.pointer_mut("/spec/rules/0/backendRefs").unwrap().as_array_mut().unwrap() {
                    backend["weight"] = json!(7);
                }
            }),
            1 => store
                .update(&id("Service", "shop"), "kubectl-edit", "", |it| set(it, &["spec", "selector"], json!({"app": "shop"}))),
            2 => store.update(&id("ConfigMap", "shop"), "kubectl-edit", "", |it| set(it, &["data", "more"], json!("x"))),
            3 => store.update(&id("Deployment", "shop"), "kubectl-label", "", |it| {
                set(it, &["metadata", "labels", "team"], json!("a"))
            }),
            4 => {
                delete_by_hand(store, &id("Service", "shop"));
                return;
            }
            5 => {
                delete_by_hand(store, &id("Rollout", "shop"));
                return;
            }
            _ => {
                store.update(&id("Rollout", "shop"), "kubectl-edit", "", |it| set(it, &["spec", "progressDeadline"], json!("3m")))
            }
        };
    }

    /// Everything that failed is well again, and a new version is pushed.
    fn heal(&mut self) -> String {
        self.sim.fates.clear();
        self.sim.replies.clear();
        self.sim.crash_after = None;
        self.sim.configure(|spec| spec["suspend"] = json!(false));
        self.sim.advance(10_000, |_| false);
        self.pause(false);
        let app = self.sim.git.app("shop");
        app.image = "shop:9".to_owned();
        app.steps = vec![(20, 3, false), (50, 3, false)];
        let commit = self.commit();
        self.sim.push(&commit);
        sha(&commit)
    }
}

/// Gates that were recorded before are passed as a person would.
fn let_through(sim: &mut Sim) {
    let waits = sim.status().and_then(|status| Some((status.wait?.reason, status.target.sha)));
    if let Some((reason, sha)) = waits
        && matches!(reason.as_str(), "WaitingForApproval" | "Inconclusive")
    {
        annotate(&mut sim.store, &id("Rollout", "shop"), PROMOTE_FULL, &sha);
        sim.wake();
    }
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("SLUICE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    // The common run is the same every time; SLUICE_SEED gives others.
    let seed = std::env::var("SLUICE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    ProptestConfig {
        cases,
        max_shrink_iters: 60,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_happens_no_invariant_breaks_and_the_next_good_commit_gets_in(moves in moves()) {
        let mut history = History::new();
        for step in &moves {
            history.make(step);
        }
        let wanted = history.heal();
        let sim = &mut history.sim;
        for _ in 0..HEALED_MS / 30_000 {
            sim.run(30_000);
            let_through(sim);
            if sim.is_at_rest() && sim.good() == Some(wanted.clone()) {
                break;
            }
        }
        prop_assert_eq!(sim.good(), Some(wanted), "it does not get in:\n{}", sim.teller.tail());
        sim.advance(5000, |_| false);
        invariants::at_rest(&sim.store);
        script::quiet(sim, 3);
        prop_assert!(sim.store.get(&id("GitSync", SYNC)).is_some());
    }

    #[test]
    fn a_release_under_way_ends_where_it_would_without_crashes(crashes in prop::collection::vec((0..4_usize, 100..6000_i64), 1..8), is_bad in any::<bool>()) {
        let run = |crashes: &[(usize, i64)]| {
            let mut sim = Sim::installed(Git::of(App { steps: vec![(50, 3, false)], bake_s: 2, ..App::new("shop") }), "a0000000");
            if is_bad {
                sim.replies.insert("shop".to_owned(), Reply::Value(1.0));
            }
            sim.git.app("shop").image = "shop:2".to_owned();
            sim.push("b0000001");
            for (writes, ms) in crashes {
                sim.crash_after = Some(*writes);
                sim.advance(*ms, |_| false);
            }
            sim.crash_after = None;
            sim.run(300_000);
            sim.advance(3000, |_| false);
            invariants::at_rest(&sim.store);
            let pods = sim.store.all().filter(|(id, _)| id.kind == "Pod").count();
            (sim.good(), sim.sync_status().quarantine.len(), pods, sim.store.births.clone())
        };
        prop_assert_eq!(run(&crashes), run(&[]));
    }
}

#[test]
fn a_candidate_that_is_not_known_yet_changes_nothing() {
    let mut history = History::new();
    history.sim.candidate = Candidate::Unknown {};
    history.sim.restart();
    script::quiet(&mut history.sim, 3);
}
