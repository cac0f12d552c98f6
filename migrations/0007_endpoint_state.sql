-- One row an endpoint that has ever been down: the fleet's common knowledge of a closed source (P5).

CREATE TABLE IF NOT EXISTS es_sync_endpoint_state (
    endpoint     VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    closed_since DATETIME(3)  NULL COMMENT 'NULL = open',
    reason       TEXT         NULL,
    probe_after  DATETIME(3)  NULL COMMENT 'one worker probes then',
    opened_at    DATETIME(3)  NULL,
    PRIMARY KEY (endpoint)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
