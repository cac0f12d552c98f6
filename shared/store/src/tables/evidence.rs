//! `es_sync_evidence`: why hosts got their values. One compressed row holds the hosts that one transaction wrote of one search and
//! one execution.
//!
//! Appended within that transaction, read for one host, pruned with its execution.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use sqlx::MySqlConnection;

use super::searches::SearchId;
use super::text_statement::TextStatement;
use crate::explanation::Explanation;
use hostsync_model::causes::causes;
use hostsync_model::execution::{DetailId, ExecutionId};

/// Most bytes of a row after decompression: some 500 bytes a host, 2,000 hosts a search at most.
const MAX_BYTES: u64 = 16 << 20;

/// A host of a row.
pub type HostEvidence = (DetailId, Explanation);

/// Rows in one statement; as text each byte is two digits, and a row of few hosts has a few hundred bytes.
const ROWS_AS_TEXT: usize = 100;

/// Appends what explains hosts, by execution and search, each with at least one host.
pub async fn insert(
    connection: &mut MySqlConnection,
    hosts: &BTreeMap<(ExecutionId, SearchId), Vec<HostEvidence>>,
) -> Result<(), sqlx::Error> {
    let mut rows = Vec::with_capacity(hosts.len());
    for ((execution, search), hosts) in hosts {
        let first = hosts.iter().map(|(detail, _)| *detail).min();
        let packed = pack(hosts).map_err(|error| sqlx::Error::Encode(error.into()))?;
        rows.extend(first.map(|first| (*execution, *search, first, packed)));
    }
    // A row of a whole batch has tens of kilobytes: as they are, by a statement that is prepared once and kept.
    if let [(execution, search, first, packed)] = &rows[..] {
        sqlx::query("INSERT INTO es_sync_evidence (execution_id, search_id, first_detail, hosts) VALUES (?, ?, ?, ?)")
            .bind(execution.0)
            .bind(search.0)
            .bind(first.0)
            .bind(packed)
            .execute(connection)
            .await?;
        return Ok(());
    }
    // A batch of many runs has a short row for each.
    for chunk in rows.chunks(ROWS_AS_TEXT) {
        let mut statement =
            TextStatement::new("INSERT INTO es_sync_evidence (execution_id, search_id, first_detail, hosts) ");
        statement.rows(chunk, |row, (execution, search, first, packed)| {
            row.value(execution.0).value(search.0).value(first.0).value(&packed[..]);
        });
        statement.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The evidence of one host; `None`: there is none, or it is of no version that this one can read.
pub async fn of_host(
    connection: &mut MySqlConnection,
    execution: ExecutionId,
    search: SearchId,
    detail: DetailId,
) -> Result<Option<Explanation>, sqlx::Error> {
    // A search that was written by several transactions has a few rows, whose ids overlap.
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT hosts FROM es_sync_evidence WHERE execution_id = ? AND search_id = ? AND first_detail <= ?",
    )
    .bind(execution.0)
    .bind(search.0)
    .bind(detail.0)
    .fetch_all(connection)
    .await?;
    for row in rows {
        match unpack(&row) {
            Ok(hosts) => {
                if let Some((_, explanation)) = hosts.into_iter().find(|(id, _)| *id == detail) {
                    return Ok(Some(explanation));
                }
            }
            Err(error) => tracing::warn!(
                execution_id = %execution,
                error = %causes(&error),
                "the evidence of a search of execution {execution} cannot be read: {}", causes(&error)
            ),
        }
    }
    Ok(None)
}

/// The fastest level: a higher one saves little of what are mostly digits.
fn pack(hosts: &[HostEvidence]) -> serde_json::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let plain: Vec<(u64, &Explanation)> = hosts.iter().map(|(id, explanation)| (id.0, explanation)).collect();
    encoder.write_all(&serde_json::to_vec(&plain)?).and_then(|()| encoder.finish()).map_err(serde_json::Error::io)
}

fn unpack(row: &[u8]) -> serde_json::Result<Vec<HostEvidence>> {
    let mut plain = Vec::new();
    ZlibDecoder::new(row).take(MAX_BYTES).read_to_end(&mut plain).map_err(serde_json::Error::io)?;
    let hosts: Vec<(u64, Explanation)> = serde_json::from_slice(&plain)?;
    Ok(hosts.into_iter().map(|(id, explanation)| (DetailId(id), explanation)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explanation::RawValues;

    fn explanation(documents: u64) -> Explanation {
        let raw = RawValues { documents, cpu: Some([Some(50.5), Some(1.0 / 3.0), None]), ..RawValues::default() };
        Explanation { raw, converted: Some([Some(0.1 + 0.2); 12]), previous: None, written: true }
    }

    #[test]
    fn what_is_packed_comes_back_to_the_last_digit() {
        let hosts: Vec<HostEvidence> = (1..=500).map(|n| (DetailId(n * 7), explanation(n))).collect();
        let row = pack(&hosts).expect("packed");
        assert_eq!(unpack(&row).expect("unpacked"), hosts);
        assert!(row.len() < 500 * 60, "{} bytes", row.len());
    }

    #[test]
    fn what_is_no_evidence_or_has_no_end_is_an_error() {
        assert!(unpack(b"no zlib").is_err());
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&vec![b'['; 20 << 20]).expect("written");
        assert!(unpack(&encoder.finish().expect("ended")).is_err());
    }
}
