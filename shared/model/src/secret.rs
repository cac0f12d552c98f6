//! A secret that may be replaced while the process runs.
//!
//! Whoever holds one asks for its value when it needs it. Who replaces it, and when, is not known here.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use secrecy::{ExposeSecret as _, SecretString};

use crate::MASK;

/// A secret. Clones are the same one.
#[derive(Clone)]
pub struct Secret(Arc<RwLock<SecretValues>>);

struct SecretValues {
    current: SecretString,
    /// What it was until it was replaced last.
    before: Option<SecretString>,
}

impl Secret {
    /// Its value now.
    pub fn get(&self) -> SecretString {
        self.values().current.clone()
    }

    /// Its value now and the one before it, which may still be under way: what must never be shown.
    pub fn known(&self) -> impl Iterator<Item = SecretString> + use<> {
        let values = self.values();
        [Some(values.current.clone()), values.before.clone()].into_iter().flatten()
    }

    /// Sets another value. `false`: it is the one that stands there.
    pub fn replace(&self, text: &str) -> bool {
        let mut values = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if values.current.expose_secret() == text {
            return false;
        }
        values.before = Some(std::mem::replace(&mut values.current, text.into()));
        true
    }

    fn values(&self) -> RwLockReadGuard<'_, SecretValues> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Arc::new(RwLock::new(SecretValues { current: text.into(), before: None })))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({MASK})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_replaced_is_so_for_all_who_hold_it() {
        let secret = Secret::from("old");
        let held = secret.clone();
        assert!(!secret.replace("old"));
        assert!(secret.replace("new"));
        assert_eq!(held.get().expose_secret(), "new");
        let known: Vec<String> = held.known().map(|value| value.expose_secret().to_owned()).collect();
        assert_eq!(known, ["new", "old"]);
        assert_eq!(format!("{held:?}"), "Secret(***)");
    }
}
