//! The program in use today, as the thing to compare with: for each host one search and three statements (pool look-up,
//! upsert of `server_resources`, insert of the detail), ten hosts at once, in one process.
//!
//! It is measured twice: as such a program is written ([`ComparedProgram::Program`]), which is what hostsync replaces, and with every
//! advantage that does not change the shape ([`ComparedProgram::Best`]), which is what the shape itself costs.

mod best;
mod program;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The execution that its detail rows name; there is no other in its database.
const EXECUTION_ID: u64 = 1;

/// Who has the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ComparedProgram {
    /// A Go program of its own with gorm, database/sql and net/http, configured as they come (bench/today)
    Program,
    /// Rust within the benchmark, every connection kept, every statement prepared and committing by itself
    Best,
}

impl ComparedProgram {
    /// As it is shown in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Program => "today, a Go program",
            Self::Best => "today's shape at its best",
        }
    }
}

/// What it works with.
#[derive(Debug, Clone)]
pub struct Setting {
    /// `mysql://…/db`, a database of its own.
    pub database_url: String,
    /// Search engine.
    pub elasticsearch_url: String,
    /// Index.
    pub index: String,
    /// The Go program, built.
    pub program: PathBuf,
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
    pub async fn run(
        &self,
        shape: ComparedProgram,
        window: (DateTime<Utc>, DateTime<Utc>),
        hosts: Arc<Vec<String>>,
        done: Arc<AtomicUsize>,
    ) -> anyhow::Result<RunTiming> {
        match shape {
            ComparedProgram::Program => program::run(self, window, &hosts, &done).await,
            ComparedProgram::Best => {
                Ok(RunTiming { outcome: best::run(self, window, &hosts, &done).await?, cpu_seconds: None })
            }
        }
    }
}

/// How a run went.
#[derive(Debug, Clone, Copy)]
pub struct RunTiming {
    /// What became of the hosts.
    pub outcome: SyncCounts,
    /// Processor time of its process; `None`: it was this one.
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
