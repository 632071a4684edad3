//! One run of kustomize in the jail. Whatever the child does, the parent comes back by the deadline and leaves nothing running.

use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::workspace::HOME;
use super::{RenderError, Renderer, message};
use crate::jail;

pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Which walls of the jail could be built on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Isolation {
    /// The renderer has a network namespace of its own, with nothing in it.
    pub network_namespace: bool,
    /// The renderer cannot make sockets. Without this and without the namespace, it is not started.
    pub no_sockets: bool,
    /// Memory, CPU, file and process limits are in force.
    pub limits: bool,
}

enum Event {
    Stdout { bytes: Vec<u8>, over: bool },
    Stderr { bytes: Vec<u8> },
    Exit(std::io::Result<ExitStatus>),
}

/// What is left to arrive once the process has ended is in the pipes already; a descendant that keeps them open is not waited for.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// A killed process is reaped within this, or something is wrong with the machine.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const PROBE_OUTPUT_BYTES: u64 = 4 << 10;

pub(super) fn kustomize(
    renderer: &Renderer,
    workspace: &Path,
    directory: &Path,
    deadline: Instant,
    output_bytes: u64,
) -> Result<Output, RenderError> {
    let limits = &renderer.limits;
    let jail_limits = jail::Limits { memory_bytes: limits.memory_bytes, cpu_s: limits.cpu.as_secs().max(1) };
    let mut command = jailed(renderer)?;
    command.args(jail_limits.to_args()).arg("--").arg(&renderer.kustomize).arg("build").arg(directory);
    command.current_dir(workspace).env("HOME", workspace.join(HOME)).env("TMPDIR", workspace.join(HOME));
    let finished = run(command, deadline, output_bytes, limits.stderr_bytes)?;
    let (status, output) = finished;
    if status.success() {
        return Ok(output);
    }
    if status.code() == Some(i32::from(jail::EXIT_CODE_FAILED)) {
        let problem = crate::error::printable(String::from_utf8_lossy(&output.stderr).trim(), 300);
        return Err(RenderError::JailFailed { problem });
    }
    match status.signal() {
        // nobody else kills it: the CPU limit, or the kernel when the container runs out of memory
        Some(_) => Err(RenderError::RendererLimit { limit: "CPU time or memory" }),
        None => Err(message::explain(&output.stderr, workspace)),
    }
}

/// Enough for a program that prints a line.
const VERSION_LIMITS: jail::Limits = jail::Limits { memory_bytes: 128 << 20, cpu_s: 5 };

pub(super) fn version(renderer: &Renderer) -> Result<String, RenderError> {
    let mut command = jailed(renderer)?;
    command.args(VERSION_LIMITS.to_args()).arg("--").arg(&renderer.kustomize).arg("version");
    let (status, output) = run(command, Instant::now() + PROBE_TIMEOUT, PROBE_OUTPUT_BYTES, PROBE_OUTPUT_BYTES)?;
    if !status.success() {
        return Err(RenderError::JailFailed { problem: "kustomize does not tell its version".into() });
    }
    Ok(crate::error::quoted(String::from_utf8_lossy(&output.stdout).trim()))
}

pub(super) fn probe(renderer: &Renderer) -> Result<Isolation, RenderError> {
    let mut command = jailed(renderer)?;
    command.arg(jail::PROBE_FLAG);
    let (status, output) = run(command, Instant::now() + PROBE_TIMEOUT, PROBE_OUTPUT_BYTES, PROBE_OUTPUT_BYTES)?;
    let answer = serde_json::from_slice(&output.stdout).ok().filter(|_| status.success());
    answer.ok_or_else(|| RenderError::JailFailed { problem: "its probe gave no answer".into() })
}

fn jailed(renderer: &Renderer) -> Result<Command, RenderError> {
    let Some((program, arguments)) = renderer.jail.split_first() else {
        return Err(RenderError::JailFailed { problem: "no command for it is configured".into() });
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    Ok(command)
}

fn run(
    mut command: Command,
    deadline: Instant,
    stdout_bytes: u64,
    stderr_bytes: u64,
) -> Result<(ExitStatus, Output), RenderError> {
    let failed = |problem: String| RenderError::JailFailed { problem };
    // a group of its own, so that one signal reaches whatever it starts
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| failed(format!("it cannot be started: {}", error.kind())))?;
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return Err(failed("it has no process id".into()));
    };
    let (sender, events) = mpsc::channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let to = sender.clone();
    // these threads end when the pipes close, which killing the group brings about
    std::thread::spawn(move || {
        let (bytes, over) = read_up_to(stdout, stdout_bytes);
        let _ = to.send(Event::Stdout { bytes, over });
    });
    let to = sender.clone();
    std::thread::spawn(move || {
        let mut pipe = stderr;
        let (bytes, over) = read_up_to(pipe.as_mut(), stderr_bytes);
        if over && let Some(mut pipe) = pipe {
            // a child that is not listened to would block, and its last words are not needed
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        let _ = to.send(Event::Stderr { bytes });
    });
    std::thread::spawn(move || {
        let _ = sender.send(Event::Exit(child.wait()));
    });
    let outcome = follow(&events, deadline);
    if !outcome.exited {
        // fails when the group is gone already, which is what is wanted
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let until = Instant::now() + REAP_TIMEOUT;
        while let Ok(event) = events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if matches!(event, Event::Exit(_)) {
                break;
            }
        }
    } else if !outcome.drained {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    match outcome {
        Outcome { over: true, .. } => Err(RenderError::RendererLimit { limit: "output" }),
        Outcome { status: Some(status), stdout, stderr, .. } => {
            let status = status.map_err(|error| failed(format!("it cannot be waited for: {}", error.kind())))?;
            Ok((status, Output { stdout, stderr }))
        }
        Outcome { .. } => Err(RenderError::RendererLimit { limit: "time" }),
    }
}

#[derive(Default)]
struct Outcome {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    over: bool,
    exited: bool,
    drained: bool,
    status: Option<std::io::Result<ExitStatus>>,
}

/// Listens until the process has ended and both pipes are read, or the deadline or a cap is reached.
fn follow(events: &mpsc::Receiver<Event>, deadline: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let mut open_pipes = 2;
    let mut until = deadline;
    while !(outcome.exited && open_pipes == 0) {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Stdout { over: true, .. }) => {
                outcome.over = true;
                return outcome;
            }
            Ok(Event::Stdout { bytes, .. }) => {
                outcome.stdout = bytes;
                open_pipes -= 1;
            }
            Ok(Event::Stderr { bytes }) => {
                outcome.stderr = bytes;
                open_pipes -= 1;
            }
            Ok(Event::Exit(status)) => {
                outcome.status = Some(status);
                outcome.exited = true;
                until = until.min(Instant::now() + DRAIN_TIMEOUT);
            }
            Err(_) => return outcome,
        }
    }
    outcome.drained = true;
    outcome
}

fn read_up_to(pipe: Option<impl Read>, max_bytes: u64) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // an error ends the output like its end does; the exit status tells the rest
        let _ = pipe.take(max_bytes + 1).read_to_end(&mut bytes);
    }
    let over = bytes.len() as u64 > max_bytes;
    (bytes, over)
}
