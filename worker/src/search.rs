//! Asks the source for a batch of hosts, in smaller parts where one search is too much.
//!
//! Owns the splitting (P5: too many buckets or too heavy halves the batch), its budget of time, and what each host's share of
//! the answer is. Writes nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostsync_mapping::{FieldTypes, Mapping, max_hosts};
use hostsync_metrics::{Metrics, ReasonClass, SearchOutcome};
use hostsync_model::window::Window;
use hostsync_source::{Asked, Endpoint, RefusalKind, SearchError};
use hostsync_store::explanation::kept_body;
use hostsync_store::tables::searches::SearchId;

use crate::evidence::{Made, Said};
use crate::job_result::{HostFinding, Reason};

/// Longest time for the searches of one batch. No search is begun after it; the last one may take its time-out more.
///
/// Splitting 500 hosts whose every search times out takes 999 time-outs, some eight hours at 30 s, in which a slot serves
/// nobody else and the broker takes its jobs back (after 30 minutes without an ack). Isolating a single heavy host takes 9
/// time-outs, which fit. What becomes of the hosts that are left: see [`out_of_time`].
pub(crate) const SEARCHING_BUDGET: Duration = Duration::from_mins(10);

/// Searches of one batch that may fail in a row for being too much. A heavy host among 500 is found by some twenty, most of
/// them answered; where this many are not, every search is too much for the source, and halving on would only load it more.
const MOST_IN_VAIN: usize = 100;

/// Why a source is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) reason: String,
    /// The search that failed: to be tried before others.
    pub(crate) probe: String,
}

/// Why a source will never answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: String,
    pub(crate) kind: RefusalKind,
}

/// How the search of a batch went.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    /// One entry a host that was asked for, unless `refused`.
    pub(crate) found: HashMap<String, HostFinding>,
    /// The last search that asked for a host.
    pub(crate) asked_by: HashMap<String, SearchId>,
    /// Every search, in order.
    pub(crate) made: Vec<Made>,
    /// The source is away: leave it alone.
    pub(crate) outage: Option<Outage>,
    /// Nothing that could be asked again would be answered: the execution fails once.
    pub(crate) refused: Option<Refused>,
    /// The fields of the last search and the body by them: nearly always those of all.
    body: Option<(FieldTypes, Option<Arc<str>>)>,
}

impl Searched {
    /// The body of a search by `types` as it is kept, made once for searches in a row by the same fields.
    fn body(&mut self, mapping: &Mapping, types: FieldTypes, window: Window) -> Option<Arc<str>> {
        match &self.body {
            Some((known, body)) if *known == types => body.clone(),
            _ => {
                let body: Option<Arc<str>> = kept_body(mapping, &types, window).map(Arc::from);
                self.body = Some((types, body.clone()));
                body
            }
        }
    }
}

/// Searches `hosts`, each once. An outage ends the search, and so does the end of `budget` or of [`MOST_IN_VAIN`]; what was
/// answered before stands.
pub(crate) async fn search(
    endpoint: &Endpoint,
    index_pattern: &str,
    mapping: &Mapping,
    window: Window,
    hosts: Vec<String>,
    budget: Duration,
) -> Searched {
    let began = Instant::now();
    let mut searched = Searched::default();
    let mut in_vain = 0;
    // A metric that is read slice by slice leaves room for fewer hosts than a batch has.
    let mut parts: Parts = hosts.chunks(max_hosts(mapping, window)).map(<[String]>::to_vec).collect();
    // In turn, so that the hosts beside a heavy one are answered before it is found.
    while let Some(part) = parts.pop_front() {
        if began.elapsed() >= budget && !searched.made.is_empty() || in_vain >= MOST_IN_VAIN {
            parts.push_front(part);
            return out_of_time(searched, parts, began.elapsed());
        }
        let (types, error) = match answer(endpoint, index_pattern, mapping, window, &part, &mut searched).await {
            Ok(()) => {
                in_vain = 0;
                continue;
            }
            Err(failed) => failed,
        };
        let reason = match error {
            SearchError::Refused { reason, kind } => {
                searched.refused = Some(Refused { reason, kind });
                return searched;
            }
            SearchError::Incomplete { reason } => {
                fail_attempt(&mut searched, part, &Reason::new(ReasonClass::Source, reason));
                continue;
            }
            SearchError::TooLarge { reason } => {
                in_vain += 1;
                split(&mut searched, &mut parts, part, &reason);
                continue;
            }
            // It lives: the search was too heavy for it.
            SearchError::TimedOut { reason } if endpoint.ping().await.is_ok() => {
                in_vain += 1;
                split(&mut searched, &mut parts, part, &reason);
                continue;
            }
            SearchError::TimedOut { reason } | SearchError::Outage { reason, .. } => reason,
        };
        let probe = Endpoint::probe_of(mapping, types.as_ref(), window, &part);
        parts.push_front(part);
        return give_way(searched, parts, Outage { reason, probe });
    }
    searched
}

/// Hosts that are still to be searched, by search.
type Parts = VecDeque<Vec<String>>;

async fn answer(
    endpoint: &Endpoint,
    index_pattern: &str,
    mapping: &Mapping,
    window: Window,
    hosts: &[String],
    searched: &mut Searched,
) -> Result<(), (Option<FieldTypes>, SearchError)> {
    let began = Instant::now();
    let Asked { types, answer: result } = endpoint.search_showing(index_pattern, mapping, window, hosts).await;
    let elapsed = began.elapsed();
    Metrics::global().search(endpoint.name(), outcome(result.as_ref().err()), elapsed);
    if let Err(SearchError::Refused { kind, .. }) = &result {
        Metrics::global().source_refusal(endpoint.name(), *kind);
    }
    let id = SearchId::new();
    let answer = result.as_ref().map_err(|error| error.reason().to_owned()).map(|answer| Said {
        took_ms: answer.took_ms,
        hosts_found: answer.readings.len(),
        documents: answer.readings.values().map(|reading| reading.data_point_count).sum(),
        shards: answer.shards,
    });
    let body = types.clone().and_then(|types| searched.body(mapping, types, window));
    searched.made.push(Made { id, began, elapsed, hosts_asked: hosts.len(), body, answer });
    searched.asked_by.extend(hosts.iter().map(|host| (host.clone(), id)));
    let mut answer = result.map_err(|error| (types, error))?;
    for host in hosts {
        let found = answer.readings.remove(host).map_or(HostFinding::NoData, HostFinding::Reading);
        searched.found.insert(host.clone(), found);
    }
    Ok(())
}

fn outcome(error: Option<&SearchError>) -> SearchOutcome {
    match error {
        None => SearchOutcome::Complete,
        Some(SearchError::Outage { busy: true, .. }) => SearchOutcome::Throttled,
        Some(SearchError::Outage { busy: false, .. }) => SearchOutcome::Outage,
        Some(SearchError::TimedOut { .. }) => SearchOutcome::Timeout,
        Some(SearchError::TooLarge { .. }) => SearchOutcome::TooHeavy,
        Some(SearchError::Incomplete { .. }) => SearchOutcome::Partial,
        Some(SearchError::Refused { .. }) => SearchOutcome::Refused,
    }
}

fn fail_attempt(searched: &mut Searched, hosts: Vec<String>, reason: &Reason) {
    for host in hosts {
        searched.found.insert(host, HostFinding::AttemptFailed(reason.clone()));
    }
}

/// Halves a part; a single host that is too much by itself costs its attempt.
fn split(searched: &mut Searched, parts: &mut Parts, mut part: Vec<String>, reason: &str) {
    if part.len() <= 1 {
        fail_attempt(searched, part, &Reason::new(ReasonClass::TooHeavy, reason));
        return;
    }
    tracing::info!(hosts = part.len(), reason, "a search for {} hosts is split: {reason}", part.len());
    let second = part.split_off(part.len() / 2);
    parts.push_back(part);
    parts.push_back(second);
}

/// Ends a search whose budget is spent, without closing the endpoint: it answers its probes, and others may be fine with it.
///
/// If this batch came forward (a host was answered, or spent its attempt alone), the hosts that are left spend none: some of
/// them may only stand beside a heavy one. They come back fewer, so that this ends. If nothing came forward, nothing would
/// the next time either, until the run's deadline: so the hosts of the smallest part that was asked for spend an attempt, as
/// one that is too heavy alone does, and the others come back without them. Where [`MOST_IN_VAIN`] searches found nobody, all
/// of them spend it: the source has refused each of them in small parts.
fn out_of_time(mut searched: Searched, unanswered: Parts, spent: Duration) -> Searched {
    let last = searched.made.iter().rev().find_map(|made| made.answer.as_ref().err()).cloned().unwrap_or_default();
    let reason = format!(
        "{} searches within {:.1} s did not answer for this host; the last that failed: {last}",
        searched.made.len(),
        spent.as_secs_f64()
    );
    let left: usize = unanswered.iter().map(Vec::len).sum();
    let came_forward = !searched.found.is_empty();
    tracing::warn!(hosts = left, came_forward, reason, "{left} hosts of a batch are left: {reason}");
    // A part that was not asked for has no host in `asked_by`.
    let asked = |part: &&Vec<String>| part.iter().any(|host| searched.asked_by.contains_key(host));
    let to_blame: Vec<String> = if came_forward {
        Vec::new()
    } else if searched.made.len() >= MOST_IN_VAIN {
        unanswered.iter().flatten().cloned().collect()
    } else {
        unanswered.iter().filter(asked).min_by_key(|part| part.len()).cloned().unwrap_or_default()
    };
    for host in unanswered.into_iter().flatten() {
        searched.found.insert(host, HostFinding::Unavailable(reason.clone()));
    }
    fail_attempt(&mut searched, to_blame, &Reason::new(ReasonClass::TooHeavy, reason));
    searched
}

fn give_way(mut searched: Searched, unanswered: Parts, outage: Outage) -> Searched {
    for host in unanswered.into_iter().flatten() {
        searched.found.insert(host, HostFinding::Unavailable(outage.reason.clone()));
    }
    searched.outage = Some(outage);
    searched
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use hostsync_source::EndpointKind;
    use hostsync_source::{Auth, EndpointSettings};
    use serde_json::{Value, json};
    use wiremock::matchers::{method, path_regex};
    use wiremock::{Mock, MockServer, Request, ResponseTemplate};

    use super::*;

    /// Of one search, as the endpoint has it.
    const TIMEOUT: Duration = Duration::from_millis(500);

    /// A source that never answers for a host whose address ends with one of these, and has no document of any other.
    async fn source(heavy: &'static [&'static str]) -> MockServer {
        let server = MockServer::start().await;
        let of = |kind: &str| json!({kind: {"type": kind, "searchable": true, "aggregatable": kind != "text"}});
        let fields = json!({"indices": ["data"], "fields": {
            "@timestamp": of("date"), "hostIp": of("text"), "hostIp.keyword": of("keyword"), "cpu": of("double"),
            "available_memory": of("double"), "total_disk_space_all": of("double"),
        }});
        let fields = ResponseTemplate::new(200).set_body_json(fields);
        Mock::given(path_regex("/_field_caps$")).respond_with(fields).mount(&server).await;
        let answer = move |request: &Request| {
            let whole = ResponseTemplate::new(200).set_body_json(json!({
                "took": 3, "timed_out": false, "_shards": {"total": 2, "successful": 2, "skipped": 0, "failed": 0},
                "aggregations": {"hosts": {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}},
            }));
            let body = String::from_utf8_lossy(&request.body);
            let is_heavy = heavy.iter().any(|end| body.contains(&format!("{end}\"")));
            if is_heavy { whole.set_delay(TIMEOUT * 20) } else { whole }
        };
        Mock::given(method("POST")).and(path_regex("/_search$")).respond_with(answer).mount(&server).await;
        let root = ResponseTemplate::new(200).set_body_json(json!({"version": {"number": "8.1.0"}}));
        Mock::given(method("GET")).respond_with(root).mount(&server).await;
        server
    }

    fn endpoint(url: &str) -> Endpoint {
        // A second call finds the provider of the first one in its place.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = url.parse().expect("a URL");
        let (name, kind, auth) = ("test".to_owned(), EndpointKind::Cluster, Auth::None);
        Endpoint::new(EndpointSettings { name, kind, url, auth, ca_file: None, timeout: TIMEOUT }).expect("an endpoint")
    }

    fn hosts(count: u32) -> Vec<String> {
        (1..=count).map(|n| format!("10.0.0.{n}")).collect()
    }

    async fn search_within(budget: Duration, server: &MockServer, hosts: Vec<String>) -> Searched {
        let to = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let window = Window { from: to - TimeDelta::days(1), to };
        search(&endpoint(&server.uri()), "data", &Mapping::zabbix(), window, hosts, budget).await
    }

    #[tokio::test]
    async fn a_heavy_host_spends_its_attempt_alone_and_the_others_are_answered() {
        let server = source(&["10.0.0.3"]).await;
        let searched = search_within(SEARCHING_BUDGET, &server, hosts(8)).await;
        for host in hosts(8) {
            let found = &searched.found[&host];
            let is_too_heavy =
                matches!(found, HostFinding::AttemptFailed(reason) if reason.class == ReasonClass::TooHeavy);
            assert!(if host == "10.0.0.3" { is_too_heavy } else { *found == HostFinding::NoData }, "{host}: {found:?}");
        }
        assert_eq!((searched.outage, searched.refused), (None, None));
        // 8; 4 and 4; 2 and 2; 1 and 1.
        assert_eq!(searched.made.len(), 7);
    }

    #[tokio::test]
    async fn a_source_that_answers_nothing_within_the_budget_costs_the_smallest_part_an_attempt() {
        let server = source(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]).await;
        let searched = search_within(TIMEOUT + TIMEOUT / 2, &server, hosts(4)).await;
        assert_eq!(searched.made.len(), 2, "four, then two: no more fit");
        // Left are the second half and each of the first.
        let HostFinding::AttemptFailed(reason) = &searched.found["10.0.0.1"] else { panic!("{:?}", searched.found) };
        assert_eq!(reason.class, ReasonClass::TooHeavy);
        assert!(reason.text.contains("2 searches") && reason.text.contains("did not answer within"), "{reason:?}");
        for host in &hosts(4)[1..] {
            assert!(matches!(&searched.found[host], HostFinding::Unavailable(_)), "{host}: {:?}", searched.found);
        }
        assert_eq!(searched.outage, None, "an endpoint that answers its probes stays open");
    }

    #[tokio::test]
    async fn hosts_that_are_left_beside_answered_ones_are_deferred_without_an_attempt() {
        let server = source(&["10.0.0.7"]).await;
        // Four are answered between the two time-outs, the other four are left.
        let searched = search_within(TIMEOUT + TIMEOUT / 2, &server, hosts(8)).await;
        for (n, host) in (1..).zip(hosts(8)) {
            let found = &searched.found[&host];
            if n <= 4 {
                assert_eq!(*found, HostFinding::NoData, "{host}");
            } else {
                assert!(matches!(found, HostFinding::Unavailable(_)), "{host}: {found:?}");
            }
        }
        assert_eq!((searched.outage, searched.made.len()), (None, 3));
    }

    #[tokio::test]
    async fn a_source_for_which_every_search_is_too_much_is_asked_a_bounded_number_of_times() {
        let server = source(&[]).await;
        let error = json!({"error": {"type": "circuit_breaking_exception", "durability": "TRANSIENT",
            "reason": "[parent] Data too large, data for [x], new bytes reserved: [9/9b]"}, "status": 429});
        let too_much = ResponseTemplate::new(429).set_body_json(error);
        Mock::given(path_regex("/_search$")).respond_with(too_much).with_priority(1).mount(&server).await;
        let searched = search_within(SEARCHING_BUDGET, &server, hosts(200)).await;
        assert_eq!((searched.made.len(), searched.outage), (MOST_IN_VAIN, None));
        for host in hosts(200) {
            let found = &searched.found[&host];
            assert!(
                matches!(found, HostFinding::AttemptFailed(reason) if reason.text.contains("Data too large")),
                "{found:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_source_that_is_away_ends_the_search_with_what_to_probe_by() {
        let server = source(&[]).await;
        let error =
            json!({"error": {"type": "circuit_breaking_exception", "durability": "TRANSIENT", "reason": "why"}});
        let busy = ResponseTemplate::new(429).set_body_json(error);
        Mock::given(path_regex("/_search$")).respond_with(busy).with_priority(1).mount(&server).await;
        for count in [1, 8] {
            let searched = search_within(SEARCHING_BUDGET, &server, hosts(count)).await;
            assert_eq!(searched.made.len(), 1);
            assert!(hosts(count).iter().all(|host| matches!(searched.found[host], HostFinding::Unavailable(_))));
            let probe: Value = serde_json::from_str(&searched.outage.expect("an outage").probe).expect("JSON");
            let asked = probe.pointer("/aggs/hosts/terms/include").and_then(Value::as_array).expect("hosts");
            assert!(hosts(count).iter().all(|host| asked.contains(&json!(host))), "{probe}");
        }
    }

    #[tokio::test]
    async fn a_search_is_kept_with_its_shards_and_the_body_that_was_sent() {
        let server = source(&["10.0.0.2"]).await;
        let searched = search_within(SEARCHING_BUDGET, &server, hosts(2)).await;
        let told: Vec<Option<u64>> =
            searched.made.iter().map(|made| made.answer.as_ref().ok().map(|said| said.shards)).collect();
        assert_eq!(told, [None, Some(2), None]);
        let bodies: Vec<&Arc<str>> = searched.made.iter().filter_map(|made| made.body.as_ref()).collect();
        assert_eq!(bodies.len(), 3, "a search without an answer was sent too");
        assert!(bodies.iter().all(|body| Arc::ptr_eq(body, bodies[0])), "kept once");
        let kept: Value = serde_json::from_str(bodies[0]).expect("JSON");
        assert_eq!(kept.pointer("/aggs/hosts/terms/field"), Some(&json!("hostIp.keyword")));
    }
}
