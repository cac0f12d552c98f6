//! Single looks beside a search: what became of an index, and whether a pattern may be searched by these credentials.
//!
//! Both ask for no document.

use serde_json::{Value, json};

use super::endpoint::{Endpoint, SHORT_ANSWER_BYTES};
use super::error::SearchError;
use crate::EndpointKind;
use hostsync_mapping::RefusalKind;
use hostsync_mapping::check_answer;

/// What became of an index that a pattern matched before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// It can be searched; the pattern does not match it any more, as an alias that leads elsewhere.
    Searchable,
    /// There is none of this name.
    Gone,
    /// It is there and cannot be searched, as one that is closed.
    Skipped {
        /// For people.
        why: String,
    },
    /// The source had no time for the question, or did not answer: that says nothing of the index.
    Unknown,
}

fn nothing() -> Value {
    json!({"size": 0, "query": {"match_none": {}}})
}

impl Endpoint {
    /// What became of an index.
    pub async fn state_of(&self, index: &str) -> IndexState {
        let asked = async {
            let answer = self.ask(index, &nothing(), SHORT_ANSWER_BYTES).await?;
            Ok(check_answer(&answer)?)
        };
        match asked.await {
            Ok(()) => IndexState::Searchable,
            Err(SearchError::Refused { kind: RefusalKind::IndexPattern, .. }) => IndexState::Gone,
            Err(SearchError::TimedOut { .. } | SearchError::Outage { busy: true, .. }) => IndexState::Unknown,
            // Of this index alone, as a block, only if the source answers otherwise.
            Err(SearchError::Outage { .. }) if self.ping().await.is_err() => IndexState::Unknown,
            Err(error) => IndexState::Skipped {
                why: error.map_reason(|reason| self.presentable(None, reason)).reason().to_owned(),
            },
        }
    }

    /// A second look at a pattern that was refused: its fields, if there is a call for them, and a search for nothing.
    ///
    /// # Errors
    ///
    /// [`SearchError`], as of a search.
    pub async fn look(&self, index_pattern: &str) -> Result<(), SearchError> {
        let asked = async {
            if self.kind == EndpointKind::Cluster {
                self.field_caps(index_pattern, &["_index".to_owned()]).await?;
            }
            let answer = self.ask(index_pattern, &nothing(), SHORT_ANSWER_BYTES).await?;
            Ok(check_answer(&answer)?)
        };
        asked
            .await
            .map_err(|error: SearchError| error.map_reason(|reason| self.presentable(Some(index_pattern), reason)))
    }
}
