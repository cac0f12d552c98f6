-- Explain one host: one row a search, one row a failed attempt, and on each detail which search it came from and what was
-- read, made of it and replaced. Columns at the end of a table are added without copying it (MySQL 8.0.12, MariaDB 10.3).

SET SESSION group_concat_max_len = 65535;

CREATE TABLE IF NOT EXISTS es_sync_search (
    execution_id    BIGINT UNSIGNED NOT NULL,
    search_id       BIGINT UNSIGNED NOT NULL COMMENT 'random, made by the worker',
    searched_at     DATETIME(3)     NOT NULL,
    worker          VARCHAR(100)    NOT NULL,
    es_endpoint     VARCHAR(500)    NOT NULL,
    index_pattern   VARCHAR(255)    NOT NULL,
    body            TEXT            NULL COMMENT 'as sent, with one placeholder for the hosts',
    hosts_asked     INT UNSIGNED    NOT NULL,
    hosts_found     INT UNSIGNED    NULL COMMENT 'NULL = no whole answer',
    documents       BIGINT UNSIGNED NULL COMMENT 'of the hosts found',
    took_ms         BIGINT UNSIGNED NULL COMMENT 'by the engine''s own account',
    elapsed_ms      BIGINT UNSIGNED NOT NULL COMMENT 'as the worker saw it',
    shards          INT UNSIGNED    NULL,
    error_message   TEXT            NULL COMMENT 'NULL = the answer was whole',
    PRIMARY KEY (execution_id, search_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_attempt (
    detail_id     BIGINT UNSIGNED NOT NULL,
    attempt       INT UNSIGNED    NOT NULL COMMENT 'from 1',
    execution_id  BIGINT UNSIGNED NOT NULL,
    search_id     BIGINT UNSIGNED NULL COMMENT 'NULL = none was made',
    failed_at     DATETIME(3)     NOT NULL,
    worker        VARCHAR(100)    NOT NULL,
    error_message TEXT            NOT NULL,
    PRIMARY KEY (execution_id, detail_id, attempt)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

SET @missing = (
    SELECT GROUP_CONCAT(CONCAT('ADD COLUMN ', wanted.definition) ORDER BY wanted.position SEPARATOR ', ')
    FROM (
        SELECT 1 AS position, 'search_id' AS name, '`search_id` BIGINT UNSIGNED NULL COMMENT ''the search of its outcome''' AS definition
        UNION ALL SELECT 2, 'worker', '`worker` VARCHAR(100) NULL COMMENT ''which worker wrote its outcome'''
        UNION ALL SELECT 3, 'explanation', '`explanation` TEXT NULL COMMENT ''JSON: raw, converted and previous values'''
    ) AS wanted
    LEFT JOIN information_schema.columns AS present
        ON present.table_schema = DATABASE()
        AND present.table_name = 'es_sync_execution_detail'
        AND CONVERT(present.column_name USING utf8mb4) COLLATE utf8mb4_general_ci
            = CONVERT(wanted.name USING utf8mb4) COLLATE utf8mb4_general_ci
    WHERE present.column_name IS NULL
);
SET @ddl = IF(@missing IS NULL, 'DO 0', CONCAT('ALTER TABLE es_sync_execution_detail ', @missing));
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
