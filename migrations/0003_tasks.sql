-- What hostsync needs of a task beside the old columns: its zone, how it treats overlap and missed fires, when it fires
-- next, and a name that two live tasks cannot share. The old unique key over (task_name, deleted_at) kept nothing apart,
-- since NULLs differ.

SET SESSION group_concat_max_len = 65535;

SET @missing = (
    SELECT GROUP_CONCAT(CONCAT('ADD COLUMN ', wanted.definition) ORDER BY wanted.position SEPARATOR ', ')
    FROM (
        SELECT 1 AS position, 'mapping' AS name, '`mapping` VARCHAR(64) NULL' AS definition
        UNION ALL SELECT 2, 'time_zone', '`time_zone` VARCHAR(64) NULL COMMENT ''NULL = scheduler.time_zone'''
        UNION ALL SELECT 3, 'overlap_policy', '`overlap_policy` VARCHAR(20) NOT NULL DEFAULT ''skip'''
        UNION ALL SELECT 4, 'catch_up_window', '`catch_up_window` VARCHAR(20) NOT NULL DEFAULT ''1m'''
        UNION ALL SELECT 5, 'schedule_anchor', '`schedule_anchor` DATETIME(3) NULL COMMENT ''@every counts from here'''
        UNION ALL SELECT 6, 'next_execution_time', '`next_execution_time` DATETIME(3) NULL COMMENT ''NULL while enabled = to be computed'''
        UNION ALL SELECT 7, 'last_execution_id', '`last_execution_id` BIGINT UNSIGNED NULL'
        UNION ALL SELECT 8, 'deleted_at', '`deleted_at` DATETIME(3) NULL'
    ) AS wanted
    LEFT JOIN information_schema.columns AS present
        ON present.table_schema = DATABASE()
        AND present.table_name = 'es_sync_task_config'
        AND CONVERT(present.column_name USING utf8mb4) COLLATE utf8mb4_general_ci
            = CONVERT(wanted.name USING utf8mb4) COLLATE utf8mb4_general_ci
    WHERE present.column_name IS NULL
);
SET @ddl = IF(@missing IS NULL, 'DO 0', CONCAT('ALTER TABLE es_sync_task_config ', @missing));
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- Old names that two live tasks share: the oldest keeps it, the others get their id behind it.
UPDATE es_sync_task_config AS task
JOIN (
    SELECT other.id
    FROM es_sync_task_config AS other
    JOIN es_sync_task_config AS first
        ON first.task_name = other.task_name AND first.deleted_at IS NULL AND first.id < other.id
    WHERE other.deleted_at IS NULL
    GROUP BY other.id
) AS repeated ON repeated.id = task.id
SET task.task_name = CONCAT(LEFT(task.task_name, 230), ' (', task.id, ')');

SET @missing = (
    SELECT GROUP_CONCAT(CONCAT('ADD COLUMN ', wanted.definition) ORDER BY wanted.position SEPARATOR ', ')
    FROM (
        SELECT 1 AS position, 'live_name' AS name, '`live_name` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin GENERATED ALWAYS AS (IF(deleted_at IS NULL, task_name, NULL)) STORED' AS definition
    ) AS wanted
    LEFT JOIN information_schema.columns AS present
        ON present.table_schema = DATABASE()
        AND present.table_name = 'es_sync_task_config'
        AND CONVERT(present.column_name USING utf8mb4) COLLATE utf8mb4_general_ci
            = CONVERT(wanted.name USING utf8mb4) COLLATE utf8mb4_general_ci
    WHERE present.column_name IS NULL
);
SET @ddl = IF(@missing IS NULL, 'DO 0', CONCAT('ALTER TABLE es_sync_task_config ', @missing));
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_task_config' AND index_name = 'uk_task_live_name'),
    'DO 0',
    'ALTER TABLE es_sync_task_config ADD UNIQUE KEY uk_task_live_name (live_name)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_task_config' AND index_name = 'idx_task_due'),
    'DO 0',
    'ALTER TABLE es_sync_task_config ADD KEY idx_task_due (is_enabled, next_execution_time)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @old_key = (
    SELECT MIN(index_name) FROM (
        SELECT index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index) AS columns_
        FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'es_sync_task_config' AND non_unique = 0
        GROUP BY index_name
    ) AS keys_
    WHERE LOWER(columns_) = 'task_name,deleted_at'
);
SET @ddl = IF(@old_key IS NULL, 'DO 0', CONCAT('ALTER TABLE es_sync_task_config DROP INDEX `', @old_key, '`'));
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
