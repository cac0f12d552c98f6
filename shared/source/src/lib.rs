//! The conversation with a search engine: the only module that speaks to one.
//!
//! Owns the connection of an endpoint (authentication, TLS, time-outs, bounds), what is sent to it, and the
//! sorting of everything that can go wrong into what the caller does next. What is asked and what an
//! answer means is `mapping`'s matter. It retries nothing and keeps no state but the types of fields and who answers.

mod config;
mod doubt_check;
mod endpoint;
mod error;
mod field_types_cache;
mod group;
mod identity;
mod index_pattern;
mod index_state;
mod look_up;
mod patterns;
mod probe;
mod proxy_look_up;
mod search;

pub use config::{EndpointConfig, EndpointKind};
pub use endpoint::{Endpoint, EndpointAuth, EndpointError, EndpointSettings};
pub use error::SearchError;
pub use group::GROUP_PAGE;
pub use hostsync_mapping::RefusalKind;
pub use identity::{Identity, Product};
pub use index_pattern::{IndexPatternError, MAX_INDEX_PATTERN_BYTES, valid_index_pattern};
pub use index_state::IndexState;
pub use probe::{Probe, ProbedHost};
pub use search::{SearchAnswer, SearchReport, max_answer_bytes};
