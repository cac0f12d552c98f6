-- Whether the fleet is paused, by whom and why: one row. Schedulers read it in the transaction of their fires, under a shared lock,
-- so that none slips through. The row outlives the pause: what was due before its end is not caught up. Beside it what each task's
-- fires left in the last pause: over a hundred share one row of the execution log. The release before this one knows neither.

CREATE TABLE IF NOT EXISTS es_sync_pause (
    id         TINYINT UNSIGNED NOT NULL COMMENT 'always 1',
    is_paused  TINYINT(1)       NOT NULL DEFAULT 0,
    note       TEXT             NULL COMMENT 'of the last change',
    changed_by VARCHAR(128)     NULL COMMENT 'name of the token of the last change',
    changed_at DATETIME(3)      NULL COMMENT 'UTC',
    paused_by  VARCHAR(128)     NULL COMMENT 'of the last pause',
    pause_note TEXT             NULL,
    paused_at  DATETIME(3)      NULL,
    resumed_at DATETIME(3)      NULL COMMENT 'NULL while it is paused',
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

INSERT IGNORE INTO es_sync_pause (id) VALUES (1);

CREATE TABLE IF NOT EXISTS es_sync_paused_task (
    task_id      BIGINT UNSIGNED NOT NULL,
    paused_at    DATETIME(3)     NOT NULL COMMENT 'which pause',
    own_rows     INT UNSIGNED    NOT NULL COMMENT 'fires with a row of their own',
    shared_fires INT UNSIGNED    NOT NULL COMMENT 'fires that share one row',
    shared_first DATETIME(3)     NULL,
    execution_id BIGINT UNSIGNED NULL COMMENT 'the row that they share',
    PRIMARY KEY (task_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
