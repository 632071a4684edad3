//! Manifests of a repository as values: files of documents that a test edits and writes back.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Files of YAML documents, by path.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    pub files: BTreeMap<String, Vec<Value>>,
}

impl Manifests {
    /// Reads every YAML file directly in a folder.
    ///
    /// # Errors
    /// A file cannot be read or is no YAML.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.ends_with(".yaml") {
                let text = std::fs::read_to_string(&path)?;
                files.insert(name, documents(&text).with_context(|| format!("{} is no YAML", path.display()))?);
            }
        }
        if files.is_empty() {
            bail!("{} has no YAML files", folder.display());
        }
        Ok(Self { files })
    }

    /// The one object of a kind, or of a kind and a name.
    ///
    /// # Errors
    /// There is none.
    pub fn object(&mut self, kind: &str, name: Option<&str>) -> Result<&mut Value> {
        self.files
            .values_mut()
            .flatten()
            .find(|object| {
                object.get("kind").and_then(Value::as_str) == Some(kind)
                    && name.is_none_or(|name| object.pointer("/metadata/name").and_then(Value::as_str) == Some(name))
            })
            .with_context(|| format!("the manifests have no {kind} {}", name.unwrap_or_default()))
    }

    /// What the one object of a kind has at a JSON pointer.
    ///
    /// # Errors
    /// There is none.
    pub fn at(&mut self, kind: &str, pointer: &str) -> Result<&mut Value> {
        self.object(kind, None)?.pointer_mut(pointer).with_context(|| format!("{kind} has nothing at {pointer}"))
    }

    /// Text at a JSON pointer of the one object of a kind.
    ///
    /// # Errors
    /// There is none.
    pub fn text(&mut self, kind: &str, pointer: &str) -> Result<String> {
        let value = self.at(kind, pointer)?;
        value.as_str().map(str::to_owned).with_context(|| format!("{kind} has no text at {pointer}"))
    }

    /// The files as they go to Git. JSON is YAML: what a test changed reads the same in every library.
    ///
    /// # Errors
    /// A value cannot be written.
    pub fn to_files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for (path, objects) in &self.files {
            files.insert(path.clone(), stream(objects)?.into_bytes());
        }
        Ok(files)
    }
}

/// Documents as one stream.
///
/// # Errors
/// A value cannot be written.
pub fn stream(objects: &[Value]) -> Result<String> {
    let texts: Result<Vec<String>, _> = objects.iter().map(serde_json::to_string_pretty).collect();
    Ok(texts?.join("\n---\n") + "\n")
}

/// Reads all documents of a stream, empty ones left out.
///
/// # Errors
/// It is no YAML.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        let documents = documents("# two\nkind: A\n---\nkind: B\nvalue: \"08\"\n---\n").unwrap();
        assert_eq!(super::documents(&stream(&documents).unwrap()).unwrap(), documents);
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1]["value"], "08");
    }
}
