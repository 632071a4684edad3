//! Text for people made from text by others: one line, bounded, nothing that moves a cursor or reorders letters.

/// Bound on a judgement's message, in bytes. Messages go into status and events; an Event's note may have 1024 bytes,
/// and the writer of the event adds its own words.
pub const MESSAGE_BYTES_MAX: usize = 512;

/// Bound on text from a server inside a message, in bytes: room is left for our own words around it.
pub(crate) const DETAIL_BYTES_MAX: usize = 320;

const ELLIPSIS: char = '…';

/// `text` as one line of at most `bytes_max` bytes (at least the three of an ellipsis): runs of white space and of
/// control, separator and text-direction characters become one space each, and what is cut off ends in `…`.
pub fn one_line(text: &str, bytes_max: usize) -> String {
    // four bytes hold any character: the rest of a very long text is never looked at
    let mut line = String::with_capacity(bytes_max.min(text.len()));
    let mut space_pending = false;
    for c in text.chars() {
        if c.is_whitespace() || is_harmful(c) {
            space_pending = !line.is_empty();
            continue;
        }
        let needed = c.len_utf8() + usize::from(space_pending);
        if line.len() + needed > bytes_max {
            while line.len() + ELLIPSIS.len_utf8() > bytes_max && line.pop().is_some() {}
            line.push(ELLIPSIS);
            return line;
        }
        if space_pending {
            line.push(' ');
            space_pending = false;
        }
        line.push(c);
    }
    line
}

/// Control characters, and the invisible ones with which a text can be made to read differently from what it says.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// A number as people read it: six significant digits, or every digit where `same` says that rounding would tell
/// another story (0.5000001 must not be shown as 0.5 beside a bound of 0.5).
pub(crate) fn number(value: f64, same: impl Fn(f64) -> bool) -> String {
    let rounded = format!("{value:.5e}").parse::<f64>().unwrap_or(value);
    shortest(if same(rounded) { rounded } else { value })
}

/// A number with the fewest digits that give it back.
pub(crate) fn shortest(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        infinity_or_nan(value).to_owned()
    } else if size != 0.0 && !(1e-5..1e15).contains(&size) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

/// The spelling that Prometheus uses.
pub(crate) fn infinity_or_nan(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_server_becomes_one_bounded_line() {
        assert_eq!(one_line("  a\r\n\tb \u{1b}[31mc\u{202E}d ", 64), "a b [31mc d");
        assert_eq!(one_line("abcdefgh", 8), "abcdefgh");
        assert_eq!(one_line("abcdefghi", 8), "abcde…");
        assert_eq!(one_line("ääääää", 8), "ää…");
        assert_eq!(one_line("\n\n", 8), "");
    }

    #[test]
    fn numbers_are_short_unless_that_would_hide_the_difference_to_a_bound() {
        assert_eq!(number(0.487_317_073_170_731_7, |v| v < 0.5), "0.487317");
        assert_eq!(number(0.500_000_01, |v| v > 0.5), "0.50000001");
        assert_eq!(number(1e300, |_| true), "1e300");
        assert_eq!(number(0.0, |_| true), "0");
        assert_eq!(number(1200.0, |_| true), "1200");
        assert_eq!(shortest(f64::NEG_INFINITY), "-Inf");
    }
}
