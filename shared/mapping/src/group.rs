//! Which hosts belong to a group: the pages of a full sync, and what they come to.
//!
//! Owns the question (a composite aggregation, page by page), the reading of a page, and the choice of the one
//! address by which a host with many is known. Pure, like all of `mapping`; `elasticsearch` turns the pages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plan::{DOCUMENTS, HOSTS, query};
use super::read::read_aggregations;
use super::{HostField, KEYWORD_SUFFIX, Mapping, NameField, Refusal};
use hostsync_model::host::HostIp;
use hostsync_model::window::Window;

/// Most hosts of a group; one with more is refused. Documents with many addresses may bring
/// `MAX_ADDRESSES_A_HOST` times as many addresses.
pub const MAX_GROUP_HOSTS: usize = 100_000;

/// Addresses that are held for each of [`MAX_GROUP_HOSTS`], bridges and the like among them.
const MAX_ADDRESSES_A_HOST: usize = 5;

/// Other addresses of a host that are kept.
const MAX_OTHER_IPS: usize = 16;

/// Names asked for of an address: the second shows that it is shared.
const NAMES: usize = 2;

/// Name of the aggregation over the names of an address.
const OF_HOST: &str = "names";
/// Name of the count of addresses, to be held against that of documents.
const ADDRESSES: &str = "addresses";
/// Name of the one source of the composite.
const KEY: &str = "host";

/// Where the next page begins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GroupCursor {
    /// Which of the host fields is read.
    pub host_field: usize,
    /// The last key of the page before; `None`: the first page of the field.
    pub after: Option<Value>,
}

/// An address that documents of the group carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// As it stands in the documents.
    pub address: String,
    /// Names of the hosts that carry it, the one with most documents first; of more than one, it is known only
    /// that there are more.
    pub names: Vec<String>,
}

/// A page of addresses, in the engine's order.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPage {
    /// At most as many as were asked for.
    pub members: Vec<GroupMember>,
    /// Whether some documents of the group carry several addresses.
    pub has_several_addresses: bool,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<GroupCursor>,
}

/// A host of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupHost {
    /// The address that it is known by.
    pub host_ip: HostIp,
    /// Its name, if the documents have one.
    pub host_name: Option<String>,
    /// Its other addresses, best first, at most 16: if one of them is in the pool already, that one is meant.
    pub other_ips: Vec<HostIp>,
}

/// The hosts of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupHosts {
    /// Each once, in order of address.
    pub hosts: Vec<GroupHost>,
    /// Values of the host field that are no address of a host: no address at all, loopback, link-local,
    /// unspecified, multicast.
    pub skipped: usize,
}

/// The body that asks for a page of at most `page_size` addresses of a group, or of all groups.
pub fn group_body(
    mapping: &Mapping,
    host_field: &HostField,
    name_field: Option<&NameField>,
    group: Option<(&NameField, &str)>,
    window: Window,
    (cursor, page_size): (&GroupCursor, usize),
) -> Value {
    let in_group = |(field, group): (&NameField, &str)| match field {
        NameField::Grouped(field) => json!({"term": {field: group}}),
        NameField::Mixed(field) => {
            let keyword = format!("{field}{KEYWORD_SUFFIX}");
            // In a text the group would match any name that it is a word of.
            json!({"bool": {"should": [
                {"term": {&keyword: group}},
                {"bool": {"filter": [{"term": {field: group}}], "must_not": [{"exists": {"field": keyword}}]}},
            ], "minimum_should_match": 1}})
        }
    };
    let mut composite = json!({"size": page_size, "sources": [{KEY: {"terms": {"field": host_field.field}}}]});
    if let Some(after) = &cursor.after {
        composite["after"] = after.clone();
    }
    let mut hosts = json!({"composite": composite});
    match name_field {
        None => {}
        Some(NameField::Grouped(field)) => {
            hosts["aggs"] = json!({OF_HOST: {"terms": {"field": field, "size": NAMES}}});
        }
        Some(NameField::Mixed(field)) => {
            hosts["aggs"] = json!({OF_HOST: {"top_hits": {
                "size": 1, "_source": [field], "sort": [{&mapping.time_field: {"order": "desc"}}],
            }}});
        }
    }
    json!({
        "size": 0,
        "query": query(mapping, window, group.map(in_group), &host_field.except),
        "aggs": {
            HOSTS: hosts,
            // Not the engine's own count: a document may say that it stands for several (`_doc_count`).
            DOCUMENTS: {
                "filter": {"exists": {"field": host_field.field}},
                "aggs": {DOCUMENTS: {"value_count": {"field": mapping.time_field}}},
            },
            ADDRESSES: {"value_count": {"field": host_field.field}},
        },
    })
}

/// Reads the answer to a [`group_body`] of the same host field, cursor and page size.
///
/// # Errors
///
/// [`Refusal`], as of a search: an answer that is not whole is none.
pub fn read_group(
    host_field: &HostField,
    name_field: Option<&NameField>,
    (cursor, page_size): (&GroupCursor, usize),
    body: &[u8],
) -> Result<GroupPage, Refusal> {
    let malformed = |part: &str| Refusal::Malformed { reason: format!("aggregations.{part} is missing or ill-typed") };
    let aggregations = read_aggregations(body, Some(host_field))?;
    let value = |count: Option<&Value>| count.and_then(|count| count.get("value")).and_then(Value::as_u64);
    let documents = value(aggregations.get(DOCUMENTS).and_then(|filter| filter.get(DOCUMENTS)));
    let documents = documents.ok_or_else(|| malformed("documents.documents.value"))?;
    let addresses = value(aggregations.get(ADDRESSES)).ok_or_else(|| malformed("addresses.value"))?;
    let hosts = aggregations.get(HOSTS).ok_or_else(|| malformed("hosts"))?;
    let buckets = hosts.get("buckets").and_then(Value::as_array).ok_or_else(|| malformed("hosts.buckets"))?;
    let mut members = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let address = bucket.get("key").and_then(|key| key.get(KEY)).and_then(Value::as_str);
        let address = address.ok_or_else(|| malformed("hosts.buckets.key"))?.to_owned();
        members.push(GroupMember { address, names: names_of(bucket, name_field) });
    }
    let after = hosts.get("after_key").filter(|_| members.len() >= page_size);
    let next = after.map(|after| GroupCursor { host_field: cursor.host_field, after: Some(after.clone()) });
    Ok(GroupPage { members, has_several_addresses: addresses > documents, next })
}

fn names_of(bucket: &Value, name_field: Option<&NameField>) -> Vec<String> {
    let names = bucket.get(OF_HOST);
    match name_field {
        None => Vec::new(),
        Some(NameField::Grouped(_)) => {
            let buckets = names.and_then(|names| names.get("buckets")).and_then(Value::as_array);
            buckets.into_iter().flatten().filter_map(|name| name.get("key")?.as_str().map(str::to_owned)).collect()
        }
        Some(NameField::Mixed(field)) => {
            let source = names.and_then(|names| names.pointer("/hits/hits/0/_source"));
            source.and_then(|source| text_at(source, field)).into_iter().collect()
        }
    }
}

/// The text of a field in a document, which may write `a.b` as one key or as two levels.
fn text_at(source: &Value, field: &str) -> Option<String> {
    if let Some(value) = source.get(field) {
        return value.as_str().or_else(|| value.as_array()?.first()?.as_str()).map(str::to_owned);
    }
    let mut dots = field.match_indices('.').map(|(at, _)| at);
    dots.find_map(|at| text_at(source.get(&field[..at])?, &field[at + 1..]))
}

impl GroupHosts {
    /// Puts the pages of a group together.
    ///
    /// Where no document carries several addresses, each address is a host. Where some do, a host is what has a
    /// name of its own, and of its addresses that one counts which no other host carries (bridges and virtual
    /// addresses are carried by many), IPv4 before IPv6, Docker's default network `172.17.0.0/16` last, then the
    /// lowest; an address without any name is a host by itself.
    pub fn of(pages: impl IntoIterator<Item = GroupPage>) -> Self {
        let mut several = false;
        let mut skipped = BTreeSet::new();
        let mut names_by_ip: BTreeMap<HostIp, Vec<String>> = BTreeMap::new();
        for page in pages {
            several |= page.has_several_addresses;
            for GroupMember { address, names } in page.members {
                let Some(ip) = host_address(&address) else {
                    skipped.insert(address);
                    continue;
                };
                let known = names_by_ip.entry(ip).or_default();
                for name in names {
                    if !known.contains(&name) {
                        known.push(name);
                    }
                }
            }
        }
        let hosts = if several { one_address_a_name(names_by_ip) } else { each_address(names_by_ip) };
        Self { hosts, skipped: skipped.len() }
    }

    /// Whether so many addresses may still be held.
    pub fn has_room_for(addresses: usize) -> bool {
        addresses <= MAX_GROUP_HOSTS * MAX_ADDRESSES_A_HOST
    }
}

fn each_address(names_by_ip: BTreeMap<HostIp, Vec<String>>) -> Vec<GroupHost> {
    let host = |(host_ip, names): (HostIp, Vec<String>)| GroupHost {
        host_ip,
        host_name: names.into_iter().next(),
        other_ips: Vec::new(),
    };
    names_by_ip.into_iter().map(host).collect()
}

fn one_address_a_name(names_by_ip: BTreeMap<HostIp, Vec<String>>) -> Vec<GroupHost> {
    let mut ranked: BTreeMap<String, Vec<(bool, bool, bool, HostIp)>> = BTreeMap::new();
    let mut hosts: BTreeMap<HostIp, GroupHost> = BTreeMap::new();
    for (ip, names) in names_by_ip {
        let (is_shared, is_v6) = (names.len() > 1, ip.addr().is_ipv6());
        let is_docker = matches!(ip.addr(), IpAddr::V4(v4) if v4.octets()[..2] == [172, 17]);
        if names.is_empty() {
            hosts.insert(ip, GroupHost { host_ip: ip, host_name: None, other_ips: Vec::new() });
        }
        for name in names {
            ranked.entry(name).or_default().push((is_shared, is_v6, is_docker, ip));
        }
    }
    for (name, mut addresses) in ranked {
        addresses.sort_unstable();
        // A shared address is no sign of this host unless it is all that there is.
        let is_own = |address: &(bool, bool, bool, HostIp)| !address.0;
        let has_own = addresses.iter().any(is_own);
        let mut ips = addresses.iter().filter(|address| !has_own || is_own(address)).map(|(.., ip)| *ip);
        if let Some(host_ip) = ips.next() {
            let other_ips = ips.take(MAX_OTHER_IPS).collect();
            hosts.entry(host_ip).or_insert(GroupHost { host_ip, host_name: Some(name), other_ips });
        }
    }
    hosts.into_values().collect()
}

/// The address of a host; none that every machine has.
fn host_address(text: &str) -> Option<HostIp> {
    let address: HostIp = text.parse().ok()?;
    let is_of_a_host = match address.addr() {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast())
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()),
    };
    is_of_a_host.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FieldTypes, HostKind};
    use chrono::DateTime;

    fn page(several: bool, members: &[(&str, &[&str])]) -> GroupPage {
        let member = |(address, names): &(&str, &[&str])| GroupMember {
            address: (*address).to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        GroupPage { members: members.iter().map(member).collect(), has_several_addresses: several, next: None }
    }

    fn found(hosts: &GroupHosts) -> Vec<(String, Option<&str>, usize)> {
        hosts
            .hosts
            .iter()
            .map(|host| (host.host_ip.to_string(), host.host_name.as_deref(), host.other_ips.len()))
            .collect()
    }

    #[test]
    fn each_address_is_a_host_where_documents_carry_one() {
        let pages = [
            page(false, &[("10.0.0.2", &["same"]), ("10.0.0.1", &["same"]), ("web-1", &["x"])]),
            page(false, &[("10.0.0.2", &["renamed"]), ("10.0.0.3", &[]), ("127.0.0.1", &["x"])]),
        ];
        let hosts = GroupHosts::of(pages);
        assert_eq!(
            found(&hosts),
            [
                ("10.0.0.1".to_owned(), Some("same"), 0),
                ("10.0.0.2".to_owned(), Some("same"), 0),
                ("10.0.0.3".to_owned(), None, 0),
            ]
        );
        assert_eq!(hosts.skipped, 2);
    }

    #[test]
    fn one_address_a_host_counts_where_documents_carry_several() {
        let hosts = GroupHosts::of([page(
            true,
            &[
                ("::1", &["a", "b"]),
                ("fe80::1", &["a"]),
                ("169.254.1.1", &["a"]),
                ("172.17.0.1", &["a"]),
                ("172.18.0.1", &["a", "b"]),
                ("192.168.1.5", &["a"]),
                ("2001:db8::5", &["a"]),
                ("2001:db8::6", &["b"]),
                ("10.0.0.9", &["c", "d"]),
                ("10.0.0.8", &[]),
            ],
        )]);
        assert_eq!(
            found(&hosts),
            [
                // Without a name of its own.
                ("10.0.0.8".to_owned(), None, 0),
                // Renamed within the window: all that there is, once.
                ("10.0.0.9".to_owned(), Some("c"), 0),
                ("192.168.1.5".to_owned(), Some("a"), 2),
                ("2001:db8::6".to_owned(), Some("b"), 0),
            ]
        );
        assert_eq!(hosts.skipped, 3);
    }

    #[test]
    fn pages_follow_each_other_by_the_key_of_the_last_host() {
        let mapping = Mapping::zabbix();
        let field = HostField { field: "hostIp".to_owned(), kind: HostKind::Keyword, except: Vec::new() };
        let time = |ms| DateTime::from_timestamp_millis(ms).expect("a time");
        let window = Window { from: time(0), to: time(1_000) };
        let (group, name) = (NameField::Mixed("group".to_owned()), NameField::Grouped("hostName".to_owned()));
        let first = GroupCursor::default();
        let body = group_body(&mapping, &field, Some(&name), Some((&group, "db")), window, (&first, 2));
        assert_eq!(
            body["aggs"]["hosts"]["composite"],
            json!({"size": 2, "sources": [{"host": {"terms": {"field": "hostIp"}}}]})
        );
        assert_eq!(body["query"]["bool"]["filter"][1]["bool"]["should"][0], json!({"term": {"group.keyword": "db"}}));
        let answer = json!({
            "took": 1, "timed_out": false, "_shards": {"total": 1, "successful": 1, "failed": 0},
            "aggregations": {
                "documents": {"doc_count": 12, "documents": {"value": 2}}, "addresses": {"value": 2},
                "hosts": {"after_key": {"host": "10.0.0.2"}, "buckets": [
                    {"key": {"host": "10.0.0.1"}, "doc_count": 1, "names": {"buckets": [{"key": "a", "doc_count": 1}]}},
                    {"key": {"host": "10.0.0.2"}, "doc_count": 1, "names": {"buckets": []}},
                ]},
            },
        });
        let read = |page_size| {
            read_group(&field, Some(&name), (&first, page_size), answer.to_string().as_bytes()).expect("a page")
        };
        let next = read(2).next.expect("another page");
        assert_eq!(next.after, Some(json!({"host": "10.0.0.2"})));
        let body = group_body(&mapping, &field, None, Some((&group, "db")), window, (&next, 2));
        assert_eq!(body["aggs"]["hosts"]["composite"]["after"], json!({"host": "10.0.0.2"}));
        assert_eq!(read(3).next, None, "a page that is not full is the last");
        assert_eq!(read(3).members[0].names, ["a"]);
        assert!(!read(3).has_several_addresses);
        assert_eq!(FieldTypes::unresolved(&mapping).hosts[0], field);
    }

    #[test]
    fn a_name_is_found_in_a_document_however_its_levels_are_written() {
        for source in [json!({"host": {"name": "a"}}), json!({"host.name": "a"}), json!({"host": {"name": ["a", "b"]}})]
        {
            assert_eq!(text_at(&source, "host.name").as_deref(), Some("a"), "{source}");
        }
        assert_eq!(text_at(&json!({"host": 5}), "host.name"), None);
    }
}
