//! Who may call: bearer tokens, each with its name and role.
//!
//! Owns the comparison of tokens: their SHA-256 hashes, all of them, in constant time. Reads nothing but headers, so a
//! caller without the right is turned away before its body is read.

use axum::http::{Extensions, HeaderMap, header};
use hostsync_model::audit::{Actor, Role};
use hostsync_model::secret::Secret;
use hostsync_service::config::{ApiAuth, ApiConfig};
use hostsync_service::connections::Ends;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::ApiError;

/// Who everybody is with `api.auth = "none"`.
const ANYBODY: &str = "anonymous";

/// A token that is configured.
#[derive(Debug)]
struct KnownToken {
    name: String,
    role: Role,
    secret: Secret,
}

/// Knows the tokens.
#[derive(Debug)]
pub(crate) struct Guard {
    is_open: bool,
    tokens: Vec<KnownToken>,
}

impl Guard {
    /// With `api.auth = "none"` everybody is an operator.
    pub(crate) fn new(config: &ApiConfig) -> Self {
        let known = |(name, role, secret): (&str, Role, &Secret)| KnownToken {
            name: name.to_owned(),
            role,
            secret: secret.clone(),
        };
        Self { is_open: config.auth == ApiAuth::None, tokens: config.tokens().map(known).collect() }
    }

    /// Whether no token is asked for.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Name and role of a caller by its headers.
    ///
    /// # Errors
    ///
    /// No token, or one that is not known.
    fn known(&self, headers: &HeaderMap) -> Result<(&str, Role), ApiError> {
        if self.is_open {
            return Ok((ANYBODY, Role::Operator));
        }
        let token = Sha256::digest(bearer_token(headers).ok_or(ApiError::NoToken)?);
        // All are compared whatever the first says, so that the time tells nothing.
        let is_same = |known: &&KnownToken| {
            let secret = Sha256::digest(known.secret.get().expose_secret().as_bytes());
            bool::from(secret.as_slice().ct_eq(token.as_slice()))
        };
        let same: Vec<&KnownToken> = self.tokens.iter().filter(is_same).collect();
        match same.as_slice() {
            [known] => Ok((&known.name, known.role)),
            // Two files have come to hold the same: nobody can say who that is.
            _ => Err(ApiError::UnknownToken),
        }
    }

    /// Who calls, if its role is `role` at least.
    ///
    /// # Errors
    ///
    /// No known token, or one whose role is less than `role`.
    pub(crate) fn demand(&self, headers: &HeaderMap, extensions: &Extensions, role: Role) -> Result<Actor, ApiError> {
        let (who, known) = self.known(headers)?;
        if known < role {
            return Err(ApiError::Forbidden);
        }
        let ends = extensions.get::<Ends>().ok_or_else(|| anyhow::anyhow!("a request came by no connection"))?;
        Ok(Actor { who: who.to_owned(), role: known, from: ends.remote.ip().to_canonical().to_string() })
    }
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
        let known = |name: &str, role, token: &str| KnownToken { name: name.to_owned(), role, secret: token.into() };
        Guard {
            is_open: false,
            tokens: vec![
                known("operator", Role::Operator, "operator-token-0"),
                known("viewer", Role::Viewer, "viewer-token-000"),
                known("alice", Role::Operator, "token-of-alice-0"),
            ],
        }
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))])
    }

    fn called() -> Extensions {
        let mut extensions = Extensions::new();
        let ends = ("[::ffff:10.0.0.7]:4711", "127.0.0.1:8888");
        extensions.insert(Ends { remote: ends.0.parse().expect("an address"), local: ends.1.parse().expect("one") });
        extensions
    }

    #[test]
    fn a_token_gives_its_name_and_role() {
        for (value, name, role) in [
            ("Bearer operator-token-0", "operator", Role::Operator),
            ("bearer  operator-token-0 ", "operator", Role::Operator),
            ("BEARER viewer-token-000", "viewer", Role::Viewer),
            ("Bearer token-of-alice-0", "alice", Role::Operator),
        ] {
            assert_eq!(guard().known(&headers(value)).expect(value), (name, role));
        }
    }

    #[test]
    fn anything_else_is_turned_away() {
        assert!(matches!(guard().known(&HeaderMap::new()), Err(ApiError::NoToken)));
        for value in ["", "Bearer", "Basic b3BlcmF0b3I6eA==", "operator-token-0", "Bearer\u{9}operator-token-0"] {
            assert!(matches!(guard().known(&headers(value)), Err(ApiError::NoToken)), "{value}");
        }
        for value in ["Bearer ", "Bearer operator-token-1", "Bearer operator-token-0x", "Bearer operator-token-"] {
            assert!(matches!(guard().known(&headers(value)), Err(ApiError::UnknownToken)), "{value}");
        }
    }

    #[test]
    fn a_role_that_has_no_token_is_nobodys() {
        let guard = Guard { tokens: Vec::new(), ..guard() };
        assert!(matches!(guard.known(&headers("Bearer ")), Err(ApiError::UnknownToken)));
    }

    #[test]
    fn a_token_that_is_replaced_is_known_at_once_and_the_one_before_it_no_more() {
        let guard = guard();
        guard.tokens[2].secret.replace("token-of-alice-1");
        assert!(matches!(guard.known(&headers("Bearer token-of-alice-0")), Err(ApiError::UnknownToken)));
        assert_eq!(guard.known(&headers("Bearer token-of-alice-1")).expect("known").0, "alice");
    }

    #[test]
    fn a_token_that_two_have_come_to_share_is_nobodys() {
        let guard = guard();
        guard.tokens[2].secret.replace("viewer-token-000");
        assert!(matches!(guard.known(&headers("Bearer viewer-token-000")), Err(ApiError::UnknownToken)));
    }

    #[test]
    fn a_viewer_may_not_write_and_an_operator_may_read() {
        let viewer = headers("Bearer viewer-token-000");
        let actor = guard().demand(&viewer, &called(), Role::Viewer).expect("may");
        assert_eq!(actor, Actor { who: "viewer".to_owned(), role: Role::Viewer, from: "10.0.0.7".to_owned() });
        assert!(matches!(guard().demand(&viewer, &called(), Role::Operator), Err(ApiError::Forbidden)));
        assert!(guard().demand(&headers("Bearer operator-token-0"), &called(), Role::Viewer).is_ok());
    }

    #[test]
    fn without_authentication_everybody_is_an_operator() {
        let guard = Guard { is_open: true, tokens: Vec::new() };
        assert_eq!(guard.known(&HeaderMap::new()).expect("open"), ("anonymous", Role::Operator));
    }
}
