//! Paths inside a repository, as text: they never meet a file system before they are made of plain names only.

use super::TreeError;

/// A path as a user writes it, without empty and `.` parts; the root is the empty string.
pub(crate) fn normalise(path: &str, max_bytes: usize, max_depth: usize) -> Result<String, TreeError> {
    let refuse = |why| Err(TreeError::PathRefused { why });
    if path.len() > max_bytes {
        return refuse("it is too long");
    }
    if path.starts_with('/') {
        return refuse("it is absolute; write it relative to the root of the repository");
    }
    if path.contains('\\') || path.chars().any(char::is_control) {
        return refuse("it holds a backslash or a control character");
    }
    if path.as_bytes().get(1) == Some(&b':') {
        return refuse("it begins with a drive letter");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return refuse("it contains '..'");
    }
    if parts.len() > max_depth {
        return refuse("it is too deep");
    }
    Ok(parts.join("/"))
}

/// `reference` as seen from `directory`; `None` when it leaves the repository or cannot be a path inside one.
pub(super) fn resolve(directory: &str, reference: &str) -> Option<String> {
    if reference.is_empty() || reference.starts_with('/') || reference.contains('\\') || reference.chars().any(char::is_control) {
        return None;
    }
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in reference.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Whether `path` is `directory` or below it.
pub(super) fn is_within(path: &str, directory: &str) -> bool {
    directory.is_empty() || path == directory || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn paths_that_could_leave_the_repository_are_refused() {
        for path in ["../x", "/etc", "a/../../b", "a/..", "C:\\x", "C:/x", "a\\b", "a\0b", "a\nb"] {
            assert!(normalise(path, 1024, 64).is_err(), "{path:?}");
        }
        assert!(normalise(&"a/".repeat(65), 1024, 64).is_err());
        assert!(normalise(&"a".repeat(1025), 1024, 64).is_err());
    }

    #[test]
    fn harmless_spellings_of_a_path_mean_the_same() {
        for path in ["deploy/prod", "./deploy/prod", "deploy//prod/", "deploy/./prod"] {
            assert_eq!(normalise(path, 1024, 64).unwrap(), "deploy/prod");
        }
        assert_eq!(normalise(".", 1024, 64).unwrap(), "");
    }

    #[test]
    fn a_reference_may_climb_inside_the_repository_and_not_above_it() {
        assert_eq!(resolve("apps/shop/prod", "../../base").as_deref(), Some("apps/base"));
        assert_eq!(resolve("apps", ".."), Some(String::new()));
        assert_eq!(resolve("apps", "../.."), None);
        assert_eq!(resolve("apps", "/etc/passwd"), None);
        assert!(is_within("a/b", "a") && !is_within("ab", "a"));
    }
}
