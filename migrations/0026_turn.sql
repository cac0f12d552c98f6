-- When a scheduler took up a run last, whatever came of it: those of which nothing comes go behind the others. NULL: nobody has
-- yet, or only the release before this one.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND column_name = 'turn_at'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log ADD COLUMN turn_at DATETIME(3) NULL COMMENT ''when it was claimed last'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
