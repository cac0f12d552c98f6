//! The words of an execution: ids, statuses, triggers, queues, counters.
//!
//! Owns the closed sets that stand in the database and in every answer, as types. Knows no SQL and no transport.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(id: u64) -> Self {
                Self(id)
            }
        }
    };
}

id! {
    /// A saved configuration with a schedule; 0 stands for "without a task" in an execution.
    TaskId
}
id! {
    /// One run.
    ExecutionId
}
id! {
    /// One host of one execution: a detail row.
    DetailId
}

impl TaskId {
    /// The `task_id` of an execution that no task started.
    pub const NONE: Self = Self(0);
}

/// A text that is no member of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {allowed}")]
pub struct UnknownWord {
    /// The members, comma-separated.
    pub allowed: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every member, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// As it stands in the database and in answers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { allowed: [$($text),+].join(", ") }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// How an execution stands.
    ExecutionStatus {
        /// Made by overlap policy `queue`; starts when the run before it has ended.
        Waiting = "waiting",
        /// Being prepared, published or worked on.
        Running = "running",
        /// Ended, no host failed (also when all are `no_data` or `not_in_pool`).
        Success = "success",
        /// Ended, some hosts failed and some succeeded.
        Partial = "partial",
        /// Ended, some hosts failed and none succeeded.
        Failed = "failed",
        /// Ended, some hosts were cancelled.
        Cancelled = "cancelled",
        /// A fire that did not run.
        Skipped = "skipped",
    }
}

words! {
    /// The outcome of one host.
    SyncStatus {
        /// No outcome yet.
        Pending = "pending",
        /// Written, or refused because a newer window stands there.
        Success = "success",
        /// Given up, with a reason.
        Failed = "failed",
        /// The search was complete and found nothing.
        NoData = "no_data",
        /// The host is not in `hosts_pool`, or deleted there.
        NotInPool = "not_in_pool",
        /// The execution was cancelled before this host's turn.
        Cancelled = "cancelled",
    }
}

words! {
    /// What made an execution.
    Trigger {
        /// A fire of the task's schedule.
        Schedule = "schedule",
        /// A person's host list, or a task executed by hand.
        Manual = "manual",
        /// A host file.
        File = "file",
        /// A full sync of a group.
        Full = "full",
        /// The failed hosts of an earlier execution.
        Retry = "retry",
    }
}

words! {
    /// What a fire does while the task's last run is going.
    OverlapPolicy {
        /// The fire is recorded as skipped.
        Skip = "skip",
        /// Both run.
        Allow = "allow",
        /// One run waits; while one waits, newer fires are skipped.
        Queue = "queue",
    }
}

words! {
    /// Why an execution is closed before its end.
    ClosingCause {
        /// A person cancelled it.
        Cancel = "cancel",
        /// It cannot be done, so that it fails once and not host by host.
        Refused = "refused",
        /// It was still going after its deadline.
        Deadline = "deadline",
    }
}

impl ClosingCause {
    /// What its pending hosts become.
    pub const fn outcome(self) -> SyncStatus {
        match self {
            Self::Cancel => SyncStatus::Cancelled,
            Self::Refused | Self::Deadline => SyncStatus::Failed,
        }
    }
}

words! {
    /// What kind of thing a running execution waits for, as far as a scheduler can see it.
    WaitKind {
        /// Its endpoint is closed for the fleet.
        EndpointClosed = "endpoint_closed",
        /// Its hosts have not been copied into its details.
        NotPrepared = "not_prepared",
        /// Its jobs have not been published.
        NotPublished = "not_published",
        /// The broker is away.
        Broker = "broker",
        /// Its jobs are in a queue that nobody consumes.
        NoConsumer = "no_consumer",
        /// Its jobs are in a queue behind others.
        Queue = "queue",
        /// Its jobs are with the workers.
        Workers = "workers",
        /// Its hosts wait for their next attempt.
        Clock = "clock",
        /// Somebody holds its row.
        Locked = "locked",
        /// What whoever works on it has told.
        Told = "told",
    }
}

words! {
    /// What of its source a worker doubts.
    DoubtKind {
        /// The credentials of an endpoint, for an index pattern.
        Credentials = "credentials",
        /// That an endpoint of this name is configured anywhere.
        Endpoint = "endpoint",
        /// The same of a mapping.
        Mapping = "mapping",
    }
}

words! {
    /// The two queues of jobs.
    JobQueue {
        /// Schedules, and manual work of more than [`MANUAL_QUEUE_MAX_HOSTS`] hosts.
        Bulk = "bulk",
        /// A person waits for these.
        Manual = "manual",
    }
}

/// The most hosts that an execution made by a person may have to go to the manual queue.
pub const MANUAL_QUEUE_MAX_HOSTS: usize = 5_000;

impl JobQueue {
    /// The queue of an execution that a person made over `hosts` hosts.
    pub const fn for_manual_work(hosts: usize) -> Self {
        if hosts <= MANUAL_QUEUE_MAX_HOSTS { Self::Manual } else { Self::Bulk }
    }
}

/// How many hosts reached each outcome; what a transaction adds to an execution's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hosts written.
    pub success: u32,
    /// Hosts given up.
    pub failed: u32,
    /// Hosts without documents.
    pub no_data: u32,
    /// Hosts outside the pool.
    pub not_in_pool: u32,
    /// Hosts cancelled.
    pub cancelled: u32,
}

impl Counts {
    /// Counts one host; `pending` is no outcome and counts nothing.
    pub fn add(&mut self, status: SyncStatus) {
        match status {
            SyncStatus::Pending => {}
            SyncStatus::Success => self.success += 1,
            SyncStatus::Failed => self.failed += 1,
            SyncStatus::NoData => self.no_data += 1,
            SyncStatus::NotInPool => self.not_in_pool += 1,
            SyncStatus::Cancelled => self.cancelled += 1,
        }
    }

    /// Hosts with an outcome.
    pub const fn total(&self) -> u32 {
        self.success + self.failed + self.no_data + self.not_in_pool + self.cancelled
    }
}
