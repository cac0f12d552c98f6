-- Messages that could not be worked on, moved here from the broker by the schedulers, so that people look at them page by
-- page, put them back and drop them without taking them in hand. The 10,000 newest are kept, for scheduler.retention.
-- letter_key tells a letter from every other, so that one that is taken twice stands here once; letters of others have none.

CREATE TABLE IF NOT EXISTS es_sync_dead_letter (
    id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    letter_key    BINARY(32)      NULL COMMENT 'SHA-256 of what stays the same however often it is delivered',
    body          BLOB            NOT NULL COMMENT 'the first 16 KiB of the message',
    body_bytes    BIGINT UNSIGNED NOT NULL COMMENT 'length of the whole message',
    is_job        TINYINT(1)      NOT NULL COMMENT 'whether it can be put back',
    reason        VARCHAR(1000)   NOT NULL,
    execution_id  BIGINT UNSIGNED NULL,
    detail_id     BIGINT UNSIGNED NULL,
    host_ip       VARCHAR(255)    NULL,
    queue         VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'bulk or manual: where it died',
    trace_context TEXT            NULL COMMENT 'headers that go on with the job, JSON',
    dead_at       DATETIME(3)     NOT NULL COMMENT 'UTC, by the clock of who set it aside; when it was moved if nobody said',
    moved_at      DATETIME(3)     NOT NULL COMMENT 'UTC',
    PRIMARY KEY (id),
    UNIQUE KEY uk_dead_letter_key (letter_key),
    KEY idx_dead_letter_moved (moved_at),
    KEY idx_dead_letter_execution (execution_id, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
