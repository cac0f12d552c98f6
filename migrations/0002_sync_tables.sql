-- The three tables of a sync, in the shape in which other programs read them.
-- An installation of the program that hostsync replaces has them already; what hostsync adds comes in 0003 to 0005.

CREATE TABLE IF NOT EXISTS es_sync_task_config (
    id               BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    task_name        VARCHAR(255)    NOT NULL,
    description      TEXT            NULL,
    es_endpoint      VARCHAR(500)    NULL,
    es_index_pattern VARCHAR(255)    NULL,
    cron_expression  VARCHAR(100)    NOT NULL,
    query_time_range VARCHAR(50)     NOT NULL DEFAULT '30d',
    is_enabled       TINYINT(1)      NOT NULL DEFAULT 0,
    created_by       VARCHAR(100)    NULL,
    created_at       DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at       DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    deleted_at       DATETIME(3)     NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_execution_log (
    id                BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    task_id           BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT '0 = without a task',
    task_name         VARCHAR(255)    NULL,
    execution_time    DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    execution_status  VARCHAR(50)     NOT NULL,
    total_hosts       INT UNSIGNED    NOT NULL DEFAULT 0,
    success_count     INT UNSIGNED    NOT NULL DEFAULT 0,
    failed_count      INT UNSIGNED    NOT NULL DEFAULT 0,
    not_in_pool_count INT UNSIGNED    NOT NULL DEFAULT 0,
    error_message     TEXT            NULL,
    duration_ms       BIGINT          NULL,
    query_time_range  VARCHAR(50)     NULL,
    created_at        DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY idx_task_id (task_id),
    KEY idx_execution_time (execution_time)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_execution_detail (
    id               BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    execution_id     BIGINT UNSIGNED NOT NULL,
    host_ip          VARCHAR(50)     NOT NULL,
    host_name        VARCHAR(255)    NULL,
    sync_status      VARCHAR(50)     NOT NULL,
    error_message    TEXT            NULL,
    max_cpu          DECIMAL(5, 2)   NULL COMMENT '%',
    avg_cpu          DECIMAL(5, 2)   NULL COMMENT '%',
    max_memory       DECIMAL(10, 2)  NULL COMMENT 'GB',
    avg_memory       DECIMAL(10, 2)  NULL COMMENT 'GB',
    max_disk         DECIMAL(10, 2)  NULL COMMENT 'GB',
    avg_disk         DECIMAL(10, 2)  NULL COMMENT 'GB',
    data_point_count INT             NULL,
    created_at       DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY idx_execution_id (execution_id),
    KEY idx_host_ip (host_ip)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
