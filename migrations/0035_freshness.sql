-- How fresh each host is. Only a host that did not succeed has a row, so that a healthy one costs nothing: without a row it is
-- as fresh as the last run of the task that brought something, whose window end stands in es_sync_freshness.

CREATE TABLE IF NOT EXISTS es_sync_host_state (
    host_ip           VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'canonical',
    task_id           BIGINT UNSIGNED NOT NULL,
    pool_id           BIGINT UNSIGNED NOT NULL COMMENT 'hosts_pool.id',
    last_status       VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    last_error        VARCHAR(500)    NULL COMMENT 'cut',
    failing_since     DATETIME(3)     NOT NULL COMMENT 'when the first of the runs in a row gave it up',
    failures_in_a_row INT UNSIGNED    NOT NULL,
    last_execution_id BIGINT UNSIGNED NOT NULL,
    window_to         DATETIME(3)     NOT NULL COMMENT 'window end of that run',
    fresh_since       DATETIME(3)     NULL COMMENT 'window end that it is fresh by; NULL = never',
    PRIMARY KEY (host_ip, task_id),
    KEY idx_host_state_pool (pool_id),
    KEY idx_host_state_task (task_id, pool_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_host_mute (
    host_ip     VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'canonical',
    pool_id     BIGINT UNSIGNED NOT NULL COMMENT 'hosts_pool.id',
    muted_until DATETIME(3)     NOT NULL,
    note        VARCHAR(500)    NOT NULL,
    who         VARCHAR(128)    NOT NULL COMMENT 'name of the token',
    muted_at    DATETIME(3)     NOT NULL,
    PRIMARY KEY (host_ip),
    KEY idx_host_mute_pool (pool_id),
    KEY idx_host_mute_until (muted_until)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_freshness (
    task_id     BIGINT UNSIGNED NOT NULL COMMENT '0 = the best task of each host',
    window_to   DATETIME(3)     NULL COMMENT 'latest window end of an ended run over the pool that brought something',
    pool_cursor BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'last hosts_pool.id in that run',
    as_of       DATETIME(3)     NULL COMMENT 'when the hosts were counted',
    sweep_until DATETIME(3)     NULL COMMENT 'of task 0: one scheduler counts until then',
    fresh_hosts INT UNSIGNED    NOT NULL DEFAULT 0,
    late_hosts  INT UNSIGNED    NOT NULL DEFAULT 0,
    stale_hosts INT UNSIGNED    NOT NULL DEFAULT 0,
    never_hosts INT UNSIGNED    NOT NULL DEFAULT 0,
    PRIMARY KEY (task_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_freshness_day (
    task_id     BIGINT UNSIGNED NOT NULL COMMENT '0 = the best task of each host',
    day         DATE            NOT NULL COMMENT 'UTC',
    fresh_hosts INT UNSIGNED    NOT NULL COMMENT 'as counted last on that day',
    late_hosts  INT UNSIGNED    NOT NULL,
    stale_hosts INT UNSIGNED    NOT NULL,
    never_hosts INT UNSIGNED    NOT NULL,
    PRIMARY KEY (task_id, day),
    KEY idx_freshness_day (day)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_task_config' AND column_name = 'freshness_target'),
    'DO 0',
    'ALTER TABLE es_sync_task_config ADD COLUMN freshness_target VARCHAR(20) NULL COMMENT ''NULL = twice the longest gap of its fires'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- What ran before is where freshness begins; a row that is there knows better.
INSERT IGNORE INTO es_sync_freshness (task_id, window_to, pool_cursor)
SELECT log.task_id, log.window_to, log.prepare_cursor
FROM es_sync_execution_log AS log
JOIN (
    SELECT MAX(id) AS id FROM es_sync_execution_log
    WHERE execution_status IN ('success', 'partial') AND task_id > 0 AND retry_of IS NULL AND window_to IS NOT NULL
      AND success_count > 0 AND cancelled_count = 0
    GROUP BY task_id
) AS latest ON latest.id = log.id;
