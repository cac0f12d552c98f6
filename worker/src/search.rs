//! Searches for the hosts of a batch, in smaller parts where one search is too much for the source.
//!
//! Owns the splitting, its budget of time, and what the answers mean for each host. Writes nothing.
//!
//! An example: of 8 hosts the third makes every search time out. 8 are asked for, then 4 and 4, then 2 and 2, then 1 and 1: seven
//! hosts are answered, the third spends an attempt alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostsync_mapping::{FieldTypes, Mapping, max_hosts};
use hostsync_metrics::{Metrics, ReasonClass, SearchOutcome};
use hostsync_model::window::Window;
use hostsync_source::{Endpoint, RefusalKind, SearchError, SearchReport};
use hostsync_store::explanation::kept_body;
use hostsync_store::tables::searches::SearchId;

use crate::job_result::{HostFinding, Reason};
use crate::search_limit::{NoTurn, SearchKind, SearchSign, SearchTurns};
use crate::search_log::{SearchRecord, SearchSummary};

/// Longest time for the searches of one batch. No search is begun after it; the last one may take its time-out more.
///
/// Splitting 500 hosts whose every search times out takes 999 time-outs, some eight hours at 30 s, in which a slot serves
/// nobody else and the broker takes its jobs back (after 30 minutes without an ack). Isolating a single heavy host takes 9
/// time-outs, which fit. What becomes of the hosts that are left: see [`BatchSearch::out_of_time`].
pub(crate) const SEARCHING_BUDGET: Duration = Duration::from_mins(10);

/// Searches of one batch that may be too much in a row. A heavy host among 500 is found by some twenty searches, most of them
/// answered; where this many are not, every search is too much for the source, and halving on would only load it more.
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
pub(crate) struct SourceRefusal {
    pub(crate) reason: String,
    pub(crate) kind: RefusalKind,
}

/// How the searches for a batch went.
#[derive(Debug, Default)]
pub(crate) struct BatchSearch {
    /// What was found out about each host; not complete where there is a `refusal`.
    pub(crate) findings: HashMap<String, HostFinding>,
    /// The last search that asked for a host.
    pub(crate) asked_by: HashMap<String, SearchId>,
    /// Every search that was made, in order.
    pub(crate) searches: Vec<SearchRecord>,
    /// The source is away: leave it alone.
    pub(crate) outage: Option<Outage>,
    /// The source will never answer: the execution fails once.
    pub(crate) refusal: Option<SourceRefusal>,
    /// The process stops, and no turn came for the hosts that are left.
    pub(crate) is_stopped: bool,
    /// The fields of the last search and the body by them: nearly always those of all.
    body: Option<(FieldTypes, Option<Arc<str>>)>,
}

impl BatchSearch {
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

/// Searches `hosts`, each once, when it has a turn. An outage ends the search, and so does the end of `budget` or of [`MOST_IN_VAIN`]; what was
/// answered before stands.
pub(crate) async fn search(
    endpoint: &Endpoint,
    index_pattern: &str,
    mapping: &Mapping,
    window: Window,
    hosts: Vec<String>,
    budget: Duration,
    turns: &SearchTurns<'_>,
) -> BatchSearch {
    let began = Instant::now();
    let mut batch = BatchSearch::default();
    let (mut in_vain, mut refusals) = (0, 0);
    // A metric that is read slice by slice leaves room for fewer hosts than a batch has, and so may the source.
    let most_hosts = max_hosts(mapping, window).min(turns.most_hosts()).max(1);
    let mut parts: HostParts = hosts.chunks(most_hosts).map(<[String]>::to_vec).collect();
    let mut unsplit = parts.len();
    // In turn, so that the hosts beside a heavy one are answered before it is found.
    while let Some(part) = parts.pop_front() {
        let searching = began.elapsed().saturating_sub(turns.waited());
        if searching >= budget && !batch.searches.is_empty() || in_vain >= MOST_IN_VAIN {
            parts.push_front(part);
            return batch.out_of_time(parts, searching);
        }
        let turn = match turns.next().await {
            Ok(turn) => turn,
            Err(no_turn) => {
                parts.push_front(part);
                return batch.without_turn(parts, no_turn);
            }
        };
        let asked_at = Instant::now();
        let asked = ask(endpoint, index_pattern, mapping, window, &part, &mut batch).await;
        let sign = sign_of(asked.as_ref().err().map(|(_, error)| error));
        let kind = SearchKind::of(index_pattern, window, part.len());
        turns.remember(kind, sign, part.len(), unsplit > 0, asked_at.elapsed());
        drop(turn);
        if sign == SearchSign::Refused {
            refusals += 1;
            if let Some(pause) = turns.pause_after(refusals, rand::random()) {
                parts.push_front(part);
                turns.pause(pause).await;
                continue;
            }
        }
        unsplit = unsplit.saturating_sub(1);
        let (types, error) = match asked {
            Ok(()) => {
                (in_vain, refusals) = (0, 0);
                continue;
            }
            Err(failed) => failed,
        };
        let reason = match error {
            SearchError::Refused { reason, kind } => {
                batch.refusal = Some(SourceRefusal { reason, kind });
                return batch;
            }
            SearchError::Incomplete { reason } => {
                batch.fail_attempt(part, &Reason::new(ReasonClass::Source, reason));
                continue;
            }
            SearchError::TooLarge { reason } => {
                in_vain += 1;
                batch.split(&mut parts, part, &reason);
                continue;
            }
            // It lives: the search was too heavy for it.
            SearchError::TimedOut { reason } if endpoint.ping().await.is_ok() => {
                in_vain += 1;
                batch.split(&mut parts, part, &reason);
                continue;
            }
            SearchError::TimedOut { reason } | SearchError::Outage { reason, .. } => reason,
        };
        let probe = Endpoint::probe_of(mapping, types.as_ref(), window, &part);
        parts.push_front(part);
        return batch.give_way(parts, Outage { reason, probe });
    }
    batch
}

/// Hosts that are still to be asked for, by the search that asks for them.
type HostParts = VecDeque<Vec<String>>;

/// Asks for these hosts, and keeps the search and what it found.
async fn ask(
    endpoint: &Endpoint,
    index_pattern: &str,
    mapping: &Mapping,
    window: Window,
    hosts: &[String],
    batch: &mut BatchSearch,
) -> Result<(), (Option<FieldTypes>, SearchError)> {
    let began = Instant::now();
    let SearchReport { types, answer: result } =
        endpoint.search_with_report(index_pattern, mapping, window, hosts).await;
    let elapsed = began.elapsed();
    Metrics::global().search(endpoint.name(), outcome(result.as_ref().err()), elapsed);
    if let Err(SearchError::Refused { kind, .. }) = &result {
        Metrics::global().source_refusal(endpoint.name(), *kind);
    }
    let id = SearchId::new();
    let answer = result.as_ref().map_err(|error| error.reason().to_owned()).map(|answer| SearchSummary {
        took_ms: answer.took_ms,
        hosts_found: answer.readings.len(),
        documents: answer.readings.values().map(|reading| reading.data_point_count).sum(),
        shards: answer.shards,
    });
    let body = types.clone().and_then(|types| batch.body(mapping, types, window));
    batch.searches.push(SearchRecord { id, began, elapsed, hosts_asked: hosts.len(), body, answer });
    batch.asked_by.extend(hosts.iter().map(|host| (host.clone(), id)));
    let mut answer = result.map_err(|error| (types, error))?;
    for host in hosts {
        let finding = answer.readings.remove(host).map_or(HostFinding::NoData, HostFinding::Reading);
        batch.findings.insert(host.clone(), finding);
    }
    Ok(())
}

/// What an answer says of how much the source takes.
fn sign_of(error: Option<&SearchError>) -> SearchSign {
    match error {
        None => SearchSign::Answered,
        Some(SearchError::Outage { busy: true, .. }) => SearchSign::Refused,
        Some(SearchError::TimedOut { .. }) => SearchSign::TimedOut,
        Some(SearchError::TooLarge { .. }) => SearchSign::TooLarge,
        Some(SearchError::Outage { .. } | SearchError::Incomplete { .. } | SearchError::Refused { .. }) => {
            SearchSign::None
        }
    }
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

impl BatchSearch {
    fn fail_attempt(&mut self, hosts: Vec<String>, reason: &Reason) {
        for host in hosts {
            self.findings.insert(host, HostFinding::AttemptFailed(reason.clone()));
        }
    }

    fn leave(&mut self, hosts: HostParts, reason: &str) {
        for host in hosts.into_iter().flatten() {
            self.findings.insert(host, HostFinding::Unavailable(reason.to_owned()));
        }
    }

    /// Halves a part; a single host that is too much by itself costs its attempt.
    fn split(&mut self, parts: &mut HostParts, mut part: Vec<String>, reason: &str) {
        if part.len() <= 1 {
            self.fail_attempt(part, &Reason::new(ReasonClass::TooHeavy, reason));
            return;
        }
        tracing::info!(hosts = part.len(), reason, "splitting a search for {} hosts: {reason}", part.len());
        let second = part.split_off(part.len() / 2);
        parts.push_back(part);
        parts.push_back(second);
    }

    /// Ends a search whose budget is spent, without closing the endpoint: it answers its probes, and others may be fine with
    /// it.
    ///
    /// | what was found | the hosts that are left |
    /// |---|---|
    /// | a host was answered, or spent its attempt alone | come again without a spent attempt: some may only stand beside a heavy one. They come back fewer, so this ends |
    /// | nothing, in fewer than [`MOST_IN_VAIN`] searches | those of the smallest part that was asked for spend an attempt, since nothing would be found the next time either; the others spend none |
    /// | nothing, in [`MOST_IN_VAIN`] searches | all spend an attempt: the source refused each of them in small parts |
    fn out_of_time(mut self, left: HostParts, spent: Duration) -> Self {
        let last = self.searches.iter().rev().find_map(|record| record.answer.as_ref().err());
        let reason = format!(
            "{} searches within {:.1} s did not answer for this host; the last that failed: {}",
            self.searches.len(),
            spent.as_secs_f64(),
            last.map_or("", String::as_str)
        );
        let hosts: usize = left.iter().map(Vec::len).sum();
        let came_forward = !self.findings.is_empty();
        tracing::warn!(hosts, came_forward, reason, "giving up searching for {hosts} hosts: {reason}");
        // A part that was not asked for has no host in `asked_by`.
        let was_asked = |part: &&Vec<String>| part.iter().any(|host| self.asked_by.contains_key(host));
        let to_blame: Vec<String> = if came_forward {
            Vec::new()
        } else if self.searches.len() >= MOST_IN_VAIN {
            left.iter().flatten().cloned().collect()
        } else {
            left.iter().filter(was_asked).min_by_key(|part| part.len()).cloned().unwrap_or_default()
        };
        self.leave(left, &reason);
        self.fail_attempt(to_blame, &Reason::new(ReasonClass::TooHeavy, reason));
        self
    }

    /// Ends a search that got no turn: what is left comes again.
    fn without_turn(mut self, left: HostParts, no_turn: NoTurn) -> Self {
        let reason = match no_turn {
            NoTurn::Closed(reason) => reason,
            NoTurn::Stopping => {
                self.is_stopped = true;
                "its worker stopped before its turn to search".to_owned()
            }
        };
        self.leave(left, &reason);
        self
    }

    fn give_way(mut self, left: HostParts, outage: Outage) -> Self {
        self.leave(left, &outage.reason);
        self.outage = Some(outage);
        self
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use hostsync_model::execution::JobQueue;
    use hostsync_source::EndpointKind;
    use hostsync_source::{EndpointAuth, EndpointSettings};
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;
    use wiremock::matchers::{method, path_regex};
    use wiremock::{Mock, MockServer, Request, ResponseTemplate};

    use super::*;
    use crate::search_limit::{SearchGates, TurnSource};

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
        let (name, kind, auth) = ("test".to_owned(), EndpointKind::Cluster, EndpointAuth::None);
        Endpoint::new(EndpointSettings { name, kind, url, auth, ca_file: None, timeout: TIMEOUT }).expect("an endpoint")
    }

    fn hosts(count: u32) -> Vec<String> {
        (1..=count).map(|n| format!("10.0.0.{n}")).collect()
    }

    async fn search_within(budget: Duration, server: &MockServer, hosts: Vec<String>) -> BatchSearch {
        let to = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let window = Window { from: to - TimeDelta::days(1), to };
        let turns = turns_of(1, 500);
        search(&endpoint(&server.uri()), "data", &Mapping::zabbix(), window, hosts, budget, &turns).await
    }

    /// The turns of a source that takes so much.
    fn turns_of(searches: u32, hosts: u32) -> SearchTurns<'static> {
        let source =
            TurnSource { queue: JobQueue::Bulk, closed: Box::new(|| None), stopping: CancellationToken::new() };
        SearchTurns::new(SearchGates::open("test", searches, hosts), source)
    }

    #[tokio::test]
    async fn a_heavy_host_spends_its_attempt_alone_and_the_others_are_answered() {
        let server = source(&["10.0.0.3"]).await;
        let searched = search_within(SEARCHING_BUDGET, &server, hosts(8)).await;
        for host in hosts(8) {
            let found = &searched.findings[&host];
            let is_too_heavy =
                matches!(found, HostFinding::AttemptFailed(reason) if reason.class == ReasonClass::TooHeavy);
            assert!(if host == "10.0.0.3" { is_too_heavy } else { *found == HostFinding::NoData }, "{host}: {found:?}");
        }
        assert_eq!((searched.outage, searched.refusal), (None, None));
        // 8; 4 and 4; 2 and 2; 1 and 1.
        assert_eq!(searched.searches.len(), 7);
    }

    #[tokio::test]
    async fn a_source_that_answers_nothing_within_the_budget_costs_the_smallest_part_an_attempt() {
        let server = source(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]).await;
        let searched = search_within(TIMEOUT + TIMEOUT / 2, &server, hosts(4)).await;
        assert_eq!(searched.searches.len(), 2, "four, then two: no more fit");
        // Left are the second half and each of the first.
        let HostFinding::AttemptFailed(reason) = &searched.findings["10.0.0.1"] else {
            panic!("{:?}", searched.findings)
        };
        assert_eq!(reason.class, ReasonClass::TooHeavy);
        assert!(reason.text.contains("2 searches") && reason.text.contains("did not answer within"), "{reason:?}");
        for host in &hosts(4)[1..] {
            assert!(matches!(&searched.findings[host], HostFinding::Unavailable(_)), "{host}: {:?}", searched.findings);
        }
        assert_eq!(searched.outage, None, "an endpoint that answers its probes stays open");
    }

    #[tokio::test]
    async fn hosts_that_are_left_beside_answered_ones_are_deferred_without_an_attempt() {
        let server = source(&["10.0.0.7"]).await;
        // Four are answered between the two time-outs, the other four are left.
        let searched = search_within(TIMEOUT + TIMEOUT / 2, &server, hosts(8)).await;
        for (n, host) in (1..).zip(hosts(8)) {
            let found = &searched.findings[&host];
            if n <= 4 {
                assert_eq!(*found, HostFinding::NoData, "{host}");
            } else {
                assert!(matches!(found, HostFinding::Unavailable(_)), "{host}: {found:?}");
            }
        }
        assert_eq!((searched.outage, searched.searches.len()), (None, 3));
    }

    #[tokio::test]
    async fn a_source_for_which_every_search_is_too_much_is_asked_a_bounded_number_of_times() {
        let server = source(&[]).await;
        let error = json!({"error": {"type": "circuit_breaking_exception", "durability": "TRANSIENT",
            "reason": "[parent] Data too large, data for [x], new bytes reserved: [9/9b]"}, "status": 429});
        let too_much = ResponseTemplate::new(429).set_body_json(error);
        Mock::given(path_regex("/_search$")).respond_with(too_much).with_priority(1).mount(&server).await;
        let searched = search_within(SEARCHING_BUDGET, &server, hosts(200)).await;
        assert_eq!((searched.searches.len(), searched.outage), (MOST_IN_VAIN, None));
        for host in hosts(200) {
            let found = &searched.findings[&host];
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
            assert_eq!(searched.searches.len(), 1);
            assert!(hosts(count).iter().all(|host| matches!(searched.findings[host], HostFinding::Unavailable(_))));
            let probe: Value = serde_json::from_str(&searched.outage.expect("an outage").probe).expect("JSON");
            let asked = probe.pointer("/aggs/hosts/terms/include").and_then(Value::as_array).expect("hosts");
            assert!(hosts(count).iter().all(|host| asked.contains(&json!(host))), "{probe}");
        }
    }

    #[tokio::test]
    async fn a_source_that_takes_fewer_hosts_is_asked_for_fewer() {
        let server = source(&[]).await;
        let to = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let window = Window { from: to - TimeDelta::days(1), to };
        let (endpoint, turns) = (endpoint(&server.uri()), turns_of(1, 3));
        let searched = search(&endpoint, "data", &Mapping::zabbix(), window, hosts(8), SEARCHING_BUDGET, &turns).await;
        let asked: Vec<usize> = searched.searches.iter().map(|record| record.hosts_asked).collect();
        assert_eq!((asked, searched.findings.len()), (vec![3, 3, 2], 8));
    }

    #[tokio::test]
    async fn a_search_that_is_one_too_many_is_made_again_when_it_has_another_turn() {
        let server = source(&[]).await;
        let busy = ResponseTemplate::new(429).set_body_json(json!({}));
        let refused = Mock::given(path_regex("/_search$")).respond_with(busy).with_priority(1).up_to_n_times(2);
        refused.mount(&server).await;
        let to = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let window = Window { from: to - TimeDelta::days(1), to };
        let (endpoint, turns) = (endpoint(&server.uri()), turns_of(4, 500));
        let searched = search(&endpoint, "data", &Mapping::zabbix(), window, hosts(8), SEARCHING_BUDGET, &turns).await;
        assert_eq!((searched.searches.len(), searched.outage), (3, None));
        assert!(hosts(8).iter().all(|host| searched.findings[host] == HostFinding::NoData));
    }

    #[tokio::test]
    async fn a_search_is_kept_with_its_shards_and_the_body_that_was_sent() {
        let server = source(&["10.0.0.2"]).await;
        let searched = search_within(SEARCHING_BUDGET, &server, hosts(2)).await;
        let told: Vec<Option<u64>> =
            searched.searches.iter().map(|record| record.answer.as_ref().ok().map(|said| said.shards)).collect();
        assert_eq!(told, [None, Some(2), None]);
        let bodies: Vec<&Arc<str>> = searched.searches.iter().filter_map(|record| record.body.as_ref()).collect();
        assert_eq!(bodies.len(), 3, "a search without an answer was sent too");
        assert!(bodies.iter().all(|body| Arc::ptr_eq(body, bodies[0])), "kept once");
        let kept: Value = serde_json::from_str(bodies[0]).expect("JSON");
        assert_eq!(kept.pointer("/aggs/hosts/terms/field"), Some(&json!("hostIp.keyword")));
    }
}
