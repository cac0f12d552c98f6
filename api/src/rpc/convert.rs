//! Rows as messages, and the fields of a message as those of a REST request.
//!
//! An empty text is an absent field, as it is in a query string: proto3 does not tell them apart.

use hostsync_store::tables::details::views::ExecutionDetail;
use hostsync_store::tables::executions::views::ExecutionLog;
use hostsync_store::tables::tasks::TaskView;
use serde_json::{Map, Value};

use super::proto::{EsSyncExecutionDetail, EsSyncExecutionLog, EsSyncTask};
use crate::request::{Fields, JsonObject, Timestamp};

/// The fields of a request by their names in REST.
pub(super) fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Fields {
    let given = pairs.into_iter().filter(|(_, value)| value.as_str() != Some(""));
    Fields::from_json(JsonObject(given.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()))
}

/// An id as it is in messages.
pub(super) fn int64(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// A number as it is in messages; what is larger is the largest.
pub(super) fn int32<T>(number: T) -> i32
where
    i32: TryFrom<T>,
{
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn time(time: Option<chrono::DateTime<chrono::Utc>>) -> String {
    time.map(|time| Timestamp(time).to_string()).unwrap_or_default()
}

impl From<TaskView> for EsSyncTask {
    fn from(view: TaskView) -> Self {
        let TaskView { task, created_at, updated_at, last_execution_time, .. } = view;
        Self {
            id: int64(task.id.0),
            task_name: task.task_name,
            description: task.description,
            es_endpoint: task.es_endpoint,
            es_index_pattern: task.es_index_pattern,
            cron_expression: task.cron_expression,
            query_time_range: task.query_time_range.to_string(),
            is_enabled: task.is_enabled,
            created_by: task.created_by,
            created_at: time(Some(created_at)),
            updated_at: time(Some(updated_at)),
            last_execution_time: time(last_execution_time),
            next_execution_time: time(task.next_execution_time),
        }
    }
}

impl From<ExecutionLog> for EsSyncExecutionLog {
    fn from(log: ExecutionLog) -> Self {
        Self {
            id: int64(log.id.0),
            task_id: int64(log.task_id.0),
            task_name: log.task_name,
            execution_time: time(Some(log.execution_time)),
            execution_status: log.execution_status.to_string(),
            total_hosts: int32(log.total_hosts),
            success_count: int32(log.success_count),
            failed_count: int32(log.failed_count),
            not_in_pool_count: int32(log.not_in_pool_count),
            error_message: log.error_message.unwrap_or_default(),
            duration_ms: int32(log.duration_ms.unwrap_or(0)),
            query_time_range: log.query_time_range.to_string(),
            created_at: time(Some(log.created_at)),
        }
    }
}

impl From<ExecutionDetail> for EsSyncExecutionDetail {
    fn from(detail: ExecutionDetail) -> Self {
        Self {
            host_ip: detail.host_ip,
            host_name: detail.host_name.unwrap_or_default(),
            sync_status: detail.sync_status.to_string(),
            error_message: detail.error_message.unwrap_or_default(),
            max_cpu: detail.max_cpu,
            avg_cpu: detail.avg_cpu,
            max_memory: detail.max_memory,
            avg_memory: detail.avg_memory,
            max_disk: detail.max_disk,
            avg_disk: detail.avg_disk,
            data_point_count: detail.data_point_count.map(int32),
            created_at: time(Some(detail.created_at)),
        }
    }
}
