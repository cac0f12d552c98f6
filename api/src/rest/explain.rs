//! `/es-sync-executions/{execution_id}/hosts/{host_ip}`: why one host got its result.

use axum::Json;
use axum::extract::State;
use chrono::DateTime;
use hostsync_model::execution::{ExecutionId, SyncStatus};
use hostsync_store::explanation::{RawValues, Slice, Triple, bodies_for};
use hostsync_store::tables::searches::Search;
use hostsync_store::tables::server_resources::ResourceValues;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::executions::{ExecutionDetailBody, ExecutionLogBody};
use super::extract::{NoQuery, PathHost, PathId, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::hosts::explain::{self, Explained};
use crate::request::{Timestamp, counted, schema_of};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(explain_host))
}

/// A search that asked for this host, among others.
#[derive(Serialize, ToSchema)]
pub(crate) struct SearchBody {
    /// When the answer was there.
    searched_at: Timestamp,
    /// Machine and process.
    #[schema(examples("worker-0:17"))]
    worker: String,
    /// Name of the endpoint.
    #[schema(examples("default"))]
    es_endpoint: String,
    /// Index pattern as it was sent.
    #[schema(examples("cluster*:data-zabbix-host-monitor-*"))]
    es_index_pattern: String,
    /// Hosts that it asked for.
    #[schema(examples(500))]
    hosts_asked: u32,
    /// The body, with this host alone in place of all that were asked for; null if it was too long to be kept.
    #[schema(required = true, value_type = Option<Object>, examples(json!({"size": 0})))]
    body: Option<Value>,
    /// The second body, sent at the same time where some indices of the pattern have the host as a keyword and others as
    /// a text; else null.
    #[schema(required = true, value_type = Option<Object>)]
    second_body: Option<Value>,
    /// Milliseconds that the engine took, by its own account; null without a whole answer.
    #[schema(required = true, examples(41))]
    took_ms: Option<u64>,
    /// Milliseconds as the worker saw it.
    #[schema(examples(48))]
    elapsed_ms: u64,
    /// Shards that answered; null without a whole answer.
    #[schema(required = true, examples(5))]
    shards: Option<u32>,
    /// Hosts with documents in the answer; null without a whole answer.
    #[schema(required = true, examples(498))]
    hosts_found: Option<u32>,
    /// Documents of all hosts in the answer; null without a whole answer.
    #[schema(required = true, examples(143_424))]
    documents: Option<u64>,
    /// Why it was no answer; null for a whole one.
    #[schema(required = true)]
    error_message: Option<String>,
}

impl SearchBody {
    fn new(search: &Search, host_ip: &str) -> Self {
        let bodies = search.body.as_deref().map(|kept| bodies_for(kept, host_ip)).unwrap_or_default();
        let mut bodies = bodies.into_iter();
        Self {
            searched_at: Timestamp(search.searched_at),
            worker: search.worker.clone(),
            es_endpoint: search.es_endpoint.clone(),
            es_index_pattern: search.index_pattern.clone(),
            hosts_asked: search.hosts_asked,
            body: bodies.next(),
            second_body: bodies.next(),
            took_ms: search.took_ms,
            elapsed_ms: search.elapsed_ms,
            shards: search.shards,
            hosts_found: search.hosts_found,
            documents: search.documents,
            error_message: search.error_message.clone(),
        }
    }
}

/// One attempt.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptBody {
    /// From 1.
    #[schema(examples(1))]
    attempt: u32,
    /// When it ended.
    ended_at: Timestamp,
    /// Machine and process.
    #[schema(examples("worker-0:17"))]
    worker: String,
    /// `failed`, or the outcome of the host.
    #[schema(schema_with = schema_of::<SyncStatus>)]
    outcome: String,
    /// Why it failed, or why the host has this outcome; null where there is nothing to say.
    #[schema(required = true)]
    error_message: Option<String>,
    /// The search that it came from; null if none was made.
    #[schema(required = true)]
    search: Option<SearchBody>,
}

/// A measurement as the source gave it, in the unit of its field.
#[derive(Serialize, ToSchema)]
pub(crate) struct RawStats {
    /// Null where the source gave no finite number.
    #[schema(required = true, examples(87.5))]
    max: Option<f64>,
    /// Null where the source gave no finite number.
    #[schema(required = true, examples(42.25))]
    avg: Option<f64>,
    /// Null where the source gave no finite number.
    #[schema(required = true, examples(3.5))]
    min: Option<f64>,
}

impl From<Triple> for RawStats {
    fn from([max, avg, min]: Triple) -> Self {
        Self { max, avg, min }
    }
}

/// A slice of the window as it was counted, in the unit of the field.
#[derive(Serialize, ToSchema)]
pub(crate) struct SliceBody {
    /// When it begins.
    from: Timestamp,
    /// Sum of all documents in it.
    #[schema(examples(4_200.0))]
    sum: f64,
    /// How often its most frequent mount was seen.
    #[schema(examples(60.0))]
    fetches: f64,
    /// The sum ÷ the fetches: the value of the slice.
    #[schema(examples(70.0))]
    quotient: f64,
}

impl From<Slice> for SliceBody {
    fn from((begin_ms, sum, fetches, quotient): Slice) -> Self {
        let from = Timestamp(DateTime::from_timestamp_millis(begin_ms).unwrap_or_default());
        Self { from, sum, fetches, quotient }
    }
}

/// The slices behind the largest and the smallest value of a disk that is the sum of its mounts.
#[derive(Serialize, ToSchema)]
pub(crate) struct DiskSlicesBody {
    /// Behind the largest.
    max: SliceBody,
    /// Behind the smallest.
    min: SliceBody,
}

/// What the source said of the host.
#[derive(Serialize, ToSchema)]
pub(crate) struct RawBody {
    /// Documents of the host in the window.
    #[schema(examples(288))]
    documents: u64,
    /// Null where the source had none.
    #[schema(required = true)]
    cpu: Option<RawStats>,
    /// Null where the source had none.
    #[schema(required = true)]
    memory: Option<RawStats>,
    /// Null where the source had none.
    #[schema(required = true)]
    disk: Option<RawStats>,
    /// Null where the mapping does not split the disk.
    #[schema(required = true)]
    disk_slices: Option<DiskSlicesBody>,
}

impl From<RawValues> for RawBody {
    fn from(raw: RawValues) -> Self {
        Self {
            documents: raw.documents,
            cpu: raw.cpu.map(RawStats::from),
            memory: raw.memory.map(RawStats::from),
            disk: raw.disk.map(RawStats::from),
            disk_slices: raw.disk_slices.map(|[max, min]| DiskSlicesBody { max: max.into(), min: min.into() }),
        }
    }
}

/// Values of a row of `server_resources`: GB for `used_memory` and `used_disk`, percent else. Null is unknown.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResourceBody {
    /// Highest processor load, percent.
    #[schema(required = true, examples(87.5))]
    cpu_load: Option<f64>,
    /// Highest, GB.
    #[schema(required = true, examples(24.5))]
    used_memory: Option<f64>,
    /// Highest, GB.
    #[schema(required = true, examples(310.0))]
    used_disk: Option<f64>,
    /// Processor load, highest, percent.
    #[schema(required = true, examples(87.5))]
    cpu_percent_max: Option<f64>,
    /// Processor load, mean, percent.
    #[schema(required = true, examples(42.25))]
    cpu_percent_avg: Option<f64>,
    /// Processor load, lowest, percent.
    #[schema(required = true, examples(3.5))]
    cpu_percent_min: Option<f64>,
    /// Memory in use, highest, percent.
    #[schema(required = true, examples(76.6))]
    mem_percent_max: Option<f64>,
    /// Memory in use, mean, percent.
    #[schema(required = true, examples(64.8))]
    mem_percent_avg: Option<f64>,
    /// Memory in use, lowest, percent.
    #[schema(required = true, examples(51.2))]
    mem_percent_min: Option<f64>,
    /// Disk space in use, highest, percent.
    #[schema(required = true, examples(62.0))]
    disk_percent_max: Option<f64>,
    /// Disk space in use, mean, percent.
    #[schema(required = true, examples(61.1))]
    disk_percent_avg: Option<f64>,
    /// Disk space in use, lowest, percent.
    #[schema(required = true, examples(60.4))]
    disk_percent_min: Option<f64>,
}

impl From<ResourceValues> for ResourceBody {
    fn from(values: ResourceValues) -> Self {
        // In the order of `server_resources::VALUE_COLUMNS`.
        let [
            cpu_load,
            used_memory,
            used_disk,
            cpu_percent_max,
            cpu_percent_avg,
            cpu_percent_min,
            mem_percent_max,
            mem_percent_avg,
            mem_percent_min,
            disk_percent_max,
            disk_percent_avg,
            disk_percent_min,
        ] = values;
        Self {
            cpu_load,
            used_memory,
            used_disk,
            cpu_percent_max,
            cpu_percent_avg,
            cpu_percent_min,
            mem_percent_max,
            mem_percent_avg,
            mem_percent_min,
            disk_percent_max,
            disk_percent_avg,
            disk_percent_min,
        }
    }
}

/// Why a host got its result.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostExplained {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// The outcome of the host in a sentence.
    #[schema(examples("host 10.0.0.1 of execution 12: success after 1 attempt"))]
    message: String,
    /// With the window and the source that it reads.
    execution_log: ExecutionLogBody,
    /// The host in this execution.
    execution_detail: ExecutionDetailBody,
    /// In order. A host whose run was ended for it (cancelled, failed as a whole) has no attempt for that.
    attempts: Vec<AttemptBody>,
    /// When a pending host is tried again; null if it waits for nothing but its turn.
    #[schema(required = true)]
    next_attempt_at: Option<Timestamp>,
    /// What the source said; null if it said nothing, or if that was not kept (runs before hostsync kept it).
    #[schema(required = true)]
    raw: Option<RawBody>,
    /// Of a host with `no_data`: when its last document was, asked of the source now; else null.
    #[schema(
        required = true,
        examples("its last document before the end of the window is of 2026-01-02T03:04:05.678Z")
    )]
    last_document: Option<String>,
    /// What was made of it; null if there is nothing or it made no sense.
    #[schema(required = true)]
    converted: Option<ResourceBody>,
    /// The day's row before; null if there was none or nothing was written.
    #[schema(required = true)]
    row_before: Option<ResourceBody>,
    /// The day's row after; null if nothing was written.
    #[schema(required = true)]
    row_after: Option<ResourceBody>,
}

impl From<Explained> for HostExplained {
    fn from(explained: Explained) -> Self {
        let Explained { log, host, explanation, failed_attempts, searches, last_document } = explained;
        let host_ip = host.detail.host_ip.clone();
        let search =
            |id: Option<u64>| id.and_then(|id| searches.get(&id)).map(|search| SearchBody::new(search, &host_ip));
        let mut attempts: Vec<AttemptBody> = failed_attempts
            .into_iter()
            .map(|attempt| AttemptBody {
                attempt: attempt.attempt,
                ended_at: Timestamp(attempt.failed_at),
                worker: attempt.worker,
                outcome: SyncStatus::Failed.to_string(),
                error_message: Some(attempt.error_message),
                search: search(attempt.search_id),
            })
            .collect();
        let status = &host.detail.sync_status;
        // The last attempt of a host that did not fail stands on its detail.
        let searcher = host.search_id.and_then(|id| Some(searches.get(&id)?.worker.clone()));
        if let (Some(finished_at), Some(worker)) = (host.detail.finished_at, host.worker.or(searcher))
            && *status != SyncStatus::Failed
        {
            attempts.push(AttemptBody {
                attempt: host.detail.attempts,
                ended_at: Timestamp(finished_at),
                worker,
                outcome: status.to_string(),
                error_message: host.detail.error_message.clone(),
                search: search(host.search_id),
            });
        }
        let message =
            format!("host {host_ip} of execution {}: {status} after {}", log.id, counted(attempts.len(), "attempt"));
        let written = explanation.filter(|explanation| explanation.written);
        Self {
            success: true,
            message,
            execution_log: log.into(),
            attempts,
            next_attempt_at: host.retry_at.map(Timestamp),
            raw: explanation.map(|explanation| explanation.raw.into()),
            last_document,
            converted: explanation.and_then(|explanation| explanation.converted).map(ResourceBody::from),
            row_before: written.and_then(|explanation| explanation.previous).map(ResourceBody::from),
            row_after: written.and_then(|explanation| explanation.converted).map(ResourceBody::from),
            execution_detail: host.detail.into(),
        }
    }
}

/// Explain one host
///
/// Every attempt with the search that it made and what that said, the values as the source gave them, what was made of them,
/// and the row of `server_resources` before and after.
#[utoipa::path(
    get, path = "/es-sync-executions/{execution_id}/hosts/{host_ip}", operation_id = "explain_es_sync_host", tag = "looking",
    params(
        ("execution_id" = u64, Path, example = 12, description = "Id of the execution"),
        ("host_ip" = String, Path, example = "10.0.0.1", min_length = 1, max_length = 50, pattern = "^[ -~]+$",
         description = "Address of the host, as it stands in a detail or in its canonical form"),
    ),
    responses(
        (status = 200, description = "Why it got its result", body = HostExplained),
        (status = 404, description = "There is no such execution: `execution_not_found`, or it has no such host: \
         `host_not_found`", body = ErrorBody),
    ),
)]
async fn explain_host(
    _: Viewer,
    _: NoQuery,
    State(api): State<Api>,
    PathId(id): PathId,
    PathHost(host_ip): PathHost,
) -> Result<Json<HostExplained>, ApiError> {
    Ok(Json(explain::explain(&api.probes, ExecutionId(id), &host_ip).await?.into()))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;

    fn bodies_shown(kept: Option<&str>) -> (Option<Value>, Option<Value>) {
        let search = Search {
            search_id: 1,
            searched_at: DateTime::UNIX_EPOCH,
            worker: "w".to_owned(),
            es_endpoint: "e".to_owned(),
            index_pattern: "i".to_owned(),
            body: kept.map(str::to_owned),
            hosts_asked: 2,
            hosts_found: None,
            documents: None,
            took_ms: None,
            elapsed_ms: 1,
            shards: None,
            error_message: None,
        };
        let shown = SearchBody::new(&search, "10.0.0.1");
        (shown.body, shown.second_body)
    }

    #[test]
    fn a_search_that_was_two_at_once_shows_both_bodies() {
        let [text, keyword] =
            ["hostIp.keyword", "hostIp"].map(|field| json!({"terms": {field: ["10.0.0.1", "::ffff:10.0.0.1"]}}));
        let kept = r#"[{"terms": {"hostIp.keyword": ["{host_ip}"]}}, {"terms": {"hostIp": ["{host_ip}"]}}]"#;
        assert_eq!(bodies_shown(Some(kept)), (Some(text.clone()), Some(keyword)));
        assert_eq!(bodies_shown(Some(r#"{"terms": {"hostIp.keyword": ["{host_ip}"]}}"#)), (Some(text), None));
        assert_eq!(bodies_shown(None), (None, None));
    }
}
