//! kustomize's words, made fit to show: they name our directories, and some of them repeat content.

use std::path::Path;

use super::RenderError;
use crate::error::printable;

const MAX_MESSAGE_BYTES: usize = 500;
const MAX_WARNINGS: usize = 20;

/// What a failed run means.
pub(super) fn explain(stderr: &[u8], workspace: &Path) -> RenderError {
    let text = String::from_utf8_lossy(stderr);
    let has = |needle: &str| text.contains(needle);
    // Go's own last words when memory or threads run out
    if has("out of memory")
        || has("cannot allocate memory")
        || has("failed to create new OS thread")
        || has("pthread_create failed")
    {
        return RenderError::RendererLimit { limit: "memory" };
    }
    if has("stack exceeds") || has("goroutine stack") {
        return RenderError::RendererLimit { limit: "depth" };
    }
    if has("already registered id") || has("multiple matches for Id") {
        let id = word_after(&text, "registered id: ").or_else(|| word_after(&text, "matches for Id "));
        return RenderError::DuplicateObject {
            object: id.map(|id| readable_id(&id)).unwrap_or_else(|| "an object".into()),
            files: Vec::new(),
        };
    }
    if has("kustomization.yaml is empty") || has("kustomization.yml is empty") || has("Kustomization is empty") {
        return RenderError::EmptyRender;
    }
    if has("dial tcp")
        || has("no such host")
        || has("proxyconnect")
        || has("git fetch")
        || has("'git' program")
        || has("remote") && has("URL")
    {
        return RenderError::RemoteBaseRefused;
    }
    if has("plugins disabled")
        || has("enable-helm")
        || has("enable-exec")
        || has("enable-alpha-plugins")
        || has("unable to load builtin")
    {
        return RenderError::PluginRefused;
    }
    if has("unknown field") {
        return RenderError::KustomizationInvalid { field: word_after(&text, "unknown field ") };
    }
    if has("no matches for Id") || has("unable to find patch target") || has("nothing selected by") {
        return RenderError::PatchTargetMissing { target: word_after(&text, "no matches for Id ").map(|id| readable_id(&id)) };
    }
    if has("cycle detected") || has("cycle") && has("candidate root") {
        return RenderError::KustomizationCycle;
    }
    if has("missing metadata.name") || has("missing Resource metadata") {
        return RenderError::ObjectInvalid { object: somewhere(&text), field: "metadata.name", problem: "is missing" };
    }
    if has("missing 'kind'") || has("Object 'Kind' is missing") || has("missing kind") {
        return RenderError::ObjectInvalid { object: somewhere(&text), field: "kind", problem: "is missing" };
    }
    // the next two repeat what is wrong, which may be a secret
    if has("KV pairs") {
        return RenderError::RendererFailed {
            message: "a literal, file or env of a generator cannot be read as keys and values".into(),
        };
    }
    if has("unable to parse SM or JSON patch") {
        return RenderError::RendererFailed { message: "a patch is neither a strategic merge patch nor a JSON patch".into() };
    }
    RenderError::RendererFailed { message: scrubbed(&text, workspace) }
}

/// Lines of a successful run that a user should see.
pub(super) fn warnings(stderr: &[u8], workspace: &Path) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().map(|line| line.trim_start_matches(['#', ' '])).filter(|line| line.starts_with("Warning"));
    lines.take(MAX_WARNINGS).map(|line| scrubbed(line, workspace)).collect()
}

/// Without our directories, and without anything in brackets, braces or back-ticks: that is where kustomize puts content.
fn scrubbed(text: &str, workspace: &Path) -> String {
    let workspace = workspace.to_string_lossy();
    let text = text.replace(&format!("{workspace}/files/"), "").replace(&*workspace, ".");
    let text = text.trim().trim_start_matches("Error: ");
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut in_ticks = false;
    for c in text.chars() {
        match c {
            '`' => {
                in_ticks = !in_ticks;
                if in_ticks {
                    out.push('…');
                }
            }
            '{' | '[' => {
                if depth == 0 && !in_ticks {
                    out.push('…');
                }
                depth += 1;
            }
            '}' | ']' => depth = depth.saturating_sub(1),
            _ if depth > 0 || in_ticks => {}
            '\n' | '\r' | '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    printable(&out, MAX_MESSAGE_BYTES)
}

/// The file that kustomize was reading, as far as it says.
fn somewhere(text: &str) -> String {
    let file =
        text.rsplit_once("resources from '").and_then(|(_, rest)| rest.split('\'').next()).filter(|file| !file.starts_with('/'));
    file.map_or_else(|| "an object".to_owned(), |file| format!("an object in {}", crate::error::quoted(file)))
}

fn word_after(text: &str, marker: &str) -> Option<String> {
    let (_, rest) = text.split_once(marker)?;
    let word = rest.split([' ', ';', '\n', ',']).next()?.trim_matches(|c: char| matches!(c, '"' | '\'' | ':'));
    (!word.is_empty()).then(|| crate::error::quoted(word))
}

/// kustomize's `Deployment.v1.apps/web.shop` as `Deployment shop/web`.
fn readable_id(id: &str) -> String {
    let parts = || {
        let (gvk, rest) = id.split_once('/')?;
        let kind = gvk.split('.').next()?;
        let (name, namespace) = rest.rsplit_once('.')?;
        Some(if namespace == "[noNs]" { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") })
    };
    parts().unwrap_or_else(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lose_our_directories_and_quoted_content() {
        let text = "Error: accumulating resources from '/tmp/w/files/app/a.yaml': bad object {\"password\":\"hunter2\"} in [hunter2] and `hunter2`\nnext";
        let clean = scrubbed(text, Path::new("/tmp/w"));
        assert_eq!(clean, "accumulating resources from 'app/a.yaml': bad object … in … and … next");
    }

    #[test]
    fn ids_of_kustomize_become_readable() {
        assert_eq!(readable_id("Deployment.v1.apps/web.v2.shop"), "Deployment shop/web.v2");
        assert_eq!(readable_id("Namespace.v1.[noGrp]/shop.[noNs]"), "Namespace shop");
    }
}
