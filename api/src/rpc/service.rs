//! The eleven calls, each a few lines over the function that REST calls too.

use hostsync_model::execution::{ExecutionId, TaskId};
use tonic::{Request, Response, Status, async_trait};

use super::admit::Admission;
use super::answer::{CUT, Room, answer};
use super::convert::{fields, int64};
use super::proto::cmpool_server::Cmpool;
use super::proto::{
    CreateEsSyncTaskReq, CreateEsSyncTaskResp, DeleteEsSyncTaskReq, DeleteEsSyncTaskResp, EnableEsSyncTaskReq,
    EnableEsSyncTaskResp, EsSyncExecutionDetail, EsSyncExecutionInfo, EsSyncExecutionLog, EsSyncTask,
    ExecuteEsSyncByFileReq, ExecuteEsSyncByHostListReq, ExecuteEsSyncFullSyncReq, ExecuteEsSyncFullSyncResp,
    ExecuteEsSyncResp, GetEsSyncExecutionDetailReq, GetEsSyncExecutionDetailResp, GetEsSyncExecutionLogsReq,
    GetEsSyncExecutionLogsResp, GetEsSyncTaskDetailReq, GetEsSyncTaskDetailResp, GetEsSyncTasksReq, GetEsSyncTasksResp,
    UpdateEsSyncTaskReq, UpdateEsSyncTaskResp,
};
use super::run::{full_sync_answer, run_answer};
use crate::app::Api;
use crate::error::ApiError;
use crate::request::{Page, Problems, Said, Submitted, counted, read_id};
use crate::runs::full_sync::{self, FullSyncRun};
use crate::runs::hosts::{self, HostFileRun, HostList, HostListRun, RunFields};
use crate::runs::log::{self, DetailQuery, LogQuery};
use crate::tasks::{self, EnableTask, NewTask, TaskChange, TaskQuery};

/// Rows read at once where an answer holds all of them.
const ROWS_PER_READ: u32 = 1_000;

/// What a list of hosts is called when it is at fault, as in REST.
const HOSTS_FIELD: &str = "host_ip_list";

/// What the bytes of a host file are called when they are at fault, as in REST.
const FILE_FIELD: &str = "file_content";

/// The calls over what every request works with.
pub(super) struct CmpoolService {
    pub(super) api: Api,
}

/// Takes a request apart: what it was admitted with, and its message. A request that could not be read is an error.
macro_rules! admitted {
    ($request:ident) => {{
        let (_, mut extensions, message) = $request.into_parts();
        let admission = extensions.remove::<Admission>().ok_or_else(|| anyhow::anyhow!("a call was not admitted"));
        admission.map_err(ApiError::from).and_then(|mut admission| {
            let permit = admission.permit()?;
            Ok((admission, permit, message))
        })
    }};
}

/// Runs a call whose answer says itself whether it was done.
macro_rules! answered {
    (|$request:ident $(, $actor:ident)?| $body:expr) => {{
        let outcome = async {
            let (_admission, _, $request) = admitted!($request)?;
            $(let $actor = &_admission.actor;)?
            $body
        };
        answer(outcome.await)
    }};
}

#[async_trait]
impl Cmpool for CmpoolService {
    async fn create_es_sync_task(
        &self,
        request: Request<CreateEsSyncTaskReq>,
    ) -> Result<Response<CreateEsSyncTaskResp>, Status> {
        answered!(|request, actor| {
            let fields = fields([
                ("task_name", request.task_name.into()),
                ("description", request.description.into()),
                ("es_endpoint", request.es_endpoint.into()),
                ("es_index_pattern", request.es_index_pattern.into()),
                ("cron_expression", request.cron_expression.into()),
                ("query_time_range", request.query_time_range.into()),
                ("created_by", request.created_by.into()),
            ]);
            let id = tasks::create(&self.api.tasks, actor, fields.read::<NewTask>()).await?;
            Ok(CreateEsSyncTaskResp { success: true, message: format!("task {id} was created"), task_id: int64(id.0) })
        })
    }

    async fn update_es_sync_task(
        &self,
        request: Request<UpdateEsSyncTaskReq>,
    ) -> Result<Response<UpdateEsSyncTaskResp>, Status> {
        answered!(|request, actor| {
            let id = id("task_id", request.id)?;
            let fields = fields([
                ("task_name", request.task_name.into()),
                ("description", request.description.into()),
                ("es_endpoint", request.es_endpoint.into()),
                ("es_index_pattern", request.es_index_pattern.into()),
                ("cron_expression", request.cron_expression.into()),
                ("query_time_range", request.query_time_range.into()),
            ]);
            tasks::update(&self.api.tasks, actor, TaskId(id), fields.read::<TaskChange>()).await?;
            Ok(UpdateEsSyncTaskResp { success: true, message: format!("task {id} was changed") })
        })
    }

    async fn delete_es_sync_task(
        &self,
        request: Request<DeleteEsSyncTaskReq>,
    ) -> Result<Response<DeleteEsSyncTaskResp>, Status> {
        answered!(|request, actor| {
            let id = id("task_id", request.id)?;
            tasks::delete(&self.api.tasks, actor, TaskId(id)).await?;
            Ok(DeleteEsSyncTaskResp { success: true, message: format!("task {id} was deleted") })
        })
    }

    async fn enable_es_sync_task(
        &self,
        request: Request<EnableEsSyncTaskReq>,
    ) -> Result<Response<EnableEsSyncTaskResp>, Status> {
        answered!(|request, actor| {
            let fields = fields([("id", request.id.into()), ("is_enabled", request.is_enabled.into())]);
            let message = tasks::set_enabled(&self.api.tasks, actor, fields.read::<EnableTask>()).await?;
            Ok(EnableEsSyncTaskResp { success: true, message })
        })
    }

    async fn get_es_sync_tasks(
        &self,
        request: Request<GetEsSyncTasksReq>,
    ) -> Result<Response<GetEsSyncTasksResp>, Status> {
        answered!(|request| {
            let mut tasks = Vec::new();
            let mut room = Room::new();
            let mut after = None;
            loop {
                let page = Page::after(after, ROWS_PER_READ);
                let query = TaskQuery { enabled_only: Some(request.enabled_only), name: None, page };
                let (rows, next_cursor) = tasks::list(&self.api.tasks, submitted(query)).await?;
                after = rows.last().map(|view| view.task.id.0);
                let rows = rows.into_iter().map(EsSyncTask::from);
                tasks.extend(rows.take_while(|task| room.take_message(task)));
                if next_cursor.is_none() || room.is_cut() {
                    break;
                }
            }
            Ok(GetEsSyncTasksResp { success: true, message: listed(tasks.len(), "task", &room), tasks })
        })
    }

    async fn get_es_sync_task_detail(
        &self,
        request: Request<GetEsSyncTaskDetailReq>,
    ) -> Result<Response<GetEsSyncTaskDetailResp>, Status> {
        answered!(|request| {
            let id = id("task_id", request.id)?;
            let task = tasks::get(&self.api.tasks, TaskId(id)).await?;
            Ok(GetEsSyncTaskDetailResp { success: true, message: format!("task {id}"), task: Some(task.into()) })
        })
    }

    async fn execute_es_sync_by_host_list(
        &self,
        request: Request<ExecuteEsSyncByHostListReq>,
    ) -> Result<Response<ExecuteEsSyncResp>, Status> {
        let outcome = async {
            let (admission, permit, request) = admitted!(request)?;
            let fields = run_fields(request.task_name, request.query_time_range, request.es_endpoint);
            let Submitted { value: run, problems: others, mut said } = fields;
            said.add_list(HOSTS_FIELD, &request.host_ip_list);
            let mut problems = Problems::default();
            let host_ip_list = if request.host_ip_list.is_empty() {
                problems.add(HOSTS_FIELD, "must be given");
                HostList::default()
            } else {
                HostList::of(request.host_ip_list.iter().map(|text| Some(text.as_str())), HOSTS_FIELD, &mut problems)
            };
            problems.append(others);
            let submitted = Submitted { value: HostListRun { host_ip_list, run }, problems, said };
            let run = hosts::execute_host_list(&self.api.runs, &admission.actor, submitted, None).await?;
            drop(permit);
            Ok(run_answer(&self.api.runs, run, &admission).await)
        };
        answer(outcome.await)
    }

    async fn execute_es_sync_by_file(
        &self,
        request: Request<ExecuteEsSyncByFileReq>,
    ) -> Result<Response<ExecuteEsSyncResp>, Status> {
        let outcome = async {
            let (admission, permit, request) = admitted!(request)?;
            let fields = run_fields(request.task_name, request.query_time_range, request.es_endpoint);
            let content = (!request.file_content.is_empty()).then_some(request.file_content);
            let submitted = fields.map(|run| HostFileRun { content, content_field: FILE_FIELD, run });
            let run = hosts::execute_host_file(&self.api.runs, &admission.actor, submitted, None).await?;
            drop(permit);
            Ok(run_answer(&self.api.runs, run, &admission).await)
        };
        answer(outcome.await)
    }

    async fn execute_es_sync_full_sync(
        &self,
        request: Request<ExecuteEsSyncFullSyncReq>,
    ) -> Result<Response<ExecuteEsSyncFullSyncResp>, Status> {
        let outcome = async {
            let (admission, permit, request) = admitted!(request)?;
            let submitted = fields([
                ("group_name", request.group_name.into()),
                ("task_name", request.task_name.into()),
                ("query_time_range", request.query_time_range.into()),
                ("es_endpoint", request.es_endpoint.into()),
            ])
            .read::<FullSyncRun>();
            let sync = full_sync::full_sync(&self.api.runs, &admission.actor, submitted, None).await?;
            drop(permit);
            Ok(full_sync_answer(&self.api.runs, sync, &admission).await)
        };
        answer(outcome.await)
    }

    async fn get_es_sync_execution_logs(
        &self,
        request: Request<GetEsSyncExecutionLogsReq>,
    ) -> Result<Response<GetEsSyncExecutionLogsResp>, Status> {
        answered!(|request| {
            // 0 is what a message says that does not say.
            let limit = Some(request.limit).filter(|limit| *limit != 0);
            let fields = fields([("task_id", request.task_id.into()), ("limit", limit.into())]);
            let (rows, _) = log::list(&self.api.database, fields.read::<LogQuery>()).await?;
            let mut room = Room::new();
            let rows = rows.into_iter().map(EsSyncExecutionLog::from);
            let execution_logs: Vec<_> = rows.take_while(|log| room.take_message(log)).collect();
            let message = listed(execution_logs.len(), "execution", &room);
            Ok(GetEsSyncExecutionLogsResp { success: true, message, execution_logs })
        })
    }

    async fn get_es_sync_execution_detail(
        &self,
        request: Request<GetEsSyncExecutionDetailReq>,
    ) -> Result<Response<GetEsSyncExecutionDetailResp>, Status> {
        answered!(|request| {
            let id = id("execution_id", request.execution_id)?;
            let mut details = Vec::new();
            let mut room = Room::new();
            let mut after = None;
            let log = loop {
                let page = Page::after(after, ROWS_PER_READ);
                let query = DetailQuery { status: None, host_ip: None, page };
                let (log, rows, next_cursor) =
                    log::detail(&self.api.database, ExecutionId(id), submitted(query)).await?;
                after = rows.last().map(|detail| detail.id);
                let rows = rows.into_iter().map(EsSyncExecutionDetail::from);
                details.extend(rows.take_while(|detail| room.take_message(detail)));
                if next_cursor.is_none() || room.is_cut() {
                    break log;
                }
            };
            let mut message = format!("execution {id}");
            if room.is_cut() {
                message = format!("{message}, {}", listed(details.len(), "host", &room));
            }
            let data = EsSyncExecutionInfo { execution_log: Some(log.into()), details };
            Ok(GetEsSyncExecutionDetailResp { success: true, message, data: Some(data) })
        })
    }
}

/// An id that a REST path would hold.
fn id(name: &str, id: i64) -> Result<u64, ApiError> {
    Ok(read_id(name, &id.to_string())?)
}

/// What is known to be well.
fn submitted<T>(value: T) -> Submitted<T> {
    Submitted { value, problems: Problems::default(), said: Said::default() }
}

fn run_fields(task_name: String, query_time_range: String, es_endpoint: String) -> Submitted<RunFields> {
    fields([
        ("task_name", task_name.into()),
        ("query_time_range", query_time_range.into()),
        ("es_endpoint", es_endpoint.into()),
    ])
    .read()
}

/// How much is listed, and whether that is all.
fn listed(count: usize, noun: &str, room: &Room) -> String {
    let all = counted(count, noun);
    if room.is_cut() { format!("the first {all}; {CUT}, there are more") } else { all }
}
