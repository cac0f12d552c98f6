//! `es_sync_pattern_state`: which index patterns are set aside for the fleet, when one process may probe them, and which
//! indices a pattern matched in the last run.

use chrono::{DateTime, Utc};
use sqlx::MySqlConnection;

use super::endpoint_state::{FIRST_PROBE, PROBE_PAUSE, SOON};

/// Patterns forgotten in one call; the others in the next.
const PRUNED_AT_ONCE: u32 = 10_000;

/// An index pattern whose searches fail while its endpoint answers.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SetAsidePattern {
    /// Name of the endpoint.
    pub endpoint: String,
    /// The pattern.
    pub index_pattern: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What was answered.
    pub reason: String,
    /// Whether a probe is due.
    pub probe_due: bool,
}

/// All patterns that are set aside.
pub async fn set_aside(connection: &mut MySqlConnection) -> Result<Vec<SetAsidePattern>, sqlx::Error> {
    sqlx::query_as(
        "SELECT endpoint, index_pattern, set_aside_since AS since, COALESCE(reason, '') AS reason,
                COALESCE(probe_after <= UTC_TIMESTAMP(3), TRUE) AS probe_due
         FROM es_sync_pattern_state WHERE set_aside_since IS NOT NULL",
    )
    .fetch_all(connection)
    .await
}

/// Sets a pattern aside for the fleet, with the search that failed; one that is set aside already keeps its time and its
/// next probe. One that fails again soon after it was searched again is left alone for longer.
pub async fn put_aside(
    connection: &mut MySqlConnection,
    endpoint: &str,
    index_pattern: &str,
    reason: &str,
    probe: &str,
) -> Result<(), sqlx::Error> {
    // Left to right: `probe_after` must see whether the pattern was searched before.
    sqlx::query(
        "INSERT INTO es_sync_pattern_state (endpoint, index_pattern, set_aside_since, reason, probe, probe_after)
         VALUES (?, ?, UTC_TIMESTAMP(3), ?, ?, UTC_TIMESTAMP(3) + INTERVAL ? SECOND)
         ON DUPLICATE KEY UPDATE
             probe_after = IF(set_aside_since IS NOT NULL, probe_after,
                              IF(opened_at > UTC_TIMESTAMP(3) - INTERVAL ? SECOND,
                                 UTC_TIMESTAMP(3) + INTERVAL ? SECOND, VALUES(probe_after))),
             reason = VALUES(reason),
             probe = VALUES(probe),
             set_aside_since = COALESCE(set_aside_since, VALUES(set_aside_since))",
    )
    .bind(endpoint)
    .bind(index_pattern)
    .bind(reason)
    .bind(probe)
    .bind(FIRST_PROBE.num_seconds())
    .bind(SOON.num_seconds())
    .bind(PROBE_PAUSE.num_seconds())
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes the right to probe a pattern that is set aside; the next probe is due [`PROBE_PAUSE`] later. One caller of all gets
/// the search to probe by.
pub async fn claim_probe(
    connection: &mut MySqlConnection,
    endpoint: &str,
    index_pattern: &str,
) -> Result<Option<String>, sqlx::Error> {
    let result = sqlx::query(
        "UPDATE es_sync_pattern_state SET probe_after = UTC_TIMESTAMP(3) + INTERVAL ? SECOND
         WHERE endpoint = ? AND index_pattern = ? AND set_aside_since IS NOT NULL
           AND (probe_after IS NULL OR probe_after <= UTC_TIMESTAMP(3))",
    )
    .bind(PROBE_PAUSE.num_seconds())
    .bind(endpoint)
    .bind(index_pattern)
    .execute(&mut *connection)
    .await?;
    if result.rows_affected() != 1 {
        return Ok(None);
    }
    let probe: Option<Option<String>> =
        sqlx::query_scalar("SELECT probe FROM es_sync_pattern_state WHERE endpoint = ? AND index_pattern = ?")
            .bind(endpoint)
            .bind(index_pattern)
            .fetch_optional(connection)
            .await?;
    Ok(probe.map(Option::unwrap_or_default))
}

/// Makes the probes of an endpoint's patterns due: it answers again.
pub async fn probe_at_once(connection: &mut MySqlConnection, endpoint: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE es_sync_pattern_state SET probe_after = UTC_TIMESTAMP(3)
         WHERE endpoint = ? AND set_aside_since IS NOT NULL",
    )
    .bind(endpoint)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets a pattern be searched again; `false`: it was already.
pub async fn take_back(
    connection: &mut MySqlConnection,
    endpoint: &str,
    index_pattern: &str,
) -> Result<bool, sqlx::Error> {
    let result = sqlx::query(
        "UPDATE es_sync_pattern_state
         SET set_aside_since = NULL, reason = NULL, probe = NULL, probe_after = NULL, opened_at = UTC_TIMESTAMP(3)
         WHERE endpoint = ? AND index_pattern = ? AND set_aside_since IS NOT NULL",
    )
    .bind(endpoint)
    .bind(index_pattern)
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Forgets patterns that are searched and that neither a task nor a run that is kept names. Reads every run, which a deletion
/// would lock each for it: so what nobody names is looked for first.
pub async fn prune(connection: &mut MySqlConnection) -> Result<u64, sqlx::Error> {
    let unnamed: Vec<(String, String)> = sqlx::query_as(
        "SELECT state.endpoint, state.index_pattern FROM es_sync_pattern_state AS state
         LEFT JOIN (SELECT CONVERT(es_endpoint USING utf8mb4) COLLATE utf8mb4_bin AS endpoint,
                           CONVERT(es_index_pattern USING utf8mb4) COLLATE utf8mb4_bin AS index_pattern
                    FROM es_sync_execution_log
                    UNION SELECT CONVERT(es_endpoint USING utf8mb4) COLLATE utf8mb4_bin,
                                 CONVERT(es_index_pattern USING utf8mb4) COLLATE utf8mb4_bin
                    FROM es_sync_task_config WHERE deleted_at IS NULL) AS named
             ON named.endpoint = state.endpoint AND named.index_pattern = state.index_pattern
         WHERE state.set_aside_since IS NULL AND named.endpoint IS NULL LIMIT ?",
    )
    .bind(PRUNED_AT_ONCE)
    .fetch_all(&mut *connection)
    .await?;
    let mut pruned = 0;
    for (endpoint, index_pattern) in unnamed {
        // Set aside or named meanwhile: what is known of it is found out anew.
        let result = sqlx::query(
            "DELETE FROM es_sync_pattern_state WHERE endpoint = ? AND index_pattern = ? AND set_aside_since IS NULL",
        )
        .bind(endpoint)
        .bind(index_pattern)
        .execute(&mut *connection)
        .await?;
        pruned += result.rows_affected();
    }
    Ok(pruned)
}

/// The indices that the pattern matched in the last run, as [`remember_indices`] stored them.
pub async fn indices(
    connection: &mut MySqlConnection,
    endpoint: &str,
    index_pattern: &str,
) -> Result<Option<String>, sqlx::Error> {
    let row: Option<Option<String>> =
        sqlx::query_scalar("SELECT indices FROM es_sync_pattern_state WHERE endpoint = ? AND index_pattern = ?")
            .bind(endpoint)
            .bind(index_pattern)
            .fetch_optional(connection)
            .await?;
    Ok(row.flatten())
}

/// Stores which indices a pattern matches.
pub async fn remember_indices(
    connection: &mut MySqlConnection,
    endpoint: &str,
    index_pattern: &str,
    indices: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO es_sync_pattern_state (endpoint, index_pattern, indices) VALUES (?, ?, ?)
         ON DUPLICATE KEY UPDATE indices = VALUES(indices)",
    )
    .bind(endpoint)
    .bind(index_pattern)
    .bind(indices)
    .execute(connection)
    .await?;
    Ok(())
}
