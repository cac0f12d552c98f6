-- A retry is prepared in chunks from the run that it retries, as a run over the pool is: a million failed hosts are no single
-- transaction. And what preparing has seen of rows that make no host, so that whoever goes on with it can tell.

SET SESSION group_concat_max_len = 65535;

SET @missing = (
    SELECT GROUP_CONCAT(CONCAT('ADD COLUMN ', wanted.definition) ORDER BY wanted.position SEPARATOR ', ')
    FROM (
        SELECT 1 AS position, 'retry_of' AS name, '`retry_of` BIGINT UNSIGNED NULL COMMENT ''the run whose failed and cancelled hosts are retried''' AS definition
        UNION ALL SELECT 2, 'retry_cursor', '`retry_cursor` BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''detail of that run prepared up to'''
        UNION ALL SELECT 3, 'prepare_notes', '`prepare_notes` TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT ''JSON; rows that make no host of their own'''
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
