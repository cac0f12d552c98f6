-- The failed hosts of a run of a million are found by a key: without it a list of them, or a retry, walks all rows of the run.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_detail' AND index_name = 'idx_execution_status'),
    'DO 0',
    'ALTER TABLE es_sync_execution_detail ADD KEY idx_execution_status (execution_id, sync_status)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
