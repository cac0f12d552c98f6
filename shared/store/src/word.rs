//! Words of the model as a row holds them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySql, MySqlTypeInfo, MySqlValueRef};
use sqlx::{Decode, Type};

/// A word of a closed set (a status, a trigger, a policy, a length of time) in a column.
///
/// The column may hold a text that this release does not know: a newer release beside this one has a word more, or the
/// program before hostsync wrote it. Such a row hides no other of its list and stops no sweep over all runs, so that reading
/// it is no error. It is shown as it stands and equals no word; what has to decide by it asks [`Word::known`], whose error
/// is that row's alone and leaves the row to a release that knows the word. No other word ever stands in for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Word<T> {
    /// A member of the set.
    Known(T),
    /// Any other text.
    Unknown(Box<str>),
}

/// A text in a column of words that this release does not know.
#[derive(Debug, thiserror::Error)]
#[error("this release does not know the word {0:?}")]
struct UnknownInRow(Box<str>);

impl<T> Word<T> {
    /// The word.
    ///
    /// # Errors
    ///
    /// [`sqlx::Error::ColumnDecode`] with `column` and the text, where this release does not know it.
    pub fn known(&self, column: &str) -> Result<&T, sqlx::Error> {
        match self {
            Self::Known(word) => Ok(word),
            Self::Unknown(text) => Err(sqlx::Error::ColumnDecode {
                index: column.to_owned(),
                source: Box::new(UnknownInRow(text.clone())),
            }),
        }
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(word) if word == other)
    }
}

impl<T: FromStr> From<&str> for Word<T> {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Unknown(text.into()), Self::Known)
    }
}

impl<T: FromStr> From<String> for Word<T> {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl<T: fmt::Display> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(word) => word.fmt(f),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

impl<T: fmt::Display> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl<T> Type<MySql> for Word<T> {
    fn type_info() -> MySqlTypeInfo {
        <str as Type<MySql>>::type_info()
    }

    fn compatible(ty: &MySqlTypeInfo) -> bool {
        <str as Type<MySql>>::compatible(ty)
    }
}

impl<'r, T: FromStr> Decode<'r, MySql> for Word<T> {
    fn decode(value: MySqlValueRef<'r>) -> Result<Self, BoxDynError> {
        <&str as Decode<MySql>>::decode(value).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use hostsync_model::execution::ExecutionStatus;

    use super::*;

    #[test]
    fn a_word_that_is_not_known_is_shown_as_it_stands_and_equals_none() {
        let word: Word<ExecutionStatus> = "paused".into();
        assert_eq!(serde_json::to_string(&word).expect("JSON"), r#""paused""#);
        assert!(ExecutionStatus::ALL.iter().all(|known| word != *known));
        for known in ExecutionStatus::ALL {
            assert_eq!(Word::from(known.as_str()), *known);
        }
    }

    #[test]
    fn who_decides_by_a_word_that_is_not_known_is_told_column_and_word() {
        let word: Word<ExecutionStatus> = "paused".into();
        let error = word.known("execution_status").expect_err("no such status");
        assert_eq!(
            error.to_string(),
            r#"error occurred while decoding column execution_status: this release does not know the word "paused""#
        );
        assert!(error.source().is_some());
    }
}
