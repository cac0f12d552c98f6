//! A full sync of a group: its hosts are found in the source, those that the pool lacks are added to it, all are synced.
//!
//! Owns the order of these steps and what the pool's table may refuse. The hosts are found within the request and within
//! the window of the run. A host that is deleted in the pool stays so and ends as `not_in_pool`. Knows no transport.

use std::collections::{HashMap, HashSet};

use hostsync_mapping::GroupHost;
use hostsync_model::audit::{Actor, AuditAction, AuditObject, AuditObjectKind};
use hostsync_model::execution::Trigger;
use hostsync_model::host::HostIp;
use hostsync_model::window::Window;
use hostsync_service::defaults::Source;
use hostsync_source::{GROUP_PAGE, RefusalKind, SearchError};
use hostsync_store::denied::Denied;
use hostsync_store::fault::{self, Fault, StatementRefusal};
use hostsync_store::tables::ROWS_PER_STATEMENT;
use hostsync_store::tables::audit::AuditEntry;
use hostsync_store::tables::hosts_pool::{self, NewPoolHost};
use utoipa::openapi::Schema;
use utoipa::openapi::schema::SchemaFormat;

use super::accept::{Enqueued, RunWrite, Runs, WaitSeconds, repeated, wait_of};
use super::given_window::WindowFields;
use super::host_file::MAX_HOSTS;
use super::hosts::{Order, RunFields, enqueue};
use super::idempotency::IdempotencyKey;
use crate::database::{Database, within_bound};
use crate::error::ApiError;
use crate::request::{Field, Fields, Name, Problems, Submitted, counted, quoted, request};
use crate::sources::SourceFields;

/// How often a batch of new hosts is tried that others add to as well.
const ADD_ATTEMPTS: u32 = 10;

/// Hosts that the pool may refuse one by one while the others are synced. With one more the request is refused: then it is
/// the table that takes no new hosts.
const MOST_REFUSED: usize = 10;

/// Longest name of a group, in characters.
const MAX_GROUP_CHARS: usize = 255;

/// A group, as its documents name it, to the letter.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupName(pub(crate) String);

impl Field for GroupName {
    fn schema() -> Schema {
        let mut schema = Name::schema();
        if let Schema::Object(object) = &mut schema {
            object.format = Some(SchemaFormat::Custom("group".to_owned()));
        }
        schema
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        let group = fields.text(name)?;
        let length = group.chars().count();
        if group.trim().is_empty() {
            fields.problems().add(name, "must not be empty");
        } else if length > MAX_GROUP_CHARS {
            fields.problems().add(name, format!("must have at most {MAX_GROUP_CHARS} characters, not {length}"));
        } else if group.contains(char::is_control) {
            fields.problems().add(name, format!("must not contain control characters: {}", quoted(&group)));
        }
        Some(Self(group))
    }
}

request! {
    /// A run over all hosts of a group, by a mapping that has a `group_field`.
    pub(crate) struct FullSyncRun as "FullSyncGroup" {
        /// The group, as its documents name it.
        group_name: GroupName, example "web";
        /// What the run is called in the execution logs; the group's name if absent.
        task_name: Option<Name>;
        /// How long to wait for the end of the run before answering, in seconds.
        wait_seconds: Option<WaitSeconds>, default 0;
        ..source: SourceFields;
        ..window: WindowFields;
    }
}

/// A full sync that was accepted.
#[derive(Debug)]
pub(crate) struct FullSync {
    pub(crate) run: Enqueued,
    /// Hosts that this request has added to the pool; none when its idempotency key was sent before.
    pub(crate) new_hosts: Vec<String>,
}

/// Finds the hosts of a group and syncs them.
///
/// # Errors
///
/// Bad fields, a group without a host or with too many, a source that refuses or gives no answer, a pool that refuses
/// the new hosts, the database.
pub(crate) async fn full_sync(
    runs: &Runs,
    actor: &Actor,
    submitted: Submitted<FullSyncRun>,
    key: Option<IdempotencyKey>,
) -> Result<FullSync, ApiError> {
    let Submitted {
        value: FullSyncRun { group_name: GroupName(group), task_name, wait_seconds, source, window },
        mut problems,
        said,
    } = submitted;
    if let Some(run) = repeated(runs, key.as_ref(), wait_of(wait_seconds)).await? {
        return Ok(FullSync { run, new_hosts: Vec::new() });
    }
    let task_name = task_name.unwrap_or_else(|| Name(group.trim().to_owned()));
    let fields = RunFields { task_name, wait_seconds, source, window };
    let mut order = Order::new(runs, fields, Trigger::Full, Vec::new(), &mut problems).await?;
    problems.check()?;

    let Ok(_permit) = runs.limits.full_syncs.try_acquire() else {
        return Err(ApiError::TooManyFullSyncs);
    };
    let window = match order.window {
        Some(window) => window,
        None => Window::ending_at(runs.database.now().await?, &order.time_range),
    };
    let members = group_hosts(runs, &order.source, window, &group).await.map_err(|error| source_error(&error))?;
    if members.is_empty() || members.len() > MAX_HOSTS {
        let problem = if members.is_empty() {
            format!("names a group without a host in the window ({} to {})", window.from, window.to)
        } else {
            format!("names a group of more than {MAX_HOSTS} hosts; narrow es_index_pattern")
        };
        return Err(Problems::of("group_name", problem).into());
    }
    let write = RunWrite::new(actor, AuditAction::FullSync, &said);
    let adding = PoolAddition { database: &runs.database, entry: write.entry_for(AuditAction::AddHosts) };
    let Added { hosts, new_hosts, renamed, refused } = add_missing(&adding, members).await?;
    order.hosts = hosts;
    order.window = Some(window);
    order.new_host_count = Some(new_hosts.len());
    order.warnings = warnings(&renamed, &refused);
    let run = enqueue(runs, &write, order, key).await?;
    Ok(FullSync { run, new_hosts })
}

/// The hosts of a group that have documents in the window.
async fn group_hosts(runs: &Runs, source: &Source, window: Window, group: &str) -> Result<Vec<GroupHost>, SearchError> {
    let Some((endpoint, mapping)) = runs.sources.client(source) else {
        let reason = "the source is not configured".to_owned();
        return Err(SearchError::Refused { reason, kind: RefusalKind::Other });
    };
    let found = endpoint.group_hosts(&source.es_index_pattern, mapping, window, group, GROUP_PAGE).await?;
    Ok(found.hosts)
}

fn source_error(error: &SearchError) -> ApiError {
    let reason = error.reason().to_owned();
    match error {
        SearchError::Refused { .. } => ApiError::SourceRefused(reason),
        SearchError::Outage { .. }
        | SearchError::TimedOut { .. }
        | SearchError::TooLarge { .. }
        | SearchError::Incomplete { .. } => ApiError::SourceUnavailable(reason),
    }
}

/// What adding to the pool came to.
#[derive(Debug, Default)]
struct Added {
    /// The address of each member: one that the pool has, or that was added.
    hosts: Vec<HostIp>,
    /// Those that were added here.
    new_hosts: Vec<String>,
    /// Hosts that the pool took under another name, and how they are called there.
    renamed: Vec<String>,
    /// Hosts that the pool did not take, and why.
    refused: Vec<String>,
}

/// How hosts are added to the pool: each statement in a transaction of its own, with its entry in the audit.
struct PoolAddition<'a> {
    database: &'a Database,
    entry: AuditEntry,
}

impl PoolAddition<'_> {
    /// Adds hosts; what the pool says against them is the inner error.
    async fn add(&self, hosts: &[NewPoolHost]) -> Result<Result<(), sqlx::Error>, ApiError> {
        if hosts.is_empty() {
            return Ok(Ok(()));
        }
        let mut transaction = self.database.begin(&self.entry).await?;
        if let Err(error) = hosts_pool::add(&mut transaction, hosts).await {
            return Ok(Err(error));
        }
        let added = format!("{} added to hosts_pool", counted(hosts.len(), "host"));
        transaction.commit(AuditObject::only(AuditObjectKind::HostsPool), &added).await?;
        Ok(Ok(()))
    }

    /// Those of the addresses that the pool knows, deleted or not.
    async fn known(&self, asked: &[&str]) -> Result<HashSet<String>, ApiError> {
        let mut connection = self.database.connection().await?;
        Ok(hosts_pool::known(&mut connection, asked).await?)
    }
}

/// Adds the members that have no row in the pool, deleted or not. What is added stays, also if the run is not stored then:
/// the next full sync finds it. A member that the pool refuses is synced like the others and ends as `not_in_pool`.
async fn add_missing(adding: &PoolAddition<'_>, members: Vec<GroupHost>) -> Result<Added, ApiError> {
    let mut all = Added::default();
    for batch in members.chunks(ROWS_PER_STATEMENT) {
        within_bound(add_batch(adding, batch, &mut all)).await?;
    }
    if all.refused.len() == members.len() {
        return Err(ApiError::HostPoolRefused(all.refused.swap_remove(0)));
    }
    let mut seen = HashSet::with_capacity(members.len());
    all.hosts.retain(|host| seen.insert(*host));
    Ok(all)
}

/// A batch is one statement, so it is added by one of those who try it at once; the others look again.
async fn add_batch(adding: &PoolAddition<'_>, batch: &[GroupHost], all: &mut Added) -> Result<(), ApiError> {
    let asked: Vec<String> = batch.iter().flat_map(addresses).map(|ip| ip.to_string()).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let mut attempt = 1;
    let (hosts, missing) = loop {
        let known = adding.known(&asked).await?;
        let (hosts, missing) = sort_out(batch, &known);
        match adding.add(&missing).await? {
            Ok(()) => break (hosts, missing),
            // A right, not the rows.
            Err(error) if Denied::of(&error).is_some() => return Err(error.into()),
            Err(error) => match Fault::of(&error) {
                Fault::Refused(StatementRefusal::Duplicate) | Fault::Conflict if attempt < ADD_ATTEMPTS => attempt += 1,
                Fault::Refused(StatementRefusal::Duplicate | StatementRefusal::Statement) => {
                    break (hosts, add_by_halves(adding, missing, all).await?);
                }
                Fault::Refused(StatementRefusal::Right | StatementRefusal::Login)
                | Fault::ConnectionLost
                | Fault::ReadOnly
                | Fault::Conflict => {
                    return Err(error.into());
                }
            },
        }
    };
    all.hosts.extend(hosts);
    all.new_hosts.extend(missing.into_iter().map(|host| host.host_ip));
    Ok(())
}

/// Adds what can be added of a list that was refused as a whole; returns what was.
///
/// # Errors
///
/// More than [`MOST_REFUSED`] hosts are refused: it is no matter of a host.
async fn add_by_halves(
    adding: &PoolAddition<'_>,
    missing: Vec<NewPoolHost>,
    all: &mut Added,
) -> Result<Vec<NewPoolHost>, ApiError> {
    let mut added = Vec::with_capacity(missing.len());
    let mut parts = vec![missing];
    while let Some(mut part) = parts.pop() {
        let Some(error) = refused(adding.add(&part).await?)? else {
            added.append(&mut part);
            continue;
        };
        // Most names that are not held have a character beyond utf8mb3; one alone is tried in ASCII, too.
        let mut tried = add_under_other_names(adding, &part, |letter| letter.len_utf8() <= 3, all).await?;
        if !tried && part.len() == 1 {
            tried = add_under_other_names(adding, &part, |letter| letter.is_ascii(), all).await?;
        }
        if tried {
            added.append(&mut part);
        } else if part.len() > 1 {
            let second = part.split_off(part.len() / 2);
            parts.extend([second, part]);
        } else if Fault::of(&error) != Fault::Refused(StatementRefusal::Duplicate) {
            // One that another has added meanwhile is there.
            if all.refused.len() == MOST_REFUSED {
                return Err(refusal(error));
            }
            all.refused.extend(part.iter().map(|host| format!("{}: {}", host.host_ip, fault::sentence(&error))));
        }
    }
    Ok(added)
}

/// Adds hosts under what is left of their names, with `?` for what is not held. `false`: nothing was added, since no name
/// has such a character, or that is not what is refused.
async fn add_under_other_names(
    adding: &PoolAddition<'_>,
    hosts: &[NewPoolHost],
    is_held: fn(char) -> bool,
    all: &mut Added,
) -> Result<bool, ApiError> {
    let held = |name: &str| name.chars().map(|letter| if is_held(letter) { letter } else { '?' }).collect();
    let others: Vec<NewPoolHost> = hosts
        .iter()
        .map(|host| NewPoolHost { host_ip: host.host_ip.clone(), host_name: held(&host.host_name) })
        .collect();
    if others == hosts || refused(adding.add(&others).await?)?.is_some() {
        return Ok(false);
    }
    let renamed = others.iter().zip(hosts).filter(|(other, host)| other != host);
    all.renamed.extend(renamed.map(|(other, _)| format!("{} as {:?}", other.host_ip, other.host_name)));
    Ok(true)
}

/// The refusal of what was asked for; all else that went wrong is an error.
fn refused(added: Result<(), sqlx::Error>) -> Result<Option<sqlx::Error>, ApiError> {
    match added {
        Ok(()) => Ok(None),
        Err(error) => match Fault::of(&error) {
            Fault::Refused(StatementRefusal::Duplicate | StatementRefusal::Statement) => Ok(Some(error)),
            _ => Err(error.into()),
        },
    }
}

fn addresses(member: &GroupHost) -> impl Iterator<Item = HostIp> + '_ {
    std::iter::once(member.host_ip).chain(member.other_ips.iter().copied())
}

/// The address by which each member is synced, and the members to be added, in order of address, so that two who add at
/// once do not lock each other out.
fn sort_out(batch: &[GroupHost], known: &HashSet<String>) -> (Vec<HostIp>, Vec<NewPoolHost>) {
    let mut hosts = Vec::with_capacity(batch.len());
    let mut missing = HashMap::new();
    for member in batch {
        let in_pool = addresses(member).find(|ip| known.contains(&ip.to_string()));
        hosts.push(in_pool.unwrap_or(member.host_ip));
        if in_pool.is_none() {
            missing.insert(member.host_ip, member.host_name.clone().unwrap_or_default());
        }
    }
    let mut missing: Vec<NewPoolHost> = missing
        .into_iter()
        .map(|(host_ip, host_name)| NewPoolHost { host_ip: host_ip.to_string(), host_name })
        .collect();
    missing.sort_by(|a, b| a.host_ip.cmp(&b.host_ip));
    (hosts, missing)
}

/// What the CMDB's table says of rows that it does not take, such as a column of its own without a default.
fn refusal(error: sqlx::Error) -> ApiError {
    if error.as_database_error().is_some() { ApiError::HostPoolRefused(fault::sentence(&error)) } else { error.into() }
}

/// Most hosts that a warning names.
const MOST_NAMED: usize = 5;

fn warnings(renamed: &[String], refused: &[String]) -> Vec<String> {
    let named = |what: &str, hosts: &[String]| {
        let more = if hosts.len() > MOST_NAMED { ", …" } else { "" };
        let first = hosts.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
        (!hosts.is_empty()).then(|| format!("{what} ({}): {first}{more}", hosts.len()))
    };
    let renamed = named("new hosts whose names hosts_pool cannot hold were added under what it can hold", renamed);
    renamed.into_iter().chain(named("new hosts that hosts_pool refuses were not added", refused)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(host_ip: &str, other_ips: &[&str]) -> GroupHost {
        let ip = |text: &str| text.parse().expect(text);
        GroupHost {
            host_ip: ip(host_ip),
            host_name: Some(format!("name of {host_ip}")),
            other_ips: other_ips.iter().map(|text| ip(text)).collect(),
        }
    }

    #[test]
    fn a_host_that_the_pool_knows_by_another_address_is_synced_by_that() {
        let known = HashSet::from(["10.0.0.1".to_owned(), "10.9.0.2".to_owned()]);
        let batch = [
            member("10.0.0.9", &[]),
            member("10.0.0.1", &[]),
            member("10.0.0.2", &["10.9.0.9", "10.9.0.2"]),
            member("10.0.0.10", &[]),
        ];
        let (hosts, missing) = sort_out(&batch, &known);
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["10.0.0.9", "10.0.0.1", "10.9.0.2", "10.0.0.10"]);
        let missing: Vec<&str> = missing.iter().map(|host| host.host_ip.as_str()).collect();
        assert_eq!(missing, ["10.0.0.10", "10.0.0.9"]);
    }

    #[test]
    fn a_group_has_a_name() {
        let told = |name: Option<&str>| {
            let sent = name.map(|name| ("group_name".to_owned(), name.to_owned()));
            let problems = Fields::from_text(sent).read::<FullSyncRun>().problems;
            problems.into_reported().into_iter().map(|problem| problem.message).collect::<Vec<_>>()
        };
        assert_eq!(told(None), ["must be given"]);
        assert_eq!(told(Some(" ")), ["must not be empty"]);
        assert_eq!(told(Some(&"x".repeat(256))), ["must have at most 255 characters, not 256"]);
        assert_eq!(told(Some("a\nb")).len(), 1);
        assert_eq!(told(Some("生产")), Vec::<String>::new());
    }
}
