//! A repository of a test: bare on the cluster's Git server, with a working copy here. The plain `git` program does it all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::env::{Env, run};

/// Who writes the commits; alerts name the author.
pub const AUTHOR: &str = "Ada Example";
const AUTHOR_EMAIL: &str = "ada@example.com";
const BRANCH: &str = "main";

/// A repository and its working copy.
pub struct Repository {
    /// Its name on the server.
    pub name: String,
    work: tempfile::TempDir,
    bare: String,
}

impl Repository {
    /// Makes an empty repository.
    ///
    /// # Errors
    /// The cluster or git refuses.
    pub fn create(env: &Env, name: &str) -> Result<Self> {
        let bare = match &env.cluster {
            Some(_) => env.cluster_command(&["git-repo", name])?,
            None => format!("{}/open/{name}.git", env.git_url),
        };
        let repository =
            Self { name: name.to_owned(), work: tempfile::tempdir().context("a working copy needs a directory")?, bare };
        repository.git(&["init", "-q", "--initial-branch", BRANCH])?;
        repository.git(&["config", "user.name", AUTHOR])?;
        repository.git(&["config", "user.email", AUTHOR_EMAIL])?;
        repository.git(&["config", "commit.gpgsign", "false"])?;
        repository.git(&["remote", "add", "origin", &repository.bare])?;
        Ok(repository)
    }

    /// The working copy.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.work.path()
    }

    /// The address through one of the server's doors, as pods reach it.
    #[must_use]
    pub fn svc_url(&self, env: &Env, door: &str) -> String {
        format!("{}/{door}/{}.git", env.git_svc_url, self.name)
    }

    /// Runs git in the working copy.
    ///
    /// # Errors
    /// git's.
    pub fn git(&self, args: &[&str]) -> Result<String> {
        // no configuration of the machine's user may change what a test does
        run(Command::new("git")
            .arg("-C")
            .arg(self.path())
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null"))
    }

    /// Makes the tree exactly the given files, commits and pushes; returns the commit.
    ///
    /// # Errors
    /// git's.
    pub fn commit_all(&self, files: &BTreeMap<String, Vec<u8>>, message: &str) -> Result<String> {
        for entry in std::fs::read_dir(self.path())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name != ".git") {
                remove(&path)?;
            }
        }
        for (name, content) in files {
            let path = self.path().join(name);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&path, content).with_context(|| format!("{name} in the working copy"))?;
        }
        self.commit_as_is(message)
    }

    /// Commits the working copy as it stands, and pushes; returns the commit.
    ///
    /// # Errors
    /// git's.
    pub fn commit_as_is(&self, message: &str) -> Result<String> {
        self.git(&["add", "-A"])?;
        self.git(&["commit", "-q", "--allow-empty", "-m", message])?;
        self.push()?;
        self.head()
    }

    /// Pushes the branch, also where that drops commits.
    ///
    /// # Errors
    /// git's.
    pub fn push(&self) -> Result<()> {
        self.git(&["push", "-q", "--force", "origin", &format!("HEAD:{BRANCH}")]).map(|_| ())
    }

    /// The commit of the working copy.
    ///
    /// # Errors
    /// git's.
    pub fn head(&self) -> Result<String> {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Where the bare repository is.
    #[must_use]
    pub fn bare(&self) -> PathBuf {
        PathBuf::from(&self.bare)
    }
}

fn remove(path: &Path) -> Result<()> {
    let is_folder = std::fs::symlink_metadata(path)?.is_dir();
    if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
        .with_context(|| format!("{} cannot be removed", path.display()))
}
