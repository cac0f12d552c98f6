//! `/docs`: the OpenAPI document as a page to read and to try the calls on.
//!
//! Owns the page and what it loads, all of it within the binary (`api/docs-ui`), so that it works without the internet. It
//! shows no data and needs no token; calls tried on it need one, which the page keeps in memory alone.

use axum::Router;
use axum::routing::get;

use crate::asset::Asset;

/// What the page may load: nothing from elsewhere. Swagger UI sets styles in elements, and its pictures are in its style
/// sheet.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

const PAGE: Asset = Asset {
    content_type: "text/html; charset=utf-8",
    content: include_bytes!("../docs-ui/index.html"),
    is_gzip: false,
    policy: CONTENT_SECURITY_POLICY,
};

const START: Asset = Asset {
    content_type: "text/javascript; charset=utf-8",
    content: include_bytes!("../docs-ui/start.js"),
    is_gzip: false,
    policy: CONTENT_SECURITY_POLICY,
};

const SCRIPT: Asset = Asset {
    content_type: "text/javascript; charset=utf-8",
    content: include_bytes!("../docs-ui/swagger-ui-bundle.js.gz"),
    is_gzip: true,
    policy: CONTENT_SECURITY_POLICY,
};

const STYLE: Asset = Asset {
    content_type: "text/css; charset=utf-8",
    content: include_bytes!("../docs-ui/swagger-ui.css.gz"),
    is_gzip: true,
    policy: CONTENT_SECURITY_POLICY,
};

/// The page and what it loads.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/docs", get(async || &PAGE))
        .route("/docs/start.js", get(async || &START))
        .route("/docs/swagger-ui-bundle.js", get(async || &SCRIPT))
        .route("/docs/swagger-ui.css", get(async || &STYLE))
}
