//! What each run reads, remembered: one look-up a run instead of one a job.
//!
//! Nothing that is remembered here changes while a run is going.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use hostsync_shared::execution::ExecutionId;
use hostsync_shared::tables::executions::{self, RunScope};
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

    /// The scope of a run; `None`: there is no such run.
    pub(crate) async fn get(&self, id: ExecutionId) -> Result<Option<Arc<RunScope>>, sqlx::Error> {
        // A poisoned lock means a panic between two cache calls, which leaves the cache whole.
        if let Some(scope) = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Some(Arc::clone(scope)));
        }
        let mut connection = self.pool.acquire().await?;
        let Some(scope) = executions::run_scope(&mut connection, id).await? else {
            return Ok(None);
        };
        let scope = Arc::new(scope);
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).put(id, Arc::clone(&scope));
        Ok(Some(scope))
    }
}
