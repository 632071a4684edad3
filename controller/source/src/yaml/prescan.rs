//! Yes or no to a YAML text, decided on parser events before anything is built from it.
//!
//! kustomize's reader expands aliases without a bound (a text of one kilobyte takes it beyond 22 GB), drops unknown tags and
//! reports positions badly. This pass costs one walk over the text and a few words per open node, anchor and key. It never
//! interprets a value: types are decided by kustomize alone.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Tag};

use super::{Problem, YamlError, YamlLimits};
use crate::error::{printable, quoted};

/// What the pass learned of a text it accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Documents that are not empty.
    pub(crate) documents: usize,
}

/// An alias may make something of nothing up to here, so that small files need no proportion.
const FREE_EXPANSION_BYTES: usize = 64 << 10;
/// What a node costs beside its text, in the sum that is compared with the size of the text.
const NODE_BYTES: usize = 2;
/// The parser's own nesting limits stay a little above ours, so that ours gives the message.
const DEPTH_MARGIN: usize = 4;
const MAX_SYNTAX_MESSAGE_BYTES: usize = 200;
const CORE_TAG_PREFIX: &str = "tag:yaml.org,2002:";
const CORE_TAGS: [&str; 7] = ["str", "int", "float", "bool", "null", "map", "seq"];

/// The weight of a node with everything below it, aliases expanded.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Weight {
    fn add(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A mapping or list that is still open.
struct Open<'t> {
    anchor: usize,
    weight: Weight,
    /// Of a mapping: the keys so far, and whether a key comes next.
    keys: Option<(HashSet<Cow<'t, str>>, bool)>,
}

struct Pass<'t, 'l> {
    limits: &'l YamlLimits,
    text_bytes: usize,
    open: Vec<Open<'t>>,
    anchors: HashMap<usize, Weight>,
    total: Weight,
    documents_seen: usize,
    documents: usize,
}

pub(crate) fn prescan(file: &str, bytes: &[u8], limits: &YamlLimits) -> Result<Scan, YamlError> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|b| **b == b'\n').count();
            return Err(YamlError::new(file, line, Problem::NotUtf8));
        }
    };
    let mut pass = Pass {
        limits,
        text_bytes: text.len(),
        open: Vec::new(),
        anchors: HashMap::new(),
        total: Weight::default(),
        documents_seen: 0,
        documents: 0,
    };
    let options = serde_saphyr::granit_parser::options! {
        flow_nesting_limit: limits.max_depth + DEPTH_MARGIN,
        block_nesting_limit: limits.max_depth + DEPTH_MARGIN,
        emit_comments: false,
    };
    for next in Parser::new_from_str_with_options(text, options) {
        match next {
            Ok((event, span)) => pass.event(event).map_err(|problem| YamlError::new(file, span.start.line(), problem))?,
            Err(error) if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) => {
                return Err(YamlError::new(file, error.marker().line(), Problem::Depth { max: limits.max_depth }));
            }
            Err(error) => {
                // names of anchors and keys may be in it, which are content
                let message: String = printable(&error.kind().to_string(), MAX_SYNTAX_MESSAGE_BYTES);
                return Err(YamlError::new(file, error.marker().line(), Problem::Syntax(message)));
            }
        }
    }
    Ok(Scan { documents: pass.documents })
}

impl<'t> Pass<'t, '_> {
    fn event(&mut self, event: Event<'t>) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.documents_seen += 1;
                self.anchors.clear();
                let max = self.limits.max_documents;
                if self.documents_seen > max { Err(Problem::Documents { max }) } else { Ok(()) }
            }
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_deref())?;
                let max = self.limits.max_scalar_bytes;
                if text.len() > max {
                    return Err(Problem::Scalar { max });
                }
                let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                if self.open.is_empty() && !is_null {
                    self.documents += 1;
                }
                let weight = Weight { nodes: 1, bytes: text.len() + NODE_BYTES };
                self.key(Some(text))?;
                self.close(anchor, weight)
            }
            Event::SequenceStart(_, anchor, tag) => self.begin(anchor, tag.as_deref(), false),
            Event::MappingStart(_, anchor, tag) => self.begin(anchor, tag.as_deref(), true),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(ended) => self.close(ended.anchor, ended.weight),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                if self.open.iter().any(|open| open.anchor == anchor) {
                    return Err(Problem::SelfReference);
                }
                self.key(None)?;
                let weight = self.anchors.get(&anchor).copied().unwrap_or_default();
                self.close(0, weight)
            }
            Event::UnresolvedAlias(_) => Err(Problem::Syntax("an alias has no anchor".into())),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, tag: Option<&Tag>, mapping: bool) -> Result<(), Problem> {
        check_tag(tag)?;
        if self.open.is_empty() {
            self.documents += 1;
        }
        if let Some(Open { keys: Some((_, key_next)), .. }) = self.open.last_mut() {
            if *key_next {
                return Err(Problem::KeyIsNotScalar);
            }
            *key_next = true;
        }
        let max = self.limits.max_depth;
        if self.open.len() >= max {
            return Err(Problem::Depth { max });
        }
        let keys = mapping.then(|| (HashSet::new(), true));
        self.open.push(Open { anchor, weight: Weight { nodes: 1, bytes: NODE_BYTES }, keys });
        Ok(())
    }

    /// Notes a scalar or alias as key or value of the innermost mapping.
    fn key(&mut self, text: Option<Cow<'t, str>>) -> Result<(), Problem> {
        let Some(Open { keys: Some((keys, key_next)), .. }) = self.open.last_mut() else { return Ok(()) };
        let is_key = *key_next;
        *key_next = !is_key;
        if let (true, Some(text)) = (is_key, text)
            && let Some(twice) = keys.replace(text)
        {
            return Err(Problem::DuplicateKey(quoted(&twice)));
        }
        Ok(())
    }

    /// A node is complete: its weight goes to its anchor and to whatever contains it.
    fn close(&mut self, anchor: usize, weight: Weight) -> Result<(), Problem> {
        if anchor != 0 {
            self.anchors.insert(anchor, weight);
        }
        let sum = match self.open.last_mut() {
            Some(parent) => &mut parent.weight,
            None => &mut self.total,
        };
        sum.add(weight);
        let (sum, limits) = (*sum, self.limits);
        if sum.nodes > limits.max_nodes {
            return Err(Problem::Nodes { max: limits.max_nodes });
        }
        if sum.bytes > self.text_bytes.saturating_mul(limits.max_expansion).saturating_add(FREE_EXPANSION_BYTES) {
            return Err(Problem::Expansion { max_expansion: limits.max_expansion });
        }
        Ok(())
    }
}

fn check_tag(tag: Option<&Tag>) -> Result<(), Problem> {
    let Some(tag) = tag else { return Ok(()) };
    let full = format!("{}{}", tag.handle(), tag.suffix());
    let core = full.strip_prefix(CORE_TAG_PREFIX).is_some_and(|name| CORE_TAGS.contains(&name));
    // a lone exclamation mark only says "not plain"
    if core || full == "!" { Ok(()) } else { Err(Problem::TagRefused) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use proptest::prelude::*;

    use super::*;

    fn scan(text: &str) -> Result<Scan, YamlError> {
        prescan("f", text.as_bytes(), &YamlLimits::default())
    }

    #[test]
    fn documents_are_counted_without_the_empty_ones() {
        for (text, documents) in [
            ("", 0),
            ("# x\n", 0),
            ("---\n---\n", 0),
            ("a: 1\n---\n# x\n---\nb: 2\n", 2),
            ("null\n", 0),
            ("\"\"\n", 1),
            ("[]\n", 1),
        ] {
            assert_eq!(scan(text).unwrap().documents, documents, "{text:?}");
        }
    }

    #[test]
    fn keys_are_compared_within_their_own_mapping_only() {
        assert!(scan("a: {b: 1}\nc: {b: 2}\nd: [{b: 1}, {b: 1}]\n").is_ok());
        assert!(scan("a: {b: 1, c: {b: 2}, b: 3}\n").is_err());
        assert!(scan("b: [x, x]\nx: b\n").is_ok());
        assert!(scan("a: 1\n---\na: 1\n").is_ok());
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_line() {
        let error = prescan("f", b"a: 1\nb: \xff\n", &YamlLimits::default()).unwrap_err();
        assert_eq!((error.line, error.problem), (2, Problem::NotUtf8));
        let utf16: Vec<u8> = "a: 1".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(prescan("f", &[b"\xff\xfe".to_vec(), utf16].concat(), &YamlLimits::default()).is_err());
    }

    #[test]
    fn anchors_do_not_reach_into_the_next_document() {
        assert!(scan("a: &x 1\n---\nb: *x\n").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_gets_an_answer_and_what_passes_can_be_read_in_bounds(
            tokens in proptest::collection::vec(proptest::sample::select(vec![
                "a", "b", ": ", ":", "\n", "- ", "  ", "&x ", "*x ", "[", "]", "{", "}", ", ", "|", ">", "\n  ", "'", "\"", "!!str ", "<<", "---\n", "...", "#", "%", "? ", "~", "\t", "\u{feff}", "é",
            ]), 0..40)
        ) {
            let text = tokens.concat();
            if scan(&text).is_ok() {
                // an error is fine, a panic or an endless walk is not
                let _ = crate::yaml::documents("f", &text, &YamlLimits::default());
            }
        }
    }
}
