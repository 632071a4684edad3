//! Commands of people: annotations bound to a revision, answered once, recorded with who and when. A malformed or stale one is
//! answered too, and changes nothing.

use serde_json::Value;
use sluice_crds::gitsync::GitSyncStatus;
use sluice_crds::names::{ABORT, APPROVE_PRUNE, BY_SUFFIX, COMMANDS, GROUP, PAUSE, PROMOTE, PROMOTE_FULL, RETRY};
use sluice_crds::release::{CommandRecord, ReleaseSpec, ReleaseStatus, State};

use crate::check::bounded;
use crate::effects::Effect;
use crate::id::Id;
use crate::view::{annotation, list, resource_version, text, uid};
use crate::wait::Blocked;
use crate::world::World;

/// Commands that a Release remembers.
const RECORDS_MAX: usize = 20;
/// The fewest digits of a commit that name it.
const SHA_DIGITS_MIN: usize = 7;
/// Bytes of a command's value that are kept.
const VALUE_BYTES_MAX: usize = 256;

/// A command as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub on: Id,
    pub annotation: &'static str,
    pub value: String,
    pub by: String,
    uid: String,
    resource_version: String,
}

/// What an accepted command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Gates up to this step are passed.
    Pass {
        through: i32,
    },
    Abort {
        by: String,
    },
    Retry {
        sha: String,
    },
    ApprovePrune,
}

/// All commands on the GitSync and its Rollouts, in the order of their objects.
#[must_use]
pub fn found(world: &World) -> Vec<Command> {
    let mut found = Vec::new();
    let sync = serde_json::to_value(&world.sync).unwrap_or_default();
    let sync_id = sync_id(world);
    let rollouts =
        world.live.iter().filter(|(id, _)| id.is(GROUP, "Rollout")).filter_map(|(id, live)| Some((id, live.object.as_ref()?)));
    for (id, object) in std::iter::once((&sync_id, &sync)).chain(rollouts) {
        for name in COMMANDS {
            let value = annotation(object, name);
            if !value.is_empty() {
                found.push(Command {
                    on: id.clone(),
                    annotation: name,
                    value: value.chars().take(VALUE_BYTES_MAX / 4).collect(),
                    by: by(world, object, name),
                    uid: uid(object).to_owned(),
                    resource_version: resource_version(object).to_owned(),
                });
            }
        }
    }
    found
}

/// The GitSync as an object.
#[must_use]
pub fn sync_id(world: &World) -> Id {
    Id::new(GROUP, "GitSync", world.namespace(), world.sync.metadata.name.as_deref().unwrap_or_default())
}

/// Managed fields name a client and not a person; the user's name is known only where the API server stamps it.
fn by(world: &World, object: &Value, name: &str) -> String {
    let stamped = annotation(object, &format!("{name}{BY_SUFFIX}"));
    if world.commands_are_stamped && !stamped.is_empty() {
        return format!("user {}", bounded(stamped));
    }
    let field = format!("f:{name}");
    let client = list(object, &["metadata", "managedFields"])
        .iter()
        .find(|entry| entry.pointer("/fieldsV1/f:metadata/f:annotations").is_some_and(|fields| fields.get(&field).is_some()))
        .map_or("unknown", |entry| text(entry, &["manager"]));
    format!("client {} (no user name: the admission policy of the chart is not installed)", bounded(client))
}

/// What holds forward motion by annotation.
#[must_use]
pub fn paused(world: &World) -> Option<Blocked> {
    let is_paused = |object: &Value| annotation(object, PAUSE) == "true";
    let sync = serde_json::to_value(&world.sync.metadata)
        .map(|metadata| serde_json::json!({ "metadata": metadata }))
        .unwrap_or_default();
    if is_paused(&sync) {
        return Some(Blocked::Paused(sync_id(world).to_string()));
    }
    world
        .live
        .iter()
        .filter(|(id, _)| id.is(GROUP, "Rollout"))
        .find(|(_, live)| live.object.as_ref().is_some_and(is_paused))
        .map(|(id, _)| Blocked::Paused(id.to_string()))
}

/// Answers new commands: each gets a record, and the decision of the accepted ones comes back.
pub fn answer(
    world: &World,
    release: Option<(&ReleaseSpec, &mut ReleaseStatus)>,
    sync: &GitSyncStatus,
) -> (Vec<CommandRecord>, Vec<Decision>) {
    let mut answered = Vec::new();
    let mut decisions = Vec::new();
    let found = found(world);
    let Some((spec, status)) = release else {
        for command in &found {
            let (answer, decision) = decide(world, None, sync, command);
            answered.push(record(world, command, &answer));
            decisions.extend(decision);
        }
        return (answered, decisions);
    };
    for record in &mut status.commands {
        let is_there = found.iter().any(|command| is_same(record, command));
        record.cleared |= !is_there;
    }
    for command in &found {
        if status.commands.iter().any(|record| !record.cleared && is_same(record, command)) {
            continue;
        }
        let (answer, decision) = decide(world, Some((spec, status)), sync, command);
        let record = record(world, command, &answer);
        if let Some(Decision::Pass { through }) = decision {
            status.approved_through = status.approved_through.max(through);
        }
        decisions.extend(decision);
        status.commands.push(record.clone());
        answered.push(record);
    }
    let surplus = status.commands.len().saturating_sub(RECORDS_MAX);
    status.commands.drain(..surplus);
    (answered, decisions)
}

/// Removes the annotations of answered commands.
#[must_use]
pub fn clear(world: &World) -> Vec<Effect> {
    found(world)
        .into_iter()
        .map(|command| Effect::ClearAnnotation {
            id: command.on,
            annotation: command.annotation.to_owned(),
            uid: command.uid,
            resource_version: command.resource_version,
        })
        .collect()
}

fn is_same(record: &CommandRecord, command: &Command) -> bool {
    record.on == command.on.to_string() && record.annotation == command.annotation && record.value == command.value
}

fn record(world: &World, command: &Command, answer: &Result<String, String>) -> CommandRecord {
    let (accepted, text) = match answer {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    CommandRecord {
        on: command.on.to_string(),
        annotation: command.annotation.to_owned(),
        value: command.value.clone(),
        by: command.by.clone(),
        at: world.now,
        accepted,
        answer: bounded(text),
        cleared: false,
    }
}

fn decide(
    world: &World,
    release: Option<(&ReleaseSpec, &ReleaseStatus)>,
    sync: &GitSyncStatus,
    command: &Command,
) -> (Result<String, String>, Option<Decision>) {
    let result = match command.annotation {
        APPROVE_PRUNE => approve_prune(sync, &command.value),
        RETRY => retry(release, sync, &command.value),
        name => on_release(world, release, name, command),
    };
    match result {
        Ok((text, decision)) => (Ok(text), Some(decision)),
        Err(text) => (Err(text), None),
    }
}

type Answer = Result<(String, Decision), String>;

fn approve_prune(sync: &GitSyncStatus, value: &str) -> Answer {
    match &sync.prune_blocked {
        Some(blocked) if blocked.digest == value => {
            Ok((format!("the deletion of {} objects goes on", blocked.objects), Decision::ApprovePrune))
        }
        Some(blocked) => Err(format!("the deletion that waits has the digest {}, not {value}", blocked.digest)),
        None => Err("no deletion waits for an approval".to_owned()),
    }
}

fn retry(release: Option<(&ReleaseSpec, &ReleaseStatus)>, sync: &GitSyncStatus, value: &str) -> Answer {
    check_sha(value)?;
    if let Some(quarantined) = sync.quarantine.iter().find(|quarantined| names(value, &quarantined.sha)) {
        return Ok((format!("commit {} is tried once more", quarantined.sha), Decision::Retry { sha: quarantined.sha.clone() }));
    }
    if let Some((_, status)) = release
        && matches!(status.state, State::Holding {})
        && names(value, &status.target.sha)
    {
        return Ok((
            format!("commit {} is tried once more", status.target.sha),
            Decision::Retry { sha: status.target.sha.clone() },
        ));
    }
    Err(format!("commit {value} is not quarantined"))
}

fn on_release(world: &World, release: Option<(&ReleaseSpec, &ReleaseStatus)>, name: &str, command: &Command) -> Answer {
    check_sha(&command.value)?;
    let Some((spec, status)) = release.filter(|(_, status)| !crate::plan::is_final(&status.state)) else {
        return Err("no release is in motion".to_owned());
    };
    if !names(&command.value, &status.target.sha) {
        return Err(format!("the release in motion is for commit {}, not {}", status.target.sha, command.value));
    }
    match name {
        ABORT if crate::retreat::is_reversible(world, spec, status) || matches!(status.state, State::Holding {}) => {
            Ok(("the release goes back".to_owned(), Decision::Abort { by: command.by.clone() }))
        }
        ABORT => Err("the release cannot be taken back any more, or goes back already".to_owned()),
        PROMOTE_FULL => {
            let through = crate::motion::step_count(spec);
            Ok((
                "approvals and undecided checks of all steps are passed; holds stay, and a failing check still goes back"
                    .to_owned(),
                Decision::Pass { through },
            ))
        }
        PROMOTE => match gate(spec, status) {
            Some(through) => Ok((format!("the gate of step {} is passed", through + 1), Decision::Pass { through })),
            None => Err("the release is at no gate".to_owned()),
        },
        other => Err(format!("{other} is not a command of a release")),
    }
}

/// The step whose gate a promotion passes: an approval, or a verdict that only a person can overrule.
fn gate(spec: &ReleaseSpec, status: &ReleaseStatus) -> Option<i32> {
    let State::Judging { step } = status.state else { return None };
    let needs_approval = spec
        .rollouts
        .iter()
        .any(|plan| usize::try_from(step).is_ok_and(|index| plan.steps.get(index).is_some_and(|step| step.approval)));
    let is_undecided = status
        .wait
        .as_ref()
        .is_some_and(|wait| matches!(wait.reason.as_str(), "Inconclusive" | "NoData" | "QueryError" | "Hold"));
    ((needs_approval || is_undecided) && status.approved_through < step).then_some(step)
}

fn check_sha(value: &str) -> Result<(), String> {
    let is_sha = (SHA_DIGITS_MIN..=40).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_sha {
        Ok(())
    } else {
        Err(format!("{:?} is not a commit: give at least {SHA_DIGITS_MIN} of its 40 hexadecimal digits", bounded(value)))
    }
}

fn names(value: &str, sha: &str) -> bool {
    sha.starts_with(&value.to_ascii_lowercase())
}
