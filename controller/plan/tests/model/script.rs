//! The words of scenarios. One command a line; what a command does is one arm here.

use serde_json::json;
use sluice_plan::plan::is_final;
use sluice_plan::view::{integer, list, set};

use super::app::{App, Git, id};
use super::execute::{annotate, delete_by_hand};
use super::invariants;
use super::observe::SYNC;
use super::pods::{self, Fate};
use super::sim::{Reply, Sim};
use super::tell::{state, weights};

/// A scenario under way.
pub struct Script {
    pub sim: Sim,
    told: usize,
}

/// `90s` and `2m` as milliseconds.
fn duration_ms(text: &str) -> i64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: f64 = number.parse().unwrap();
    #[allow(clippy::cast_possible_truncation, reason = "a scenario's times are small")]
    let ms = (number * if unit == "m" { 60_000.0 } else { 1000.0 }) as i64;
    ms
}

fn words<'a>(rest: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    rest.iter().map(|word| word.split_once('=').unwrap_or((word, "")))
}

impl Default for Script {
    fn default() -> Self {
        let sim = Sim::new(Git::default());
        Self { sim, told: 0 }
    }
}

impl Script {
    /// Carries out one command; what is to be read of it.
    pub fn run(&mut self, line: &str) -> Vec<String> {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let (command, rest) = parts.split_first().unwrap();
        self.command(command, rest);
        self.sim.wake();
        let lines = self.sim.teller.lines[self.told..].to_vec();
        self.told = self.sim.teller.lines.len();
        lines
    }

    fn command(&mut self, command: &str, rest: &[&str]) {
        let sim = &mut self.sim;
        match command {
            "app" => {
                let app = sim.git.apps.entry(rest[0].to_owned()).or_insert_with(|| App::new(rest[0]));
                words(&rest[1..]).for_each(|(name, value)| set_app(app, name, value));
            }
            "object" => {
                sim.git.others.insert((rest[0].to_owned(), rest[1].to_owned()), rest[2].to_owned());
            }
            "drop" if rest[0] == "app" => {
                sim.git.apps.remove(rest[1]);
            }
            "drop" => {
                sim.git.others.retain(|(kind, name), _| !(kind == rest[0] && (rest[1] == "*" || name == rest[1])));
            }
            "push" => sim.push(rest[0]),
            "installed" => {
                sim.push(rest[0]);
                sim.run(600_000);
                assert!(sim.good().is_some(), "the first commit is not good:\n{}", sim.teller.tail());
                self.told = sim.teller.lines.len();
            }
            "advance" => self.advance(rest),
            "metric" => {
                let reply = match rest[1] {
                    "nodata" => Reply::Empty,
                    "nan" => Reply::NotANumber,
                    "error" => Reply::Error,
                    value => Reply::Value(value.parse().unwrap()),
                };
                sim.replies.insert(rest[0].to_owned(), reply);
            }
            "pods" => {
                let fate = match rest[1] {
                    "crash" => Fate::Crash,
                    "never" => Fate::NeverReady,
                    "pull-error" => Fate::PullError,
                    after => Fate::ReadyAfter(duration_ms(after)),
                };
                sim.fates.insert(rest[0].to_owned(), fate);
                sim.wake();
            }
            "annotate" => self.annotate(rest),
            "weights" => {
                let new: Vec<i64> = rest[1..].iter().map(|weight| weight.parse().unwrap()).collect();
                let change = |route: &mut serde_json::Value| {
                    let backends = route.pointer_mut("/spec/rules/0/backendRefs").unwrap().as_array_mut().unwrap();
                    for (backend, weight) in backends.iter_mut().zip(new) {
                        backend["weight"] = json!(weight);
                    }
                };
                sim.store.update(&id("HTTPRoute", rest[0]), "kubectl-edit", "", change).unwrap();
            }
            "scale" => {
                let replicas: i64 = rest[1].parse().unwrap();
                let scaler = if rest.contains(&"autoscaler") { "horizontal-pod-autoscaler" } else { "kubectl-scale" };
                sim.store
                    .update(&id("Deployment", rest[0]), scaler, "scale", |it| set(it, &["spec", "replicas"], json!(replicas)))
                    .unwrap();
            }
            "delete" => {
                delete_by_hand(&mut sim.store, &if rest[0] == "GitSync" { id("GitSync", SYNC) } else { id(rest[0], rest[1]) })
            }
            "sync" => sim.configure(|spec| {
                for (name, value) in words(rest) {
                    let path: Vec<&str> = name.split('.').collect();
                    set(spec, &path, serde_json::from_str(value).unwrap_or_else(|_| json!(value)));
                }
            }),
            "restart" => sim.restart(),
            "crash" => sim.crash_after = Some(rest[0].parse().unwrap()),
            "takeover" => {
                sim.epoch += 1;
                sim.restart();
            }
            "clock" => {
                let (sign, text) = rest[0].split_at(1);
                sim.skew_ms += duration_ms(text) * if sign == "-" { -1 } else { 1 };
            }
            "webhook" => sim.store.annotates_templates = Some(rest[0].to_owned()),
            "refuse" => {
                sim.store.refuses.insert(id(rest[0], rest[1]), rest[2..].join(" "));
            }
            "admit" => sim.store.refuses.clear(),
            "gateway" => {
                sim.gateway.is_down = rest[0] == "down";
                sim.wake();
            }
            "show" => self.show(),
            "rest" => self.rest(),
            "clean" => {
                invariants::at_rest(&sim.store);
                sim.teller.now_ms = sim.mono_ms;
                sim.teller.say("clean", "no trace of a release is left");
            }
            other => panic!("no command {other:?}"),
        }
    }

    fn annotate(&mut self, rest: &[&str]) {
        let (kind, name) = rest[0].split_once('/').unwrap();
        let target = id(kind, name);
        for (command, value) in words(&rest[1..]) {
            let value = match value {
                "BRAKE" => self.sim.sync_status().prune_blocked.map(|blocked| blocked.digest).unwrap_or_default(),
                value => value.to_owned(),
            };
            if value == "-" {
                let remove = |it: &mut serde_json::Value| {
                    sluice_plan::view::remove(it, &["metadata", "annotations", &format!("sluice.dev/{command}")])
                };
                self.sim.store.update(&target, "kubectl-annotate", "", remove).unwrap();
            } else {
                annotate(&mut self.sim.store, &target, &format!("sluice.dev/{command}"), &value);
            }
        }
        self.sim.wake();
    }

    fn advance(&mut self, rest: &[&str]) {
        let (mut limit_ms, mut until) = (600_000, String::new());
        for (name, value) in words(rest) {
            match name {
                "until" => value.clone_into(&mut until),
                time => limit_ms = duration_ms(time),
            }
        }
        let reached = |sim: &Sim| match until.split_once(':') {
            None if until.is_empty() => false,
            None if until == "rest" => sim.is_at_rest(),
            Some(("state", wanted)) => {
                sim.status().is_some_and(|status| state(&status.state).replace(", ", "/").replace(' ', "-") == wanted)
            }
            Some(("wait", wanted)) => sim.status().is_some_and(|status| status.wait.is_some_and(|wait| wait.reason == wanted)),
            _ => panic!("no such end: {until}"),
        };
        self.sim.advance(limit_ms, reached);
        self.sim.teller.now_ms = self.sim.mono_ms;
        if !until.is_empty() && !reached(&self.sim) {
            let status = self.sim.status().map(|status| state(&status.state));
            self.sim.teller.say("late", &format!("not reached: {until}; {status:?}"));
        }
    }

    /// The traffic and the pods as they are.
    fn show(&mut self) {
        let mut lines = Vec::new();
        for (route, object) in self.sim.store.of_kind(sluice_plan::id::GATEWAY, "HTTPRoute") {
            lines.push(format!("HTTPRoute/{} {}", route.name, weights(object)));
        }
        for (_, set) in self.sim.store.of_kind(sluice_plan::id::APPS, "ReplicaSet") {
            let owner =
                list(set, &["metadata", "ownerReferences"]).first().map_or("nobody", |owner| owner["kind"].as_str().unwrap());
            let ready = pods::ready_of(&self.sim.store, set);
            let replicas = integer(set, &["spec", "replicas"]).unwrap_or(0);
            lines.push(format!(
                "{ready} of {replicas} pods of {} ready, owned by a {owner}",
                pods::image(&set["spec"]["template"])
            ));
        }
        lines.sort();
        self.sim.teller.now_ms = self.sim.mono_ms;
        lines.iter().for_each(|line| self.sim.teller.say("shown", line));
    }

    /// The end of a scenario: what is good, and that nothing more is done and nothing is left.
    fn rest(&mut self) {
        let sim = &mut self.sim;
        sim.teller.now_ms = sim.mono_ms;
        assert!(sim.status().is_some_and(|status| is_final(&status.state)), "not at rest:\n{}", sim.teller.tail());
        quiet(sim, 100);
        invariants::at_rest(&sim.store);
        let status = sim.sync_status();
        let good = status.good.map_or("nothing".to_owned(), |good| good.short[..5].to_owned());
        let quarantined: Vec<&str> = status.quarantine.iter().map(|entry| &entry.sha[..5]).collect();
        let phase = sim.status().map_or(String::new(), |status| status.phase);
        let text = format!("good={good} release={} {phase} quarantine=[{}]", status.release, quarantined.join(" "));
        sim.teller.say("rest", &text);
    }
}

/// At rest nothing is written, however often it is looked at (I30, I43).
pub fn quiet(sim: &mut Sim, passes: usize) {
    for _ in 0..passes {
        sim.mono_ms += 1000;
        let world = sim.world().unwrap();
        let made = sluice_plan::plan(&world);
        assert!(
            made.records.is_empty() && made.effects.is_empty(),
            "I30: at rest something is written: {:?} {:?}",
            made.records,
            made.effects
        );
    }
}

fn set_app(app: &mut App, name: &str, value: &str) {
    match name {
        "image" => value.clone_into(&mut app.image),
        "replicas" => app.replicas = value.parse().unwrap(),
        "config" => app.config = Some(value.to_owned()),
        "bake" => app.bake_s = duration_ms(value) / 1000,
        "deadline" => app.deadline_s = duration_ms(value) / 1000,
        "rollout" => app.has_rollout = value == "yes",
        "autoscaled" => app.is_autoscaled = value == "yes",
        "on-no-data" => app.rolls_back_on_no_data = value == "rollback",
        "steps" => {
            app.steps = value
                .split(',')
                .map(|step| {
                    let parts: Vec<&str> = step.split('/').collect();
                    (parts[0].parse().unwrap(), duration_ms(parts[1]) / 1000, parts.contains(&"approval"))
                })
                .collect();
        }
        other => panic!("an app has no {other}"),
    }
}
