-- What hostsync needs of an execution: how it came about, its window and source, the counters that add up, and the
-- state of its life (lease, preparation, publishing, closing, repair).

SET SESSION group_concat_max_len = 65535;

SET @missing = (
    SELECT GROUP_CONCAT(CONCAT('ADD COLUMN ', wanted.definition) ORDER BY wanted.position SEPARATOR ', ')
    FROM (
        SELECT 1 AS position, 'trigger' AS name, '`trigger` VARCHAR(20) NOT NULL DEFAULT ''manual''' AS definition
        UNION ALL SELECT 2, 'scheduled_for', '`scheduled_for` DATETIME(3) NULL'
        UNION ALL SELECT 3, 'finished_at', '`finished_at` DATETIME(3) NULL'
        UNION ALL SELECT 4, 'no_data_count', '`no_data_count` INT UNSIGNED NOT NULL DEFAULT 0'
        UNION ALL SELECT 5, 'cancelled_count', '`cancelled_count` INT UNSIGNED NOT NULL DEFAULT 0'
        UNION ALL SELECT 6, 'pending_count', '`pending_count` INT UNSIGNED NOT NULL DEFAULT 0'
        UNION ALL SELECT 7, 'window_from', '`window_from` DATETIME(3) NULL'
        UNION ALL SELECT 8, 'window_to', '`window_to` DATETIME(3) NULL'
        UNION ALL SELECT 9, 'mon_date', '`mon_date` DATE NULL COMMENT ''day of the window''''s end in the zone of the run'''
        UNION ALL SELECT 10, 'es_endpoint', '`es_endpoint` VARCHAR(500) NULL'
        UNION ALL SELECT 11, 'es_index_pattern', '`es_index_pattern` VARCHAR(255) NULL'
        UNION ALL SELECT 12, 'mapping', '`mapping` VARCHAR(64) NULL'
        UNION ALL SELECT 13, 'created_by', '`created_by` VARCHAR(100) NULL'
        UNION ALL SELECT 14, 'queue', '`queue` VARCHAR(20) NOT NULL DEFAULT ''bulk'''
        UNION ALL SELECT 15, 'trace_context', '`trace_context` VARCHAR(512) NULL COMMENT ''W3C traceparent of what created it'''
        UNION ALL SELECT 16, 'lease_token', '`lease_token` BIGINT UNSIGNED NULL'
        UNION ALL SELECT 17, 'lease_until', '`lease_until` DATETIME(3) NULL'
        UNION ALL SELECT 18, 'prepare_cursor', '`prepare_cursor` INT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''hosts_pool.id prepared up to'''
        UNION ALL SELECT 19, 'prepared_at', '`prepared_at` DATETIME(3) NULL'
        UNION ALL SELECT 20, 'last_detail_id', '`last_detail_id` BIGINT UNSIGNED NOT NULL DEFAULT 0'
        UNION ALL SELECT 21, 'published_watermark', '`published_watermark` BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''detail id up to which all is confirmed'''
        UNION ALL SELECT 22, 'published_at', '`published_at` DATETIME(3) NULL COMMENT ''last confirmed publish'''
        UNION ALL SELECT 23, 'progress_at', '`progress_at` DATETIME(3) NULL COMMENT ''last host that got its outcome'''
        UNION ALL SELECT 24, 'repaired_at', '`repaired_at` DATETIME(3) NULL'
        UNION ALL SELECT 25, 'repair_count', '`repair_count` INT UNSIGNED NOT NULL DEFAULT 0'
        UNION ALL SELECT 26, 'closing_status', '`closing_status` VARCHAR(20) NULL COMMENT ''what pending hosts become'''
        UNION ALL SELECT 27, 'closing_reason', '`closing_reason` TEXT NULL'
    ) AS wanted
    LEFT JOIN information_schema.columns AS present
        ON present.table_schema = DATABASE()
        AND present.table_name = 'es_sync_execution_log'
        AND CONVERT(present.column_name USING utf8mb4) COLLATE utf8mb4_general_ci
            = CONVERT(wanted.name USING utf8mb4) COLLATE utf8mb4_general_ci
    WHERE present.column_name IS NULL
);
SET @ddl = IF(@missing IS NULL, 'DO 0', CONCAT('ALTER TABLE es_sync_execution_log ', @missing));
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

-- Runs that the old program left behind: nobody will ever end them.
UPDATE es_sync_execution_log
SET execution_status = 'failed',
    finished_at = UTC_TIMESTAMP(3),
    error_message = COALESCE(error_message, 'left running by the program before hostsync; ended by the migration')
WHERE execution_status = 'running' AND window_to IS NULL;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND index_name = 'uk_task_scheduled_for'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD UNIQUE KEY uk_task_scheduled_for (task_id, scheduled_for)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND index_name = 'idx_status_finished'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD KEY idx_status_finished (execution_status, finished_at)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND index_name = 'idx_task_status'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD KEY idx_task_status (task_id, execution_status)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
