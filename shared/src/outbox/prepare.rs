//! Copies the pool's hosts into the detail rows of a run, chunk by chunk.

use super::{CarriedOn, Outbox, OutboxError};
use crate::tables::executions::{self, LeaseToken, Progress};
use crate::tables::{details, hosts_pool};

/// Hosts in one chunk, and so in one transaction.
const CHUNK_HOSTS: u32 = 5_000;

impl Outbox {
    /// Prepares the run over the whole pool from where its cursor stands. Each chunk moves the cursor in its own
    /// transaction, so that another process can go on at any point.
    pub(super) async fn prepare(&self, progress: &Progress, token: LeaseToken) -> Result<CarriedOn, OutboxError> {
        let id = progress.id;
        let mut cursor = progress.prepare_cursor;
        loop {
            if self.stop.is_cancelled() {
                return Ok(CarriedOn::Stopped);
            }
            let mut transaction = self.pool.begin().await?;
            let Some(end) = hosts_pool::chunk_end(&mut transaction, cursor, CHUNK_HOSTS).await? else {
                break;
            };
            details::insert_from_pool(&mut transaction, id, cursor, end).await?;
            if !executions::move_prepare_cursor(&mut transaction, id, token, cursor, end).await? {
                transaction.rollback().await?;
                return Ok(CarriedOn::Replaced);
            }
            transaction.commit().await?;
            cursor = end;
        }
        let mut transaction = self.pool.begin().await?;
        let (total, last_detail_id) = details::totals(&mut transaction, id).await?;
        let finished = executions::finish_preparing(&mut transaction, id, token, total, last_detail_id).await?;
        transaction.commit().await?;
        if !finished {
            return Ok(CarriedOn::Replaced);
        }
        tracing::info!(execution_id = %id, total_hosts = total, "execution {id} prepared over {total} hosts");
        Ok(CarriedOn::Done)
    }
}
