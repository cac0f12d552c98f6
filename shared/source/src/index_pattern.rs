//! Which index patterns may be put into the path of a request.
//!
//! Owns the rule, for whoever stores a pattern and for the endpoint that sends it. It knows the form only;
//! whether an index matches is known to the search engine.

/// Longest index pattern, in bytes: what the column of a task holds, and what an index name may be.
pub const MAX_INDEX_PATTERN_BYTES: usize = 255;

/// Why a text is no index pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexPatternError {
    /// No text at all.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`MAX_INDEX_PATTERN_BYTES`].
    #[error("must not be longer than {MAX_INDEX_PATTERN_BYTES} bytes")]
    TooLong,
    /// A character that no index name has.
    #[error("must not contain {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
    /// Two dots in a row, or a part that is a single dot.
    #[error("must not contain \"..\" or a part that is \".\"")]
    Dots,
    /// Nothing between two commas or beside a colon.
    #[error("has an empty part beside a comma or a colon")]
    EmptyPart,
    /// A part that begins as no index name does: `_` is a command, `-` excludes from what stands before it.
    #[error("has a part that begins with {character:?}, as no index does")]
    Start {
        /// `_`, `+`, or `-` in the first part.
        character: char,
    },
}

/// Accepts a comma-separated list of index names, aliases and patterns with `*`, each with an optional
/// `cluster:` before it, and exclusions (`-name`) after the first.
///
/// The rules are those of index names (the engines' page on creating an index) without date arithmetic,
/// which needs a `/`, and without `_all`, for which `*` says the same.
///
/// # Errors
///
/// [`IndexPatternError`], a sentence without its subject.
pub fn valid_index_pattern(pattern: &str) -> Result<(), IndexPatternError> {
    if pattern.is_empty() {
        return Err(IndexPatternError::Empty);
    }
    if pattern.len() > MAX_INDEX_PATTERN_BYTES {
        return Err(IndexPatternError::TooLong);
    }
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || "/\\?#%\"<>|`'{}[]".contains(c);
    if let Some(character) = pattern.chars().find(|c| forbidden(*c)) {
        return Err(IndexPatternError::Character { character });
    }
    for (position, part) in pattern.split(',').enumerate() {
        let excluded = part.strip_prefix('-').filter(|_| position > 0);
        for name in excluded.unwrap_or(part).split(':') {
            if name.is_empty() {
                return Err(IndexPatternError::EmptyPart);
            }
            if name == "." || name.contains("..") {
                return Err(IndexPatternError::Dots);
            }
        }
        // After `cluster:` an exclusion is possible too, but no command.
        let first = excluded.unwrap_or(part).chars().next().filter(|first| "_+-".contains(*first));
        if let Some(character) = first {
            return Err(IndexPatternError::Start { character });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_patterns_clusters_lists_and_exclusions_are_accepted() {
        for pattern in [
            "cluster*:data-zabbix-host-monitor-*",
            "metricbeat-*",
            "a",
            "*",
            "*:*",
            "logs-2024.01.01,logs-2024.01.02",
            "logs-*,-logs-old*",
            "one:logs-*,two:logs-*,-three:logs-*",
            ".hidden",
            "监控-*",
        ] {
            assert_eq!(valid_index_pattern(pattern), Ok(()), "{pattern}");
        }
        assert_eq!(valid_index_pattern(&"x".repeat(255)), Ok(()));
    }

    #[test]
    fn everything_that_could_leave_the_path_or_is_no_name_is_refused() {
        use IndexPatternError::{Character, Dots, Empty, EmptyPart, Start, TooLong};
        for (pattern, error) in [
            ("", Empty),
            ("a/b", Character { character: '/' }),
            ("a?x=1", Character { character: '?' }),
            ("a#b", Character { character: '#' }),
            ("a%2fb", Character { character: '%' }),
            ("a b", Character { character: ' ' }),
            ("a\n", Character { character: '\n' }),
            ("<logs-{now}>", Character { character: '<' }),
            ("..", Dots),
            ("a..b", Dots),
            (".", Dots),
            ("a,.", Dots),
            ("c:..", Dots),
            ("a,,b", EmptyPart),
            ("a,", EmptyPart),
            (":a", EmptyPart),
            ("a:", EmptyPart),
            ("a,-", EmptyPart),
            ("_all", Start { character: '_' }),
            ("_cluster", Start { character: '_' }),
            ("a,_b", Start { character: '_' }),
            ("-a", Start { character: '-' }),
            ("a,--b", Start { character: '-' }),
        ] {
            assert_eq!(valid_index_pattern(pattern), Err(error), "{pattern:?}");
        }
        assert_eq!(valid_index_pattern(&"x".repeat(256)), Err(TooLong));
    }
}
