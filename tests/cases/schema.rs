//! To be written.
use crate::support::Test;
pub fn all() -> Vec<Test> {
    Vec::new()
}
