-- How long before its fire the window of a task ends, for documents that come late. The release before this one neither reads nor
-- writes it: its schedulers fire as if there were none.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_task_config' AND column_name = 'delay'),
    'DO 0',
    'ALTER TABLE es_sync_task_config ADD COLUMN delay VARCHAR(16) NOT NULL DEFAULT ''0s'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
