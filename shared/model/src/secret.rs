//! A text that must not be seen: passwords, tokens, keys, URLs that hold them.
//!
//! Owns the masking. `Debug` and `Display` show `***`, so that a secret that ends up in a log line,
//! an error or a printed configuration is not given away. Whoever needs the text asks for it by
//! [`Secret::expose`], which is easy to search for. Comparing in constant time is the caller's duty.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// What is shown in a secret's place.
pub const MASK: &str = "***";

/// A secret text. Kept to the letter: nothing is trimmed, nothing is read as a number.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Takes text only. A TOML number or boolean is refused without being repeated in the error: it has
/// lost its letters (`0x1F`, `1e5`, `007`) before it gets here.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOnly;

        const NOT_A_TEXT: &str = "must be a text in quotes";

        impl<'de> Visitor<'de> for TextOnly {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                Err(E::custom(NOT_A_TEXT))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom(NOT_A_TEXT))
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
                Err(E::custom(NOT_A_TEXT))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                Err(E::custom(NOT_A_TEXT))
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
                Err(E::custom(NOT_A_TEXT))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom(NOT_A_TEXT))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
                Err(de::Error::custom(NOT_A_TEXT))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
                Err(de::Error::custom(NOT_A_TEXT))
            }
        }

        deserializer.deserialize_any(TextOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)), "*** *** Some(\n    ***,\n)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_number_is_refused_without_being_repeated() {
        for json in ["12345", "-7", "1.5", "true", "[1]", "{\"a\":1}"] {
            let error = serde_json::from_str::<Secret>(json).expect_err(json).to_string();
            assert!(error.starts_with("must be a text in quotes"), "{error}");
        }
        assert_eq!(serde_json::from_str::<Secret>("\" 1e5 \"").expect("a text").expose(), " 1e5 ");
    }
}
