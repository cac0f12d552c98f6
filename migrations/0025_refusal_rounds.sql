-- In how many rounds the database refused what became of hosts of a run. It was told by repair_count, which repairs of mere
-- silence raise as well, so that one refusal after a long wait could fail a run.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND column_name = 'refusal_rounds'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log
         ADD COLUMN refusal_rounds INT UNSIGNED NOT NULL DEFAULT 0'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND column_name = 'refused_at'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log
         ADD COLUMN refused_at DATETIME(3) NULL COMMENT ''last refusal of that kind'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
