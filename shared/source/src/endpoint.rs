//! One configured search engine and the requests that it gets.
//!
//! Owns the HTTP client of the endpoint, with its authentication, TLS, time-outs and bounds, and the two forms of
//! a search: to a cluster, and to a query proxy. It gives up a request when its future is dropped, upon which the
//! engine cancels the search too. It must not retry, nor follow a redirect. What is asked in which order is
//! `search`'s matter, and that of its neighbours.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::error::SearchError;
use super::field_types_cache::FieldTypesCache;
use super::identity::KnownIdentity;
use super::index_pattern::valid_index_pattern;
use crate::{EndpointConfig, EndpointKind};
use hostsync_mapping::RefusalKind;
use hostsync_mapping::bounded;
use hostsync_model::MASK;
use hostsync_model::secret::Secret;

/// Largest answer to a question that is not about a list of hosts, in bytes after decompression. A larger one is given up as
/// [`SearchError::TooLarge`].
pub(super) const SHORT_ANSWER_BYTES: usize = 1 << 20;

/// Largest list of indices, or of the types of fields in them: some 10,000 indices. A larger one is given up as
/// [`SearchError::TooLarge`].
pub(super) const LONG_ANSWER_BYTES: usize = 16 << 20;

/// How much is read of the body of a refused request, in bytes. What is longer is cut, and then shown as
/// text only if it is no JSON.
const MAX_ERROR_BYTES: usize = 1 << 20;

/// Largest answer of a query proxy that is looked at for an error inside a success, in bytes.
const MAX_HIDDEN_ERROR_BYTES: usize = 1 << 16;

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
#[derive(Debug, Clone, Default)]
pub enum EndpointAuth {
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

impl EndpointAuth {
    /// The secret, which may be replaced at any time, and its key.
    const fn secret(&self) -> Option<(&'static str, &Secret)> {
        match self {
            Self::None => None,
            Self::Basic { password, .. } => Some(("password", password)),
            Self::ApiKey(key) => Some(("api_key", key)),
            Self::Bearer(token) => Some(("bearer_token", token)),
        }
    }
}

/// A search engine as the configuration describes it.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// Its name in the configuration, for reasons and logs.
    pub name: String,
    /// What stands there.
    pub kind: EndpointKind,
    /// `http` or `https`, with an optional path: below it the engine stands, or at it the query proxy. No user,
    /// query or fragment.
    pub url: Url,
    /// Credentials.
    pub auth: EndpointAuth,
    /// PEM file with certificates of authorities to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Longest time for one request, from the connection to the last byte of the answer.
    pub timeout: Duration,
}

impl EndpointSettings {
    /// The endpoint that the configuration has under a name.
    pub fn configured(name: &str, endpoint: &EndpointConfig) -> Self {
        let auth = match (&endpoint.username, &endpoint.password, &endpoint.api_key, &endpoint.bearer_token) {
            (Some(username), Some(password), _, _) => {
                EndpointAuth::Basic { username: username.clone(), password: password.clone() }
            }
            (_, _, Some(key), _) => EndpointAuth::ApiKey(key.clone()),
            (_, _, _, Some(token)) => EndpointAuth::Bearer(token.clone()),
            _ => EndpointAuth::None,
        };
        Self {
            name: name.to_owned(),
            kind: endpoint.kind,
            url: endpoint.url.clone(),
            auth,
            ca_file: endpoint.ca_file.clone(),
            timeout: endpoint.timeout,
        }
    }
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

/// A search engine, ready to be asked. Made once and shared; holds a pool of connections.
pub struct Endpoint {
    name: String,
    pub(super) kind: EndpointKind,
    url: Url,
    timeout: Duration,
    client: Client,
    auth: EndpointAuth,
    pub(super) field_types: FieldTypesCache,
    pub(super) identity: KnownIdentity,
    /// What was searched last: a query proxy is only known to live if it can ask for it.
    last_pattern: Mutex<Option<String>>,
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
        let EndpointSettings { name, kind, mut url, auth, ca_file, timeout } = settings;
        if let Some(reason) = defect_of(&url) {
            return Err(EndpointError::Url { name, reason });
        }
        if kind == EndpointKind::Cluster && !url.path().ends_with('/') {
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
        let endpoint = Self {
            name,
            kind,
            url,
            timeout,
            client,
            auth,
            field_types: FieldTypesCache::default(),
            identity: KnownIdentity::default(),
            last_pattern: Mutex::new(None),
        };
        match endpoint.auth.secret() {
            Some((key, secret)) if endpoint.authorization(&secret.get()).is_none() => {
                Err(EndpointError::Auth { name: endpoint.name, key })
            }
            _ => Ok(endpoint),
        }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is; a cluster with a slash at the end.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the engine can be reached: any HTTP answer below 500 but 429 will do, since even one that
    /// refuses the credentials is alive. At most 5 s. A query proxy is asked to pass on a search that matches
    /// nothing, once it has been searched through: it may live while the engine behind it does not.
    ///
    /// # Errors
    ///
    /// [`SearchError::Outage`].
    pub async fn ping(&self) -> Result<(), SearchError> {
        let last_pattern = self.last_pattern.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let request = match (self.kind, last_pattern) {
            (EndpointKind::Proxy, Some(pattern)) => {
                let body = json!({"index": pattern, "size": 0, "query": {"match_none": {}}});
                self.request(Method::POST, self.url.clone()).json(&body)
            }
            _ => self.request(Method::GET, self.url.clone()),
        };
        let limit = PING_TIME.min(self.timeout);
        let error = match request.timeout(limit).send().await {
            Ok(response) if response.status().as_u16() < 500 && response.status().as_u16() != 429 => return Ok(()),
            Ok(mut response) => {
                let status = response.status().as_u16();
                // What a query proxy passes on of the engine behind it: it lives, whatever it says of that pattern.
                if self.kind == EndpointKind::Proxy
                    && let Ok(BoundedBody::Whole(body)) = self.body(&mut response, MAX_ERROR_BYTES).await
                    && SearchError::is_of_an_engine(&body)
                {
                    return Ok(());
                }
                let reason = format!("the search engine is not available (HTTP {status})");
                SearchError::Outage { reason, busy: status == 429 }
            }
            Err(error) => {
                let reason = SearchError::from_transport(error, limit).reason().to_owned();
                SearchError::Outage { reason, busy: false }
            }
        };
        Err(error.map_reason(|reason| self.presentable(None, reason)))
    }

    /// Names the pattern by which [`Self::ping`] asks through a query proxy, until something is searched through it.
    pub fn ping_by(&self, index_pattern: &str) {
        let mut last_pattern = self.last_pattern.lock().unwrap_or_else(PoisonError::into_inner);
        last_pattern.get_or_insert_with(|| index_pattern.to_owned());
    }

    /// `GET` of the root of a cluster.
    pub(super) async fn root(&self) -> Result<Vec<u8>, SearchError> {
        self.exchange(self.request(Method::GET, self.url.clone()), SHORT_ANSWER_BYTES).await
    }

    /// `GET {index_pattern}/_field_caps` of a cluster.
    pub(super) async fn field_caps(&self, index_pattern: &str, fields: &[String]) -> Result<Vec<u8>, SearchError> {
        let mut url = self.index_url(index_pattern, "_field_caps")?;
        url.query_pairs_mut().append_pair("fields", &fields.join(",")).append_pair("include_unmapped", "true");
        self.exchange(self.request(Method::GET, url), LONG_ANSWER_BYTES).await
    }

    /// Sends a search and gives the body of a 2xx answer of at most so many bytes.
    pub(super) async fn ask(
        &self,
        index_pattern: &str,
        body: &Value,
        max_bytes: usize,
    ) -> Result<Vec<u8>, SearchError> {
        self.ask_whatever(index_pattern, body, max_bytes).await?.into_answer()
    }

    /// Sends a search and gives what comes back, a refusal too.
    pub(super) async fn ask_whatever(
        &self,
        index_pattern: &str,
        body: &Value,
        max_bytes: usize,
    ) -> Result<EngineReply, SearchError> {
        valid_index_pattern(index_pattern)?;
        let request = match self.kind {
            EndpointKind::Cluster => {
                let mut url = self.index_url(index_pattern, "_search")?;
                url.query_pairs_mut()
                    // Asked for although it is never taken: a partial answer says which shards and clusters are
                    // missing and why, where without it a single failed shard gives an error for the whole. It is
                    // written out because a cluster may have the other default.
                    .append_pair("allow_partial_search_results", "true")
                    // The same window and hosts are hardly ever asked for again: do not push others out of the cache.
                    .append_pair("request_cache", "false");
                self.request(Method::POST, url).json(body)
            }
            EndpointKind::Proxy => {
                let mut body = body.clone();
                body["index"] = Value::from(index_pattern);
                self.request(Method::POST, self.url.clone()).json(&body)
            }
        };
        let told = self.exchange_whatever(request, max_bytes).await?;
        let mut last_pattern = self.last_pattern.lock().unwrap_or_else(PoisonError::into_inner);
        if last_pattern.as_deref() != Some(index_pattern) {
            *last_pattern = Some(index_pattern.to_owned());
        }
        Ok(match told {
            EngineReply::Answer(answer) if self.kind == EndpointKind::Proxy => hidden_error(answer),
            told => told,
        })
    }

    /// `{url}/{index_pattern}/{command}`, the pattern encoded as one segment.
    fn index_url(&self, index_pattern: &str, command: &str) -> Result<Url, SearchError> {
        let mut url = self.url.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().push(index_pattern).push(command);
            }
            Err(()) => {
                let reason = "the url of the endpoint has no path".to_owned();
                return Err(SearchError::Refused { reason, kind: RefusalKind::Other });
            }
        }
        Ok(url)
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match self.auth.secret().and_then(|(_, secret)| self.authorization(&secret.get())) {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    /// The header that proves who asks, by this value of the secret; `None`: there is nothing to prove, or it fits no header.
    fn authorization(&self, secret: &SecretString) -> Option<HeaderValue> {
        let secret = secret.expose_secret();
        let mut value = match &self.auth {
            EndpointAuth::None => None,
            EndpointAuth::Basic { username, .. } => {
                // reqwest knows the encoding; a request that is never sent lends it.
                let request = self.client.get(self.url.clone()).basic_auth(username, Some(secret)).build();
                request.ok().and_then(|request| request.headers().get(AUTHORIZATION).cloned())
            }
            EndpointAuth::ApiKey(_) => HeaderValue::from_str(&format!("ApiKey {secret}")).ok(),
            EndpointAuth::Bearer(_) => HeaderValue::from_str(&format!("Bearer {secret}")).ok(),
        }?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Sends a request and gives the body of a 2xx answer.
    async fn exchange(&self, request: RequestBuilder, max_bytes: usize) -> Result<Vec<u8>, SearchError> {
        self.exchange_whatever(request, max_bytes).await?.into_answer()
    }

    async fn exchange_whatever(&self, request: RequestBuilder, max_bytes: usize) -> Result<EngineReply, SearchError> {
        let mut response = request.send().await.map_err(|error| self.transport(error))?;
        let status = response.status();
        if status.is_success() {
            return match self.body(&mut response, max_bytes).await? {
                BoundedBody::Whole(body) => Ok(EngineReply::Answer(body)),
                BoundedBody::Cut(_) => Err(SearchError::TooLarge {
                    reason: format!("the answer is larger than the {} KiB that it may have", max_bytes >> 10),
                }),
            };
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(where_to);
        // What the status means stands in the body: one that breaks off is no answer.
        let (BoundedBody::Whole(body) | BoundedBody::Cut(body)) = self.body(&mut response, MAX_ERROR_BYTES).await?;
        Ok(EngineReply::Error { status: status.as_u16(), location, body })
    }

    async fn body(&self, response: &mut Response, max_bytes: usize) -> Result<BoundedBody, SearchError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(error))? {
            let room = max_bytes - body.len();
            if chunk.len() > room {
                body.extend_from_slice(&chunk[..room]);
                return Ok(BoundedBody::Cut(body));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(BoundedBody::Whole(body))
    }

    fn transport(&self, error: reqwest::Error) -> SearchError {
        SearchError::from_transport(error, self.timeout)
    }

    /// The reason with the endpoint and the index pattern before it, and without secrets: an engine or a
    /// proxy may repeat what it was sent.
    pub(super) fn presentable(&self, index_pattern: Option<&str>, reason: &str) -> String {
        let mut reason = reason.to_owned();
        for secret in self.auth.secret().into_iter().flat_map(|(_, secret)| secret.known()) {
            let encoded = self.authorization(&secret);
            let encoded = encoded.as_ref().and_then(|value| value.to_str().ok()?.split_once(' ').map(|(_, rest)| rest));
            for text in encoded.into_iter().chain([secret.expose_secret()]).filter(|text| !text.is_empty()) {
                reason = reason.replace(text, MASK);
            }
        }
        let reason = bounded(&reason, REASON_MAX_CHARS);
        match index_pattern {
            Some(index) => format!("endpoint \"{}\", index \"{}\": {reason}", self.name, bounded(index, 255)),
            None => format!("endpoint \"{}\": {reason}", self.name),
        }
    }
}

/// What came back from a request.
pub(super) enum EngineReply {
    /// The body of a 2xx answer.
    Answer(Vec<u8>),
    /// Another status, with the beginning of its body.
    Error {
        /// Of HTTP.
        status: u16,
        /// Where it redirects to, without what may be secret.
        location: Option<String>,
        /// At most 1 MiB.
        body: Vec<u8>,
    },
}

impl EngineReply {
    /// The body of a 2xx answer; another status is an error.
    fn into_answer(self) -> Result<Vec<u8>, SearchError> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Error { status, location, body } => Err(SearchError::from_status(status, location.as_deref(), &body)),
        }
    }
}

/// A query proxy may pass on the engine's error with a 200 of its own: what has an `error` and says nothing of
/// shards is one, with the status that stands in it.
fn hidden_error(answer: Vec<u8>) -> EngineReply {
    #[derive(Deserialize)]
    struct HiddenError {
        error: Value,
        #[serde(default)]
        status: Option<u16>,
        #[serde(default, rename = "_shards")]
        shards: Option<Value>,
    }
    if answer.len() > MAX_HIDDEN_ERROR_BYTES {
        return EngineReply::Answer(answer);
    }
    match serde_json::from_slice::<HiddenError>(&answer) {
        Ok(HiddenError { error, status, shards: None }) if !error.is_null() => {
            // Without a status of its own it is a failure inside, which costs an attempt.
            let status = status.filter(|status| (400..600).contains(status)).unwrap_or(500);
            EngineReply::Error { status, location: None, body: answer }
        }
        _ => EngineReply::Answer(answer),
    }
}

enum BoundedBody {
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

    fn settings(url: &str, auth: EndpointAuth) -> EndpointSettings {
        EndpointSettings {
            name: "main".to_owned(),
            kind: EndpointKind::Cluster,
            url: url.parse().expect("a URL"),
            auth,
            ca_file: None,
            timeout: Duration::from_secs(30),
        }
    }

    fn endpoint(url: &str, auth: EndpointAuth) -> Result<Endpoint, EndpointError> {
        // A second call finds the provider of the first one in its place.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Endpoint::new(settings(url, auth))
    }

    #[test]
    fn secrets_are_not_shown() {
        let basic = EndpointAuth::Basic { username: "reader".to_owned(), password: "hunter2".into() };
        for auth in [basic, EndpointAuth::ApiKey("hunter2".into()), EndpointAuth::Bearer("hunter2".into())] {
            let shown = format!("{:?}", settings("http://es:9200", auth.clone()));
            assert!(!shown.contains("hunter2"), "{shown}");
            let endpoint = endpoint("http://es:9200", auth).expect("an endpoint");
            assert!(!format!("{endpoint:?}").contains("hunter2"));
            let (_, secret) = endpoint.auth.secret().expect("a secret");
            let header = endpoint.authorization(&secret.get()).expect("a header").to_str().expect("text").to_owned();
            let (_, encoded) = header.split_once(' ').expect("two words");
            let reason = endpoint.presentable(Some("logs"), &format!("no user for {encoded} or hunter2"));
            assert_eq!(reason, "endpoint \"main\", index \"logs\": no user for *** or ***");
            secret.replace("hunter3");
            let now = endpoint.authorization(&secret.get()).expect("a header");
            assert_ne!(now.to_str().expect("text"), header);
            // A request of before the change may still be under way.
            let reason = endpoint.presentable(Some("logs"), &format!("no user for {encoded}, hunter2 or hunter3"));
            assert_eq!(reason, "endpoint \"main\", index \"logs\": no user for ***, *** or ***");
        }
    }

    #[test]
    fn the_index_pattern_is_one_segment_of_the_path() {
        for base in ["http://es:9200", "http://es:9200/", "http://es:9200/deep", "http://es:9200/deep/"] {
            let endpoint = endpoint(base, EndpointAuth::None).expect("an endpoint");
            let url = endpoint.index_url("cluster*:a-*,b c", "_search").expect("a URL");
            let path = if base.contains("deep") { "/deep/" } else { "/" };
            assert_eq!(url.path(), format!("{path}cluster*:a-*,b%20c/_search"));
            assert_eq!(url.host_str(), Some("es"));
        }
    }

    #[test]
    fn a_query_proxy_is_called_at_its_very_url() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for url in ["http://proxy/api/search", "http://proxy/"] {
            let settings = EndpointSettings { kind: EndpointKind::Proxy, ..settings(url, EndpointAuth::None) };
            assert_eq!(Endpoint::new(settings).expect("an endpoint").url().as_str(), url);
        }
    }

    #[test]
    fn an_error_inside_a_success_is_an_error() {
        let told = |body: &str| match hidden_error(body.as_bytes().to_vec()) {
            EngineReply::Answer(_) => None,
            EngineReply::Error { status, .. } => Some(status),
        };
        assert_eq!(told(r#"{"error": {"type": "x"}, "status": 404}"#), Some(404));
        assert_eq!(told(r#"{"error": "gone"}"#), Some(500));
        assert_eq!(told(r#"{"error": "gone", "status": 200}"#), Some(500));
        assert_eq!(told(r#"{"error": null, "took": 1}"#), None);
        assert_eq!(told(r#"{"error": "odd", "_shards": {"total": 1}}"#), None);
        assert_eq!(told("<html>"), None);
    }

    #[test]
    fn urls_that_no_engine_has_are_refused() {
        for url in
            ["ftp://es", "http://user:hunter2@es", "http://user@es", "http://es/?a=b", "http://es/#a", "mailto:a@b"]
        {
            let error = endpoint(url, EndpointAuth::None).expect_err(url).to_string();
            assert!(error.starts_with("elasticsearch.endpoints.main.url: "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn credentials_that_fit_no_header_are_refused_without_showing_them() {
        let error = endpoint("http://es", EndpointAuth::ApiKey("hun\nter2".into())).expect_err("bad").to_string();
        assert_eq!(error, "elasticsearch.endpoints.main: the api_key holds characters that HTTP does not allow");
        let error = endpoint("http://es", EndpointAuth::Bearer("hun\nter2".into())).expect_err("bad").to_string();
        assert!(error.contains("bearer_token"), "{error}");
    }

    #[test]
    fn a_file_of_authorities_must_hold_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        let with_ca = || EndpointSettings { ca_file: Some(path.clone()), ..settings("https://es", EndpointAuth::None) };
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
