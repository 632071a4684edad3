//! What a kustomization refers to. Every reference is found here and looked up in the commit before kustomize runs, so that
//! kustomize has nothing left to fetch.

use serde_json::{Map, Value};

use super::TreeError;
use crate::error::quoted;
use crate::yaml::{Problem, YamlError, YamlLimits, documents, prescan, single};

/// One reference, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Such as `resources[2]`.
    pub(super) field: String,
    pub(super) target: String,
    pub(super) use_: Use,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A file of objects or a directory with a kustomization.
    Resource,
    /// A file of transformers, or a directory whose kustomization yields them.
    Transformer,
    /// A file that kustomize parses.
    Yaml,
    /// A file that is carried as it is.
    Data,
}

const RESOURCE_FIELDS: [&str; 3] = ["resources", "bases", "components"];
const TRANSFORMER_FIELDS: [&str; 3] = ["transformers", "generators", "validators"];
const YAML_FIELDS: [&str; 2] = ["crds", "configurations"];
const GENERATOR_FIELDS: [&str; 2] = ["configMapGenerator", "secretGenerator"];
const HELM_FIELDS: [&str; 3] = ["helmCharts", "helmChartInflationGenerator", "helmGlobals"];
/// Fields whose entries are `{path: …}` or hold text of their own under `patch`.
const PATH_FIELDS: [&str; 3] = ["patches", "patchesJson6902", "replacements"];
/// Annotations by which a transformer asks to be run as a program or container.
const FUNCTION_ANNOTATIONS: [&str; 2] = ["config.kubernetes.io/function", "config.k8s.io/function"];

struct Finder<'a> {
    file: &'a str,
    limits: &'a YamlLimits,
    found: Vec<Reference>,
}

/// Everything the kustomization in `file` refers to.
pub(super) fn references(file: &str, bytes: &[u8], limits: &YamlLimits) -> Result<Vec<Reference>, TreeError> {
    let value = parse(file, bytes, limits, single)?;
    let mut finder = Finder { file, limits, found: Vec::new() };
    match &value {
        Value::Object(fields) => finder.kustomization(fields)?,
        // an empty file: kustomize says so when it renders it
        Value::Null => {}
        _ => return Err(finder.invalid("the document")),
    }
    Ok(finder.found)
}

/// Everything a file of transformers refers to.
pub(super) fn transformer_references(file: &str, bytes: &[u8], limits: &YamlLimits) -> Result<Vec<Reference>, TreeError> {
    let all = parse(file, bytes, limits, documents)?;
    let mut finder = Finder { file, limits, found: Vec::new() };
    for document in &all {
        finder.transformer("transformer", document)?;
    }
    Ok(finder.found)
}

fn parse<T>(
    file: &str,
    bytes: &[u8],
    limits: &YamlLimits,
    read: impl Fn(&str, &str, &YamlLimits) -> Result<T, YamlError>,
) -> Result<T, TreeError> {
    prescan(file, bytes, limits)?;
    let text = std::str::from_utf8(bytes).map_err(|_| YamlError::new(file, 1, Problem::NotUtf8))?;
    Ok(read(file, text, limits)?)
}

impl Finder<'_> {
    fn invalid(&self, field: &str) -> TreeError {
        TreeError::KustomizationInvalid { file: quoted(self.file), field: quoted(field) }
    }

    fn add(&mut self, field: String, target: &str, use_: Use) -> Result<(), TreeError> {
        if is_remote(target) {
            return Err(TreeError::RemoteBaseRefused { file: quoted(self.file), field });
        }
        self.found.push(Reference { field, target: target.to_owned(), use_ });
        Ok(())
    }

    /// Entries of a list, each with the name it has in messages; an absent or null field is an empty list.
    fn list<'v>(&self, fields: &'v Map<String, Value>, name: &str) -> Result<Vec<(String, &'v Value)>, TreeError> {
        match fields.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items.iter().enumerate().map(|(at, item)| (format!("{name}[{at}]"), item)).collect()),
            Some(_) => Err(self.invalid(name)),
        }
    }

    fn strings(&mut self, fields: &Map<String, Value>, name: &str, use_: Use) -> Result<(), TreeError> {
        for (field, item) in self.list(fields, name)? {
            let Value::String(target) = item else { return Err(self.invalid(&field)) };
            self.add(field, target, use_)?;
        }
        Ok(())
    }

    fn kustomization(&mut self, fields: &Map<String, Value>) -> Result<(), TreeError> {
        for name in HELM_FIELDS {
            if fields.get(name).is_some_and(|value| !value.is_null()) {
                return Err(TreeError::PluginRefused { file: quoted(self.file), field: name.to_owned() });
            }
        }
        for name in RESOURCE_FIELDS {
            self.strings(fields, name, Use::Resource)?;
        }
        for name in YAML_FIELDS {
            self.strings(fields, name, Use::Yaml)?;
        }
        for name in TRANSFORMER_FIELDS {
            for (field, item) in self.list(fields, name)? {
                let Value::String(text) = item else { return Err(self.invalid(&field)) };
                if is_inline(text) {
                    for document in parse(&self.inline_name(&field), text.as_bytes(), self.limits, documents)? {
                        self.transformer(&field, &document)?;
                    }
                } else {
                    self.add(field, text, Use::Transformer)?;
                }
            }
        }
        for (field, item) in self.list(fields, "patchesStrategicMerge")? {
            let Value::String(text) = item else { return Err(self.invalid(&field)) };
            if is_inline(text) {
                self.scan_inline(&field, text)?;
            } else {
                self.add(field, text, Use::Yaml)?;
            }
        }
        if let Some(Value::Object(openapi)) = fields.get("openapi") {
            self.path("openapi", openapi)?;
        }
        self.nested(fields, "")
    }

    /// Fields that a kustomization and the configuration of a built-in transformer have in common.
    fn nested(&mut self, fields: &Map<String, Value>, prefix: &str) -> Result<(), TreeError> {
        for name in PATH_FIELDS {
            for (field, item) in self.list(fields, name)? {
                let field = format!("{prefix}{field}");
                // anything else than a mapping is for kustomize to refuse
                let Value::Object(entry) = item else { continue };
                self.path(&field, entry)?;
                if let Some(Value::String(text)) = entry.get("patch") {
                    self.scan_inline(&format!("{field}.patch"), text)?;
                }
            }
        }
        for name in GENERATOR_FIELDS {
            for (field, item) in self.list(fields, name)? {
                let Value::Object(entry) = item else { return Err(self.invalid(&field)) };
                self.generator(&format!("{prefix}{field}"), entry)?;
            }
        }
        Ok(())
    }

    fn path(&mut self, field: &str, entry: &Map<String, Value>) -> Result<(), TreeError> {
        match entry.get("path") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(target)) if target.is_empty() => Ok(()),
            Some(Value::String(target)) => self.add(format!("{field}.path"), target, Use::Yaml),
            Some(_) => Err(self.invalid(&format!("{field}.path"))),
        }
    }

    fn generator(&mut self, prefix: &str, entry: &Map<String, Value>) -> Result<(), TreeError> {
        for name in ["files", "envs"] {
            for (field, item) in self.list(entry, name)? {
                let field = format!("{prefix}.{field}");
                let Value::String(text) = item else { return Err(self.invalid(&field)) };
                // `key=path` for files; a plain path for both
                let target = text.split_once('=').filter(|_| name == "files").map_or(text.as_str(), |(_, path)| path);
                self.add(field, target, Use::Data)?;
            }
        }
        match entry.get("env") {
            Some(Value::String(target)) if !target.is_empty() => self.add(format!("{prefix}.env"), target, Use::Data),
            _ => Ok(()),
        }
    }

    fn transformer(&mut self, field: &str, document: &Value) -> Result<(), TreeError> {
        let Value::Object(fields) = document else { return Ok(()) };
        let annotations = document.pointer("/metadata/annotations").and_then(Value::as_object);
        let is_function = annotations.is_some_and(|all| FUNCTION_ANNOTATIONS.iter().any(|name| all.contains_key(*name)));
        let is_helm = fields.get("kind").and_then(Value::as_str) == Some("HelmChartInflationGenerator");
        if is_function || is_helm {
            return Err(TreeError::PluginRefused { file: quoted(self.file), field: quoted(field) });
        }
        let prefix = format!("{field}.");
        self.path(field, fields)?;
        self.generator(field, fields)?;
        if let Some(Value::String(text)) = fields.get("patch") {
            self.scan_inline(&format!("{prefix}patch"), text)?;
        }
        for (at, item) in self.list(fields, "paths")? {
            let Value::String(target) = item else { return Err(self.invalid(&at)) };
            self.add(format!("{prefix}{at}"), target, Use::Yaml)?;
        }
        self.nested(fields, &prefix)
    }

    fn inline_name(&self, field: &str) -> String {
        format!("{} ({field})", self.file)
    }

    /// Text inside a string is parsed by kustomize as well, and was only a string to the scan of the file.
    fn scan_inline(&self, field: &str, text: &str) -> Result<(), TreeError> {
        prescan(&self.inline_name(field), text.as_bytes(), self.limits)?;
        Ok(())
    }
}

/// Whether an entry that may be a path or YAML is YAML.
fn is_inline(text: &str) -> bool {
    text.contains('\n') || text.contains(": ") || text.starts_with('{')
}

/// Prefixes by which kustomize knows a remote repository without a scheme.
const REMOTE_PREFIXES: [&str; 9] =
    ["git@", "git::", "gh:", "github.com", "gitlab.com", "bitbucket.org", "ssh.dev.azure.com", "dev.azure.com", "www."];

/// What kustomize could take for something to download. Such an entry is refused even when a file of that name exists, because
/// kustomize tries the network first.
fn is_remote(target: &str) -> bool {
    let lower = target.to_ascii_lowercase();
    lower.contains("://")
        || lower.contains("//")
        || lower.contains('?')
        || lower.contains("_git/")
        || lower.contains(".git/")
        || lower.ends_with(".git")
        || lower.split('/').next().is_some_and(|first| first.contains(':'))
        || REMOTE_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn found(text: &str) -> Result<Vec<(String, String)>, TreeError> {
        let all = references("k.yaml", text.as_bytes(), &YamlLimits::default())?;
        Ok(all.into_iter().map(|reference| (reference.field, reference.target)).collect())
    }

    #[test]
    fn every_kind_of_reference_is_found() {
        let text = "
resources: [a.yaml, ../base]
components: [c]
patches: [{path: p.yaml}, {patch: '[]', target: {kind: X}}]
patchesStrategicMerge: [s.yaml, 'kind: X']
configMapGenerator: [{name: x, files: [k=f.txt, g.txt], envs: [e.env]}]
replacements: [{path: r.yaml}]
openapi: {path: o.json}
transformers:
- t.yaml
- |-
  kind: PatchTransformer
  path: tp.yaml
";
        let targets: Vec<String> = found(text).unwrap().into_iter().map(|(_, target)| target).collect();
        for expected in
            ["a.yaml", "../base", "c", "p.yaml", "s.yaml", "f.txt", "g.txt", "e.env", "r.yaml", "o.json", "t.yaml", "tp.yaml"]
        {
            assert!(targets.iter().any(|target| target == expected), "{expected} in {targets:?}");
        }
        assert_eq!(targets.len(), 12);
    }

    #[test]
    fn remote_entries_are_refused_by_field_without_repeating_the_url() {
        for entry in [
            "https://user:hunter2@h/x.yaml",
            "github.com/a/b",
            "git@h:a/b",
            "h:a/b",
            "ssh://h/x",
            "x//y",
            "base?ref=v1",
            "https%3A//h/x",
            "repo.git",
            "git::file",
            "GitHub.com/a/b",
        ] {
            for field in ["resources", "components", "transformers", "patchesStrategicMerge", "crds"] {
                let error = found(&format!("{field}: [ok.yaml, \"{entry}\"]")).unwrap_err();
                assert_eq!(error.reason(), "RemoteBaseRefused", "{field} {entry}");
                assert!(error.to_string().contains(&format!("{field}[1]")) && !error.to_string().contains("hunter2"));
            }
        }
    }

    #[test]
    fn charts_functions_and_bombs_in_inline_patches_are_refused() {
        assert_eq!(found("helmCharts: [{name: x}]").unwrap_err().reason(), "PluginRefused");
        let function =
            "transformers:\n- |-\n  kind: X\n  metadata: {annotations: {config.kubernetes.io/function: 'exec: {path: ./x}'}}\n";
        assert_eq!(found(function).unwrap_err().reason(), "PluginRefused");
        let bomb = "patches:\n- patch: |-\n    a: &a [*a]\n";
        assert_eq!(found(bomb).unwrap_err().reason(), "AliasExpansion");
    }

    #[test]
    fn fields_of_the_wrong_kind_are_refused() {
        for text in ["resources: x", "resources: [{a: b}]", "- a", "configMapGenerator: [x]", "patches: [{path: 3}]"] {
            assert_eq!(found(text).unwrap_err().reason(), "KustomizationInvalid", "{text}");
        }
    }
}
