//! `es_sync_endpoint_state`: which search endpoints are closed for the fleet, and when one process may probe.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::MySqlConnection;

/// Longest pause between two probes of a closed endpoint.
pub const PROBE_PAUSE: TimeDelta = TimeDelta::seconds(15);

/// First probe after an endpoint was closed.
pub(super) const FIRST_PROBE: TimeDelta = TimeDelta::seconds(2);

/// An endpoint that was opened no longer ago than this closes again for a whole [`PROBE_PAUSE`]: it answers probes and no
/// searches, or it is overloaded.
pub(super) const SOON: TimeDelta = TimeDelta::minutes(2);

/// A closed endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedEndpoint {
    /// Its name.
    pub endpoint: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What it answered.
    pub reason: String,
    /// Whether a probe is due.
    pub probe_due: bool,
}

/// All endpoints that are closed.
pub async fn closed(connection: &mut MySqlConnection) -> Result<Vec<ClosedEndpoint>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT endpoint, closed_since AS "since!: DateTime<Utc>", reason,
                  COALESCE(probe_after <= UTC_TIMESTAMP(3), TRUE) AS "probe_due!: bool"
           FROM es_sync_endpoint_state WHERE closed_since IS NOT NULL"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ClosedEndpoint {
            endpoint: row.endpoint,
            since: row.since,
            reason: row.reason.unwrap_or_default(),
            probe_due: row.probe_due,
        })
        .collect())
}

/// Closes an endpoint for the fleet; one that is closed already keeps its time and its next probe. One that closes again
/// soon after it was opened is left alone for longer.
pub async fn close(connection: &mut MySqlConnection, endpoint: &str, reason: &str) -> Result<(), sqlx::Error> {
    // Left to right: `probe_after` must see whether the endpoint was open before.
    sqlx::query!(
        "INSERT INTO es_sync_endpoint_state (endpoint, closed_since, reason, probe_after)
         VALUES (?, UTC_TIMESTAMP(3), ?, UTC_TIMESTAMP(3) + INTERVAL ? SECOND)
         ON DUPLICATE KEY UPDATE
             probe_after = IF(closed_since IS NOT NULL, probe_after,
                              IF(opened_at > UTC_TIMESTAMP(3) - INTERVAL ? SECOND,
                                 UTC_TIMESTAMP(3) + INTERVAL ? SECOND, VALUES(probe_after))),
             reason = VALUES(reason),
             closed_since = COALESCE(closed_since, VALUES(closed_since))",
        endpoint,
        reason,
        FIRST_PROBE.num_seconds(),
        SOON.num_seconds(),
        PROBE_PAUSE.num_seconds(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes the right to probe a closed endpoint; the next probe is due [`PROBE_PAUSE`] later. One caller of all gets
/// `true`.
pub async fn claim_probe(connection: &mut MySqlConnection, endpoint: &str) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_endpoint_state SET probe_after = UTC_TIMESTAMP(3) + INTERVAL ? SECOND
         WHERE endpoint = ? AND closed_since IS NOT NULL
           AND (probe_after IS NULL OR probe_after <= UTC_TIMESTAMP(3))",
        PROBE_PAUSE.num_seconds(),
        endpoint,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Opens an endpoint whose probe was answered.
pub async fn open(connection: &mut MySqlConnection, endpoint: &str) -> Result<bool, sqlx::Error> {
    let result = sqlx::query!(
        "UPDATE es_sync_endpoint_state
         SET closed_since = NULL, reason = NULL, probe_after = NULL, opened_at = UTC_TIMESTAMP(3)
         WHERE endpoint = ? AND closed_since IS NOT NULL",
        endpoint,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}
