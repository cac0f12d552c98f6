-- The two tables of the CMDB, for a database that has none yet (a trial, a test).
-- Where they exist they belong to the CMDB and stay untouched.

CREATE TABLE IF NOT EXISTS hosts_pool (
    id          INT UNSIGNED NOT NULL AUTO_INCREMENT,
    host_name   VARCHAR(50)  NOT NULL DEFAULT '',
    host_ip     VARCHAR(50)  NOT NULL,
    host_type   VARCHAR(50)  NOT NULL DEFAULT '',
    disk_size   INT UNSIGNED NULL COMMENT 'GB',
    ram         INT UNSIGNED NULL COMMENT 'GB',
    vcpus       INT UNSIGNED NULL,
    is_deleted  TINYINT(1)   NOT NULL DEFAULT 0,
    create_time DATETIME     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    update_time DATETIME     NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    delete_time DATETIME     NULL,
    PRIMARY KEY (id),
    UNIQUE KEY uk_hosts_pool_host_ip (host_ip)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS server_resources (
    id               INT UNSIGNED NOT NULL AUTO_INCREMENT,
    pool_id          INT UNSIGNED NOT NULL,
    ip               VARCHAR(50)  NOT NULL,
    used_memory      DOUBLE       NULL COMMENT 'GB',
    used_disk        DOUBLE       NULL COMMENT 'GB',
    cpu_load         DOUBLE       NULL COMMENT '%',
    cpu_percent_max  DOUBLE       NULL,
    cpu_percent_avg  DOUBLE       NULL,
    cpu_percent_min  DOUBLE       NULL,
    mem_percent_max  DOUBLE       NULL,
    mem_percent_avg  DOUBLE       NULL,
    mem_percent_min  DOUBLE       NULL,
    disk_percent_max DOUBLE       NULL,
    disk_percent_avg DOUBLE       NULL,
    disk_percent_min DOUBLE       NULL,
    mon_date         DATE         NOT NULL,
    is_deleted       TINYINT(1)   NOT NULL DEFAULT 0,
    delete_time      DATETIME     NULL,
    create_time      DATETIME     NOT NULL DEFAULT CURRENT_TIMESTAMP,
    update_time      DATETIME     NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    PRIMARY KEY (id),
    UNIQUE KEY uk_server_resources_ip_date (ip, mon_date),
    KEY idx_server_resources_pool_id (pool_id),
    CONSTRAINT fk_server_resources_pool FOREIGN KEY (pool_id) REFERENCES hosts_pool (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
