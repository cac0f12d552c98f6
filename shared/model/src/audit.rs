//! Who does what: the words of the audit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::execution::{ExecutionId, TaskId, UnknownWord, words};

words! {
    /// What a caller may do. An operator may do what a viewer may.
    Role {
        /// Read.
        Viewer = "viewer",
        /// Read and write.
        Operator = "operator",
    }
}

words! {
    /// What somebody did.
    AuditAction {
        /// Made a task.
        CreateTask = "create_task",
        /// Changed a task.
        UpdateTask = "update_task",
        /// Deleted a task.
        DeleteTask = "delete_task",
        /// Enabled a task.
        EnableTask = "enable_task",
        /// Disabled a task.
        DisableTask = "disable_task",
        /// Ran a task by hand.
        ExecuteTask = "execute_task",
        /// Ran a list of hosts.
        ExecuteHosts = "execute_hosts",
        /// Ran a host file.
        ExecuteFile = "execute_file",
        /// Ran a group.
        FullSync = "full_sync",
        /// Added hosts to the pool, on the way of a full sync.
        AddHosts = "add_hosts",
        /// Cancelled a run.
        Cancel = "cancel",
        /// Ran the failed hosts of a run again.
        Retry = "retry",
        /// Paused the fleet.
        Pause = "pause",
        /// Ended a pause.
        Resume = "resume",
        /// Had a run published anew.
        Republish = "republish",
        /// Took a host out of freshness for a time.
        MuteHost = "mute_host",
        /// Put dead letters back onto their queue.
        RequeueDeadLetters = "requeue_dead_letters",
        /// Removed dead letters.
        DropDeadLetters = "drop_dead_letters",
    }
}

words! {
    /// What kind of thing it was done to.
    AuditObjectKind {
        /// A task.
        Task = "task",
        /// An execution.
        Execution = "execution",
        /// The table `hosts_pool`.
        HostsPool = "hosts_pool",
        /// The pause of the fleet.
        Pause = "pause",
        /// A host.
        Host = "host",
        /// The dead letters of the broker.
        DeadLetters = "dead_letters",
    }
}

/// What it was done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditObject {
    /// Its kind.
    pub kind: AuditObjectKind,
    /// Which of its kind; empty where there is but one. At most 64 characters.
    pub id: String,
}

impl AuditObject {
    /// A host by its address.
    pub fn host(host_ip: &str) -> Self {
        Self { kind: AuditObjectKind::Host, id: host_ip.chars().take(64).collect() }
    }

    /// The only one of its kind.
    pub const fn only(kind: AuditObjectKind) -> Self {
        Self { kind, id: String::new() }
    }
}

impl From<TaskId> for AuditObject {
    fn from(id: TaskId) -> Self {
        Self { kind: AuditObjectKind::Task, id: id.to_string() }
    }
}

impl From<ExecutionId> for AuditObject {
    fn from(id: ExecutionId) -> Self {
        Self { kind: AuditObjectKind::Execution, id: id.to_string() }
    }
}

/// Who asks for something. What the caller says of itself is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Name of the token, or `command:` and the user of an operator's command. At most 128 characters.
    pub who: String,
    /// What it may do.
    pub role: Role,
    /// Address of the caller, or of the proxy before it; of a command its machine. At most 64 characters.
    pub from: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_do_more_than_a_viewer() {
        assert!(Role::Operator > Role::Viewer);
    }

    #[test]
    fn an_object_is_told_by_kind_and_id() {
        assert_eq!(AuditObject::from(TaskId(7)), AuditObject { kind: AuditObjectKind::Task, id: "7".to_owned() });
        assert_eq!(AuditObject::only(AuditObjectKind::HostsPool).id, "");
    }
}
