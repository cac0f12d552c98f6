-- Statistics over many executions: each is rolled up once, after its end, into sums by task and hour (or day), so that no
-- query reads the details of many. Task 0 holds the sums over all tasks and over runs without one.

CREATE TABLE IF NOT EXISTS es_sync_stats_hour (
    task_id           BIGINT UNSIGNED NOT NULL COMMENT '0 = all',
    hour              DATETIME        NOT NULL COMMENT 'UTC; in which the runs began',
    runs_success      INT UNSIGNED    NOT NULL DEFAULT 0,
    runs_partial      INT UNSIGNED    NOT NULL DEFAULT 0,
    runs_failed       INT UNSIGNED    NOT NULL DEFAULT 0,
    runs_cancelled    INT UNSIGNED    NOT NULL DEFAULT 0,
    runs_skipped      INT UNSIGNED    NOT NULL DEFAULT 0,
    hosts_success     BIGINT UNSIGNED NOT NULL DEFAULT 0,
    hosts_failed      BIGINT UNSIGNED NOT NULL DEFAULT 0,
    hosts_no_data     BIGINT UNSIGNED NOT NULL DEFAULT 0,
    hosts_not_in_pool BIGINT UNSIGNED NOT NULL DEFAULT 0,
    hosts_cancelled   BIGINT UNSIGNED NOT NULL DEFAULT 0,
    max_duration_ms   BIGINT UNSIGNED NULL,
    PRIMARY KEY (task_id, hour),
    KEY idx_stats_hour (hour)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_stats_duration (
    task_id BIGINT UNSIGNED   NOT NULL COMMENT '0 = all',
    hour    DATETIME          NOT NULL,
    step    SMALLINT UNSIGNED NOT NULL COMMENT 'of 1.05 on a logarithmic scale of ms',
    runs    INT UNSIGNED      NOT NULL,
    PRIMARY KEY (task_id, hour, step),
    KEY idx_stats_duration_hour (hour)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_stats_failed_host (
    task_id  BIGINT UNSIGNED NOT NULL COMMENT '0 = all',
    day      DATE            NOT NULL COMMENT 'UTC',
    host_ip  VARCHAR(50)     NOT NULL,
    failures INT UNSIGNED    NOT NULL COMMENT 'runs in which it failed',
    PRIMARY KEY (task_id, day, host_ip),
    KEY idx_stats_failed_host_day (day)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_stats_error (
    task_id       BIGINT UNSIGNED NOT NULL COMMENT '0 = all',
    day           DATE            NOT NULL COMMENT 'UTC',
    digest        BINARY(16)      NOT NULL COMMENT 'MD5 of the text without its numbers',
    error_message VARCHAR(500)    NOT NULL COMMENT 'one of those texts',
    hosts         BIGINT UNSIGNED NOT NULL,
    last_seen     DATETIME(3)     NOT NULL COMMENT 'beginning of the latest run that had it',
    PRIMARY KEY (task_id, day, digest),
    KEY idx_stats_error_day (day)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND column_name = 'rolled_up_at'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD COLUMN rolled_up_at DATETIME(3) NULL COMMENT ''when it went into the statistics'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND index_name = 'idx_rolled_up'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD KEY idx_rolled_up (rolled_up_at)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
