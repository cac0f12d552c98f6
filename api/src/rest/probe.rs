//! `/es-sync-tasks/probe`: what a task would read and write.

use axum::Json;
use axum::extract::State;
use chrono::NaiveDate;
use hostsync_mapping::{FieldUse, Share, Stats, Unit};
use hostsync_model::execution::SyncStatus;
use hostsync_source::{Probe, Product};
use hostsync_store::explanation::RawValues;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::explain::{RawBody, RawStats, ResourceBody};
use super::extract::{JsonBody, NoQuery, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::hosts::probe::{self, HostPreview, ProbeQuery, Probed, Purpose};
use crate::request::{Timestamp, counted, schema_of};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(probe_source))
}

/// A field of the mapping.
#[derive(Serialize, ToSchema)]
pub(crate) struct MappedFieldBody {
    /// Its key below `mappings.<name>` of the configuration.
    #[schema(examples("memory.max"))]
    key: String,
    /// Its name in the index.
    #[schema(examples("available_memory"))]
    field: String,
    /// `percent`, `ratio`, `bytes` or `gb`; null for what is no measurement.
    #[schema(required = true, value_type = Option<String>, examples("gb"))]
    unit: Option<Unit>,
    /// Its types in the indices, in words; null where that is not known, as through a query proxy.
    #[schema(required = true, examples("float"))]
    types: Option<String>,
    /// Whether a task can use it; null where that is not known.
    #[schema(required = true, examples(true))]
    usable: Option<bool>,
    /// Why not.
    #[schema(required = true)]
    reason: Option<String>,
    /// The columns of `server_resources` that depend on it.
    #[schema(examples(json!(["used_memory", "mem_percent_max"])))]
    columns: Vec<String>,
}

impl From<(FieldUse, Purpose)> for MappedFieldBody {
    fn from((field, purpose): (FieldUse, Purpose)) -> Self {
        Self {
            key: field.key,
            field: field.field,
            unit: purpose.unit,
            usable: field.types.is_some().then_some(field.usable),
            types: field.types,
            reason: field.reason,
            columns: purpose.columns,
        }
    }
}

/// What the source itself says of what there is, beside what is in use.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShareBody {
    /// In percent, where the source says it or can be made to.
    #[schema(required = true)]
    percent: Option<RawStats>,
    /// The capacity, in the unit of the measurement.
    #[schema(required = true)]
    total: Option<f64>,
}

impl ShareBody {
    fn new(share: Share) -> Option<Self> {
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        let stats = |stats: Stats| RawStats::from([stats.max, stats.avg, stats.min].map(finite));
        (share != Share::default())
            .then(|| Self { percent: share.percent.map(stats), total: share.total.and_then(finite) })
    }
}

/// What a task would make of one host.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProbedHostBody {
    /// Its address.
    #[schema(examples("10.0.0.1"))]
    host_ip: String,
    /// Whether `hosts_pool` has it, not deleted.
    in_pool: bool,
    /// Its name in the pool; null if the pool does not have it.
    #[schema(required = true)]
    host_name: Option<String>,
    /// Memory in the pool, GB; null if unknown.
    #[schema(required = true)]
    ram: Option<u32>,
    /// Disk in the pool, GB; null if unknown.
    #[schema(required = true)]
    disk_size: Option<u32>,
    /// The outcome that a run would give it.
    #[schema(schema_with = schema_of::<SyncStatus>)]
    sync_status: String,
    /// What is wrong with its values.
    #[schema(required = true)]
    error_message: Option<String>,
    /// What the source says, in the units of the fields; null if it has no documents in the window.
    #[schema(required = true)]
    raw: Option<RawBody>,
    /// What the source says of the memory there is; null if it says nothing.
    #[schema(required = true)]
    memory_share: Option<ShareBody>,
    /// What the source says of the disk there is; null if it says nothing.
    #[schema(required = true)]
    disk_share: Option<ShareBody>,
    /// What is made of it. A host outside the pool has no capacity there, so percentages may be unknown.
    #[schema(required = true)]
    converted: Option<ResourceBody>,
    /// The day's row as it stands; null if there is none.
    #[schema(required = true)]
    row_before: Option<ResourceBody>,
    /// The day's row as a run would leave it; null if it would write nothing.
    #[schema(required = true)]
    row_after: Option<ResourceBody>,
}

impl From<HostPreview> for ProbedHostBody {
    fn from(host: HostPreview) -> Self {
        let reading = host.reading.as_ref();
        Self {
            in_pool: host.pool.is_some(),
            ram: host.pool.as_ref().and_then(|pool| pool.ram_gb),
            disk_size: host.pool.as_ref().and_then(|pool| pool.disk_gb),
            host_name: host.pool.map(|pool| pool.host_name),
            sync_status: host.status.to_string(),
            error_message: host.error_message,
            raw: reading.map(|reading| RawValues::from(reading).into()),
            memory_share: reading.and_then(|reading| ShareBody::new(reading.memory_share)),
            disk_share: reading.and_then(|reading| ShareBody::new(reading.disk_share)),
            converted: host.converted.map(ResourceBody::from),
            row_before: host.row_before.map(ResourceBody::from),
            row_after: host.row_after.map(ResourceBody::from),
            host_ip: host.host_ip,
        }
    }
}

/// What a task would read and write. What is not known is null.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProbeBody {
    /// Always true: a source that is down or wrong is an answer, see `problems`.
    #[schema(examples(true))]
    success: bool,
    /// What the probe found, in a sentence.
    #[schema(examples("a task would read 288000 documents; host 10.0.0.1: success"))]
    message: String,
    /// What is wrong, each a sentence; empty if a task would read this source.
    problems: Vec<String>,
    /// Name of the endpoint.
    es_endpoint: String,
    /// Index pattern that was searched.
    es_index_pattern: String,
    /// Name of the mapping.
    mapping: String,
    /// How far back it looked: a whole number and one of `m h d w`.
    query_time_range: String,
    /// First instant that would be read now.
    window_from: Timestamp,
    /// First instant that would no longer be read.
    window_to: Timestamp,
    /// The day of the rows in `server_resources`, in `scheduler.time_zone`; a task's own zone may have another day.
    mon_date: NaiveDate,
    /// Whether anybody answers at the endpoint.
    reachable: bool,
    /// `elasticsearch` or `opensearch`; null through a query proxy.
    #[schema(required = true, value_type = Option<String>, examples("opensearch"))]
    product: Option<Product>,
    /// Version that the endpoint tells of itself; null if it tells none.
    #[schema(required = true, examples("2.19.1"))]
    version: Option<String>,
    /// Whether an index matches the pattern.
    #[schema(required = true)]
    index_exists: Option<bool>,
    /// How many do; null through a query proxy.
    #[schema(required = true)]
    index_count: Option<usize>,
    /// Every field of the mapping.
    fields: Vec<MappedFieldBody>,
    /// Documents of the mapping in the window, exactly.
    #[schema(required = true)]
    documents: Option<u64>,
    /// Length of a slice of time in seconds, where a measurement is split into parts.
    #[schema(required = true)]
    slice_seconds: Option<u64>,
    /// Most hosts in one search.
    max_hosts_per_search: usize,
    /// One host; null if none was found or the source could not be asked.
    #[schema(required = true)]
    host: Option<ProbedHostBody>,
}

impl From<Probed> for ProbeBody {
    fn from(probed: Probed) -> Self {
        let message = message_of(&probed.answer, probed.host.as_ref());
        Self {
            success: true,
            message,
            problems: probed.answer.problems,
            es_endpoint: probed.source.es_endpoint,
            es_index_pattern: probed.source.es_index_pattern,
            mapping: probed.source.mapping,
            query_time_range: probed.time_range.to_string(),
            window_from: Timestamp(probed.window.from),
            window_to: Timestamp(probed.window.to),
            mon_date: probed.mon_date,
            reachable: probed.answer.reachable,
            product: probed.answer.product,
            version: probed.answer.version,
            index_exists: probed.answer.index_exists,
            index_count: probed.answer.indices,
            fields: probed.answer.fields.into_iter().zip(probed.purposes).map(MappedFieldBody::from).collect(),
            documents: probed.answer.documents,
            slice_seconds: probed.answer.slice_seconds,
            max_hosts_per_search: probed.answer.max_hosts,
            host: probed.host.map(ProbedHostBody::from),
        }
    }
}

fn message_of(answer: &Probe, host: Option<&HostPreview>) -> String {
    let problems = answer.problems.len();
    match (answer.problems.first(), answer.documents) {
        (Some(problem), _) if !answer.reachable => format!("the source cannot be reached: {problem}"),
        (Some(problem), _) => format!("the source has {}: {problem}", counted(problems, "problem")),
        (None, documents) => {
            let documents = usize::try_from(documents.unwrap_or(0)).unwrap_or(usize::MAX);
            let read = format!("a task would read {}", counted(documents, "document"));
            match host {
                Some(host) => format!("{read}; host {}: {}", host.host_ip, host.status),
                None => read,
            }
        }
    }
}

/// Probe a source
///
/// What a task with this source would read and write, field by field: whether the source answers and as what, whether the
/// index and every field of the mapping are there with a usable type, how many documents there are, and one host from its
/// raw numbers to its row of `server_resources`. Writes nothing. A source that cannot be reached or is wrong is an answer,
/// with `problems`.
#[utoipa::path(
    post, path = "/es-sync-tasks/probe", operation_id = "probe_es_sync_source", tag = "tasks",
    request_body(content = ProbeQuery, example = json!({
        "mapping": "zabbix", "query_time_range": "24h", "host_ip": "10.0.0.1"
    })),
    responses(
        (status = 200, description = "What a task would read and write", body = ProbeBody),
        (status = 429, description = "Too many probes at once: `too_many_requests`", body = ErrorBody,
         headers(("Retry-After" = u64, description = "Seconds to wait before the next try"))),
    ),
)]
async fn probe_source(
    _: Viewer,
    _: NoQuery,
    State(api): State<Api>,
    JsonBody(submitted): JsonBody<ProbeQuery>,
) -> Result<Json<ProbeBody>, ApiError> {
    Ok(Json(probe::probe(&api.probes, submitted).await?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(problems: &[&str]) -> Probe {
        let problems = problems.iter().map(|problem| (*problem).to_owned()).collect();
        Probe { reachable: true, documents: Some(1), problems, ..Probe::default() }
    }

    #[test]
    fn the_message_is_a_sentence_on_what_matters_most() {
        assert_eq!(message_of(&answer(&[]), None), "a task would read 1 document");
        assert_eq!(message_of(&answer(&["a is bad", "b is bad"]), None), "the source has 2 problems: a is bad");
        let away = Probe { reachable: false, ..answer(&["nobody answers"]) };
        assert_eq!(message_of(&away, None), "the source cannot be reached: nobody answers");
    }

    #[test]
    fn what_the_source_says_of_the_capacity_is_shown_as_far_as_it_is_a_number() {
        assert!(ShareBody::new(Share::default()).is_none());
        let stats = Stats { max: 50.0, avg: f64::NAN, min: 10.0 };
        let share = ShareBody::new(Share { percent: Some(stats), total: Some(1024.0) });
        let shown = serde_json::to_value(share).expect("JSON");
        let percent = serde_json::json!({"max": 50.0, "avg": null, "min": 10.0});
        assert_eq!(shown, serde_json::json!({"percent": percent, "total": 1024.0}));
    }
}
