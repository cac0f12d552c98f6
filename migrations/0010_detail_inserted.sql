-- Whether a host's result inserted a row of server_resources or overwrote one: the RPC answers list both apart.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_execution_detail' AND column_name = 'inserted'),
    'DO 0',
    'ALTER TABLE es_sync_execution_detail
         ADD COLUMN inserted TINYINT(1) NULL COMMENT ''1: its row of server_resources was inserted, 0: overwritten, NULL: none was written'''
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
