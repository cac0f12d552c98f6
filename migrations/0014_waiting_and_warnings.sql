-- Nothing waits without a word: why a running execution does not go on, and what a person should know about one that did.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND column_name = 'waiting_for'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log
         ADD COLUMN waiting_for VARCHAR(500) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT ''why it does not go on; NULL: it does'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_log' AND column_name = 'warnings'),
    'DO 0',
    'ALTER TABLE es_sync_execution_log
         ADD COLUMN warnings TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT ''JSON list of sentences, at most 20'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
