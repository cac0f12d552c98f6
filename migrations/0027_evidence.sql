-- What explains the hosts of a search stands in one compressed row a transaction, not on each detail: a detail that grew by it
-- to seven times its size split its page again and again. Details of before keep their `explanation`; it is read where it stands.

CREATE TABLE IF NOT EXISTS es_sync_evidence (
    execution_id BIGINT UNSIGNED NOT NULL,
    search_id    BIGINT UNSIGNED NOT NULL,
    first_detail BIGINT UNSIGNED NOT NULL COMMENT 'lowest detail id; tells the transactions of a search apart',
    hosts        MEDIUMBLOB      NOT NULL COMMENT 'zlib of JSON: [detail id, raw, converted and previous values] of each host',
    PRIMARY KEY (execution_id, search_id, first_detail)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
