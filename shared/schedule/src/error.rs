//! Why an expression or a time zone was refused, in words for the person who wrote it.

/// Longest piece of the input that a message repeats, in characters.
const MAX_QUOTED: usize = 60;

/// A schedule expression, or a time zone, that hostsync cannot take.
///
/// [`Display`](std::fmt::Display) names the field, the value and what is allowed instead, in one sentence,
/// or in one for each field that is wrong; it stands alone and has no source. It quotes at most 60 characters of the input
/// at a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    field: Option<&'static str>,
    message: String,
}

impl ScheduleError {
    /// Something is wrong with one field.
    pub(super) fn in_field(field: &'static str, message: impl Into<String>) -> Self {
        Self { field: Some(field), message: message.into() }
    }

    /// Something is wrong with the expression as a whole.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { field: None, message: message.into() }
    }

    /// Several things are wrong; the first one's field is the one at fault.
    pub(super) fn all(errors: &[Self]) -> Self {
        let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        Self { message: messages.join("; "), field: errors.first().and_then(|error| error.field) }
    }

    /// The part at fault: `second`, `minute`, `hour`, `day-of-month`, `month`, `day-of-week`,
    /// `time zone` or `interval`; `None` when it is the expression as a whole.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.field
    }
}

/// `text` in quotes, cut to [`MAX_QUOTED`] characters, control characters escaped.
pub(super) fn quote(text: &str) -> String {
    let kept: String = text.chars().take(MAX_QUOTED).collect();
    let ellipsis = if kept.len() < text.len() { "…" } else { "" };
    format!("\"{}{ellipsis}\"", kept.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_and_a_control_character_is_escaped() {
        assert_eq!(quote("5\t"), "\"5\\t\"");
        let quoted = quote(&"é".repeat(200));
        assert_eq!(quoted.chars().count(), MAX_QUOTED + 3);
        assert!(quoted.ends_with("…\""));
    }
}
