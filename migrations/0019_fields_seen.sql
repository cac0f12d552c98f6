-- A field of the mapping that no document of a run has is told: which of them some document had, as far as the run has come.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND column_name = 'fields_seen'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log
         ADD COLUMN fields_seen INT UNSIGNED NULL COMMENT ''bits of the fields that held a number; NULL: no document yet'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
