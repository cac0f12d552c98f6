//! Which hosts belong to a group: the pages of a full sync, and what they come to.
//!
//! Owns the question (a composite aggregation, page by page), the reading of a page, and the choice of the one
//! address by which a host with many is known. Pure, like all of `mapping`; `source` turns the pages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plan::{DOCUMENTS, HOSTS, query};
use super::read::read_aggregations;
use super::{AnswerError, EngineError, HostField, KEYWORD_SUFFIX, Mapping, NameField};
use hostsync_model::host::HostIp;
use hostsync_model::window::Window;

/// Most hosts of a group; one with more is refused. Documents with many addresses may bring
/// `MAX_ADDRESSES_A_HOST` times as many addresses.
pub const MAX_GROUP_HOSTS: usize = 100_000;

/// Addresses that are held for each of [`MAX_GROUP_HOSTS`], bridges and the like among them.
const MAX_ADDRESSES_A_HOST: usize = 5;

/// Other addresses of a host that are kept.
const MAX_OTHER_IPS: usize = 16;

/// Names asked for of an address. A host that was renamed within the window has two; a bridge has those of many hosts.
const NAMES: usize = 8;

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
    /// Which of the indices are read, where names are keywords in some and texts in others: first the former.
    #[serde(default)]
    pub name_way: usize,
    /// The last key of the page before; `None`: the first page of the field.
    pub after: Option<Value>,
}

impl GroupCursor {
    /// The first pages of all searches that together read each document of the group once.
    pub fn all(hosts: &[HostField], name: Option<&NameField>) -> Vec<Self> {
        let ways = if matches!(name, Some(NameField::Mixed { .. })) { 2 } else { 1 };
        let each = |host_field| (0..ways).map(move |name_way| Self { host_field, name_way, after: None });
        // Where all shards would fail, there is nothing to read.
        let has_documents = |cursor: &Self| match name {
            Some(NameField::Mixed { keyword, .. }) if cursor.name_way == 0 => {
                !keyword.iter().all(|index| hosts[cursor.host_field].except.contains(index))
            }
            _ => true,
        };
        (0..hosts.len()).flat_map(each).filter(has_documents).collect()
    }
}

/// The field that names can be grouped by in the indices that a search reads, and which those are.
fn names_read(name: &NameField, cursor: &GroupCursor) -> (String, Option<Value>) {
    match name {
        NameField::Grouped(field) => (field.clone(), None),
        NameField::Mixed { field, keyword } => {
            let are_keywords = json!({"terms": {"_index": keyword}});
            if cursor.name_way == 0 {
                (field.clone(), Some(are_keywords))
            } else {
                (format!("{field}{KEYWORD_SUFFIX}"), Some(json!({"bool": {"must_not": [are_keywords]}})))
            }
        }
    }
}

/// An address that documents of the group carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// As it stands in the documents.
    pub address: String,
    /// Names of the hosts that carry it, the one with most documents first; at most 8.
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
        NameField::Mixed { field, .. } => {
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
    let names = name_field.map(|name| names_read(name, cursor));
    if let Some((field, _)) = &names {
        hosts["aggs"] = json!({OF_HOST: {"terms": {"field": field, "size": NAMES}}});
    }
    let filters = group.map(in_group).into_iter().chain(names.and_then(|(_, indices)| indices));
    json!({
        "size": 0,
        "query": query(mapping, window, filters, &host_field.except),
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
/// [`AnswerError`], as of a search: an answer that is not whole is none.
pub fn read_group(
    host_field: &HostField,
    name_field: Option<&NameField>,
    (cursor, page_size): (&GroupCursor, usize),
    body: &[u8],
) -> Result<GroupPage, AnswerError> {
    let malformed =
        |part: &str| AnswerError::Malformed { reason: format!("aggregations.{part} is missing or ill-typed") };
    let is_read_otherwise = |failure: &EngineError| {
        let is_name_a_text = match name_field {
            Some(NameField::Mixed { field, keyword }) if cursor.name_way == 0 => {
                failure.index.as_ref().is_some_and(|index| !keyword.contains(index))
                    && failure.is_text_without_keyword(field)
            }
            _ => false,
        };
        is_name_a_text || host_field.is_read_otherwise(failure)
    };
    let aggregations = read_aggregations(body, is_read_otherwise)?;
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
        members.push(GroupMember { address, names: names_of(bucket) });
    }
    let after = hosts.get("after_key").filter(|_| members.len() >= page_size);
    let next = after.map(|after| GroupCursor { after: Some(after.clone()), ..cursor.clone() });
    Ok(GroupPage { members, has_several_addresses: addresses > documents, next })
}

fn names_of(bucket: &Value) -> Vec<String> {
    let buckets = bucket.get(OF_HOST).and_then(|names| names.get("buckets")).and_then(Value::as_array);
    buckets.into_iter().flatten().filter_map(|name| name.get("key")?.as_str().map(str::to_owned)).collect()
}

impl GroupHosts {
    /// Puts the pages of a group together.
    ///
    /// Where no document carries several addresses, each address is a host. Where some do, a host is what has a
    /// name of its own, and of its addresses that one counts which the fewest names carry (bridges and virtual
    /// addresses are carried by many hosts, its own by itself, under two names if it was renamed), IPv4 before IPv6,
    /// Docker's default network `172.17.0.0/16` last, then the lowest; an address without any name is a host by itself.
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
    let mut ranked: BTreeMap<String, Vec<(usize, bool, bool, HostIp)>> = BTreeMap::new();
    let mut hosts: BTreeMap<HostIp, GroupHost> = BTreeMap::new();
    for (ip, names) in names_by_ip {
        let (carriers, is_v6) = (names.len().min(NAMES), ip.addr().is_ipv6());
        let is_docker = matches!(ip.addr(), IpAddr::V4(v4) if v4.octets()[..2] == [172, 17]);
        if names.is_empty() {
            hosts.insert(ip, GroupHost { host_ip: ip, host_name: None, other_ips: Vec::new() });
        }
        for name in names {
            ranked.entry(name).or_default().push((carriers, is_v6, is_docker, ip));
        }
    }
    for (name, mut addresses) in ranked {
        addresses.sort_unstable();
        // An address that more names carry is no sign of this host.
        let fewest = addresses.first().map(|(carriers, ..)| *carriers);
        let mut ips = addresses.iter().filter(|address| Some(address.0) == fewest).map(|(.., ip)| *ip);
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
        let (group, name) = (
            NameField::Mixed { field: "group".to_owned(), keyword: Vec::new() },
            NameField::Grouped("hostName".to_owned()),
        );
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
    fn the_address_that_the_fewest_names_carry_counts_also_for_hosts_that_were_renamed() {
        // Three hosts, of which two were renamed within the window; each page knows a part of the names.
        let bridge: &[&str] = &["a", "a.example", "b", "b.example", "c"];
        let hosts = GroupHosts::of([
            page(true, &[("172.18.0.1", bridge), ("192.168.1.1", &["a", "a.example"]), ("192.168.1.3", &["c"])]),
            page(true, &[("192.168.1.2", &["b"]), ("172.18.0.1", &["b"])]),
            page(true, &[("192.168.1.2", &["b.example"])]),
        ]);
        assert_eq!(
            found(&hosts),
            [
                ("192.168.1.1".to_owned(), Some("a"), 0),
                ("192.168.1.2".to_owned(), Some("b"), 0),
                ("192.168.1.3".to_owned(), Some("c"), 0),
            ]
        );
    }

    #[test]
    fn names_that_are_texts_in_some_indices_are_grouped_by_in_two_searches() {
        let mapping = Mapping::metricbeat();
        let time = |ms| DateTime::from_timestamp_millis(ms).expect("a time");
        let window = Window { from: time(0), to: time(1_000) };
        let host = HostField { field: "host.ip".to_owned(), kind: HostKind::Ip, except: Vec::new() };
        let name = NameField::Mixed { field: "host.name".to_owned(), keyword: vec!["new".to_owned()] };
        let searches = GroupCursor::all(std::slice::from_ref(&host), Some(&name));
        assert_eq!(searches.len(), 2);
        let bodies: Vec<Value> = searches
            .iter()
            .map(|cursor| group_body(&mapping, &host, Some(&name), None, window, (cursor, 10)))
            .collect();
        let are_keywords = json!({"terms": {"_index": ["new"]}});
        let names = |body: &Value| body["aggs"]["hosts"]["aggs"]["names"]["terms"].clone();
        assert_eq!(names(&bodies[0]), json!({"field": "host.name", "size": 8}));
        assert_eq!(bodies[0]["query"]["bool"]["filter"][1], are_keywords);
        assert_eq!(names(&bodies[1]), json!({"field": "host.name.keyword", "size": 8}));
        assert_eq!(bodies[1]["query"]["bool"]["filter"][1], json!({"bool": {"must_not": [are_keywords]}}));

        // The shards where it is a text may fail in the first search only, and none where it is a keyword.
        let text = "Text fields are not optimised for operations, set fielddata=true on [host.name] in order to";
        let answer = |index: &str| {
            json!({
                "took": 1, "timed_out": false, "_shards": {"total": 2, "successful": 1, "failed": 1, "failures": [
                    {"shard": 0, "index": index, "reason": {"type": "illegal_argument_exception", "reason": text}},
                ]},
                "aggregations": {
                    "documents": {"doc_count": 1, "documents": {"value": 1}}, "addresses": {"value": 1},
                    "hosts": {"buckets": []},
                },
            })
            .to_string()
        };
        let read = |cursor: usize, index: &str| {
            read_group(&host, Some(&name), (&searches[cursor], 10), answer(index).as_bytes()).is_ok()
        };
        assert_eq!([read(0, "old"), read(1, "old"), read(0, "new"), read(1, "new")], [true, false, false, false]);

        // Where the hosts of all indices with keywords are read by another field, every shard of the first would fail.
        let other = HostField { except: vec!["new".to_owned()], ..host.clone() };
        let searches = GroupCursor::all(&[other, host], Some(&name));
        let ways: Vec<(usize, usize)> = searches.iter().map(|cursor| (cursor.host_field, cursor.name_way)).collect();
        assert_eq!(ways, [(0, 1), (1, 0), (1, 1)]);
    }
}
