//! The program in use today, as the thing to compare with: for each host one search and three statements (pool look-up,
//! upsert of `server_resources`, insert of the detail), ten hosts at once, in one process.
//!
//! It is measured three times: as such a program is written ([`ComparedProgram::Program`]), which is what hostsync replaces, with every
//! advantage that does not change the shape ([`ComparedProgram::Best`]), which is what the shape itself costs, and in another shape,
//! by chunks of hosts ([`ComparedProgram::Chunked`]), which is what one could script instead of taking hostsync. [`ComparedProgram::Floor`] is no program that anybody has: it is the bound.

/// Inserts rows of `server_resources`, which follow.
macro_rules! insert_resources {
    () => {
        "INSERT INTO server_resources
             (pool_id, ip, mon_date, used_memory, used_disk, cpu_load, cpu_percent_max, cpu_percent_avg,
              cpu_percent_min, mem_percent_max, mem_percent_avg, mem_percent_min, disk_percent_max,
              disk_percent_avg, disk_percent_min, create_time, update_time)
         VALUES "
    };
}

/// Its end: a row that exists is written over.
macro_rules! or_write_over {
    () => {
        " ON DUPLICATE KEY UPDATE pool_id = VALUES(pool_id), used_memory = VALUES(used_memory),
             used_disk = VALUES(used_disk), cpu_load = VALUES(cpu_load),
             cpu_percent_max = VALUES(cpu_percent_max), cpu_percent_avg = VALUES(cpu_percent_avg),
             cpu_percent_min = VALUES(cpu_percent_min), mem_percent_max = VALUES(mem_percent_max),
             mem_percent_avg = VALUES(mem_percent_avg), mem_percent_min = VALUES(mem_percent_min),
             disk_percent_max = VALUES(disk_percent_max), disk_percent_avg = VALUES(disk_percent_avg),
             disk_percent_min = VALUES(disk_percent_min), update_time = VALUES(update_time)"
    };
}

/// Inserts details, which follow.
macro_rules! insert_details {
    () => {
        "INSERT INTO es_sync_execution_detail
             (execution_id, host_ip, host_name, sync_status, max_cpu, avg_cpu, max_memory, avg_memory, max_disk,
              avg_disk, data_point_count, created_at)
         VALUES "
    };
}

mod best;
mod chunked;
mod floor;
mod program;

use std::ops::AddAssign;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub(crate) use chunked::Chunked;
pub(crate) use floor::Floor;

/// The execution that its detail rows name.
const EXECUTION_ID: u64 = 1;

/// The first executions of sides that have one a run. They share a table, and Celery's counts the rows of its own.
const FIRST_OF_CHUNKED: u64 = 1_000;
const FIRST_OF_FLOOR: u64 = 1_000_000;

/// Who has the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ComparedProgram {
    /// A Go program of its own with gorm, database/sql and net/http, configured as they come (bench/today)
    Program,
    /// Rust within the benchmark, every connection kept, every statement prepared and committing by itself
    Best,
    /// Celery, 500 hosts a message, one search and bulk statements for them, four processes (bench/chunked)
    Chunked,
    /// The least that a job a host can cost: messages, searches, upserts, details, nothing else; within the benchmark
    Floor,
}

/// The sides whose processes or connections are kept from run to run.
#[derive(Default)]
pub(crate) struct KeptSides {
    pub(crate) chunked: Option<Chunked>,
    pub(crate) floor: Option<Floor>,
}

impl ComparedProgram {
    /// As it is shown in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Program => "today, a Go program",
            Self::Best => "today's shape at its best",
            Self::Chunked => "Celery by chunks",
            Self::Floor => "floor",
        }
    }
}

/// What it works with.
#[derive(Debug)]
pub struct Setting {
    /// `mysql://…/db`, a database of its own.
    pub database_url: String,
    /// Search engine.
    pub elasticsearch_url: String,
    /// Index.
    pub index: String,
    /// `amqp://…`, for those that have a queue.
    pub rabbitmq_url: String,
    /// The Go program, built.
    pub program: PathBuf,
    /// The folder of an interpreter that has Celery.
    pub python: PathBuf,
}

impl Setting {
    fn search_url(&self) -> String {
        format!("{}/{}/_search", self.elasticsearch_url, self.index)
    }

    /// Syncs `hosts` and returns when the last one is written. `done` counts hosts as they are finished.
    ///
    /// # Errors
    ///
    /// The first of any host: a benchmark must not compare with failures.
    pub(crate) async fn run(
        &self,
        shape: ComparedProgram,
        kept: &KeptSides,
        window: (DateTime<Utc>, DateTime<Utc>),
        hosts: Arc<Vec<String>>,
        done: Arc<AtomicUsize>,
    ) -> anyhow::Result<RunTiming> {
        let in_watched = |outcome| RunTiming { outcome, cpu_seconds: None };
        match shape {
            ComparedProgram::Program => program::run(self, window, &hosts, &done).await,
            ComparedProgram::Best => Ok(in_watched(best::run(self, window, &hosts, &done).await?)),
            ComparedProgram::Chunked => {
                let chunked = kept.chunked.as_ref().context("Celery has not been started")?;
                Ok(in_watched(chunked.run(window, &hosts, &done).await?))
            }
            ComparedProgram::Floor => {
                let floor = kept.floor.as_ref().context("the floor has not been started")?;
                Ok(in_watched(floor.run(window, &hosts, &done).await?))
            }
        }
    }
}

/// How a run went.
#[derive(Debug, Clone, Copy)]
pub struct RunTiming {
    /// What became of the hosts.
    pub outcome: SyncCounts,
    /// Processor time of its process; `None`: those are watched anyway.
    pub cpu_seconds: Option<f64>,
}

/// What became of the hosts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct SyncCounts {
    /// Hosts written.
    pub success: usize,
    /// Hosts without documents.
    pub no_data: usize,
    /// Hosts outside the pool.
    pub not_in_pool: usize,
}

impl AddAssign for SyncCounts {
    fn add_assign(&mut self, more: Self) {
        self.success += more.success;
        self.no_data += more.no_data;
        self.not_in_pool += more.not_in_pool;
    }
}
