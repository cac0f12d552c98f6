-- One row an enqueue that was sent with an Idempotency-Key, for 24 hours: the same key and body get the first answer
-- again. The row is written in the enqueue's own transaction, so that of simultaneous requests one enqueues.

CREATE TABLE IF NOT EXISTS es_sync_idempotency_key (
    scope           VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin  NOT NULL COMMENT 'the path that the key was sent to',
    idempotency_key VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    fingerprint     CHAR(64) CHARACTER SET ascii COLLATE ascii_bin     NOT NULL COMMENT 'SHA-256 of the body, hexadecimal',
    answer          MEDIUMTEXT  NOT NULL COMMENT 'what was accepted, JSON',
    outcome         TEXT        NULL COMMENT 'how it stood when the first caller''s wait was over, JSON',
    created_at      DATETIME(3) NOT NULL,
    PRIMARY KEY (scope, idempotency_key),
    KEY idx_idempotency_created (created_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
