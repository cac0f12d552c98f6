-- Newer wins (P7): the latest window end written for a row of server_resources, kept beside that table because it is
-- the CMDB's.

CREATE TABLE IF NOT EXISTS es_sync_newest_window (
    ip           VARCHAR(50)     NOT NULL,
    mon_date     DATE            NOT NULL,
    window_to    DATETIME(3)     NOT NULL,
    PRIMARY KEY (ip, mon_date)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
