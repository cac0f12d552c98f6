-- Texts that people and hosts give hold every character: in tables of the program that hostsync replaces they may be utf8mb3
-- or latin1, in which a name with an emoji is refused. Only such columns are changed (their table is rewritten, in MySQL; a
-- table that is utf8mb4 is left alone), each keeps its kind of collation, its default and its comment. A column that stands in
-- a key of an old row format, whose keys have 767 bytes, stays as it is.

SET SESSION group_concat_max_len = 65535;
-- Rows of old tables may hold dates that strict mode refuses to copy.
SET @strict_mode = @@SESSION.sql_mode;

SET @ddl = (
    SELECT CONCAT('ALTER TABLE es_sync_task_config ', GROUP_CONCAT(CONCAT(
        'MODIFY COLUMN `', present.column_name, '` ', present.column_type, ' CHARACTER SET utf8mb4 COLLATE ',
        COALESCE(
            (SELECT MIN(known.collation_name) FROM information_schema.collations AS known
             WHERE known.collation_name = CONCAT('utf8mb4', SUBSTRING(present.collation_name, LOCATE('_', present.collation_name)))),
            IF(present.collation_name LIKE '%bin', 'utf8mb4_bin', 'utf8mb4_general_ci')),
        IF(present.is_nullable = 'NO', ' NOT NULL', ' NULL'),
        CASE
            WHEN present.column_default IS NULL THEN ''
            WHEN VERSION() LIKE '%MariaDB%' THEN CONCAT(' DEFAULT ', present.column_default)
            WHEN present.extra LIKE '%DEFAULT_GENERATED%' THEN CONCAT(' DEFAULT (', present.column_default, ')')
            ELSE CONCAT(' DEFAULT ', QUOTE(present.column_default))
        END,
        ' COMMENT ', QUOTE(present.column_comment)) SEPARATOR ', '))
    FROM information_schema.columns AS present
    WHERE present.table_schema = DATABASE() AND present.table_name = 'es_sync_task_config'
      AND present.character_set_name <> 'utf8mb4' AND present.column_name IN ('task_name', 'description', 'es_endpoint', 'es_index_pattern', 'created_by')
      AND NOT (present.character_maximum_length > 191
               AND EXISTS (SELECT 1 FROM information_schema.statistics AS keyed
                           WHERE keyed.table_schema = DATABASE() AND keyed.table_name = 'es_sync_task_config'
                             AND keyed.column_name = present.column_name)
               AND EXISTS (SELECT 1 FROM information_schema.tables AS tables_
                           WHERE tables_.table_schema = DATABASE() AND tables_.table_name = 'es_sync_task_config'
                             AND tables_.row_format IN ('Compact', 'Redundant')))
);
SET @ddl = COALESCE(@ddl, 'DO 0');
SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION';
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
SET SESSION sql_mode = @strict_mode;

SET @ddl = (
    SELECT CONCAT('ALTER TABLE es_sync_execution_log ', GROUP_CONCAT(CONCAT(
        'MODIFY COLUMN `', present.column_name, '` ', present.column_type, ' CHARACTER SET utf8mb4 COLLATE ',
        COALESCE(
            (SELECT MIN(known.collation_name) FROM information_schema.collations AS known
             WHERE known.collation_name = CONCAT('utf8mb4', SUBSTRING(present.collation_name, LOCATE('_', present.collation_name)))),
            IF(present.collation_name LIKE '%bin', 'utf8mb4_bin', 'utf8mb4_general_ci')),
        IF(present.is_nullable = 'NO', ' NOT NULL', ' NULL'),
        CASE
            WHEN present.column_default IS NULL THEN ''
            WHEN VERSION() LIKE '%MariaDB%' THEN CONCAT(' DEFAULT ', present.column_default)
            WHEN present.extra LIKE '%DEFAULT_GENERATED%' THEN CONCAT(' DEFAULT (', present.column_default, ')')
            ELSE CONCAT(' DEFAULT ', QUOTE(present.column_default))
        END,
        ' COMMENT ', QUOTE(present.column_comment)) SEPARATOR ', '))
    FROM information_schema.columns AS present
    WHERE present.table_schema = DATABASE() AND present.table_name = 'es_sync_execution_log'
      AND present.character_set_name <> 'utf8mb4' AND present.column_name IN ('task_name', 'error_message', 'es_endpoint', 'es_index_pattern', 'created_by', 'closing_reason')
      AND NOT (present.character_maximum_length > 191
               AND EXISTS (SELECT 1 FROM information_schema.statistics AS keyed
                           WHERE keyed.table_schema = DATABASE() AND keyed.table_name = 'es_sync_execution_log'
                             AND keyed.column_name = present.column_name)
               AND EXISTS (SELECT 1 FROM information_schema.tables AS tables_
                           WHERE tables_.table_schema = DATABASE() AND tables_.table_name = 'es_sync_execution_log'
                             AND tables_.row_format IN ('Compact', 'Redundant')))
);
SET @ddl = COALESCE(@ddl, 'DO 0');
SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION';
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
SET SESSION sql_mode = @strict_mode;

SET @ddl = (
    SELECT CONCAT('ALTER TABLE es_sync_execution_detail ', GROUP_CONCAT(CONCAT(
        'MODIFY COLUMN `', present.column_name, '` ', present.column_type, ' CHARACTER SET utf8mb4 COLLATE ',
        COALESCE(
            (SELECT MIN(known.collation_name) FROM information_schema.collations AS known
             WHERE known.collation_name = CONCAT('utf8mb4', SUBSTRING(present.collation_name, LOCATE('_', present.collation_name)))),
            IF(present.collation_name LIKE '%bin', 'utf8mb4_bin', 'utf8mb4_general_ci')),
        IF(present.is_nullable = 'NO', ' NOT NULL', ' NULL'),
        CASE
            WHEN present.column_default IS NULL THEN ''
            WHEN VERSION() LIKE '%MariaDB%' THEN CONCAT(' DEFAULT ', present.column_default)
            WHEN present.extra LIKE '%DEFAULT_GENERATED%' THEN CONCAT(' DEFAULT (', present.column_default, ')')
            ELSE CONCAT(' DEFAULT ', QUOTE(present.column_default))
        END,
        ' COMMENT ', QUOTE(present.column_comment)) SEPARATOR ', '))
    FROM information_schema.columns AS present
    WHERE present.table_schema = DATABASE() AND present.table_name = 'es_sync_execution_detail'
      AND present.character_set_name <> 'utf8mb4' AND present.column_name IN ('host_name', 'error_message', 'explanation')
      AND NOT (present.character_maximum_length > 191
               AND EXISTS (SELECT 1 FROM information_schema.statistics AS keyed
                           WHERE keyed.table_schema = DATABASE() AND keyed.table_name = 'es_sync_execution_detail'
                             AND keyed.column_name = present.column_name)
               AND EXISTS (SELECT 1 FROM information_schema.tables AS tables_
                           WHERE tables_.table_schema = DATABASE() AND tables_.table_name = 'es_sync_execution_detail'
                             AND tables_.row_format IN ('Compact', 'Redundant')))
);
SET @ddl = COALESCE(@ddl, 'DO 0');
SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION';
PREPARE ddl FROM @ddl;
EXECUTE ddl;
DEALLOCATE PREPARE ddl;
SET SESSION sql_mode = @strict_mode;
