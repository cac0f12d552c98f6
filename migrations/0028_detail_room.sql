-- A pending detail is laid with as much room as its outcome will take, so that it does not grow out of its page: half of a run's
-- page splits came from that.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_detail' AND column_name = 'room'),
    'DO 0',
    'ALTER TABLE es_sync_execution_detail
         ADD COLUMN room BINARY(64) NULL COMMENT ''kept free for the outcome while pending; no meaning'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
