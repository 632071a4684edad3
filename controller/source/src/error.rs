//! What all errors of this crate have in common: who has to act, and text that is safe to show.

/// Who has to act before the same call can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// Nobody: trying again later may succeed.
    Transient,
    /// The same input fails again; a commit, the GitSync or the controller's settings must change.
    UserMustFix,
}

/// The longest piece of foreign text (a file name, a key) inside a message. No message holds more than three of them, which
/// keeps all messages below 1 KiB: they go into conditions, whose readers and stores expect short text.
pub(crate) const MAX_QUOTED_BYTES: usize = 200;

/// Makes foreign text fit to print: control characters and look-alike direction marks are escaped, and the length is bounded.
pub(crate) fn printable(text: &str, max_bytes: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_bytes));
    for c in text.chars() {
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        let piece = if hidden { c.escape_unicode().to_string() } else { c.to_string() };
        if out.len() + piece.len() > max_bytes {
            out.push('…');
            break;
        }
        out.push_str(&piece);
    }
    out
}

/// [`printable`] with the bound for names inside messages.
pub(crate) fn quoted(text: &str) -> String {
    printable(text, MAX_QUOTED_BYTES)
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_and_direction_characters_are_escaped_and_length_is_bounded() {
        assert_eq!(printable("a\u{1b}[31m\nb", 100), "a\\u{1b}[31m\\u{a}b");
        assert!(!printable("evil\u{202e}txt", 100).contains('\u{202e}'));
        assert_eq!(printable("aaaa", 2), "aa…");
    }
}
