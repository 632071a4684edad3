//! A directory of the local disk in the role of a repository.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{Entries, Kind, TreeError};
use crate::error::quoted;

pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

fn kind_of(metadata: &fs::Metadata) -> Kind {
    // sockets and devices count as links: they are refused where they are named
    if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_file() {
        Kind::File
    } else {
        Kind::Link
    }
}

impl Entries for Directory {
    fn kind(&self, path: &str) -> Result<Option<Kind>, TreeError> {
        let mut at = self.root.clone();
        let mut found = Kind::Directory;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match found {
                Kind::Directory => {}
                Kind::Link => {
                    return Err(TreeError::SymlinkRefused {
                        path: quoted(&at.strip_prefix(&self.root).unwrap_or(Path::new("")).to_string_lossy()),
                    });
                }
                Kind::File | Kind::Submodule => return Ok(None),
            }
            at.push(part);
            found = match fs::symlink_metadata(&at) {
                Ok(metadata) => kind_of(&metadata),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(TreeError::Io(error.kind())),
            };
        }
        Ok(Some(found))
    }

    fn list(&self, directory: &str, max_entries: usize) -> Result<Vec<(String, Kind)>, TreeError> {
        let failed = |error: io::Error| TreeError::Io(error.kind());
        let mut out = Vec::new();
        for entry in fs::read_dir(self.root.join(directory)).map_err(failed)? {
            if out.len() >= max_entries {
                return Err(TreeError::TooManyFiles { limit: max_entries });
            }
            let entry = entry.map_err(failed)?;
            let metadata = fs::symlink_metadata(entry.path()).map_err(failed)?;
            out.push((entry.file_name().to_string_lossy().into_owned(), kind_of(&metadata)));
        }
        out.sort();
        Ok(out)
    }

    fn content(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, TreeError> {
        let failed = |error: io::Error| TreeError::Io(error.kind());
        let file = fs::File::open(self.root.join(path)).map_err(failed)?;
        let mut content = Vec::new();
        file.take(max_bytes + 1).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > max_bytes {
            Err(TreeError::FileTooLarge { path: quoted(path), limit: max_bytes })
        } else {
            Ok(content)
        }
    }
}
