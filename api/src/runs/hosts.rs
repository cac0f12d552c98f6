//! Runs over hosts that the request names: a list, or a file.
//!
//! Owns the check of such a request and what is stored of it: the run with all its hosts, in one transaction.

use std::collections::HashSet;
use std::time::Duration;

use hostsync_model::audit::{Actor, AuditAction};
use hostsync_model::execution::{ExecutionId, ExecutionStatus, JobQueue, TaskId, Trigger};
use hostsync_model::host::HostIp;
use hostsync_model::window::{TimeRange, Window};
use hostsync_schedule::date_in;
use hostsync_service::defaults::Source;
use hostsync_store::database;
use hostsync_store::tables::details;
use hostsync_store::tables::executions::{
    self,
    creation::{NewExecution, Scope},
    lease::LeaseToken,
};
use hostsync_store::word::Word;
use serde_json::json;
use sqlx::MySqlConnection;
use utoipa::openapi::Schema;
use utoipa::openapi::schema::ArrayBuilder;

use super::accept::{Enqueued, RunWrite, Runs, Stored, WaitSeconds, accept, repeated, wait_of};
use super::given_window::WindowFields;
use super::host_file::{HostFile, HostFileError, MAX_FILE_BYTES, MAX_HOSTS, parse_host_file};
use super::idempotency::IdempotencyKey;
use super::outcome::Accepted;
use crate::database::WriteTransaction;
use crate::error::ApiError;
use crate::request::{Field, Fields, InvalidLine, Name, Problems, Submitted, request, text_field, text_schema};
use crate::sources::SourceFields;

/// What is stored of a run over hosts that are known.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) task_name: String,
    pub(crate) trigger: Trigger,
    pub(crate) time_range: TimeRange,
    /// `None`: it ends when the run is stored.
    pub(crate) window: Option<Window>,
    pub(crate) source: Source,
    pub(crate) hosts: Vec<HostIp>,
    pub(crate) invalid_lines: Option<(Vec<InvalidLine>, usize)>,
    pub(crate) new_host_count: Option<usize>,
    /// What a person should know of the run before it has begun.
    pub(crate) warnings: Vec<String>,
    pub(crate) wait: Duration,
}

impl Order {
    /// Of a request that says so much.
    ///
    /// # Errors
    ///
    /// The database, which is asked for the time where the request names a window.
    pub(super) async fn new(
        runs: &Runs,
        run: RunFields,
        trigger: Trigger,
        hosts: Vec<HostIp>,
        problems: &mut Problems,
    ) -> Result<Self, ApiError> {
        let window = run.window.checked(runs, run.source.query_time_range.is_some(), problems).await?;
        let (source, time_range) = runs.sources.source(run.source, problems);
        Ok(Self {
            task_name: run.task_name.0,
            trigger,
            time_range: window.map_or(time_range, |window| window.range()),
            window,
            source,
            hosts,
            invalid_lines: None,
            new_host_count: None,
            warnings: Vec::new(),
            wait: wait_of(run.wait_seconds),
        })
    }
}

/// Hosts by their addresses, each once, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostList(pub(crate) Vec<HostIp>);

impl Field for HostList {
    fn schema() -> Schema {
        let address = text_schema("ip").description(Some("An IPv4 or IPv6 address."));
        ArrayBuilder::new()
            .items(address)
            .min_items(Some(1))
            .description(Some(
                "IPv4 and IPv6 addresses; repeats are taken once, at most 100,000 hosts are left then. A bad one refuses \
                 the list.",
            ))
            .examples([json!(["10.0.0.1", "2001:db8::1"])])
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let texts = fields.texts(name)?;
        Some(Self::of(texts.iter().map(Option::as_deref), name, fields.problems()))
    }
}

impl HostList {
    /// The hosts of a list in the field `name`; an item that is `None` has been told of.
    pub(crate) fn of<'a>(
        list: impl ExactSizeIterator<Item = Option<&'a str>>,
        name: &str,
        problems: &mut Problems,
    ) -> Self {
        if list.len() == 0 {
            problems.add(name, "must not be empty");
        }
        let mut known = HashSet::with_capacity(list.len());
        let mut hosts = Vec::with_capacity(list.len());
        for (position, text) in list.enumerate() {
            let Some(text) = text else { continue };
            match text.parse::<HostIp>() {
                Ok(host) => {
                    if known.insert(host) {
                        hosts.push(host);
                    }
                }
                Err(error) => problems.add(format!("{name}[{position}]"), error.to_string()),
            }
        }
        if hosts.len() > MAX_HOSTS {
            problems.add(name, format!("must name at most {MAX_HOSTS} hosts, not {}", hosts.len()));
        }
        Self(hosts)
    }
}

text_field! {
    /// The file as plain text.
    HostFileText, format "host-file", example "10.0.0.1\n10.0.0.2  # front\n"
}

request! {
    /// What every such request says beside its hosts.
    pub(crate) struct RunFields as "RunFields" {
        /// What the run is called in the execution logs.
        task_name: Name, example "web servers";
        /// How long to wait for the end of the run before answering, in seconds.
        wait_seconds: Option<WaitSeconds>, default 0;
        ..source: SourceFields;
        ..window: WindowFields;
    }
}

request! {
    /// A run over a list of addresses.
    pub(crate) struct HostListRun as "ExecuteHostList" {
        host_ip_list: HostList;
        ..run: RunFields;
    }
}

request! {
    /// A run over a host file: one IPv4 or IPv6 address a line, at most 100,000 hosts in 8 MiB.
    ///
    /// Blank lines and comments from `#` on are skipped; a byte order mark, CRLF, blanks around an address and a comma behind
    /// it are forgiven; repeats are taken once.
    pub(crate) struct HostFileContent as "ExecuteFileContent" {
        file_content: HostFileText;
        ..run: RunFields;
    }
}

/// A run over a host file, whatever carried it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostFileRun {
    /// The file as it was sent; `None`: it was not.
    pub(crate) content: Option<Vec<u8>>,
    /// What the caller calls it: `file_content`, or `file` in a form.
    pub(crate) content_field: &'static str,
    pub(crate) run: RunFields,
}

/// Runs over a list of addresses: a program's, so a single bad address refuses it all.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn execute_host_list(
    runs: &Runs,
    actor: &Actor,
    submitted: Submitted<HostListRun>,
    key: Option<IdempotencyKey>,
) -> Result<Enqueued, ApiError> {
    let Submitted { value, mut problems, said } = submitted;
    if let Some(run) = repeated(runs, key.as_ref(), wait_of(value.run.wait_seconds)).await? {
        return Ok(run);
    }
    let order = Order::new(runs, value.run, Trigger::Manual, value.host_ip_list.0, &mut problems).await?;
    problems.check()?;
    enqueue(runs, &RunWrite::new(actor, AuditAction::ExecuteHosts, &said), order, key).await
}

/// Runs over a host file: a person's, so bad lines are told and the rest runs. They stand in what was accepted.
///
/// # Errors
///
/// Bad fields, a file without a host or too large, the database.
pub(crate) async fn execute_host_file(
    runs: &Runs,
    actor: &Actor,
    submitted: Submitted<HostFileRun>,
    key: Option<IdempotencyKey>,
) -> Result<Enqueued, ApiError> {
    let Submitted { value, mut problems, said } = submitted;
    if let Some(run) = repeated(runs, key.as_ref(), wait_of(value.run.wait_seconds)).await? {
        return Ok(run);
    }
    let file = host_file(value.content.as_deref(), value.content_field, &mut problems)?;
    let mut order = Order::new(runs, value.run, Trigger::File, file.hosts, &mut problems).await?;
    if order.hosts.is_empty() && !file.invalid_lines.is_empty() {
        return Err(ApiError::NoHostInFile { problems, invalid_lines: file.invalid_lines });
    }
    problems.check()?;
    order.invalid_lines = Some((file.invalid_lines, file.invalid_line_count));
    enqueue(runs, &RunWrite::new(actor, AuditAction::ExecuteFile, &said), order, key).await
}

fn host_file(content: Option<&[u8]>, field: &'static str, problems: &mut Problems) -> Result<HostFile, ApiError> {
    if problems.has(field) {
        return Ok(HostFile::default());
    }
    let Some(content) = content else {
        problems.add(field, "must be given");
        return Ok(HostFile::default());
    };
    match parse_host_file(content) {
        Ok(file) => {
            if file.hosts.is_empty() {
                problems.add(field, "holds no host address");
            }
            Ok(file)
        }
        Err(HostFileError::TooLarge) => Err(ApiError::TooLarge { what: "the host file", limit_bytes: MAX_FILE_BYTES }),
        Err(error @ HostFileError::TooManyHosts) => {
            problems.add(field, error.to_string());
            Ok(HostFile::default())
        }
    }
}

/// Stores the run and publishes it in the background.
///
/// # Errors
///
/// An idempotency key that came with another body, the database.
pub(super) async fn enqueue(
    runs: &Runs,
    write: &RunWrite,
    order: Order,
    key: Option<IdempotencyKey>,
) -> Result<Enqueued, ApiError> {
    let store = |transaction, token, trace_context| store_hosts(transaction, runs, &order, token, trace_context);
    accept(runs, write, key, order.wait, store).await
}

async fn store_hosts(
    mut transaction: WriteTransaction,
    runs: &Runs,
    order: &Order,
    token: LeaseToken,
    trace_context: Option<String>,
) -> Result<Stored, ApiError> {
    let window = match order.window {
        Some(window) => window,
        None => Window::ending_at(database::now(&mut transaction).await?, &order.time_range),
    };
    let scope = Scope {
        window,
        query_time_range: Word::Known(order.time_range.clone()),
        mon_date: date_in(runs.sources.defaults.time_zone(), window.to),
        es_endpoint: order.source.es_endpoint.clone(),
        es_index_pattern: order.source.es_index_pattern.clone(),
        mapping: order.source.mapping.clone(),
    };
    let new = NewExecution {
        task_id: TaskId::NONE,
        task_name: &order.task_name,
        trigger: order.trigger,
        scheduled_for: None,
        status: ExecutionStatus::Running,
        scope: &scope,
        queue: JobQueue::for_manual_work(order.hosts.len()),
        created_by: &transaction.who(),
        error_message: None,
        lease: Some(token),
        trace_context: trace_context.as_deref(),
    };
    let id = executions::creation::insert(&mut transaction, &new).await?;
    details::outbox::insert_hosts(&mut transaction, id, &order.hosts).await?;
    finish_preparing(&mut transaction, id, token).await?;
    if !order.warnings.is_empty() {
        executions::remarks::add_warnings(&mut transaction, id, order.warnings.iter().cloned()).await?;
    }
    let accepted = Accepted {
        execution_id: id,
        total_hosts: Some(order.hosts.len()),
        is_waiting: false,
        invalid_lines: order.invalid_lines.clone(),
        new_host_count: order.new_host_count,
    };
    Ok((transaction, accepted))
}

/// Sets the totals of a run whose rows all stand, in the transaction that inserted it.
///
/// # Errors
///
/// The database's.
async fn finish_preparing(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    token: LeaseToken,
) -> Result<(), ApiError> {
    let (total, last_detail_id) = details::outbox::totals(connection, id).await?;
    if !executions::lease::finish_preparing(connection, id, token, total, last_detail_id).await? {
        return Err(anyhow::anyhow!("execution {id} could not be prepared in its own transaction").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(list: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut problems = Problems::default();
        let hosts = HostList::of(list.iter().map(|&text| Some(text)), "host_ip_list", &mut problems);
        (
            hosts.0.iter().map(ToString::to_string).collect(),
            problems.into_reported().into_iter().map(|p| format!("{}: {}", p.field, p.message)).collect(),
        )
    }

    #[test]
    fn a_list_names_each_host_once_in_order() {
        let (hosts, problems) = told(&[
            "10.0.0.2",
            "2001:DB8::1",
            " 10.0.0.1\t",
            "10.0.0.2\u{feff}",
            "2001:db8:0::1",
            "::ffff:10.0.0.1",
            "\u{a0}2001:0db8::0001",
        ]);
        assert_eq!(hosts, ["10.0.0.2", "2001:db8::1", "10.0.0.1"]);
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn every_bad_address_is_named_by_its_position() {
        let (_, problems) = told(&["10.0.0.1", "10.0\u{200b}.0.2", "", "web-1"]);
        assert_eq!(
            problems,
            [
                "host_ip_list[1]: \"10.0\u{200b}.0.2\" is not an IPv4 or IPv6 address: it holds a zero-width space (U+200B)",
                "host_ip_list[2]: \"\" is not an IPv4 or IPv6 address",
                "host_ip_list[3]: \"web-1\" is not an IPv4 or IPv6 address",
            ]
        );
        assert_eq!(told(&[]).1, ["host_ip_list: must not be empty"]);
    }

    #[test]
    fn a_list_has_at_most_a_hundred_thousand_hosts() {
        let mut list: Vec<String> =
            (0..=MAX_HOSTS).map(|n| std::net::Ipv4Addr::from_bits(u32::try_from(n).unwrap()).to_string()).collect();
        let mut problems = Problems::default();
        HostList::of(list.iter().map(|text| Some(text.as_str())), "host_ip_list", &mut problems);
        assert_eq!(problems.into_reported()[0].message, "must name at most 100000 hosts, not 100001");
        list.pop();
        let mut problems = Problems::default();
        assert_eq!(
            HostList::of(list.iter().map(|text| Some(text.as_str())), "host_ip_list", &mut problems).0.len(),
            MAX_HOSTS
        );
        assert_eq!(problems.count(), 0);
    }
}
