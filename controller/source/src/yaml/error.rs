//! What is wrong with a YAML text, and where.

use crate::error::quoted;

#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct YamlError {
    /// As in the repository, escaped.
    pub file: String,
    pub line: usize,
    pub problem: Problem,
}

impl YamlError {
    pub(crate) fn new(file: &str, line: usize, problem: Problem) -> Self {
        Self { file: quoted(file), line, problem }
    }

    pub fn reason(&self) -> &'static str {
        match self.problem {
            Problem::NotUtf8 | Problem::Syntax(_) | Problem::KeyIsNotScalar | Problem::NotExpected(_) => "YamlInvalid",
            Problem::DuplicateKey(_) => "DuplicateKey",
            Problem::TagRefused => "TagRefused",
            Problem::SelfReference | Problem::Expansion { .. } => "AliasExpansion",
            Problem::Documents { .. }
            | Problem::Depth { .. }
            | Problem::Scalar { .. }
            | Problem::Nodes { .. }
            | Problem::Budget => "TooLarge",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("it is not UTF-8 text")]
    NotUtf8,
    /// Text of the parser, which speaks of its grammar and not of the content.
    #[error("invalid YAML: {0}")]
    Syntax(String),
    #[error("the key {0:?} appears twice in one mapping")]
    DuplicateKey(String),
    #[error("a mapping key is itself a mapping or list; is this an unrendered template?")]
    KeyIsNotScalar,
    #[error("a YAML tag is not one of str, int, float, bool, null, map and seq")]
    TagRefused,
    #[error("an anchor contains an alias to itself")]
    SelfReference,
    #[error("its aliases expand to more than {max_expansion} times its size")]
    Expansion { max_expansion: usize },
    #[error("more than {max} documents")]
    Documents { max: usize },
    #[error("nested deeper than {max} levels")]
    Depth { max: usize },
    #[error("a value is longer than {max} bytes")]
    Scalar { max: usize },
    #[error("more than {max} values after expanding aliases")]
    Nodes { max: usize },
    #[error("it is beyond the limits for YAML")]
    Budget,
    #[error("{0}")]
    NotExpected(&'static str),
}
