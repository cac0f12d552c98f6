//! What is told on a run: what it waits for, its warnings, which fields its documents had.

use sqlx::MySqlConnection;

use hostsync_model::execution::ExecutionId;

/// Longest `waiting_for`, in characters; what is longer is cut.
pub(in crate::tables) const LONGEST_WAITING_FOR: usize = 500;

/// Says why running executions do not go on; progress clears it. Those that are not running, or closing, keep theirs.
pub async fn set_waiting_for(
    connection: &mut MySqlConnection,
    ids: impl IntoIterator<Item = ExecutionId>,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let reason: String = reason.chars().take(LONGEST_WAITING_FOR).collect();
    let mut ids: Vec<ExecutionId> = ids.into_iter().collect();
    ids.sort_unstable();
    for id in ids {
        sqlx::query!(
            "UPDATE es_sync_execution_log SET waiting_for = ?, waiting_kind = NULL
             WHERE id = ? AND execution_status = 'running' AND closing_status IS NULL",
            reason,
            id.0,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Most warnings of a run; further ones are dropped.
pub const MOST_WARNINGS: usize = 20;

/// Adds warnings to a run, each once. Locks its row: the last lock of a batch's transaction.
pub async fn add_warnings(
    connection: &mut MySqlConnection,
    id: ExecutionId,
    warnings: impl IntoIterator<Item = String>,
) -> Result<(), sqlx::Error> {
    let stored: Option<Option<String>> =
        sqlx::query_scalar!("SELECT warnings FROM es_sync_execution_log WHERE id = ? FOR UPDATE", id.0)
            .fetch_optional(&mut *connection)
            .await?;
    let Some(stored) = stored else { return Ok(()) };
    let mut all = warnings_of(stored.as_deref());
    let before = all.len();
    for warning in warnings {
        if all.len() < MOST_WARNINGS && !all.contains(&warning) {
            all.push(warning);
        }
    }
    if all.len() > before {
        let text = serde_json::Value::from(all).to_string();
        sqlx::query!("UPDATE es_sync_execution_log SET warnings = ? WHERE id = ?", text, id.0)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// The stored list of warnings; one that is no list of texts is shown as it stands.
pub fn warnings_of(stored: Option<&str>) -> Vec<String> {
    let Some(stored) = stored else { return Vec::new() };
    serde_json::from_str(stored).unwrap_or_else(|_| vec![stored.to_owned()])
}

/// Adds to the fields of the mapping that some document of a run had, as bits. Locks its row: the last lock of a batch's
/// transaction.
pub async fn add_fields_seen(connection: &mut MySqlConnection, id: ExecutionId, bits: u32) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE es_sync_execution_log SET fields_seen = COALESCE(fields_seen, 0) | ?
         WHERE id = ? AND (fields_seen IS NULL OR (fields_seen | ?) <> fields_seen)",
        bits,
        id.0,
        bits,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The fields that some document of a run had, as bits; 0: there was no document.
pub async fn fields_seen(connection: &mut MySqlConnection, id: ExecutionId) -> Result<u32, sqlx::Error> {
    let bits = sqlx::query_scalar!("SELECT fields_seen FROM es_sync_execution_log WHERE id = ?", id.0);
    Ok(bits.fetch_optional(connection).await?.flatten().unwrap_or_default())
}
