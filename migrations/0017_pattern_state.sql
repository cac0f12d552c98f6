-- What the fleet knows of an index pattern: that its searches fail while the endpoint answers, and what it matched last.

CREATE TABLE IF NOT EXISTS es_sync_pattern_state (
    endpoint        VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    index_pattern   VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    set_aside_since DATETIME(3)  NULL COMMENT 'NULL = it is searched',
    reason          TEXT         NULL,
    probe           MEDIUMTEXT   NULL COMMENT 'the search that failed, JSON',
    probe_after     DATETIME(3)  NULL COMMENT 'one process probes then',
    opened_at       DATETIME(3)  NULL,
    indices         MEDIUMTEXT   NULL COMMENT 'what the last run matched, JSON',
    PRIMARY KEY (endpoint, index_pattern)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
