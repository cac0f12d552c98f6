//! Why a source refuses a search for good, in a word.

/// What is wrong with a search that will never be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The endpoint does not accept who asks (401, 403).
    Credentials,
    /// The index pattern is none, or matches nothing.
    IndexPattern,
    /// A field of the mapping does not exist or has a type that cannot be used.
    Field,
    /// Anything else, such as the URL of the endpoint.
    Other,
}

impl RefusalKind {
    /// As it stands in a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::IndexPattern => "index_pattern",
            Self::Field => "field",
            Self::Other => "other",
        }
    }
}
