//! An endpoint as it is configured.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use hostsync_model::secret::Secret;

/// One place to search.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// `http` or `https`, without user, query and fragment. See [`Self::base_url`].
    pub url: Url,
    /// What stands there.
    pub kind: EndpointKind,
    /// With `password`: basic authentication. At most one of the three ways is set.
    pub username: Option<String>,
    /// With `username`.
    pub password: Option<Secret>,
    /// An API key in its encoded form.
    pub api_key: Option<Secret>,
    /// A bearer token.
    pub bearer_token: Option<Secret>,
    /// PEM file of the authority that signed the endpoint's certificate.
    pub ca_file: Option<PathBuf>,
    /// Of one search, 1 s to 10 min.
    pub timeout: Duration,
}

/// What stands at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointKind {
    /// A cluster of Elasticsearch or `OpenSearch`.
    Cluster,
    /// A query proxy: it takes a search with the index pattern beside it, and passes it on.
    Proxy,
}

impl EndpointConfig {
    /// The URL without a slash at its end, to append `/{index}/_search` to.
    pub fn base_url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }
}
