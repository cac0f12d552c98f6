//! Who may call: bearer tokens and the two roles.
//!
//! Owns the comparison of tokens, in constant time. Reads nothing but headers, so a caller without the right is turned away
//! before its body is read.

use axum::http::{HeaderMap, header};
use hostsync_service::config::{ApiAuth, ApiConfig};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::error::ApiError;

/// What a caller may do. An operator may do what a viewer may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Read.
    Viewer,
    /// Read and write.
    Operator,
}

/// Knows the tokens.
#[derive(Debug)]
pub(crate) struct Guard {
    is_open: bool,
    operator: Option<SecretString>,
    viewer: Option<SecretString>,
}

impl Guard {
    /// With `api.auth = "none"` everybody is an operator.
    pub(crate) fn new(config: &ApiConfig) -> Self {
        Self {
            is_open: config.auth == ApiAuth::None,
            operator: config.operator_token.clone(),
            viewer: config.viewer_token.clone(),
        }
    }

    /// Whether no token is asked for.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// The role that a caller has by its headers.
    ///
    /// # Errors
    ///
    /// No token, or one that is not known.
    pub(crate) fn role(&self, headers: &HeaderMap) -> Result<Role, ApiError> {
        if self.is_open {
            return Ok(Role::Operator);
        }
        let token = bearer_token(headers).ok_or(ApiError::NoToken)?;
        // Both are compared whatever the first says, so that the time tells nothing.
        let is_operator = is_same(self.operator.as_ref(), token);
        let is_viewer = is_same(self.viewer.as_ref(), token);
        match (is_operator, is_viewer) {
            (true, _) => Ok(Role::Operator),
            (false, true) => Ok(Role::Viewer),
            (false, false) => Err(ApiError::UnknownToken),
        }
    }

    /// # Errors
    ///
    /// No known token, or one whose role is less than `role`.
    pub(crate) fn demand(&self, headers: &HeaderMap, role: Role) -> Result<(), ApiError> {
        if self.role(headers)? < role { Err(ApiError::Forbidden) } else { Ok(()) }
    }
}

fn is_same(secret: Option<&SecretString>, token: &[u8]) -> bool {
    secret.is_some_and(|secret| secret.expose_secret().as_bytes().ct_eq(token).into())
}

/// The token of `Authorization: Bearer <token>`; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard { is_open: false, operator: Some("operator-token-0".into()), viewer: Some("viewer-token-000".into()) }
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))])
    }

    #[test]
    fn a_token_gives_its_role() {
        for (value, role) in [
            ("Bearer operator-token-0", Role::Operator),
            ("bearer  operator-token-0 ", Role::Operator),
            ("BEARER viewer-token-000", Role::Viewer),
        ] {
            assert_eq!(guard().role(&headers(value)).expect(value), role);
        }
    }

    #[test]
    fn anything_else_is_turned_away() {
        assert!(matches!(guard().role(&HeaderMap::new()), Err(ApiError::NoToken)));
        for value in ["", "Bearer", "Basic b3BlcmF0b3I6eA==", "operator-token-0", "Bearer\u{9}operator-token-0"] {
            assert!(matches!(guard().role(&headers(value)), Err(ApiError::NoToken)), "{value}");
        }
        for value in ["Bearer ", "Bearer operator-token-1", "Bearer operator-token-0x", "Bearer operator-token-"] {
            assert!(matches!(guard().role(&headers(value)), Err(ApiError::UnknownToken)), "{value}");
        }
    }

    #[test]
    fn a_role_that_has_no_token_is_nobodys() {
        let guard = Guard { viewer: None, ..guard() };
        assert!(matches!(guard.role(&headers("Bearer ")), Err(ApiError::UnknownToken)));
    }

    #[test]
    fn a_viewer_may_not_write_and_an_operator_may_read() {
        let viewer = headers("Bearer viewer-token-000");
        assert!(guard().demand(&viewer, Role::Viewer).is_ok());
        assert!(matches!(guard().demand(&viewer, Role::Operator), Err(ApiError::Forbidden)));
        assert!(guard().demand(&headers("Bearer operator-token-0"), Role::Viewer).is_ok());
    }

    #[test]
    fn without_authentication_everybody_is_an_operator() {
        let guard = Guard { is_open: true, operator: None, viewer: None };
        assert_eq!(guard.role(&HeaderMap::new()).expect("open"), Role::Operator);
    }
}
