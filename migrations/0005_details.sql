-- The detail rows are the outbox and the retry clock of a run: one row a host, its attempts, and when the next one is due.

SET SESSION group_concat_max_len = 65535;

SET @missing = (
    SELECT GROUP_CONCAT(CONCAT('ADD COLUMN ', wanted.definition) ORDER BY wanted.position SEPARATOR ', ')
    FROM (
        SELECT 1 AS position, 'attempts' AS name, '`attempts` INT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''attempts spent''' AS definition
        UNION ALL SELECT 2, 'retry_at', '`retry_at` DATETIME(3) NULL COMMENT ''the clock: published again then'''
        UNION ALL SELECT 3, 'solo_since', '`solo_since` DATETIME(3) NULL COMMENT ''mark of a job that runs alone'''
        UNION ALL SELECT 4, 'finished_at', '`finished_at` DATETIME(3) NULL'
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

-- Repeats of a host within one old run: the oldest row keeps its place, the others move aside under their own id.
UPDATE es_sync_execution_detail AS detail
JOIN (
    SELECT other.id
    FROM es_sync_execution_detail AS other
    JOIN es_sync_execution_detail AS first
        ON first.execution_id = other.execution_id AND first.host_ip = other.host_ip AND first.id < other.id
    GROUP BY other.id
) AS repeated ON repeated.id = detail.id
SET detail.host_ip = CONCAT(LEFT(detail.host_ip, 28), ' #', detail.id);

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_detail' AND index_name = 'uk_execution_host'),
    'DO 0',
    'ALTER TABLE es_sync_execution_detail ADD UNIQUE KEY uk_execution_host (execution_id, host_ip)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_detail' AND index_name = 'idx_execution_retry'),
    'DO 0',
    'ALTER TABLE es_sync_execution_detail ADD KEY idx_execution_retry (execution_id, retry_at)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
