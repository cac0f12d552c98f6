//! `/es-sync-stats`: many executions in numbers.

use axum::Json;
use axum::extract::State;
use chrono::NaiveDate;
use hostsync_store::tables::statistics::{ErrorSum, FailingHost};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{QueryFields, Viewer};
use super::freshness::FreshnessCountsBody;
use crate::app::Api;
use crate::error::ApiError;
use crate::request::{Timestamp, counted, schema_of};
use crate::runs::stats::{self, Bucket, StatsQuery, Sums};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(get_stats))
}

/// Ended runs by status.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunCounts {
    /// No host failed.
    #[schema(examples(14))]
    success: u64,
    /// Some hosts failed, some succeeded.
    partial: u64,
    /// Some hosts failed, none succeeded.
    failed: u64,
    /// Ended by a caller.
    cancelled: u64,
    /// Fires that did not run.
    skipped: u64,
}

/// Hosts of ended runs by outcome.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostCounts {
    /// Written.
    #[schema(examples(998))]
    success: u64,
    /// Given up, with a reason.
    #[schema(examples(2))]
    failed: u64,
    /// Without a document in the window.
    no_data: u64,
    /// Not in the pool.
    not_in_pool: u64,
    /// Their turn had not come when the run was cancelled.
    cancelled: u64,
}

/// How long runs took, in ms; null without runs. p50 and p95 are within 2.5 %, max is exact. Skipped runs do not count.
#[derive(Serialize, ToSchema)]
pub(crate) struct Durations {
    /// Half of the runs took no longer.
    #[schema(required = true, examples(5_200))]
    p50: Option<u64>,
    /// 95 of 100 runs took no longer.
    #[schema(required = true, examples(9_100))]
    p95: Option<u64>,
    /// The longest run.
    #[schema(required = true, examples(9_874))]
    max: Option<u64>,
}

/// Sums of runs.
#[derive(Serialize, ToSchema)]
pub(crate) struct SumsBody {
    /// Ended runs by status.
    runs: RunCounts,
    /// Their hosts by outcome.
    hosts: HostCounts,
    /// Hosts written among those that should have been (success, failed, no data), 0 to 1; null where there is none.
    #[schema(required = true, examples(0.998))]
    success_rate: Option<f64>,
    /// Hosts without a document in their window among the same, 0 to 1; null where there is none.
    #[schema(required = true, examples(0.001))]
    no_data_rate: Option<f64>,
    /// How long they took.
    duration_ms: Durations,
}

impl From<&Sums> for SumsBody {
    fn from(sums: &Sums) -> Self {
        let counts = &sums.counts;
        Self {
            runs: RunCounts {
                success: counts.runs_success,
                partial: counts.runs_partial,
                failed: counts.runs_failed,
                cancelled: counts.runs_cancelled,
                skipped: counts.runs_skipped,
            },
            hosts: HostCounts {
                success: counts.hosts_success,
                failed: counts.hosts_failed,
                no_data: counts.hosts_no_data,
                not_in_pool: counts.hosts_not_in_pool,
                cancelled: counts.hosts_cancelled,
            },
            success_rate: sums.success_rate(),
            no_data_rate: sums.no_data_rate(),
            duration_ms: Durations {
                p50: sums.duration_ms(50),
                p95: sums.duration_ms(95),
                max: counts.max_duration_ms,
            },
        }
    }
}

/// Sums of the runs that began in one hour or day.
#[derive(Serialize, ToSchema)]
pub(crate) struct BucketBody {
    /// Its first instant.
    begin: Timestamp,
    #[serde(flatten)]
    sums: SumsBody,
}

/// A host and the runs in which it failed.
#[derive(Serialize, ToSchema)]
pub(crate) struct FailingHostBody {
    /// Address of the host.
    #[schema(examples("10.0.0.1"))]
    host_ip: String,
    /// Runs in which it failed.
    #[schema(examples(3))]
    failures: u64,
}

impl From<FailingHost> for FailingHostBody {
    fn from(host: FailingHost) -> Self {
        Self { host_ip: host.host_ip, failures: host.failures }
    }
}

/// A kind of error: texts that differ in their numbers alone are of one kind.
#[derive(Serialize, ToSchema)]
pub(crate) struct SeenErrorBody {
    /// One of those texts.
    #[schema(examples("the source gives no answer: timed out after 30 s"))]
    error_message: String,
    /// Hosts that had it, each run of a host counted.
    #[schema(examples(40))]
    hosts: u64,
    /// When the latest run that had it began.
    last_seen: Timestamp,
}

impl From<ErrorSum> for SeenErrorBody {
    fn from(error: ErrorSum) -> Self {
        Self { error_message: error.error_message, hosts: error.hosts, last_seen: Timestamp(error.last_seen) }
    }
}

/// Hosts of the pool by how fresh they were at the end of a day.
#[derive(Serialize, ToSchema)]
pub(crate) struct FreshnessDayBody {
    /// The day (UTC).
    day: NaiveDate,
    #[serde(flatten)]
    counts: FreshnessCountsBody,
}

/// Many executions in numbers.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatsBody {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// How many executions there are in all.
    #[schema(examples("14 ended executions"))]
    message: String,
    /// The beginning of the first bucket.
    from: Timestamp,
    /// The end of the last bucket.
    to: Timestamp,
    #[schema(schema_with = schema_of::<Bucket>)]
    bucket: String,
    /// Over the whole range.
    total: SumsBody,
    /// In order, those without runs too.
    buckets: Vec<BucketBody>,
    /// At most 20, over the whole days (UTC) that the range touches. Of one run the first 200 failed hosts count.
    hosts_failing_most: Vec<FailingHostBody>,
    /// At most 20, over the whole days (UTC) that the range touches.
    errors_seen_most: Vec<SeenErrorBody>,
    /// The whole days (UTC) that the range touches, as counted last on each; kept for 400 days. Without a task each host
    /// counts by its best one.
    freshness: Vec<FreshnessDayBody>,
}

/// Sum up executions
///
/// Ended executions by the time at which they began; one appears here within seconds of its end. The sums are kept as long
/// as the executions (`scheduler.retention`).
#[utoipa::path(
    get, path = "/es-sync-stats", operation_id = "get_es_sync_stats", tag = "looking",
    params(StatsQuery),
    responses((status = 200, description = "The sums", body = StatsBody)),
)]
async fn get_stats(
    _: Viewer,
    State(api): State<Api>,
    QueryFields(submitted): QueryFields<StatsQuery>,
) -> Result<Json<StatsBody>, ApiError> {
    let stats = stats::stats(&api.database, submitted).await?;
    let runs = usize::try_from(stats.total.runs()).unwrap_or(usize::MAX);
    Ok(Json(StatsBody {
        success: true,
        message: counted(runs, "ended execution"),
        from: Timestamp(stats.from),
        to: Timestamp(stats.to),
        bucket: stats.bucket.to_string(),
        total: SumsBody::from(&stats.total),
        buckets: stats
            .buckets
            .iter()
            .map(|(begin, sums)| BucketBody { begin: Timestamp(*begin), sums: sums.into() })
            .collect(),
        hosts_failing_most: stats.hosts_failing_most.into_iter().map(FailingHostBody::from).collect(),
        errors_seen_most: stats.errors_seen_most.into_iter().map(SeenErrorBody::from).collect(),
        freshness: stats
            .freshness
            .into_iter()
            .map(|(day, counts)| FreshnessDayBody { day, counts: counts.into() })
            .collect(),
    }))
}
