-- Why a run is closed and what kind of thing one waits for, as words of closed sets, for the metrics. The sentences for people
-- stand beside them in closing_reason and waiting_for.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND column_name = 'closing_cause'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log
         ADD COLUMN closing_cause VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT ''cancel, refused, deadline'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND column_name = 'waiting_kind'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log
         ADD COLUMN waiting_kind VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT ''set by the sweep that wrote waiting_for; NULL: whoever works on the run wrote it'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
