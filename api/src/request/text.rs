//! Texts as sentences show them.

/// Most characters of a value that a message repeats.
const MAX_QUOTED: usize = 60;

/// A text in quotes, cut, control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", cut(text).escape_debug())
}

pub(super) fn cut(text: &str) -> String {
    let mut kept: String = text.chars().take(MAX_QUOTED).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    kept
}

/// A count with its noun: `1 host`, `2 hosts`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
