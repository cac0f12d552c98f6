-- Who changed what, when and from where: one row a write that was accepted, in the write's own transaction. Pruned after
-- scheduler.audit_retention. Words and ids are ASCII; what a caller chose is not.

CREATE TABLE IF NOT EXISTS es_sync_audit (
    id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    at          DATETIME(3)     NOT NULL COMMENT 'UTC',
    who         VARCHAR(128)    NOT NULL COMMENT 'name of the token, or command:<user>',
    role        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    from_where  VARCHAR(64)     NOT NULL COMMENT 'address of the caller; of a command its machine',
    action      VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    object_kind VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    object_id   VARCHAR(64)     NOT NULL COMMENT 'empty where there is one alone of its kind',
    what        TEXT            NOT NULL COMMENT 'the request, JSON, cut',
    result      VARCHAR(255)    NOT NULL COMMENT 'a sentence',
    PRIMARY KEY (id),
    KEY idx_audit_at (at),
    KEY idx_audit_who (who, id),
    KEY idx_audit_action (action, id),
    KEY idx_audit_object (object_kind, object_id, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
