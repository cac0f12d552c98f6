//! `/docs`: the OpenAPI document as a page to read and to try the calls on.
//!
//! Owns the page and what it loads, all of it within the binary (`api/docs-ui`), so that it works without the internet. It
//! shows no data and needs no token; calls tried on it need one, which the page keeps in memory alone.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// What the page may load: nothing from elsewhere. Swagger UI sets styles in elements, and its pictures are in its style
/// sheet.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// How long a browser may keep what belongs to the page, in seconds: an update is seen within the hour.
const CACHE_CONTROL: &str = "public, max-age=3600";

/// A file of the page.
struct Asset {
    content_type: &'static str,
    content: &'static [u8],
    /// Kept compressed, and sent so: every browser takes gzip.
    is_gzip: bool,
}

const PAGE: Asset = Asset {
    content_type: "text/html; charset=utf-8",
    content: include_bytes!("../docs-ui/index.html"),
    is_gzip: false,
};

const START: Asset = Asset {
    content_type: "text/javascript; charset=utf-8",
    content: include_bytes!("../docs-ui/start.js"),
    is_gzip: false,
};

const SCRIPT: Asset = Asset {
    content_type: "text/javascript; charset=utf-8",
    content: include_bytes!("../docs-ui/swagger-ui-bundle.js.gz"),
    is_gzip: true,
};

const STYLE: Asset = Asset {
    content_type: "text/css; charset=utf-8",
    content: include_bytes!("../docs-ui/swagger-ui.css.gz"),
    is_gzip: true,
};

impl IntoResponse for &'static Asset {
    fn into_response(self) -> Response {
        let mut response = self.content.into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, self.content_type),
            (header::CACHE_CONTROL, CACHE_CONTROL),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
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

/// The page and what it loads.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/docs", get(async || &PAGE))
        .route("/docs/start.js", get(async || &START))
        .route("/docs/swagger-ui-bundle.js", get(async || &SCRIPT))
        .route("/docs/swagger-ui.css", get(async || &STYLE))
}
