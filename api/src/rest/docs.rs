//! `/docs`: the OpenAPI document as a page to read and to try the calls on.
//!
//! Owns the page and what it loads, all of it within the binary (`api/docs-ui`), so that it works without the internet. It
//! shows no data and needs no token; calls tried on it need one, which the page keeps in memory alone.

use axum::Router;
use axum::routing::get;

use super::asset::{Asset, CSS, HTML, SCRIPT};

/// What the page may load: nothing from elsewhere. Swagger UI sets styles in elements, and its pictures are in its style
/// sheet.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

static PAGE: Asset = Asset::new(HTML, include_bytes!("../../docs-ui/index.html"), CONTENT_SECURITY_POLICY);
static START: Asset = Asset::new(SCRIPT, include_bytes!("../../docs-ui/start.js"), CONTENT_SECURITY_POLICY);
static BUNDLE: Asset =
    Asset::gzip(SCRIPT, include_bytes!("../../docs-ui/swagger-ui-bundle.js.gz"), CONTENT_SECURITY_POLICY);
static STYLE: Asset = Asset::gzip(CSS, include_bytes!("../../docs-ui/swagger-ui.css.gz"), CONTENT_SECURITY_POLICY);

/// The page and what it loads.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/docs", get(async || &PAGE))
        .route("/docs/start.js", get(async || &START))
        .route("/docs/swagger-ui-bundle.js", get(async || &BUNDLE))
        .route("/docs/swagger-ui.css", get(async || &STYLE))
}
