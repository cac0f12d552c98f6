//! What the fleet leaves alone for now, over both tables that say so: whoever searches or probes asks again and again.

use chrono::{DateTime, Utc};
use sqlx::MySqlConnection;

use super::endpoint_state::ClosedEndpoint;
use super::pattern_state::SetAsidePattern;

#[derive(sqlx::FromRow)]
struct LeftAloneRow {
    endpoint: String,
    /// `None`: the endpoint itself is closed.
    index_pattern: Option<String>,
    since: DateTime<Utc>,
    reason: String,
    probe_due: bool,
}

/// All endpoints that are closed and all patterns that are set aside, by one statement.
pub async fn left_alone(
    connection: &mut MySqlConnection,
) -> Result<(Vec<ClosedEndpoint>, Vec<SetAsidePattern>), sqlx::Error> {
    let rows: Vec<LeftAloneRow> = sqlx::query_as(
        "SELECT endpoint, index_pattern, set_aside_since AS since, COALESCE(reason, '') AS reason,
                COALESCE(probe_after <= UTC_TIMESTAMP(3), TRUE) AS probe_due
         FROM es_sync_pattern_state WHERE set_aside_since IS NOT NULL
         UNION ALL
         SELECT endpoint, NULL, closed_since, COALESCE(reason, ''), COALESCE(probe_after <= UTC_TIMESTAMP(3), TRUE)
         FROM es_sync_endpoint_state WHERE closed_since IS NOT NULL",
    )
    .fetch_all(connection)
    .await?;
    let (mut closed, mut aside) = (Vec::new(), Vec::new());
    for LeftAloneRow { endpoint, index_pattern, since, reason, probe_due } in rows {
        match index_pattern {
            Some(index_pattern) => aside.push(SetAsidePattern { endpoint, index_pattern, since, reason, probe_due }),
            None => closed.push(ClosedEndpoint { endpoint, since, reason, probe_due }),
        }
    }
    Ok((closed, aside))
}
