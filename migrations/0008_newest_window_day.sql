-- Old windows are forgotten by their day; without this key each look for them reads the whole table.

SET @ddl = IF(
    EXISTS (SELECT 1 FROM information_schema.statistics
            WHERE table_schema = DATABASE() AND table_name = 'es_sync_newest_window' AND index_name = 'idx_mon_date'),
    'DO 0',
    'ALTER TABLE es_sync_newest_window ADD KEY idx_mon_date (mon_date)'
);
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
