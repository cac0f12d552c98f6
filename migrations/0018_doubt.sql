-- What one worker says of a source and the fleet does not believe yet: credentials that are refused, a name that it lacks.

CREATE TABLE IF NOT EXISTS es_sync_doubt (
    kind          VARCHAR(16)  CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'credentials, endpoint, mapping',
    name          VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    index_pattern VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '' COMMENT 'of credentials',
    since         DATETIME(3)  NOT NULL,
    seen_at       DATETIME(3)  NOT NULL COMMENT 'last time that a worker said so',
    first_process VARCHAR(128) NOT NULL,
    other_process VARCHAR(128) NULL COMMENT 'a second one that says the same',
    reason        TEXT         NULL,
    PRIMARY KEY (kind, name, index_pattern)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
