//! A file of a page that is part of the binary, and the headers that it is served with.
//!
//! Owns what holds for every such file: how long it may be kept, and that a browser takes it for what it is. What a page
//! may load is the page's own to say.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// How long a browser may keep what belongs to a page, in seconds: an update is seen within the hour.
const CACHE_CONTROL: &str = "public, max-age=3600";

/// Content types of what pages are made of.
pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const CSS: &str = "text/css; charset=utf-8";
pub(crate) const SVG: &str = "image/svg+xml";
pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of a page.
pub(crate) struct Asset {
    content_type: &'static str,
    content: &'static [u8],
    is_gzip: bool,
    policy: &'static str,
}

impl Asset {
    /// A file with the `Content-Security-Policy` of the page that it belongs to.
    pub(crate) const fn new(content_type: &'static str, content: &'static [u8], policy: &'static str) -> Self {
        Self { content_type, content, is_gzip: false, policy }
    }

    /// The same, kept compressed, and sent so: every browser takes gzip.
    pub(crate) const fn gzip(content_type: &'static str, content: &'static [u8], policy: &'static str) -> Self {
        Self { content_type, content, is_gzip: true, policy }
    }
}

impl IntoResponse for &'static Asset {
    fn into_response(self) -> Response {
        let mut response = self.content.into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, self.content_type),
            (header::CACHE_CONTROL, CACHE_CONTROL),
            (header::CONTENT_SECURITY_POLICY, self.policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (HeaderName::from_static("referrer-policy"), "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.is_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}
