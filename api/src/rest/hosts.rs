//! `/es-sync-hosts/{host_ip}`: one host over all executions.

use axum::Json;
use axum::extract::State;
use chrono::NaiveDate;
use hostsync_model::execution::{ExecutionStatus, Trigger};
use hostsync_store::tables::details::views::HostResult;
use hostsync_store::tables::hosts_pool::PoolEntry;
use hostsync_store::tables::server_resources::HostDay;
use hostsync_store::word::Word;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ErrorBody;
use super::executions::ExecutionDetailBody;
use super::extract::{PathHost, QueryFields, Viewer};
use crate::app::Api;
use crate::error::ApiError;
use crate::hosts::{self, HostQuery};
use crate::request::{Timestamp, schema_of};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::default().routes(routes!(get_host))
}

/// What the pool says of a host.
#[derive(Serialize, ToSchema)]
pub(crate) struct PoolHostBody {
    /// Its address.
    #[schema(examples("10.0.0.1"))]
    host_ip: String,
    /// Its name.
    #[schema(examples("web-1"))]
    host_name: String,
    /// A deleted host is not synced: it is `not_in_pool`.
    is_deleted: bool,
    /// Memory in GB; null where the pool does not know.
    #[schema(required = true, examples(32))]
    ram: Option<u64>,
    /// Disk space in GB; null where the pool does not know.
    #[schema(required = true, examples(500))]
    disk_size: Option<u64>,
}

impl From<PoolEntry> for PoolHostBody {
    fn from(host: PoolEntry) -> Self {
        Self {
            host_ip: host.host_ip,
            host_name: host.host_name,
            is_deleted: host.is_deleted,
            ram: host.ram.filter(|gb| *gb > 0),
            disk_size: host.disk_size.filter(|gb| *gb > 0),
        }
    }
}

/// A host's row of `server_resources` for one day. Null is unknown.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostDayBody {
    /// The address as the row has it: two rows of a day differ in how it is written.
    #[schema(examples("10.0.0.1"))]
    ip: String,
    /// The day, in the zone of the task that wrote it.
    mon_date: NaiveDate,
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

impl From<HostDay> for HostDayBody {
    fn from(day: HostDay) -> Self {
        Self {
            ip: day.ip,
            mon_date: day.mon_date,
            cpu_load: day.cpu_load,
            used_memory: day.used_memory,
            used_disk: day.used_disk,
            cpu_percent_max: day.cpu_percent_max,
            cpu_percent_avg: day.cpu_percent_avg,
            cpu_percent_min: day.cpu_percent_min,
            mem_percent_max: day.mem_percent_max,
            mem_percent_avg: day.mem_percent_avg,
            mem_percent_min: day.mem_percent_min,
            disk_percent_max: day.disk_percent_max,
            disk_percent_avg: day.disk_percent_avg,
            disk_percent_min: day.disk_percent_min,
        }
    }
}

/// A host's part in one execution.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostResultBody {
    /// Id of the execution.
    #[schema(examples(12))]
    execution_id: u64,
    /// 0 without a task.
    #[schema(examples(7))]
    task_id: u64,
    /// Name of the task, or what the run was called when it was made.
    #[schema(examples("nightly"))]
    task_name: String,
    #[schema(schema_with = schema_of::<Trigger>)]
    trigger: Word<Trigger>,
    /// When the execution began.
    execution_time: Timestamp,
    #[schema(schema_with = schema_of::<ExecutionStatus>)]
    execution_status: Word<ExecutionStatus>,
    /// First instant read.
    #[schema(required = true)]
    window_from: Option<Timestamp>,
    /// First instant no longer read.
    #[schema(required = true)]
    window_to: Option<Timestamp>,
    /// The host in it.
    detail: ExecutionDetailBody,
}

impl From<HostResult> for HostResultBody {
    fn from(result: HostResult) -> Self {
        Self {
            execution_id: result.execution_id.0,
            task_id: result.task_id.0,
            task_name: result.task_name,
            trigger: result.trigger,
            execution_time: Timestamp(result.execution_time),
            execution_status: result.execution_status,
            window_from: result.window_from.map(Timestamp),
            window_to: result.window_to.map(Timestamp),
            detail: result.detail.into(),
        }
    }
}

/// One host over all executions.
#[derive(Serialize, ToSchema)]
pub(crate) struct HostShown {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// Which host it is.
    #[schema(examples("host 10.0.0.1"))]
    message: String,
    /// Null if the pool has never had it.
    #[schema(required = true)]
    host: Option<PoolHostBody>,
    /// Newest first; days without a row are left out.
    days: Vec<HostDayBody>,
    /// Newest first.
    results: Vec<HostResultBody>,
}

/// Show a host
///
/// Its synced values day by day, and its last results over all executions.
#[utoipa::path(
    get, path = "/es-sync-hosts/{host_ip}", operation_id = "get_es_sync_host", tag = "looking",
    params(
        ("host_ip" = String, Path, example = "10.0.0.1", min_length = 1, max_length = 50, pattern = "^[ -~]+$",
         description = "Address of the host, as it stands in the pool or in its canonical form"),
        HostQuery,
    ),
    responses(
        (status = 200, description = "The host", body = HostShown),
        (status = 404, description = "Nothing is known of such a host: `host_not_found`", body = ErrorBody),
    ),
)]
async fn get_host(
    _: Viewer,
    State(api): State<Api>,
    PathHost(host_ip): PathHost,
    QueryFields(submitted): QueryFields<HostQuery>,
) -> Result<Json<HostShown>, ApiError> {
    let seen = hosts::look(&api.database, &host_ip, submitted).await?;
    Ok(Json(HostShown {
        success: true,
        message: format!("host {host_ip}"),
        host: seen.pool.map(PoolHostBody::from),
        days: seen.days.into_iter().map(HostDayBody::from).collect(),
        results: seen.results.into_iter().map(HostResultBody::from).collect(),
    }))
}
