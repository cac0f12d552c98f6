//! Who answers at an endpoint, and what follows from it.
//!
//! Owns what an answer to `GET /` says, which is remembered for minutes, and what differs between the engines that hostsync
//! reads: nothing here is configured.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::SearchError;

/// How long an answer stands: a cluster that is upgraded is known for what it is after it.
const REMEMBERED_FOR: Duration = Duration::from_mins(5);

/// Oldest release of Elasticsearch that is read.
const OLDEST_ELASTICSEARCH: u32 = 7;

/// A search engine by its maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Elasticsearch.
    Elasticsearch,
    /// `OpenSearch`.
    OpenSearch,
}

/// A search engine and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which one.
    pub product: Product,
    /// Such as `7.10.2`.
    pub version: String,
}

/// Who answered at an endpoint last.
#[derive(Debug, Default)]
pub(super) struct KnownIdentity(Mutex<Option<(Option<Identity>, Instant)>>);

impl KnownIdentity {
    /// The answer while it stands, else that of `asking`, which is remembered.
    pub(super) async fn or_ask(
        &self,
        asking: impl Future<Output = Result<Option<Identity>, SearchError>>,
    ) -> Result<Option<Identity>, SearchError> {
        if let Some((identity, asked)) = &*self.lock()
            && asked.elapsed() < REMEMBERED_FOR
        {
            return Ok(identity.clone());
        }
        let identity = asking.await?;
        *self.lock() = Some((identity.clone(), Instant::now()));
        Ok(identity)
    }

    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Option<Identity>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct RootAnswer {
    version: RootVersion,
}

#[derive(Deserialize)]
struct RootVersion {
    number: String,
    #[serde(default)]
    distribution: Option<String>,
}

impl Identity {
    pub(super) fn read(answer: &[u8]) -> Option<Self> {
        let RootAnswer { version } = serde_json::from_slice(answer).ok()?;
        let product = match version.distribution.as_deref() {
            Some("opensearch") => Product::OpenSearch,
            _ => Product::Elasticsearch,
        };
        Some(Self { product, version: version.number })
    }

    /// Major and minor; 0 for what is no number.
    fn release(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Why it cannot be read, if it cannot: it is older than any that hostsync knows.
    pub(super) fn defect(&self) -> Option<String> {
        let is_too_old = self.product == Product::Elasticsearch && self.release() < (OLDEST_ELASTICSEARCH, 0);
        is_too_old.then(|| format!("{self} is not supported: it must be Elasticsearch 7 or newer, or OpenSearch"))
    }

    /// Elasticsearch takes the length of a slice as `fixed_interval` since 7.2; before that there is `interval` only,
    /// which 8 and every `OpenSearch` do not know (the engines' page on the date histogram aggregation).
    pub(super) fn has_legacy_interval_only(&self) -> bool {
        self.product == Product::Elasticsearch && self.release() < (7, 2)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = match self.product {
            Product::Elasticsearch => "Elasticsearch",
            Product::OpenSearch => "OpenSearch",
        };
        write!(f, "{product} {}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity(number: &str, distribution: Option<&str>) -> Identity {
        let mut version = json!({"number": number});
        if let Some(distribution) = distribution {
            version["distribution"] = json!(distribution);
        }
        Identity::read(json!({"name": "n", "version": version}).to_string().as_bytes()).expect("an identity")
    }

    #[test]
    fn an_engine_tells_its_maker_and_version() {
        assert_eq!(identity("7.10.2", None).to_string(), "Elasticsearch 7.10.2");
        assert_eq!(identity("2.19.1", Some("opensearch")).to_string(), "OpenSearch 2.19.1");
        assert_eq!(Identity::read(b"{}"), None);
        assert_eq!(Identity::read(b"<html>"), None);
    }

    #[test]
    fn what_is_too_old_is_refused_and_what_is_new_is_taken() {
        assert!(identity("6.8.23", None).defect().is_some_and(|defect| defect.starts_with("Elasticsearch 6.8.23 is")));
        for (number, distribution) in [
            ("7.0.0", None),
            ("8.15.1", None),
            ("9.1.0", None),
            ("1.3.0", Some("opensearch")),
            ("3.0.0", Some("opensearch")),
        ] {
            assert_eq!(identity(number, distribution).defect(), None, "{number}");
        }
    }

    #[test]
    fn only_the_first_releases_of_7_take_the_old_name_of_an_interval() {
        for (number, distribution, legacy) in [
            ("7.0.1", None, true),
            ("7.1.1", None, true),
            ("7.2.0", None, false),
            ("7.10.2", None, false),
            ("8.0.0", None, false),
            ("1.0.0", Some("opensearch"), false),
        ] {
            assert_eq!(identity(number, distribution).has_legacy_interval_only(), legacy, "{number}");
        }
    }
}
