-- When a scheduler was at work: a fire that was late while one was is no missed fire. One row a scheduler process, and a new
-- one after each break.

CREATE TABLE IF NOT EXISTS es_sync_scheduler_shift (
    id       BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    began_at DATETIME(3)     NOT NULL,
    seen_at  DATETIME(3)     NOT NULL COMMENT 'last sign of life',
    is_over  TINYINT(1)      NOT NULL DEFAULT 0 COMMENT '1 = it has stopped in order',
    PRIMARY KEY (id),
    KEY idx_seen (seen_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
