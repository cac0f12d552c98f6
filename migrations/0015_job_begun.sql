-- A crash is counted by us, not by what a version of the broker happens to count: how often a job that was delivered before
-- was begun and not ended, and by whom, so that a count whose commit got no answer is known again by its writer.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_detail' AND column_name = 'begun'),
    'DO 0',
    'ALTER TABLE es_sync_execution_detail
         ADD COLUMN begun INT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''how often its job was begun again and not ended'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_detail' AND column_name = 'begun_by'),
    'DO 0',
    'ALTER TABLE es_sync_execution_detail
         ADD COLUMN begun_by BIGINT UNSIGNED NULL COMMENT ''the batch that counted last, a random number'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
