//! YAML before anybody interprets it ([`prescan`]), and the one place where values are made of it ([`read`]).

mod error;
mod prescan;
mod read;

pub use error::{Problem, YamlError};
pub(crate) use prescan::prescan;
pub(crate) use read::{documents, single};

/// Bounds of one YAML text.
#[derive(Debug, Clone)]
pub struct YamlLimits {
    pub max_documents: usize,
    pub max_depth: usize,
    pub max_scalar_bytes: usize,
    /// Nodes after all aliases are expanded.
    pub max_nodes: usize,
    /// How many times larger than the text its content may become by aliases.
    pub max_expansion: usize,
}

impl Default for YamlLimits {
    fn default() -> Self {
        Self { max_documents: 10_000, max_depth: 64, max_scalar_bytes: 1 << 20, max_nodes: 1_000_000, max_expansion: 10 }
    }
}
