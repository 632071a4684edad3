//! The jail on its own: what runs in it is bounded, and the caller always comes back.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sluice_source::render::{Mode, RenderError, RenderLimits, Renderer};
use sluice_source::tree::{SourceTree, TreeLimits};
use sluice_source::yaml::YamlLimits;
use support::kustomize::renderer;

fn tree(text: &str) -> SourceTree {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), text).unwrap();
    SourceTree::from_directory(dir.path(), ".", Mode::Auto, &TreeLimits::default()).unwrap()
}

const OBJECT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

/// Runs a shell script in place of kustomize.
fn run_script(script: &str, limits: RenderLimits) -> (Result<usize, RenderError>, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let program: PathBuf = dir.path().join("kustomize");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let renderer = Renderer { kustomize: program, limits, ..renderer() };
    let start = Instant::now();
    let result = renderer.render(&tree(OBJECT)).map(|render| render.objects.len());
    (result, start.elapsed())
}

fn short() -> RenderLimits {
    RenderLimits { wall_clock: Duration::from_secs(1), cpu: Duration::from_secs(1), ..RenderLimits::default() }
}

/// Limits that let any bomb through to kustomize.
fn no_prescan() -> YamlLimits {
    YamlLimits { max_nodes: usize::MAX / 4, max_expansion: usize::MAX / 4, max_depth: 200, ..YamlLimits::default() }
}

#[test]
fn a_bomb_that_gets_past_the_scan_is_bounded_by_the_jail() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", ")));
    }
    let limits = RenderLimits {
        yaml: no_prescan(),
        wall_clock: Duration::from_secs(10),
        cpu: Duration::from_secs(5),
        ..RenderLimits::default()
    };
    let renderer = Renderer { limits, ..renderer() };
    let start = Instant::now();
    let error = renderer.render(&tree(&format!("{OBJECT}data:\n  {}", bomb.replace('\n', "\n  ")))).unwrap_err();
    assert_eq!(error.reason(), "RendererLimit", "{error}");
    assert!(start.elapsed() < Duration::from_secs(12));
}

#[test]
fn a_renderer_that_hangs_is_killed_with_all_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let (result, took) = run_script(&format!("/bin/sleep 60 & echo $! >{0}; echo $$ >>{0}; wait", pids.display()), short());
    assert_eq!(result.unwrap_err().reason(), "RendererLimit");
    assert!(took < Duration::from_secs(3), "{took:?}");
    let text = std::fs::read_to_string(pids).unwrap();
    assert_eq!(text.lines().count(), 2);
    for pid in text.lines() {
        // a killed process may be a zombie until its parent, or the system, has seen it
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        assert!(state.is_none_or(|stat| stat.contains(") Z ")), "process {pid} is still running");
    }
}

#[test]
fn a_child_that_leaves_its_pipes_open_does_not_hold_the_caller() {
    let (result, took) =
        run_script("/bin/sleep 60 & exit 3", RenderLimits { wall_clock: Duration::from_secs(20), ..RenderLimits::default() });
    assert_eq!(result.unwrap_err().reason(), "RendererFailed");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn endless_output_on_either_pipe_is_cut_off() {
    let (result, took) = run_script(
        "while :; do echo 'a: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'; done",
        RenderLimits { output_bytes: 10_000, wall_clock: Duration::from_secs(20), ..RenderLimits::default() },
    );
    assert!(matches!(result, Err(RenderError::RendererLimit { limit: "output" })), "{result:?}");
    assert!(took < Duration::from_secs(10));
    let (result, _) = run_script(
        "i=0; while [ $i -lt 30000 ]; do echo noise >&2; i=$((i+1)); done; echo 'apiVersion: v1'; echo 'kind: X'; echo 'metadata: {name: x}'",
        RenderLimits::default(),
    );
    assert_eq!(result.unwrap(), 1, "a noisy renderer is listened to all the same");
}

#[test]
fn processor_time_is_bounded() {
    let (result, took) = run_script(
        "while :; do :; done",
        RenderLimits { cpu: Duration::from_secs(1), wall_clock: Duration::from_secs(30), ..RenderLimits::default() },
    );
    assert_eq!(result.unwrap_err().reason(), "RendererLimit");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn the_environment_of_the_controller_does_not_reach_the_renderer() {
    let report =
        "IFS=; { /usr/bin/env | /usr/bin/cut -d= -f1 | /usr/bin/sort | while read -r name; do echo \"    $name: x\"; done; }";
    let script = format!("echo 'apiVersion: v1'; echo 'kind: X'; echo 'metadata:'; echo '  name: x'; echo '  labels:'; {report}");
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("kustomize");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let objects = Renderer { kustomize: program, ..renderer() }.render(&tree(OBJECT)).unwrap().objects;
    let names: Vec<&str> = objects[0]["metadata"]["labels"].as_object().unwrap().keys().map(String::as_str).collect();
    for name in names {
        let expected = [
            "ALL_PROXY",
            "GOMAXPROCS",
            "GOMEMLIMIT",
            "GOTRACEBACK",
            "HOME",
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "PATH",
            "PWD",
            "TMPDIR",
            "http_proxy",
            "https_proxy",
            "_",
            "OLDPWD",
            "SHLVL",
        ];
        assert!(expected.contains(&name), "{name} reached the renderer");
    }
}

const SAY_OBJECT: &str = "echo 'apiVersion: v1'; echo 'kind: X'; echo 'metadata: {name: x}'";

#[test]
fn where_namespaces_are_allowed_the_renderer_sees_no_network() {
    let isolation = renderer().probe_isolation().unwrap();
    assert!(isolation.limits);
    if isolation.network_namespace {
        let (result, _) = run_script(
            &format!("n=$(/bin/grep -c : /proc/net/dev); [ \"$n\" = 1 ] || exit 9; {SAY_OBJECT}"),
            RenderLimits::default(),
        );
        assert_eq!(result.unwrap(), 1, "there is nothing but a loopback device, which is down");
    }
}

#[test]
fn the_renderer_cannot_make_a_socket_even_without_namespaces() {
    assert!(renderer().probe_isolation().unwrap().no_sockets);
    // bash opens a socket for this path; a refused connection and a forbidden socket have different words
    let script = format!(
        "word=$(/bin/bash -c '</dev/tcp/127.0.0.1/9' 2>&1); case $word in *'Permission denied'*) {SAY_OBJECT};; *) exit 9;; esac"
    );
    let (result, _) = run_script(&script, RenderLimits::default());
    assert_eq!(result.unwrap(), 1);
}

#[test]
fn the_version_of_kustomize_is_known() {
    let version = renderer().version().unwrap();
    assert!(!version.is_empty() && version.len() < 50, "{version}");
}

#[test]
fn a_jail_that_cannot_start_is_the_operators_matter() {
    let missing = Renderer { kustomize: "/nonexistent/kustomize".into(), ..renderer() };
    let error = missing.render(&tree(OBJECT)).unwrap_err();
    assert_eq!((error.reason(), error.category()), ("JailFailed", sluice_source::Category::Transient));
    for jail in [Vec::new(), vec!["/nonexistent/jail".into()], vec!["/bin/false".into()]] {
        assert!(Renderer { jail, ..renderer() }.render(&tree(OBJECT)).is_err());
    }
}
