-- A page of a list of runs reads what it shows, whatever is asked for: a key for each question, in whose order the rows come.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND index_name = 'idx_status'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD KEY idx_status (execution_status)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND index_name = 'idx_trigger'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD KEY idx_trigger (`trigger`)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND index_name = 'idx_task_trigger'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD KEY idx_task_trigger (task_id, `trigger`)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND index_name = 'idx_task_time'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD KEY idx_task_time (task_id, execution_time)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
