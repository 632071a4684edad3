//! The jail: a step between us and the renderer that takes away what a renderer does not need, then becomes the renderer.
//!
//! It must run in a process of its own with a single thread, so the `jail` subcommand has to be dispatched before any runtime
//! or thread pool is started.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::UnshareFlags;

use crate::render::Isolation;

/// Exit code of the jail itself, as `env` and container runtimes use it; no renderer exits with it.
pub(crate) const EXIT_CODE_FAILED: u8 = 125;
pub(crate) const PROBE_FLAG: &str = "--probe";
const MEMORY_FLAG: &str = "--memory-bytes";
const CPU_FLAG: &str = "--cpu-seconds";

/// Addresses are no memory: Go's runtime reserves well over a gigabyte before it uses any, so the bound on what can be written
/// (`RLIMIT_DATA`) is the limit that counts, and this one only stops what goes around it.
const ADDRESS_SPACE_BYTES: u64 = 3 << 30;
/// kustomize writes to its pipes only.
const FILE_BYTES: u64 = 1 << 20;
const OPEN_FILES: u64 = 64;
/// Threads count as processes. Set only inside a user namespace of its own, because elsewhere the count is shared with every
/// container on the node that runs under the same user id.
const PROCESSES: u64 = 64;

/// Set in the number of a system call made by the x32 interface.
const X32_CALL: i64 = 0x4000_0000;

/// Where the renderer finds no programs.
const EMPTY_PATH: &str = "/nonexistent";
/// Port 9 (discard) of this host: a client that honours proxies fails by name and not by a forbidden call.
const NOWHERE_PROXY: &str = "http://127.0.0.1:9";

/// What the renderer may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: u64,
    pub cpu_s: u64,
}

impl Limits {
    pub(crate) fn to_args(self) -> [String; 2] {
        [format!("{MEMORY_FLAG}={}", self.memory_bytes), format!("{CPU_FLAG}={}", self.cpu_s)]
    }
}

#[derive(Debug, thiserror::Error)]
enum JailError {
    #[error("usage: jail {MEMORY_FLAG}=N {CPU_FLAG}=N -- program arguments…, or jail {PROBE_FLAG}")]
    Usage,
    #[error("the limit on {what} cannot be set: {errno}")]
    Limit { what: &'static str, errno: rustix::io::Errno },
    #[error("privileges cannot be given up: {0}")]
    Privileges(rustix::io::Errno),
    #[error("system calls for the network cannot be forbidden: {0}")]
    Network(&'static str),
    #[error("the renderer cannot be started: {0}")]
    Exec(std::io::ErrorKind),
}

/// Entry of the `jail` subcommand; `arguments` are those after its name. Comes back only on failure, or after a probe.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.as_slice() == [OsStr::new(PROBE_FLAG)] {
        return probe();
    }
    let error = match confine_and_exec(&arguments) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("{error}");
    ExitCode::from(EXIT_CODE_FAILED)
}

fn probe() -> ExitCode {
    let network_namespace = leave_network();
    let limits = set_limits(Limits { memory_bytes: ADDRESS_SPACE_BYTES, cpu_s: 1 }, network_namespace).is_ok()
        && drop_privileges().is_ok();
    let no_sockets = forbid_sockets().is_ok();
    match serde_json::to_string(&Isolation { network_namespace, no_sockets, limits }) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::from(EXIT_CODE_FAILED),
    }
}

fn parse(arguments: &[OsString]) -> Option<(Limits, &[OsString])> {
    let number = |argument: &OsString, flag: &str| argument.to_str()?.strip_prefix(flag)?.strip_prefix('=')?.parse::<u64>().ok();
    match arguments {
        [memory, cpu, separator, command @ ..] if separator == "--" && !command.is_empty() => {
            Some((Limits { memory_bytes: number(memory, MEMORY_FLAG)?, cpu_s: number(cpu, CPU_FLAG)? }, command))
        }
        _ => None,
    }
}

fn confine_and_exec(arguments: &[OsString]) -> Result<std::convert::Infallible, JailError> {
    let (limits, command) = parse(arguments).ok_or(JailError::Usage)?;
    let Some((program, rest)) = command.split_first() else { return Err(JailError::Usage) };
    let own_namespaces = leave_network();
    set_limits(limits, own_namespaces)?;
    drop_privileges()?;
    // one of the two must stand: remote bases are refused before, but that is our reading of kustomize's rules
    match forbid_sockets() {
        Err(_) if own_namespaces => {}
        outcome => outcome?,
    }
    let mut command = Command::new(program);
    command.args(rest).env_clear().env("PATH", EMPTY_PATH);
    for name in ["HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, NOWHERE_PROXY);
    }
    // two threads of work are all the machine has to give; no stack dumps of a renderer that hits its limits
    command.env("GOMAXPROCS", "2").env("GOTRACEBACK", "none");
    // the collector works harder near the limit instead of running into it
    command.env("GOMEMLIMIT", format!("{}B", limits.memory_bytes / 4 * 3));
    Err(JailError::Exec(command.exec().kind()))
}

/// Gives this process namespaces of its own, in which there is no network. Containers often forbid it; the probe tells.
#[allow(
    unsafe_code,
    reason = "unshare is unsafe because of file descriptor tables shared between threads: this flag is not used, and there is one thread"
)]
fn leave_network() -> bool {
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) }.is_ok()
}

/// Forbids to make sockets, and the one other way to them, for good. It works without privileges, also in containers.
fn forbid_sockets() -> Result<(), JailError> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| JailError::Network("not on this processor"))?;
    let mut calls = vec![libc::SYS_socket, libc::SYS_io_uring_setup];
    if cfg!(target_arch = "x86_64") {
        // the same calls by the numbers of the x32 interface
        calls.extend([libc::SYS_socket | X32_CALL, libc::SYS_io_uring_setup | X32_CALL]);
    }
    // an empty list of conditions means: always
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let forbidden = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, forbidden, arch)
        .map_err(|_| JailError::Network("the filter is not valid"))?;
    let program = BpfProgram::try_from(filter).map_err(|_| JailError::Network("the filter is not valid"))?;
    seccompiler::apply_filter(&program).map_err(|_| JailError::Network("the kernel refuses the filter"))
}

fn set_limits(limits: Limits, own_user_namespace: bool) -> Result<(), JailError> {
    let mut wanted = vec![
        (Resource::Data, limits.memory_bytes, "memory"),
        (Resource::As, ADDRESS_SPACE_BYTES, "address space"),
        (Resource::Cpu, limits.cpu_s, "CPU time"),
        (Resource::Fsize, FILE_BYTES, "file size"),
        (Resource::Nofile, OPEN_FILES, "open files"),
        (Resource::Core, 0, "core dumps"),
    ];
    if own_user_namespace {
        wanted.push((Resource::Nproc, PROCESSES, "processes"));
    }
    for (resource, value, what) in wanted {
        // never above what is already imposed on us
        let value = rustix::process::getrlimit(resource).maximum.map_or(value, |imposed| imposed.min(value));
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        rustix::process::setrlimit(resource, limit).map_err(|errno| JailError::Limit { what, errno })?;
    }
    Ok(())
}

fn drop_privileges() -> Result<(), JailError> {
    rustix::thread::set_no_new_privs(true).map_err(JailError::Privileges)?;
    // after the namespaces: changing credentials clears it
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(JailError::Privileges)
}
