//! The conversation with a search engine: the only module that speaks to one.
//!
//! Owns the connection of an endpoint (authentication, TLS, time-outs, bounds), what is sent to it, and the
//! sorting of everything that can go wrong into what the caller does next. What is asked and what an
//! answer means is `mapping`'s matter. It retries nothing and keeps no state but the types of fields.

mod endpoint;
mod error;
mod field_types_cache;
mod index_pattern;

pub use endpoint::{Auth, Endpoint, EndpointError, EndpointSettings, MAX_ANSWER_BYTES, SearchAnswer};
pub use error::SearchError;
pub use index_pattern::{IndexPatternError, MAX_INDEX_PATTERN_BYTES, valid_index_pattern};
