//! One configured search engine and the requests that it gets.
//!
//! Owns the HTTP client of the endpoint, with its authentication, TLS, time-outs and bounds, and the order of
//! a search: the types of the fields, then the search itself. It gives up a request when its future is
//! dropped, upon which the engine cancels the search too. It must not retry, nor follow a redirect.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response};
use url::Url;

use super::error::SearchError;
use super::field_types_cache::FieldTypesCache;
use super::index_pattern::valid_index_pattern;
use crate::mapping::{FieldTypes, FieldTypesError, HostReading, Mapping, PlanError, bounded, read_answer, search_body};
use crate::secret::{MASK, Secret};
use crate::window::Window;

/// Largest answer that is read, in bytes after decompression: 64 MiB. A larger one is given up as
/// [`SearchError::TooLarge`]. An answer for 2,000 hosts has about 1 MiB.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// How much is read of the body of a refused request, in bytes. What is longer is cut, and then shown as
/// text only if it is no JSON.
const MAX_ERROR_BYTES: usize = 1 << 20;

/// Longest time for a connection, its TLS handshake included. It is at most half of the endpoint's
/// time-out, so that a connection that cannot be made is told apart from an answer that does not come.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(5);

/// Longest time for a probe.
const PING_TIME: Duration = Duration::from_secs(5);

/// How long an unused connection is kept: less than the 60 s after which common load balancers drop it.
const POOL_IDLE_TIME: Duration = Duration::from_secs(30);

/// Largest part of a reason that is not the endpoint and the index pattern, in characters.
const REASON_MAX_CHARS: usize = 700;

/// How to prove who asks.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// RFC 7617.
    Basic {
        /// Without a colon.
        username: String,
        /// Any text.
        password: Secret,
    },
    /// An Elasticsearch API key in its encoded form (`Authorization: ApiKey …`).
    ApiKey(Secret),
    /// RFC 6750.
    Bearer(Secret),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Basic { username, .. } => f.debug_struct("Basic").field("username", username).finish_non_exhaustive(),
            Self::ApiKey(_) => f.write_str("ApiKey(***)"),
            Self::Bearer(_) => f.write_str("Bearer(***)"),
        }
    }
}

/// A search engine as the configuration describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Its name in the configuration, for reasons and logs.
    pub name: String,
    /// `http` or `https`, with an optional path below which the engine stands; no user, query or fragment.
    pub url: Url,
    /// Credentials.
    pub auth: Auth,
    /// PEM file with certificates of authorities to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Longest time for one request, from the connection to the last byte of the answer.
    pub timeout: Duration,
}

/// Settings that make no endpoint. The reason names the key and never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not a URL that a search engine can have.
    #[error("elasticsearch.endpoints.{name}.url: {reason}")]
    Url {
        /// Of the endpoint.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The credentials cannot be put into a header.
    #[error("elasticsearch.endpoints.{name}: the {key} holds characters that HTTP does not allow")]
    Auth {
        /// Of the endpoint.
        name: String,
        /// Which key.
        key: &'static str,
    },
    /// The file of authorities cannot be read.
    #[error("elasticsearch.endpoints.{name}.ca_file: cannot read {}", path.display())]
    CaFile {
        /// Of the endpoint.
        name: String,
        /// Of the file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file of authorities holds none, or something else.
    #[error("elasticsearch.endpoints.{name}.ca_file: {} holds no PEM certificate that can be read", path.display())]
    CaPem {
        /// Of the endpoint.
        name: String,
        /// Of the file.
        path: PathBuf,
    },
    /// The HTTP client could not be made, as on a system without any certificate of an authority.
    #[error("elasticsearch.endpoints.{name}: no HTTP client can be made")]
    Client {
        /// Of the endpoint.
        name: String,
        /// Why not.
        source: reqwest::Error,
    },
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchAnswer {
    /// The hosts that have data, by the text that they were asked for with; the others have none.
    pub readings: HashMap<String, HostReading>,
    /// Milliseconds that the search engine took, by its own account.
    pub took_ms: u64,
}

/// A search engine, ready to be asked. Made once and shared; holds a pool of connections.
pub struct Endpoint {
    name: String,
    url: Url,
    timeout: Duration,
    client: Client,
    authorization: Option<HeaderValue>,
    /// What must never stand in a reason.
    secrets: Vec<Secret>,
    field_types: FieldTypesCache,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Makes the client of an endpoint. Reads `ca_file`; connects to nothing.
    ///
    /// The process must have a default crypto provider of rustls. Proxies named in the environment are not
    /// used: an endpoint is where its URL says.
    ///
    /// # Errors
    ///
    /// [`EndpointError`], which names the key of the configuration.
    pub fn new(settings: EndpointSettings) -> Result<Self, EndpointError> {
        let EndpointSettings { name, mut url, auth, ca_file, timeout } = settings;
        if let Some(reason) = defect_of(&url) {
            return Err(EndpointError::Url { name, reason });
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("hostsync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .gzip(true)
            .connect_timeout(MAX_CONNECT_TIME.min(timeout / 2))
            .timeout(timeout)
            .pool_idle_timeout(POOL_IDLE_TIME);
        if url.scheme() == "http" {
            // Nothing to verify: a system without any authority must do.
            builder = builder.tls_certs_only([]);
        } else if let Some(path) = ca_file {
            let pem = match std::fs::read(&path) {
                Ok(pem) => pem,
                Err(source) => return Err(EndpointError::CaFile { name, path, source }),
            };
            match reqwest::Certificate::from_pem_bundle(&pem) {
                Ok(certificates) if !certificates.is_empty() => builder = builder.tls_certs_merge(certificates),
                _ => return Err(EndpointError::CaPem { name, path }),
            }
        }
        let client = match builder.build() {
            Ok(client) => client,
            Err(source) => return Err(EndpointError::Client { name, source }),
        };
        let (authorization, secrets) = match authorization(&client, &url, &auth) {
            Ok(authorization) => authorization,
            Err(key) => return Err(EndpointError::Auth { name, key }),
        };
        Ok(Self { name, url, timeout, client, authorization, secrets, field_types: FieldTypesCache::default() })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, with a slash at the end.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the engine can be reached: any HTTP answer below 500 but 429 will do, since even one that
    /// refuses the credentials is alive. At most 5 s.
    ///
    /// # Errors
    ///
    /// [`SearchError::Outage`].
    pub async fn ping(&self) -> Result<(), SearchError> {
        let request = self.request(Method::GET, self.url.clone()).timeout(PING_TIME.min(self.timeout));
        let error = match request.send().await {
            Ok(response) if response.status().as_u16() < 500 && response.status().as_u16() != 429 => return Ok(()),
            Ok(response) => SearchError::Outage {
                reason: format!("the search engine is not available (HTTP {})", response.status().as_u16()),
                busy: response.status().as_u16() == 429,
            },
            Err(error) => {
                let reason = SearchError::from_transport(error, PING_TIME.min(self.timeout)).reason().to_owned();
                SearchError::Outage { reason, busy: false }
            }
        };
        Err(error.map_reason(|reason| self.presentable(None, reason)))
    }

    /// Reads many hosts in one window with one search.
    ///
    /// `hosts` are the addresses as they stand in the documents, each once, at most
    /// [`MAX_HOSTS`](crate::mapping::MAX_HOSTS). The types of the fields are looked up before the first search
    /// of an index pattern and mapping, and remembered for 5 minutes or until an answer makes no sense.
    ///
    /// # Errors
    ///
    /// [`SearchError`], and then nothing may be concluded about any host.
    #[tracing::instrument(
        name = "elasticsearch.search",
        skip_all,
        fields(
            endpoint = %self.name,
            index = index_pattern,
            hosts = hosts.len(),
            hosts_with_data = tracing::field::Empty,
            took_ms = tracing::field::Empty,
        )
    )]
    pub async fn search(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        hosts: &[String],
    ) -> Result<SearchAnswer, SearchError> {
        if hosts.is_empty() {
            return Ok(SearchAnswer { readings: HashMap::new(), took_ms: 0 });
        }
        let result = self.search_with_types(index_pattern, mapping, window, hosts).await;
        match &result {
            Ok(answer) => {
                let span = tracing::Span::current();
                span.record("hosts_with_data", answer.readings.len());
                span.record("took_ms", answer.took_ms);
            }
            Err(SearchError::Refused { .. } | SearchError::Incomplete { .. }) => {
                self.field_types.forget(index_pattern, mapping);
            }
            Err(_) => {}
        }
        result.map_err(|error| error.map_reason(|reason| self.presentable(Some(index_pattern), reason)))
    }

    async fn search_with_types(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        hosts: &[String],
    ) -> Result<SearchAnswer, SearchError> {
        valid_index_pattern(index_pattern)
            .map_err(|error| SearchError::Refused { reason: format!("the index pattern {error}") })?;
        if let Some(types) = self.field_types.get(index_pattern, mapping) {
            return self.search_once(index_pattern, mapping, &types, window, hosts).await;
        }
        let answer = self.field_caps(index_pattern, mapping).await?;
        match FieldTypes::read(mapping, &answer) {
            Ok(types) => {
                self.field_types.put(index_pattern, mapping, types.clone());
                self.search_once(index_pattern, mapping, &types, window, hosts).await
            }
            Err(error @ FieldTypesError::Malformed { .. }) => {
                Err(SearchError::Incomplete { reason: error.to_string() })
            }
            Err(error @ FieldTypesError::Unusable { .. }) => Err(SearchError::Refused { reason: error.to_string() }),
            // A cluster that cannot be reached is left out of field types without a word; a search names it.
            Err(error @ (FieldTypesError::NoIndex | FieldTypesError::Missing { .. })) => {
                let types = FieldTypes::unresolved(mapping);
                let searched = self.search_once(index_pattern, mapping, &types, window, hosts).await;
                Err(match (error, searched) {
                    (FieldTypesError::NoIndex, Err(error)) => error,
                    (error @ FieldTypesError::NoIndex, Ok(_)) => SearchError::Incomplete { reason: error.to_string() },
                    (error, Ok(_) | Err(SearchError::Refused { .. })) => {
                        SearchError::Refused { reason: error.to_string() }
                    }
                    (_, Err(error)) => error,
                })
            }
        }
    }

    async fn field_caps(&self, index_pattern: &str, mapping: &Mapping) -> Result<Vec<u8>, SearchError> {
        let mut url = self.index_url(index_pattern, "_field_caps")?;
        url.query_pairs_mut()
            .append_pair("fields", &FieldTypes::to_ask_for(mapping).join(","))
            .append_pair("include_unmapped", "true");
        self.exchange(self.request(Method::GET, url)).await
    }

    async fn search_once(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        types: &FieldTypes,
        window: Window,
        hosts: &[String],
    ) -> Result<SearchAnswer, SearchError> {
        let body = search_body(mapping, types, window, hosts).map_err(|error| match error {
            PlanError::TooManyHosts { .. } => SearchError::TooLarge { reason: error.to_string() },
            PlanError::NoHosts => SearchError::Refused { reason: error.to_string() },
        })?;
        let mut url = self.index_url(index_pattern, "_search")?;
        url.query_pairs_mut()
            // Asked for although it is never taken: a partial answer says which shards and clusters are
            // missing and why, where without it a single failed shard gives an error for the whole. It is
            // written out because a cluster may have the other default.
            .append_pair("allow_partial_search_results", "true")
            // The same window and hosts are hardly ever asked for again: do not push others out of the cache.
            .append_pair("request_cache", "false");
        let answer = self.exchange(self.request(Method::POST, url).json(&body)).await?;
        let answer = read_answer(mapping, types, hosts, &answer)?;
        Ok(SearchAnswer { readings: answer.readings, took_ms: answer.took_ms })
    }

    /// `{url}/{index_pattern}/{command}`, the pattern encoded as one segment.
    fn index_url(&self, index_pattern: &str, command: &str) -> Result<Url, SearchError> {
        let mut url = self.url.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().push(index_pattern).push(command);
            }
            Err(()) => return Err(SearchError::Refused { reason: "the url of the endpoint has no path".to_owned() }),
        }
        Ok(url)
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Sends a request and gives the body of a 2xx answer.
    async fn exchange(&self, request: RequestBuilder) -> Result<Vec<u8>, SearchError> {
        let mut response = request.send().await.map_err(|error| self.transport(error))?;
        let status = response.status();
        if status.is_success() {
            return match self.body(&mut response, MAX_ANSWER_BYTES).await? {
                Body::Whole(body) => Ok(body),
                Body::Cut(_) => Err(SearchError::TooLarge {
                    reason: format!("the answer is larger than {} MiB", MAX_ANSWER_BYTES >> 20),
                }),
            };
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(where_to);
        // The status decides; its explanation is welcome but may be missing.
        let body = match self.body(&mut response, MAX_ERROR_BYTES).await {
            Ok(Body::Whole(body) | Body::Cut(body)) => body,
            Err(_) => Vec::new(),
        };
        Err(SearchError::from_status(status.as_u16(), location.as_deref(), &body))
    }

    async fn body(&self, response: &mut Response, max_bytes: usize) -> Result<Body, SearchError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(error))? {
            let room = max_bytes - body.len();
            if chunk.len() > room {
                body.extend_from_slice(&chunk[..room]);
                return Ok(Body::Cut(body));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Body::Whole(body))
    }

    fn transport(&self, error: reqwest::Error) -> SearchError {
        SearchError::from_transport(error, self.timeout)
    }

    /// The reason with the endpoint and the index pattern before it, and without secrets: an engine or a
    /// proxy may repeat what it was sent.
    fn presentable(&self, index_pattern: Option<&str>, reason: &str) -> String {
        let mut reason = reason.to_owned();
        for secret in &self.secrets {
            reason = reason.replace(secret.expose(), MASK);
        }
        let reason = bounded(&reason, REASON_MAX_CHARS);
        match index_pattern {
            Some(index) => format!("endpoint \"{}\", index \"{}\": {reason}", self.name, bounded(index, 255)),
            None => format!("endpoint \"{}\": {reason}", self.name),
        }
    }
}

enum Body {
    Whole(Vec<u8>),
    /// The beginning of a body that is larger than it may be.
    Cut(Vec<u8>),
}

fn defect_of(url: &Url) -> Option<&'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        Some("must begin with http:// or https://")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("must not hold credentials; use username and password")
    } else if url.query().is_some() || url.fragment().is_some() {
        Some("must end with its path; ? and # have no place in it")
    } else {
        None
    }
}

/// The header and what must be kept out of reasons; the error names the key that is at fault.
fn authorization(client: &Client, url: &Url, auth: &Auth) -> Result<(Option<HeaderValue>, Vec<Secret>), &'static str> {
    let (value, secret, key) = match auth {
        Auth::None => return Ok((None, Vec::new())),
        Auth::Basic { username, password } => {
            // reqwest knows the encoding; a request that is never sent lends it.
            let request = client.get(url.clone()).basic_auth(username, Some(password.expose())).build();
            let value = request.ok().and_then(|request| request.headers().get(AUTHORIZATION).cloned());
            (value, password, "password")
        }
        Auth::ApiKey(key) => (HeaderValue::from_str(&format!("ApiKey {}", key.expose())).ok(), key, "api_key"),
        Auth::Bearer(token) => {
            (HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok(), token, "bearer_token")
        }
    };
    let mut value = value.ok_or(key)?;
    value.set_sensitive(true);
    let encoded = value.to_str().ok().and_then(|value| value.split_once(' ')).map(|(_, rest)| Secret::new(rest));
    let secrets = encoded.into_iter().chain([secret.clone()]);
    Ok((Some(value), secrets.filter(|secret| !secret.expose().is_empty()).collect()))
}

/// Where a redirect leads, without what may be secret in it.
fn where_to(location: &str) -> String {
    match Url::parse(location) {
        Ok(mut url) => {
            url.set_query(None);
            url.set_fragment(None);
            let _ = url.set_password(None);
            let _ = url.set_username("");
            url.to_string()
        }
        Err(_) => location.split(['?', '#']).next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str, auth: Auth) -> EndpointSettings {
        EndpointSettings {
            name: "main".to_owned(),
            url: url.parse().expect("a URL"),
            auth,
            ca_file: None,
            timeout: Duration::from_secs(30),
        }
    }

    fn endpoint(url: &str, auth: Auth) -> Result<Endpoint, EndpointError> {
        // A second call finds the provider of the first one in its place.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Endpoint::new(settings(url, auth))
    }

    #[test]
    fn secrets_are_not_shown() {
        let basic = Auth::Basic { username: "reader".to_owned(), password: "hunter2".into() };
        for auth in [basic, Auth::ApiKey("hunter2".into()), Auth::Bearer("hunter2".into())] {
            let shown = format!("{:?}", settings("http://es:9200", auth.clone()));
            assert!(!shown.contains("hunter2"), "{shown}");
            let endpoint = endpoint("http://es:9200", auth).expect("an endpoint");
            assert!(!format!("{endpoint:?}").contains("hunter2"));
            let header = endpoint.authorization.as_ref().expect("a header").to_str().expect("text").to_owned();
            let (_, encoded) = header.split_once(' ').expect("two words");
            let reason = endpoint.presentable(Some("logs"), &format!("no user for {encoded} or hunter2"));
            assert_eq!(reason, "endpoint \"main\", index \"logs\": no user for *** or ***");
        }
    }

    #[test]
    fn the_index_pattern_is_one_segment_of_the_path() {
        for base in ["http://es:9200", "http://es:9200/", "http://es:9200/deep", "http://es:9200/deep/"] {
            let endpoint = endpoint(base, Auth::None).expect("an endpoint");
            let url = endpoint.index_url("cluster*:a-*,b c", "_search").expect("a URL");
            let path = if base.contains("deep") { "/deep/" } else { "/" };
            assert_eq!(url.path(), format!("{path}cluster*:a-*,b%20c/_search"));
            assert_eq!(url.host_str(), Some("es"));
        }
    }

    #[test]
    fn urls_that_no_engine_has_are_refused() {
        for url in
            ["ftp://es", "http://user:hunter2@es", "http://user@es", "http://es/?a=b", "http://es/#a", "mailto:a@b"]
        {
            let error = endpoint(url, Auth::None).expect_err(url).to_string();
            assert!(error.starts_with("elasticsearch.endpoints.main.url: "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn credentials_that_fit_no_header_are_refused_without_showing_them() {
        let error = endpoint("http://es", Auth::ApiKey("hun\nter2".into())).expect_err("bad").to_string();
        assert_eq!(error, "elasticsearch.endpoints.main: the api_key holds characters that HTTP does not allow");
        let error = endpoint("http://es", Auth::Bearer("hun\nter2".into())).expect_err("bad").to_string();
        assert!(error.contains("bearer_token"), "{error}");
    }

    #[test]
    fn a_file_of_authorities_must_hold_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        let with_ca = || EndpointSettings { ca_file: Some(path.clone()), ..settings("https://es", Auth::None) };
        assert!(matches!(Endpoint::new(with_ca()), Err(EndpointError::CaFile { .. })));
        std::fs::write(&path, "no certificate").expect("a file");
        assert!(matches!(Endpoint::new(with_ca()), Err(EndpointError::CaPem { .. })));
    }

    #[test]
    fn a_redirect_is_shown_without_what_may_be_secret() {
        assert_eq!(where_to("https://a:b@login/path?token=x#y"), "https://login/path");
        assert_eq!(where_to("/login?token=x"), "/login");
    }
}
