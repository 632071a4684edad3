//! Golden transcripts: `tests/scenarios/*.txt` at the root of the repository. SLUICE_BLESS=1 rewrites them.

use std::path::{Path, PathBuf};

use crate::model::script::Script;

/// The environment variable that makes the present output the expected one.
const BLESS: &str = "SLUICE_BLESS";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios")
}

/// The transcript of a scenario's commands: comments and commands as they are, the output of each below it.
fn transcript(text: &str) -> String {
    let mut script = Script::default();
    let mut out = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            out.push_str(line);
            out.push('\n');
            for line in script.run(command) {
                out.push_str(&line);
                out.push('\n');
            }
        } else if line.starts_with('#') || line.is_empty() {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn check(path: &Path) -> Result<(), String> {
    let expected = std::fs::read_to_string(path).unwrap();
    let found = std::panic::catch_unwind(|| transcript(&expected)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panicked".to_owned());
        format!("{}: {message}", path.display())
    })?;
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(path, &found).unwrap();
        return Ok(());
    }
    let differs = expected.lines().zip(found.lines()).enumerate().find(|(_, (expected, found))| expected != found);
    match differs {
        Some((line, (expected, found))) => {
            Err(format!("{}:{}:\n  expected {expected}\n  found    {found}", path.display(), line + 1))
        }
        None if expected.lines().count() != found.lines().count() => {
            Err(format!("{}: {} lines expected, {} found", path.display(), expected.lines().count(), found.lines().count()))
        }
        None => Ok(()),
    }
}

#[test]
fn every_scenario_reads_as_it_is_written() {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "there are no scenarios in {}", folder().display());
    let (first, second) = paths.split_at(paths.len() / 2);
    let half = |paths: &[PathBuf]| paths.iter().filter_map(|path| check(path).err()).collect::<Vec<String>>();
    let wrong = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(second));
        [half(first), other.join().unwrap()].concat()
    });
    assert!(
        wrong.is_empty(),
        "{} of {} scenarios differ; {BLESS}=1 rewrites them\n{}",
        wrong.len(),
        paths.len(),
        wrong.join("\n")
    );
}
