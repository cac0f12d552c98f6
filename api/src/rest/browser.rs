//! What a browser may do for a page of somebody else where no token is asked for: nothing.
//!
//! Owns the checks that hold with `api.auth = "none"` alone, since a browser never adds a token by itself. Programs send
//! none of these headers and are not hindered.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hostsync_service::connections::Ends;

use crate::app::Api;
use crate::error::ApiError;

/// Whose page sends the request, by the browser's own word (W3C Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a browser sends for a foreign page, where everybody is an operator.
pub(crate) async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    if api.guard.is_open() {
        let ends = request.extensions().get::<Ends>();
        let is_loopback = ends.is_some_and(|ends| ends.local.ip().to_canonical().is_loopback());
        if let Err(error) = check(request.method(), request.uri(), request.headers(), is_loopback) {
            return error.into_response();
        }
    }
    next.run(request).await
}

/// # Errors
///
/// A foreign page is behind the request.
fn check(method: &Method, uri: &Uri, headers: &HeaderMap, is_loopback: bool) -> Result<(), ApiError> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = uri.authority().map(axum::http::uri::Authority::as_str).or_else(|| text(header::HOST));
    // A page under a name that its owner lets lead to this machine (DNS rebinding) is of the same origin to a browser.
    if let Some(host) = host.filter(|host| is_loopback && !is_local(host)) {
        return Err(ApiError::ForeignHost(host.to_owned()));
    }
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
        return Ok(());
    }
    let is_foreign = match (text(SEC_FETCH_SITE), text(header::ORIGIN)) {
        // `none`: the person's own doing, from no page.
        (Some(site), _) => !["same-origin", "none"].contains(&site),
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            !authority.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
        }
        (None, None) => false,
    };
    if is_foreign { Err(ApiError::ForeignPage) } else { Ok(()) }
}

/// Whether a host is this machine by name, or an address: a page under an address is its own.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn checked(method: &Method, uri: &'static str, headers: &[(&'static str, &'static str)]) -> Result<(), ApiError> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        check(method, &Uri::from_static(uri), &headers, true)
    }

    #[test]
    fn a_foreign_page_may_not_write() {
        for headers in [
            &[("sec-fetch-site", "cross-site"), ("host", "localhost:8888")][..],
            // Another port of this machine.
            &[("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000"), ("host", "localhost:8888")],
            &[("sec-fetch-site", "made-up"), ("host", "localhost:8888")],
            &[("origin", "https://example.com"), ("host", "localhost:8888")],
            &[("origin", "http://localhost:3000"), ("host", "localhost:8888")],
            &[("origin", "null"), ("host", "localhost:8888")],
            &[("origin", "http://localhost:8888")],
        ] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
                assert!(matches!(checked(&method, "/", headers), Err(ApiError::ForeignPage)), "{headers:?}");
            }
            assert!(checked(&Method::GET, "/", headers).is_ok(), "{headers:?}");
        }
    }

    #[test]
    fn the_console_and_programs_may_write() {
        for headers in [
            &[("host", "localhost:8888")][..],
            &[],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8888"), ("host", "localhost:8888")],
            &[("sec-fetch-site", "none"), ("host", "127.0.0.1:8888")],
            &[("origin", "http://LOCALHOST:8888"), ("host", "localhost:8888")],
            &[("origin", "http://[::1]:8888"), ("host", "[::1]:8888")],
        ] {
            assert!(checked(&Method::POST, "/", headers).is_ok(), "{headers:?}");
        }
    }

    #[test]
    fn a_name_that_only_leads_to_this_machine_is_refused_for_everything() {
        for host in ["rebound.example.com:8888", "127.0.0.1.example.com", "localhost.example.com", "", "[::1", "10"] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            let answer = check(&Method::GET, &Uri::from_static("/"), &headers, true);
            assert!(matches!(answer, Err(ApiError::ForeignHost(_))), "{host}");
            assert!(check(&Method::GET, &Uri::from_static("/"), &headers, false).is_ok(), "{host}");
        }
        assert!(checked(&Method::GET, "http://rebound.example.com/", &[("host", "localhost")]).is_err());
        for host in ["localhost", "LocalHost.:80", "console.localhost:1", "127.0.0.1:8888", "[::1]:8888", "10.0.0.1"] {
            assert!(is_local(host), "{host}");
        }
    }
}
