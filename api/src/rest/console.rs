//! `/`: the console, a page for people over the REST API.
//!
//! Owns its files, all of them within the binary (`api/console`), so that it works without the internet. They hold no data
//! and need no token; the page asks for one and calls the routes that everybody calls.

use axum::Router;
use axum::routing::get;

use super::asset::{Asset, CSS, HTML, SCRIPT, SVG};

/// What the page may load: its own files, and the API's answers.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const fn file(content_type: &'static str, content: &'static [u8]) -> Asset {
    Asset::new(content_type, content, CONTENT_SECURITY_POLICY)
}

/// A module by its name in `api/console`, with its path.
macro_rules! module {
    ($name:literal) => {
        (concat!("/console/", $name, ".js"), file(SCRIPT, include_bytes!(concat!("../../console/", $name, ".js"))))
    };
}

/// Every file with its path.
static FILES: &[(&str, Asset)] = &[
    ("/", file(HTML, include_bytes!("../../console/index.html"))),
    ("/console/style.css", file(CSS, include_bytes!("../../console/style.css"))),
    ("/console/icon.svg", file(SVG, include_bytes!("../../console/icon.svg"))),
    module!("main"),
    module!("api"),
    module!("chart"),
    module!("elements"),
    module!("events"),
    module!("execution"),
    module!("executions"),
    module!("explain"),
    module!("host"),
    module!("progress"),
    module!("run"),
    module!("sign-in"),
    module!("source"),
    module!("stats"),
    module!("task-form"),
    module!("tasks"),
    module!("token"),
    module!("values"),
    module!("words"),
];

/// The page and what it loads.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, (path, asset)| router.route(path, get(move || async move { asset })))
}
