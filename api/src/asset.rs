//! A file of a page that is part of the binary, and the headers that it is served with.
//!
//! Owns what holds for every such file: how long it may be kept, and that a browser takes it for what it is. What a page
//! may load is the page's own to say.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// How long a browser may keep what belongs to a page, in seconds: an update is seen within the hour.
const CACHE_CONTROL: &str = "public, max-age=3600";

/// A file of a page.
pub(crate) struct Asset {
    pub(crate) content_type: &'static str,
    pub(crate) content: &'static [u8],
    /// Kept compressed, and sent so: every browser takes gzip.
    pub(crate) is_gzip: bool,
    /// The `Content-Security-Policy` of the page that it belongs to.
    pub(crate) policy: &'static str,
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
