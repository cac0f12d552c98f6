//! How the fields of a mapping stand in the indices of a pattern, and which engine answers: asked once, remembered for minutes.
//!
//! Owns the two ways to find out about the fields. A cluster has `_field_caps`. A query proxy has no such call and is searched instead
//! (`proxy_look_up`).

use chrono::{DateTime, Utc};

use super::endpoint::{Endpoint, SHORT_ANSWER_BYTES};
use super::error::SearchError;
use super::field_types_cache::PatternFields;
use super::identity::Identity;
use super::index_pattern::valid_index_pattern;
use crate::EndpointKind;
use hostsync_mapping::RefusalKind;
use hostsync_mapping::{FieldTypes, FieldTypesError, Mapping, NameField, count_body, last_body, read_count, read_last};
use hostsync_model::window::Window;

/// The fields by which a group is searched.
pub(super) struct GroupFields {
    pub(super) types: FieldTypes,
    pub(super) name: Option<NameField>,
    pub(super) group: Option<NameField>,
}

impl Endpoint {
    /// How the fields of a mapping stand in the indices of a pattern: remembered, or looked up and remembered. `host` is one of
    /// the hosts that are searched for.
    pub(super) async fn pattern_fields(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        host: &str,
    ) -> Result<PatternFields, SearchError> {
        valid_index_pattern(index_pattern)?;
        let of_window = self.of_window(window);
        if let Some(known) = self.field_types.get(index_pattern, mapping, of_window) {
            return Ok(known);
        }
        let known = match self.kind {
            EndpointKind::Cluster => {
                let legacy_interval = self.legacy_interval().await?;
                let answer = self.field_caps(index_pattern, &FieldTypes::to_ask_for(mapping)).await?;
                let read =
                    FieldTypes::read(mapping, &answer).and_then(|types| Ok((types, FieldTypes::indices(&answer)?)));
                let (types, indices) = match read {
                    Ok(read) => read,
                    Err(error) => return Err(self.types_error(index_pattern, mapping, window, error).await),
                };
                self.check_doubt(index_pattern, mapping, &types).await?;
                PatternFields::now(if legacy_interval { types.with_legacy_interval() } else { types }, Some(indices))
            }
            EndpointKind::Proxy => {
                PatternFields::now(self.types_by_searching(index_pattern, mapping, window, Some(host)).await?, None)
            }
        };
        self.field_types.put(index_pattern, mapping, of_window, known.clone());
        Ok(known)
    }

    /// Through a query proxy, what is known is known of the documents of one window.
    pub(super) fn of_window(&self, window: Window) -> Option<Window> {
        (self.kind == EndpointKind::Proxy).then_some(window)
    }

    /// Who answers; `None`: it does not say, as a query proxy (what it stands for may change behind it), or credentials that may search and nothing else.
    ///
    /// # Errors
    ///
    /// [`SearchError::Outage`] or [`SearchError::TimedOut`].
    pub(super) async fn identify(&self) -> Result<Option<Identity>, SearchError> {
        if self.kind == EndpointKind::Proxy {
            return Ok(None);
        }
        let asking = async {
            match self.root().await {
                Ok(answer) => Ok(Identity::read(&answer)),
                Err(error @ (SearchError::Outage { .. } | SearchError::TimedOut { .. })) => Err(error),
                Err(_) => Ok(None),
            }
        };
        self.identity.or_ask(asking).await
    }

    async fn legacy_interval(&self) -> Result<bool, SearchError> {
        let Some(identity) = self.identify().await? else { return Ok(false) };
        match identity.defect() {
            Some(reason) => Err(SearchError::Refused { reason, kind: RefusalKind::Other }),
            None => Ok(identity.has_legacy_interval_only()),
        }
    }

    /// Why the fields of a mapping cannot be used. Where an index or a field is missing, a search tells why: a remote cluster that
    /// cannot be reached is left out of `_field_caps` without a word, and a search names it.
    async fn types_error(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        error: FieldTypesError,
    ) -> SearchError {
        match &error {
            FieldTypesError::Malformed { is_cut: true, .. } => {
                return SearchError::Outage { reason: error.to_string(), busy: false };
            }
            FieldTypesError::Malformed { .. } => return SearchError::Incomplete { reason: error.to_string() },
            FieldTypesError::Unusable { .. } => {
                return SearchError::Refused { reason: error.to_string(), kind: RefusalKind::Field };
            }
            FieldTypesError::NoIndex | FieldTypesError::Missing { .. } => {}
        }
        let searched = self.count(index_pattern, mapping, window).await;
        match (error, searched) {
            (FieldTypesError::NoIndex, Err(error)) => error,
            (error @ FieldTypesError::NoIndex, Ok(_)) => SearchError::Incomplete { reason: error.to_string() },
            (error, Ok(_) | Err(SearchError::Refused { .. })) => {
                SearchError::Refused { reason: error.to_string(), kind: RefusalKind::Field }
            }
            (_, Err(error)) => error,
        }
    }

    /// How many documents of the mapping there are in the window, exactly.
    pub(super) async fn count(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
    ) -> Result<u64, SearchError> {
        let answer = self.ask(index_pattern, &count_body(mapping, window), SHORT_ANSWER_BYTES).await?;
        Ok(read_count(&answer)?)
    }

    /// When the last document of a host was, of all those before the end of the window; `None`: it has none.
    ///
    /// # Errors
    ///
    /// [`SearchError`], and then nothing may be concluded about the host.
    pub async fn last_document(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        host: &str,
    ) -> Result<Option<DateTime<Utc>>, SearchError> {
        let asked = async {
            let known = self.pattern_fields(index_pattern, mapping, window, host).await?;
            let mut last = None;
            for host_field in &known.types.hosts {
                let body = last_body(mapping, host_field, window, host);
                let answer = self.ask(index_pattern, &body, SHORT_ANSWER_BYTES).await?;
                last = last.max(read_last(host_field, &answer)?);
            }
            Ok(last)
        };
        let presentable = |error: SearchError| error.map_reason(|reason| self.presentable(Some(index_pattern), reason));
        asked.await.map_err(presentable)
    }

    /// The types of the fields by which a group is searched; its names too.
    pub(super) async fn group_fields(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
    ) -> Result<GroupFields, SearchError> {
        valid_index_pattern(index_pattern)?;
        if self.kind == EndpointKind::Proxy {
            let grouping = async |key: &str, field: &Option<String>| match field {
                None => Ok(None),
                Some(field) => {
                    let found = self.grouping_by_searching(index_pattern, mapping, window, None, key, field).await?;
                    Ok::<_, SearchError>(Some(found.name_field(field)))
                }
            };
            return Ok(GroupFields {
                types: self.types_by_searching(index_pattern, mapping, window, None).await?,
                name: grouping("host_name_field", &mapping.host_name_field).await?,
                group: grouping("group_field", &mapping.group_field).await?,
            });
        }
        self.legacy_interval().await?;
        let answer = self.field_caps(index_pattern, &FieldTypes::all_to_ask_for(mapping)).await?;
        let read = || -> Result<GroupFields, FieldTypesError> {
            let group = mapping.group_field.as_deref();
            let name = mapping.host_name_field.as_deref();
            let name = name.map(|field| FieldTypes::name_field("host_name_field", field, &answer)).transpose();
            Ok(GroupFields {
                types: FieldTypes::read(mapping, &answer)?,
                // A host without a name is a host nevertheless.
                name: name.or_else(|error| match error {
                    FieldTypesError::Missing { .. } => Ok(None),
                    error => Err(error),
                })?,
                group: group.map(|field| FieldTypes::name_field("group_field", field, &answer)).transpose()?,
            })
        };
        match read() {
            Ok(fields) => {
                self.check_doubt(index_pattern, mapping, &fields.types).await?;
                Ok(fields)
            }
            Err(error) => Err(self.types_error(index_pattern, mapping, window, error).await),
        }
    }
}
