//! What each run reads, remembered: one look-up a run instead of one a job.
//!
//! Nothing that is remembered here changes while a run is going. But a database that was restored gives ids out again: what a
//! job does not fit is looked up anew.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use hostsync_model::execution::ExecutionId;
use hostsync_queue::Job;
use hostsync_store::tables::executions::{self, creation::RunScope};
use lru::LruCache;
use sqlx::MySqlPool;

/// Runs remembered; beyond it the one not asked for longest is looked up again.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// Looks up runs.
pub(crate) struct Scopes {
    pool: MySqlPool,
    remembered: Mutex<LruCache<ExecutionId, Arc<RunScope>>>,
}

impl Scopes {
    pub(crate) fn new(pool: MySqlPool) -> Self {
        Self { pool, remembered: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// The scope of a job's run, if it was looked up before.
    pub(crate) fn remembered(&self, job: &Job) -> Option<Arc<RunScope>> {
        // A poisoned lock means a panic between two cache calls, which leaves the cache whole.
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(&job.execution_id).filter(|scope| job.is_of_window(scope.scope.window.to)).map(Arc::clone)
    }

    /// The scope of a job's run, looked up; `None`: there is no such run, or it is not this job's.
    pub(crate) async fn look_up(&self, job: &Job) -> Result<Option<Arc<RunScope>>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let Some(scope) = executions::creation::run_scope(&mut connection, job.execution_id).await? else {
            return Ok(None);
        };
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.put(job.execution_id, Arc::new(scope));
        drop(remembered);
        Ok(self.remembered(job))
    }
}
