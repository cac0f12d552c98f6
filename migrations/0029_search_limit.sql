-- How many searches the fleet has at once against an endpoint and how many hosts stand in one is found from the endpoint's
-- answers, and shared by the workers here: none of them knows how many others there are.

CREATE TABLE IF NOT EXISTS es_sync_search_limit (
    endpoint            VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    searches            DOUBLE       NOT NULL COMMENT 'allowed at once in the fleet; the part after the point does not count yet',
    searches_too_many   DOUBLE       NULL COMMENT 'so many were too many when they were lowered last',
    searches_lowered_at DATETIME(3)  NULL,
    searches_raised_at  DATETIME(3)  NULL,
    hosts               DOUBLE       NOT NULL COMMENT 'allowed in one search',
    hosts_too_many      DOUBLE       NULL,
    hosts_lowered_at    DATETIME(3)  NULL,
    hosts_raised_at     DATETIME(3)  NULL,
    strain              DOUBLE       NOT NULL COMMENT 'how many times as long as alone searches take lately',
    baselines           TEXT         NULL COMMENT 'what a search takes alone, by kind of search, JSON',
    changed_at          DATETIME(3)  NOT NULL,
    PRIMARY KEY (endpoint)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS es_sync_search_share (
    endpoint  VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    worker_id BINARY(16)   NOT NULL COMMENT 'drawn at the start of the process',
    wanted    INT UNSIGNED NOT NULL COMMENT 'searches that it would have at once',
    granted   INT UNSIGNED NOT NULL COMMENT 'searches that it may have at once, or still has',
    seen_at   DATETIME(3)  NOT NULL,
    PRIMARY KEY (endpoint, worker_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
