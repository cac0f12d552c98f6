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

    /// The scope of a job's run; `None`: there is no such run, or it is not this job's.
    pub(crate) async fn get(&self, job: &Job) -> Result<Option<Arc<RunScope>>, sqlx::Error> {
        let id = job.execution_id;
        let fits = |scope: &RunScope| job.is_of_window(scope.scope.window.to);
        // A poisoned lock means a panic between two cache calls, which leaves the cache whole.
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone);
        if let Some(scope) = remembered.filter(|scope| fits(scope)) {
            return Ok(Some(scope));
        }
        let mut connection = self.pool.acquire().await?;
        let Some(scope) = executions::creation::run_scope(&mut connection, id).await? else {
            return Ok(None);
        };
        let scope = Arc::new(scope);
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).put(id, Arc::clone(&scope));
        Ok(fits(&scope).then_some(scope))
    }
}
