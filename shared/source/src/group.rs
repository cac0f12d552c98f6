//! Finding the hosts of a group, page by page.
//!
//! Owns the turning of pages and its bounds. What is asked and what a page says is `mapping`'s matter.

use super::endpoint::{Endpoint, SHORT_ANSWER_BYTES};
use super::error::SearchError;
use hostsync_mapping::RefusalKind;
use hostsync_mapping::{GroupCursor, GroupHosts, GroupPage, MAX_GROUP_HOSTS, Mapping, group_body, read_group};
use hostsync_metrics::spans;
use hostsync_model::window::Window;

use super::look_up::GroupFields;

/// Addresses asked for at once.
pub const GROUP_PAGE: usize = 2_000;

/// Bytes of an answer for each address of a page, with the names of its host.
const BYTES_OF_ADDRESS: usize = 4 << 10;

impl Endpoint {
    /// The hosts of a group that have documents in the window, by composite aggregation, `page_size` addresses at
    /// once ([`GROUP_PAGE`] is a good size).
    ///
    /// # Errors
    ///
    /// [`SearchError`], and then nothing may be concluded about the group. A group with more than
    /// [`MAX_GROUP_HOSTS`] hosts and a mapping without `group_field` are [`SearchError::Refused`].
    #[tracing::instrument(name = "elasticsearch.group", skip_all, fields(endpoint = self.name(), index = index_pattern))]
    pub async fn group_hosts(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        group: &str,
        page_size: usize,
    ) -> Result<GroupHosts, SearchError> {
        self.all_hosts_of(index_pattern, mapping, window, group, page_size)
            .await
            .map_err(|error| error.map_reason(|reason| self.presentable(Some(index_pattern), reason)))
            .inspect_err(|error| spans::set_failed(&tracing::Span::current(), error.reason()))
    }

    async fn all_hosts_of(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        group: &str,
        page_size: usize,
    ) -> Result<GroupHosts, SearchError> {
        let too_many = || SearchError::Refused {
            reason: format!("the group \"{group}\" has more than {MAX_GROUP_HOSTS} hosts: narrow the index pattern"),
            kind: RefusalKind::Other,
        };
        if mapping.group_field.is_none() {
            let reason = "the mapping names no group_field".to_owned();
            return Err(SearchError::Refused { reason, kind: RefusalKind::Field });
        }
        let fields = self.group_fields(index_pattern, mapping, window).await?;
        let mut pages = Vec::new();
        let mut addresses = 0;
        for first in GroupCursor::all(&fields.types.hosts, fields.name.as_ref()) {
            let mut next = Some(first);
            while let Some(cursor) = next {
                let mut page =
                    self.page(index_pattern, mapping, window, &fields, Some(group), (&cursor, page_size)).await?;
                addresses += page.members.len();
                if !GroupHosts::has_room_for(addresses) {
                    return Err(too_many());
                }
                next = page.next.take();
                pages.push(page);
            }
        }
        let hosts = GroupHosts::of(pages);
        if hosts.hosts.len() > MAX_GROUP_HOSTS { Err(too_many()) } else { Ok(hosts) }
    }

    /// One page of a group, or of everything.
    pub(super) async fn page(
        &self,
        index_pattern: &str,
        mapping: &Mapping,
        window: Window,
        fields: &GroupFields,
        group: Option<&str>,
        (cursor, page_size): (&GroupCursor, usize),
    ) -> Result<GroupPage, SearchError> {
        let host_field = fields.types.hosts.get(cursor.host_field);
        let host_field = host_field.ok_or_else(|| SearchError::Refused {
            reason: "the place in the list of hosts is gone".to_owned(),
            kind: RefusalKind::Other,
        })?;
        let (name, group) = (fields.name.as_ref(), fields.group.as_ref().zip(group));
        let body = group_body(mapping, host_field, name, group, window, (cursor, page_size));
        let max_bytes = SHORT_ANSWER_BYTES + page_size.saturating_mul(BYTES_OF_ADDRESS);
        let answer = self.ask(index_pattern, &body, max_bytes).await?;
        Ok(read_group(host_field, name, (cursor, page_size), &answer)?)
    }
}
