//! Which files an application consists of, and the bounds on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::error::directory_name;
use super::kustomization::{self, Reference, Use};
use super::path::{is_within, join, normalise, resolve};
use super::{Entries, KUSTOMIZATION_NAMES, Kind, SourceTree, TreeError, TreeLimits};
use crate::error::quoted;
use crate::render::Mode;

const MANIFEST_SUFFIXES: [&str; 3] = [".yaml", ".yml", ".json"];
/// The first line of what Git LFS leaves in place of a file.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

struct Collector<'e, E> {
    entries: &'e E,
    limits: &'e TreeLimits,
    files: BTreeMap<String, Vec<u8>>,
    yaml: BTreeSet<String>,
    nested: Vec<String>,
    bytes: u64,
    entries_left: usize,
    /// Directories with a kustomization that are still to be read.
    waiting: VecDeque<String>,
    seen: BTreeSet<String>,
}

/// Reads what `path` needs. In `Auto`, a kustomization file at the path decides; a plain directory may hold directories with
/// kustomizations, which are rendered by them. In `Plain`, kustomization files are left out and every manifest counts.
pub(crate) fn collect<E: Entries>(entries: &E, path: &str, mode: Mode, limits: &TreeLimits) -> Result<SourceTree, TreeError> {
    let root = normalise(path, limits.max_path_bytes, limits.max_depth)?;
    let named = || directory_name(&root);
    match entries.kind(&root)? {
        Some(Kind::Directory) => {}
        Some(Kind::Link) => return Err(TreeError::SymlinkRefused { path: named() }),
        Some(Kind::Submodule) => return Err(TreeError::SubmoduleRefused { path: named() }),
        Some(Kind::File) => return Err(TreeError::NotADirectory { path: named() }),
        None => return Err(TreeError::PathMissing { path: named() }),
    }
    let mut collector = Collector {
        entries,
        limits,
        files: BTreeMap::new(),
        yaml: BTreeSet::new(),
        nested: Vec::new(),
        bytes: 0,
        entries_left: limits.max_entries,
        waiting: VecDeque::new(),
        seen: BTreeSet::new(),
    };
    let top = collector.list(&root)?;
    let has_kustomization = kustomization_of(&root, &top)?.is_some();
    let mode = match mode {
        Mode::Auto if has_kustomization => Mode::Kustomize,
        Mode::Auto | Mode::Plain => {
            collector.walk_plain(&root, top, 0, mode == Mode::Auto)?;
            Mode::Plain
        }
        Mode::Kustomize if !has_kustomization => return Err(TreeError::KustomizationMissing { directory: named() }),
        Mode::Kustomize => Mode::Kustomize,
    };
    if mode == Mode::Kustomize {
        collector.visit_later(root.clone());
    }
    collector.follow_kustomizations()?;
    Ok(SourceTree::new(collector.files, root, mode, collector.yaml, collector.nested))
}

/// The kustomization file among the entries of a directory.
fn kustomization_of(directory: &str, entries: &[(String, Kind)]) -> Result<Option<String>, TreeError> {
    let mut names = entries.iter().filter(|(name, _)| KUSTOMIZATION_NAMES.contains(&name.as_str()));
    match (names.next(), names.next()) {
        (None, _) => Ok(None),
        (Some((name, Kind::File)), None) => Ok(Some(join(directory, name))),
        (Some((name, Kind::Link)), None) => Err(TreeError::SymlinkRefused { path: quoted(&join(directory, name)) }),
        (Some(_), None) => Ok(None),
        (Some(_), Some(_)) => Err(TreeError::KustomizationAmbiguous { directory: directory_name(directory) }),
    }
}

impl<E: Entries> Collector<'_, E> {
    fn list(&mut self, directory: &str) -> Result<Vec<(String, Kind)>, TreeError> {
        let listed = self.entries.list(directory, self.entries_left)?;
        self.entries_left = self.entries_left.saturating_sub(listed.len());
        Ok(listed)
    }

    fn visit_later(&mut self, directory: String) {
        if self.seen.insert(directory.clone()) {
            self.waiting.push_back(directory);
        }
    }

    /// Manifests of a directory and of all below it. Hidden files and directories are left out: they hold the configuration of
    /// forges and editors.
    fn walk_plain(
        &mut self,
        directory: &str,
        listed: Vec<(String, Kind)>,
        depth: usize,
        kustomizations: bool,
    ) -> Result<(), TreeError> {
        if depth > self.limits.max_depth {
            return Err(TreeError::TooDeep { path: quoted(directory) });
        }
        for (name, kind) in listed {
            let path = join(directory, &name);
            let is_manifest = MANIFEST_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
            if name.starts_with('.') || KUSTOMIZATION_NAMES.contains(&name.as_str()) {
                continue;
            }
            match kind {
                Kind::Directory => {
                    check_name(directory, &name)?;
                    let below = self.list(&path)?;
                    if kustomizations && kustomization_of(&path, &below)?.is_some() {
                        self.nested.push(path.clone());
                        self.visit_later(path);
                    } else {
                        self.walk_plain(&path, below, depth + 1, kustomizations)?;
                    }
                }
                // a link may stand for a manifest or a whole directory of them: leaving it out would silently prune those
                Kind::Link => return Err(TreeError::SymlinkRefused { path: quoted(&path) }),
                Kind::Submodule => return Err(TreeError::SubmoduleRefused { path: quoted(&path) }),
                Kind::File if is_manifest => {
                    check_name(directory, &name)?;
                    self.take(&path, true)?;
                }
                Kind::File => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, path: &str, is_yaml: bool) -> Result<(), TreeError> {
        if is_yaml {
            self.yaml.insert(path.to_owned());
        }
        if self.files.contains_key(path) {
            return Ok(());
        }
        if path.len() > self.limits.max_path_bytes || path.matches('/').count() > self.limits.max_depth {
            return Err(TreeError::TooDeep { path: quoted(path) });
        }
        if self.files.len() >= self.limits.max_files {
            return Err(TreeError::TooManyFiles { limit: self.limits.max_files });
        }
        let content = self.entries.content(path, self.limits.max_file_bytes)?;
        self.bytes += content.len() as u64;
        if self.bytes > self.limits.max_bytes {
            return Err(TreeError::TooLarge { limit: self.limits.max_bytes });
        }
        if content.starts_with(LFS_POINTER) {
            return Err(TreeError::LfsPointerRefused { path: quoted(path) });
        }
        self.files.insert(path.to_owned(), content);
        Ok(())
    }

    fn follow_kustomizations(&mut self) -> Result<(), TreeError> {
        while let Some(directory) = self.waiting.pop_front() {
            let listed = self.list(&directory)?;
            let Some(file) = kustomization_of(&directory, &listed)? else {
                return Err(TreeError::KustomizationMissing { directory: directory_name(&directory) });
            };
            self.take(&file, true)?;
            let content = self.files.get(&file).map(Vec::as_slice).unwrap_or_default();
            for reference in kustomization::references(&file, content, &self.limits.yaml)? {
                self.follow(&file, &directory, &reference)?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, file: &str, directory: &str, reference: &Reference) -> Result<(), TreeError> {
        let field = || quoted(&reference.field);
        let Some(target) = resolve(directory, &reference.target) else {
            return Err(TreeError::ReferenceEscapes { file: quoted(file), field: field() });
        };
        let missing = || TreeError::ReferenceMissing { file: quoted(file), field: field(), target: directory_name(&target) };
        match (self.entries.kind(&target)?, reference.use_) {
            (None, _) => Err(missing()),
            (Some(Kind::Link), _) => Err(TreeError::SymlinkRefused { path: quoted(&target) }),
            (Some(Kind::Submodule), _) => Err(TreeError::SubmoduleRefused { path: quoted(&target) }),
            (Some(Kind::Directory), Use::Resource | Use::Transformer) => {
                self.visit_later(target);
                Ok(())
            }
            (Some(Kind::Directory), Use::Yaml | Use::Data) => {
                Err(TreeError::KustomizationInvalid { file: quoted(file), field: field() })
            }
            // kustomize itself reads no file outside the directory of its kustomization; its message would name our directories
            (Some(Kind::File), _) if !is_within(&target, directory) => {
                Err(TreeError::ReferenceEscapes { file: quoted(file), field: field() })
            }
            (Some(Kind::File), use_) => {
                self.take(&target, use_ != Use::Data)?;
                if use_ == Use::Transformer {
                    let content = self.files.get(&target).map(Vec::as_slice).unwrap_or_default();
                    for inner in kustomization::transformer_references(&target, content, &self.limits.yaml)? {
                        // kustomize resolves them from the kustomization that lists the transformer
                        self.follow(&target, directory, &inner)?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn check_name(directory: &str, name: &str) -> Result<(), TreeError> {
    let odd = name.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER || c == '\\')
        || name.contains('/')
        || name == "..";
    if odd { Err(TreeError::NameRefused { directory: directory_name(directory) }) } else { Ok(()) }
}
