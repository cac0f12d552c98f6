//! The name of a task, of a run or of a group.

use utoipa::openapi::Schema;
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::declare::Field;
use super::fields::Fields;
use super::problems::Problems;

/// Longest name, in characters: the width of its column.
const MAX_NAME_CHARS: usize = 255;

/// Not blank, without control characters; blanks around it are cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);

impl Name {
    fn checked(field: &str, text: &str, problems: &mut Problems) -> Self {
        let name = text.trim();
        let length = name.chars().count();
        if length == 0 {
            problems.add(field, "must not be empty");
        } else if length > MAX_NAME_CHARS {
            problems.add(field, format!("must have at most {MAX_NAME_CHARS} characters, not {length}"));
        } else if name.contains(char::is_control) {
            problems.add(field, "must not contain control characters");
        }
        Self(name.to_owned())
    }
}

impl Field for Name {
    fn schema() -> Schema {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"))
            .min_length(Some(1))
            .max_length(Some(MAX_NAME_CHARS))
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let text = fields.text(name)?;
        Some(Self::checked(name, &text, fields.problems()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_bounded_in_characters() {
        let named = |text: &str| {
            let mut problems = Problems::default();
            let name = Name::checked("task_name", text, &mut problems);
            (name.0, problems.into_reported().into_iter().map(|p| p.message).collect::<Vec<_>>())
        };
        assert_eq!(named("  nightly \t"), ("nightly".to_owned(), vec![]));
        assert_eq!(named(&"é".repeat(255)).1, Vec::<String>::new());
        assert_eq!(named(" \n ").1, ["must not be empty"]);
        assert_eq!(named(&"x".repeat(256)).1, ["must have at most 255 characters, not 256"]);
        assert_eq!(named("a\nb").1, ["must not contain control characters"]);
    }
}
