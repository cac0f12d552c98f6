//! `Idempotency-Key`: the same enqueue sent twice is one.
//!
//! Owns what a key may be, what makes two requests the same, and that the key is stored in the enqueue's own transaction.
//! A key holds for 24 hours at the path that it was sent to. Knows no transport but the header's form.

use std::fmt::Write as _;

use anyhow::Context as _;
use hostsync_model::causes::causes;
use hostsync_store::tables::idempotency_keys::{self, KeyRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use sqlx::MySqlConnection;

use crate::database::{Database, within_bound};
use crate::error::ApiError;

/// The header, as messages name it.
pub(crate) const HEADER: &str = "Idempotency-Key";

/// Longest key, in characters.
pub(crate) const MAX_KEY_CHARS: usize = 255;

/// A key as it was sent, with what it was sent with.
#[derive(Debug, Clone)]
pub(crate) struct SentKey {
    key: String,
    fingerprint: String,
}

/// A key at the path that it holds for.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey {
    scope: String,
    sent: SentKey,
}

/// What the first request with a key was answered.
#[derive(Debug, Clone)]
pub(crate) struct FirstAnswer<A, O> {
    /// What was accepted.
    pub(crate) answer: A,
    /// How it stood when the first caller's wait was over; `None`: nobody has waited to the end.
    pub(crate) outcome: Option<O>,
}

/// Whether a text may be a key: 1 to [`MAX_KEY_CHARS`] visible characters of ASCII.
pub(crate) fn is_key(text: &[u8]) -> bool {
    (1..=MAX_KEY_CHARS).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

impl SentKey {
    /// A key that [`is_key`] with the body that it came with.
    pub(crate) fn new(key: String, body: Fingerprint) -> Self {
        Self { key, fingerprint: body.finish() }
    }

    /// The key at a path, with the ids in it: `/es-sync-executions/7/retry`. Every path is shorter than the 64 characters
    /// that are stored of it.
    pub(crate) fn at(self, path: impl Into<String>) -> IdempotencyKey {
        IdempotencyKey { scope: path.into(), sent: self }
    }
}

/// What makes two bodies the same: their fields and values, whatever the order and the blanks between them.
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    /// Of no body.
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds a part under its name.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) {
        for part in [name.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    /// Adds a value as JSON, in which the names of an object are in order.
    pub(crate) fn add_json(&mut self, value: &impl Serialize) {
        struct Hashing<'a>(&'a mut Sha256);
        impl std::io::Write for Hashing<'_> {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.update(bytes);
                Ok(bytes.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        // A value that was read as JSON can be written as JSON, and hashing does not fail.
        let _ = serde_json::to_writer(Hashing(&mut self.0), value);
    }

    fn finish(self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl IdempotencyKey {
    fn stored(&self) -> KeyRef<'_> {
        KeyRef { scope: &self.scope, key: &self.sent.key }
    }

    /// What the first request with this key was answered; `None`: this is the first.
    ///
    /// # Errors
    ///
    /// The key came with another body; the database.
    pub(crate) async fn first_answer<A, O>(&self, database: &Database) -> Result<Option<FirstAnswer<A, O>>, ApiError>
    where
        A: DeserializeOwned,
        O: DeserializeOwned,
    {
        let stored = within_bound(async {
            let mut connection = database.connection().await?;
            Ok(idempotency_keys::find(&mut connection, self.stored()).await?)
        })
        .await?;
        let Some(stored) = stored else { return Ok(None) };
        if stored.fingerprint != self.sent.fingerprint {
            return Err(ApiError::IdempotencyKeyReused(self.sent.key.clone()));
        }
        let answer = serde_json::from_str(&stored.answer).context("the stored answer of an idempotency key")?;
        let outcome = stored.outcome.map(|outcome| serde_json::from_str(&outcome)).transpose();
        Ok(Some(FirstAnswer { answer, outcome: outcome.context("the stored outcome of an idempotency key")? }))
    }

    /// Reserves the key in the enqueue's transaction, as its first statement: a simultaneous request waits here for the
    /// commit. `false`: the key stands already, see [`Self::first_answer`].
    ///
    /// # Errors
    ///
    /// The database's.
    pub(crate) async fn reserve(&self, connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
        idempotency_keys::reserve(connection, self.stored(), &self.sent.fingerprint).await
    }

    /// Stores what is accepted, in the same transaction.
    ///
    /// # Errors
    ///
    /// The database's.
    pub(crate) async fn remember(
        &self,
        connection: &mut MySqlConnection,
        answer: &impl Serialize,
    ) -> Result<(), ApiError> {
        let answer = serde_json::to_string(answer).context("an answer as JSON")?;
        Ok(idempotency_keys::set_answer(connection, self.stored(), &answer).await?)
    }

    /// Stores how the run stood when the first wait was over. That it fails changes nothing for this caller: a repeat then
    /// waits for itself.
    pub(crate) async fn remember_outcome(&self, database: &Database, outcome: &impl Serialize) {
        let stored = async {
            let outcome = serde_json::to_string(outcome).context("an outcome as JSON")?;
            let mut connection = database.connection().await?;
            Ok::<_, ApiError>(idempotency_keys::set_outcome(&mut connection, self.stored(), &outcome).await?)
        };
        if let Err(error) = within_bound(stored).await {
            tracing::debug!(error = %causes(&error), "the outcome of a run is not kept with its idempotency key");
        }
    }

    /// Makes a key that is beyond its life free.
    ///
    /// # Errors
    ///
    /// The database's.
    pub(crate) async fn forget_expired(&self, database: &Database) -> Result<(), ApiError> {
        within_bound(async {
            let mut connection = database.connection().await?;
            Ok(idempotency_keys::forget_expired(&mut connection, self.stored()).await?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of_json(text: &str) -> String {
        let value: Value = serde_json::from_str(text).expect(text);
        let mut fingerprint = Fingerprint::new();
        fingerprint.add_json(&value);
        fingerprint.finish()
    }

    #[test]
    fn a_key_is_visible_ascii_within_bounds() {
        assert!(is_key(b"8e03978e-40d5-43e8-bc93-6894a57f9324") && is_key(&[b'~'; 255]));
        for text in [&b""[..], b"a b", b"\ta", "schl\u{fc}ssel".as_bytes(), &[b'x'; 256]] {
            assert!(!is_key(text), "{text:?}");
        }
    }

    #[test]
    fn order_and_blanks_make_no_difference_and_values_do() {
        assert_eq!(of_json(r#"{"a":1,"b":["x"]}"#), of_json("{ \"b\" : [\"x\"],\n\"a\":1}"));
        let different = [
            json!({"a": 1}).to_string(),
            json!({"a": "1"}).to_string(),
            json!({"b": 1}).to_string(),
            json!({"a": [1]}).to_string(),
            json!({}).to_string(),
        ];
        let prints: std::collections::BTreeSet<String> = different.iter().map(|text| of_json(text)).collect();
        assert_eq!(prints.len(), different.len());
    }

    #[test]
    fn the_parts_of_a_form_cannot_be_shifted_into_each_other() {
        let of_parts = |parts: &[(&str, &[u8])]| {
            let mut fingerprint = Fingerprint::new();
            for (name, bytes) in parts {
                fingerprint.add(name, bytes);
            }
            fingerprint.finish()
        };
        assert_ne!(of_parts(&[("ab", b"c")]), of_parts(&[("a", b"bc")]));
        assert_ne!(of_parts(&[("a", b""), ("b", b"")]), of_parts(&[("a", b"b")]));
    }
}
