//! The configuration as users give it: what is taken, what is refused and how that is told.

use std::path::PathBuf;
use std::time::Duration;

use hostsync_model::secret::Secret;
use secrecy::ExposeSecret;

use super::*;

const NO_VARIABLES: [(&str, &str); 0] = [];

const TOKEN: &str = "0123456789abcdef";

/// The value of a secret.
fn exposed(secret: Option<&Secret>) -> Option<String> {
    secret.map(|secret| secret.get().expose_secret().to_owned())
}

/// A configuration from a TOML text and variables.
fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let (_directory, path) = file(toml);
    Config::load(Some(&path), variables.iter().copied())
}

/// A file that lives as long as its directory.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hostsync.toml");
    std::fs::write(&path, text).expect("a file");
    (directory, path)
}

/// The problems as lines, the place of the file cut off.
fn problems(result: Result<Config, ConfigError>) -> Vec<String> {
    let error = result.map(|config| config.masked_toml()).expect_err("a refusal");
    error
        .problems()
        .iter()
        .map(|problem| match &problem.origin {
            Origin::File(_) => format!("{}: {} (file)", problem.key, problem.reason),
            Origin::Variable(name) => format!("{}: {} ({name})", problem.key, problem.reason),
            Origin::NotGiven => format!("{}: {} (-)", problem.key, problem.reason),
        })
        .collect()
}

#[test]
fn nothing_given_is_a_configuration_of_defaults() {
    let config = Config::load(None, NO_VARIABLES).expect("defaults");
    assert!(config.database.url.is_none());
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:8888");
    assert_eq!(config.worker.batch_linger, Duration::from_millis(20));
    assert_eq!(config.scheduler.time_zone, chrono_tz::Tz::UTC);
    assert!(config.mappings.contains_key("zabbix"));
}

#[test]
fn the_environment_wins_over_the_file() {
    let toml = "[worker]\nbatch_hosts = 100\nconcurrency = 3\n[rabbitmq]\nprefix = 'one'";
    let variables = [
        ("HOSTSYNC_WORKER__BATCH_HOSTS", "200"),
        ("hostsync_rabbitmq__PREFIX", "two"),
        ("HOSTSYNC_API_PORT", "tcp://1"),
    ];
    let config = load(toml, &variables).expect("a configuration");
    assert_eq!((config.worker.batch_hosts, config.worker.concurrency), (200, 3));
    assert_eq!(config.rabbitmq.prefix, "two");
}

#[test]
fn a_secret_of_the_environment_is_kept_to_the_letter() {
    for password in ["12345", "1e5", "true", "007", "0x1F", "[1]", "{a=1}", " blank ", "\"quoted\"", "ünï"] {
        let variables = [
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", "http://search:9200/"),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__USERNAME", "12"),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__PASSWORD", password),
        ];
        let config = load("", &variables).expect("a configuration");
        let endpoint = &config.elasticsearch.endpoints["default"];
        assert_eq!(exposed(endpoint.password.as_ref()).as_deref(), Some(password));
        assert_eq!(endpoint.username.as_deref(), Some("12"));
        assert_eq!(endpoint.base_url(), "http://search:9200");
    }
}

#[test]
fn every_problem_is_told_with_its_key_and_where_it_came_from() {
    let toml = "
        [database]
        max_connections = 1
        urll = 'mysql://u:hunter2@h/db'
        [worker]
        batch_hosts = 'many'
        batch_linger = 5
        [scheduler]
        time_zone = 'Mars/Olympus'
        [surprise]
        a = 1
    ";
    let variables = [
        ("HOSTSYNC_API__LISTEN", "localhost:1"),
        ("HOSTSYNC_WORKER__CONCURRENCY", "65"),
        ("HOSTSYNC_WORKER__SHUTDOWN_GRACE", "10s"),
        ("HOSTSYNC_TELEMETRY__LOG_LEVEL", "inof"),
        ("HOSTSYNC_TELEMETRY__LOG_FORMAT", "xml"),
        ("HOSTSYNC_NO__SUCH__KEY", "1"),
    ];
    let mut lines = problems(load(toml, &variables));
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    api.listen: must be an IP address and a port, such as 127.0.0.1:8888 or [::]:8888, not "localhost:1" (HOSTSYNC_API__LISTEN)
    database.max_connections: must be a whole number from 2 to 1000, not 1 (file)
    database.urll: is no key of hostsync; known here: url, url_file, max_connections (file)
    no: is no key of hostsync; known here: database, rabbitmq, api, elasticsearch, mappings, scheduler, worker, telemetry (HOSTSYNC_NO__SUCH__KEY)
    scheduler.time_zone: must be an IANA time zone, such as Europe/Berlin or UTC, not "Mars/Olympus" (file)
    surprise: is no key of hostsync; known here: database, rabbitmq, api, elasticsearch, mappings, scheduler, worker, telemetry (file)
    telemetry.log_format: must be text or json, not "xml" (HOSTSYNC_TELEMETRY__LOG_FORMAT)
    telemetry.log_level: must be one of off, error, warn, info, debug, trace, or directives such as info,lapin=debug; not "inof" (HOSTSYNC_TELEMETRY__LOG_LEVEL)
    worker.batch_hosts: must be a whole number from 1 to 2000, not "many" (file)
    worker.batch_linger: must be a length of time with its unit, such as 20ms, 30s, 24h or 90d, not 5 (file)
    worker.concurrency: must be a whole number from 1 to 64, not "65" (HOSTSYNC_WORKER__CONCURRENCY)
    worker.shutdown_grace: must be from 11s to 1h, not "10s" (HOSTSYNC_WORKER__SHUTDOWN_GRACE)
    "#);
}

#[test]
fn a_problem_reads_as_a_sentence() {
    let (_directory, path) = file("[worker]\nconcurrency = 0");
    let error = Config::load(Some(&path), NO_VARIABLES).expect_err("a refusal");
    let expected = format!(
        "configuration: worker.concurrency: must be a whole number from 1 to 64, not 0 (from {})",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn no_report_shows_a_secret() {
    let toml = "
        [database]
        url = 'mysql://user:hunter2@host:x/db'
        [rabbitmq]
        url = 'http://user:hunter2@host/'
        [api]
        operator_token = 'hunter2'
        viewer_token = 77777777
        [elasticsearch.endpoints.default]
        url = 'https://user:hunter2@host'
        password = { hunter2 = 'hunter2' }
        [elasticsearch.endpoints.other]
        url = 'hunter2'
        api_key = 'hunter2 hunter2'
        bearer_token = ['hunter2']
    ";
    let error = load(toml, &[]).expect_err("a refusal");
    assert!(error.problems().len() >= 8, "{error}");
    assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("7777"), "{error}");

    // In the place of something else.
    for key in ["WORKER__LISTEN", "WORKER__BATCH_HOSTS", "WORKER__BATCH_LINGER", "API__AUTH", "RABBITMQ__PREFIX"] {
        let error = load("", &[(&format!("HOSTSYNC_{key}"), "amqp://u:hunter2@host")]).expect_err("a refusal");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    let error = load("[api]\noperator_token = 'hunter2", &[]).expect_err("no TOML");
    assert!(error.to_string().contains("line 2: "), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_the_only_problem() {
    let path = PathBuf::from("/nonexistent/hostsync.toml");
    let error = Config::load_for(Service::Api, Some(&path), NO_VARIABLES).expect_err("a refusal").to_string();
    assert!(error.starts_with("configuration: cannot read the file: "), "{error}");
    assert!(error.ends_with("(from /nonexistent/hostsync.toml)"), "{error}");
}

#[test]
fn names_of_the_environment_that_contradict_each_other_are_refused() {
    let variables = [("HOSTSYNC_API__AUTH", "none"), ("hostsync_api__auth", "token")];
    assert_eq!(
        problems(load("", &variables)),
        ["api.auth: is also given by HOSTSYNC_API__AUTH; keep one of the two (hostsync_api__auth)"]
    );
    let variables = [("HOSTSYNC_API__AUTH", "none"), ("HOSTSYNC_API__AUTH__X", "1"), ("HOSTSYNC___AUTH", "")];
    let lines = problems(load("", &variables));
    assert!(lines[0].starts_with("api.auth.x: contradicts another variable"), "{lines:?}");
    assert!(lines[1].starts_with(".auth: the name has an empty level"), "{lines:?}");
}

#[test]
fn a_table_is_no_value_and_a_value_no_table() {
    let lines = problems(load(
        "[worker.listen]\na = 1\n[scheduler]\nlisten = []",
        &[("HOSTSYNC_ELASTICSEARCH__ENDPOINTS", "x")],
    ));
    insta::assert_snapshot!(lines.join("\n"), @r"
    elasticsearch.endpoints: must be a table (HOSTSYNC_ELASTICSEARCH__ENDPOINTS)
    scheduler.listen: must be an IP address and a port, such as 127.0.0.1:8888 or [::]:8888, not a list (file)
    worker.listen: must be an IP address and a port, such as 127.0.0.1:8888 or [::]:8888, not a table (file)
    ");
}

#[test]
fn a_number_is_no_word() {
    for toml in
        ["[api]\nauth = 1", "[telemetry]\nlog_format = 0", "[elasticsearch.endpoints.a]\nurl='http://a'\nkind = 0"]
    {
        assert_eq!(problems(load(toml, &[])).len(), 1, "{toml}");
    }
    assert_eq!(problems(load("[api]\nauth = 1", &[])), ["api.auth: must be token or none, not 1 (file)"]);
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let (_directory, path) = file(&format!("{TOKEN}\r\n"));
    let path = path.to_str().expect("a path");
    let config = load("", &[("HOSTSYNC_API__OPERATOR_TOKEN_FILE", path)]).expect("a configuration");
    assert_eq!(exposed(config.api.operator_token.as_ref()).as_deref(), Some(TOKEN));

    let both = [("HOSTSYNC_API__OPERATOR_TOKEN_FILE", path), ("HOSTSYNC_API__OPERATOR_TOKEN", TOKEN)];
    assert_eq!(
        problems(load("", &both)),
        ["api.operator_token_file: api.operator_token is given too (from the environment variable \
          HOSTSYNC_API__OPERATOR_TOKEN); keep one of the two (HOSTSYNC_API__OPERATOR_TOKEN_FILE)"]
    );

    let missing = [("HOSTSYNC_API__OPERATOR_TOKEN_FILE", "/nonexistent/token")];
    let error = load("", &missing).expect_err("a refusal").to_string();
    assert!(error.starts_with("configuration: api.operator_token_file: cannot read /nonexistent/token: "), "{error}");
    let error = Config::load_for(Service::Api, None, missing).expect_err("a refusal");
    let told: Vec<_> = error.problems().iter().filter(|problem| problem.key.starts_with("api.")).collect();
    assert_eq!(told.len(), 1, "{error}");
}

#[test]
fn a_token_may_have_a_name_of_its_own() {
    let (_directory, path) = file(TOKEN);
    let variables = [
        ("HOSTSYNC_API__TOKENS__ALICE__ROLE", "operator"),
        ("HOSTSYNC_API__TOKENS__ALICE__TOKEN_FILE", path.to_str().expect("a path")),
    ];
    let toml =
        "[api]\nviewer_token = 'fedcba9876543210'\ntokens.bob = { role = 'viewer', token = 'bob-bob-bob-bob-bob' }";
    let config = load(toml, &variables).expect("a configuration");
    let tokens: Vec<_> = config.api.tokens().map(|(name, role, secret)| (name, role, exposed(Some(secret)))).collect();
    let of = |text: &str| Some(text.to_owned());
    assert_eq!(
        tokens,
        [
            ("viewer", Role::Viewer, of("fedcba9876543210")),
            ("alice", Role::Operator, of(TOKEN)),
            ("bob", Role::Viewer, of("bob-bob-bob-bob-bob")),
        ]
    );
    let followed: Vec<&str> = config.secret_files.iter().map(|file| file.key.as_str()).collect();
    assert_eq!(followed, ["api.tokens.alice.token_file"]);
    // An operator is there, whatever the name.
    assert!(!config.missing(Service::Api).iter().any(|problem| problem.key == "api.operator_token"));
}

#[test]
fn what_is_wrong_with_a_token_is_told_by_its_key() {
    let (_directory, path) = file(TOKEN);
    let token = format!("role = 'viewer'\ntoken = '{TOKEN}'");
    let named =
        |name: &str, keys: &str| format!("[api]\noperator_token = 'operator-operator'\n[api.tokens.{name}]\n{keys}");
    for (toml, expected) in [
        (named("operator", &token), "api.tokens.operator: is the name of api.operator_token; choose another one"),
        (named("viewer", &token), "api.tokens.viewer: is the name of api.viewer_token; choose another one"),
        (
            named("Alice", &token),
            "api.tokens.Alice: the name must be 1 to 64 of a-z, 0-9, _ and -, without two underscores in a row",
        ),
        (
            named("a", &format!("token = '{TOKEN}'")),
            "api.tokens.a.role: must be set, since other keys of this token are",
        ),
        (named("a", "role = 'viewer'"), "api.tokens.a.token: must be set, since other keys of this token are"),
        (named("a", "role = 'viewer'\ntoken = ''"), "api.tokens.a.token: must not be empty"),
        (named("a", "role = 'viewer'\ntoken = 'short'"), "api.tokens.a.token: must have at least 16 characters"),
        (named("a", &token.replace("viewer", "admin")), "api.tokens.a.role: must be viewer or operator, not \"admin\""),
        (
            named("a", &format!("{token}\ntoken_file = '{}'", path.display())),
            "api.tokens.a.token_file: api.tokens.a.token is given too",
        ),
        (
            named("a", "role = 'viewer'\ntoken = 'operator-operator'"),
            "api.tokens.a.token: is the token of operator too; no two may be the same",
        ),
        (
            format!("{}\n[api.tokens.b]\n{token}", named("a", &token)),
            "api.tokens.b.token: is the token of a too; no two may be the same",
        ),
        (
            format!("[api]\noperator_token = '{TOKEN}'\nviewer_token = '{TOKEN}'"),
            "api.viewer_token: is the token of operator too; no two may be the same",
        ),
    ] {
        let told = problems(load(&toml, &[]));
        assert!(told.len() == 1 && told[0].starts_with(expected) && !told[0].contains(TOKEN), "{toml}: {told:?}");
    }
}

#[test]
fn a_secret_in_the_place_of_its_file_is_not_repeated() {
    let error = load("", &[("HOSTSYNC_API__OPERATOR_TOKEN_FILE", TOKEN)]).expect_err("a refusal").to_string();
    assert!(error.starts_with("configuration: api.operator_token_file: cannot read the file: "), "{error}");
    assert!(!error.contains(TOKEN), "{error}");
    let number = load("[api]\noperator_token_file = 7777777777777777", &[]);
    assert_eq!(problems(number), ["api.operator_token_file: must be a text in quotes (file)"]);
}

#[test]
fn a_url_may_stand_in_a_file() {
    let (_directory, path) = file("mysql://user:p%40ss@db:3306/hostsync\n");
    let config = load(&format!("[database]\nurl_file = '{}'", path.display()), &[]).expect("a configuration");
    assert_eq!(config.database.url().expect("given").expose_secret(), "mysql://user:p%40ss@db:3306/hostsync");
}

#[test]
fn urls_are_checked() {
    for url in ["", "x", "postgres://h/db", "mysql://h", "mysql://h/", "mysql://h/a/b", "mysql:///db", "mysql:db"] {
        assert!(load("", &[("HOSTSYNC_DATABASE__URL", url)]).is_err(), "{url:?}");
    }
    for url in ["", "http://h", "amqp://", "amqp:h", "rabbit"] {
        assert!(load("", &[("HOSTSYNC_RABBITMQ__URL", url)]).is_err(), "{url:?}");
    }
    for url in [
        "",
        "search:9200",
        "ftp://h",
        "http://u@h",
        "http://u:p@h",
        "http://u:p@ss/w@h",
        "http://u:12/34@h",
        "http://h?a=1",
        "http://h#a",
    ] {
        assert!(load("", &[("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__A__URL", url)]).is_err(), "{url:?}");
        assert!(url.is_empty() || load("", &[("HOSTSYNC_TELEMETRY__OTLP_ENDPOINT", url)]).is_err(), "{url:?}");
    }
    let good = [
        ("HOSTSYNC_DATABASE__URL", "mysql://u:p@[::1]:3306/db?ssl-mode=required"),
        ("HOSTSYNC_RABBITMQ__URL", "amqps://u:p@h:5671/%2f"),
        ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__A__URL", "https://h/search/"),
    ];
    let config = load("", &good).expect("a configuration");
    assert_eq!(config.elasticsearch.endpoints["a"].base_url(), "https://h/search");
}

#[test]
fn an_endpoint_that_is_not_the_default_one_is_told_with_what_to_say() {
    let toml = "
        [database]
        url = 'mysql://u:p@h/db'
        [rabbitmq]
        url = 'amqp://h'
        [elasticsearch.endpoints.main]
        url = 'http://h:9200'
    ";
    let (_directory, path) = file(toml);
    let error = Config::load_for(Service::Worker, Some(&path), NO_VARIABLES).expect_err("a refusal");
    insta::assert_snapshot!(error, @r#"configuration: elasticsearch.default_endpoint: must be set: tasks that name no endpoint would use "default", and there is only main; say elasticsearch.default_endpoint = "main" in the file, or HOSTSYNC_ELASTICSEARCH__DEFAULT_ENDPOINT=main, or set elasticsearch.endpoints.default.url too (not given)"#);
    let variable = ("HOSTSYNC_ELASTICSEARCH__DEFAULT_ENDPOINT", "main");
    Config::load_for(Service::Worker, Some(&path), [variable]).expect("a configuration");

    let bad = ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", "search:9200");
    let error = Config::load_for(Service::Worker, Some(&path), [bad]).expect_err("a refusal");
    assert_eq!(error.problems().len(), 1, "told once: {error}");
}

#[test]
fn a_name_of_the_environment_that_sets_nothing_is_told_where_it_resembles_a_key() {
    let variables = [
        ("HOSTSYNC_WORKER_BATCH_HOSTS", "7"),
        ("hostsync_api_operator_token", "hunter2"),
        ("HOSTSYNC_API_PORT", "tcp://10.0.0.1:8888"),
        ("HOSTSYNC_CONFIG", "hostsync.toml"),
    ];
    let config = load("", &variables).expect("a configuration");
    assert_eq!(config.worker.batch_hosts, 500);
    insta::assert_snapshot!(config.warnings.join("\n"), @"
    the environment variable HOSTSYNC_WORKER_BATCH_HOSTS sets nothing: two underscores stand between levels, as in HOSTSYNC_WORKER__BATCH_HOSTS
    the environment variable hostsync_api_operator_token sets nothing: two underscores stand between levels, as in HOSTSYNC_API__OPERATOR_TOKEN
    ");
}

#[test]
fn a_service_demands_only_what_it_uses() {
    let database = ("HOSTSYNC_DATABASE__URL", "mysql://u:p@h/db");
    let rabbitmq = ("HOSTSYNC_RABBITMQ__URL", "amqp://h");
    let search = ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", "http://h:9200");
    let token = ("HOSTSYNC_API__OPERATOR_TOKEN", TOKEN);
    let needs = [
        (Service::Migrate, vec![database]),
        (Service::Scheduler, vec![database, rabbitmq]),
        (Service::Worker, vec![database, rabbitmq, search]),
        (Service::Api, vec![database, rabbitmq, search, token]),
        (Service::Api, vec![database, rabbitmq, search, ("HOSTSYNC_API__AUTH", "none")]),
    ];
    for (service, variables) in needs {
        Config::load_for(service, None, variables.iter().copied()).expect("enough");
        let error = Config::load_for(service, None, NO_VARIABLES).expect_err("nothing is given");
        let without_auth = variables.iter().filter(|(name, _)| *name != "HOSTSYNC_API__AUTH").count();
        assert!(error.problems().len() >= without_auth, "{error}");
        for left_out in &variables {
            let variables = variables.iter().copied().filter(|variable| variable != left_out);
            let error = Config::load_for(service, None, variables).expect_err(left_out.0);
            assert_eq!(error.problems().len(), 1, "{error}");
        }
    }
}

#[test]
fn an_api_without_a_token_says_how_to_go_on() {
    let error = Config::load(None, NO_VARIABLES).expect("defaults").check(Service::Api).expect_err("a refusal");
    let told = error.problems().iter().find(|problem| problem.key == "api.operator_token").expect("told");
    insta::assert_snapshot!(told, @r#"api.operator_token: must be set: at least 16 characters, as HOSTSYNC_API__OPERATOR_TOKEN or in the file that api.operator_token_file names, or a token of the role operator under api.tokens; or say api.auth = "none" to let everybody do everything (not given)"#);
}

#[test]
fn tokens_are_long_different_and_fit_a_header() {
    let operator = ("HOSTSYNC_API__OPERATOR_TOKEN", TOKEN);
    for (name, token) in [
        ("HOSTSYNC_API__VIEWER_TOKEN", TOKEN),
        ("HOSTSYNC_API__VIEWER_TOKEN", "short"),
        ("HOSTSYNC_API__VIEWER_TOKEN", ""),
        ("HOSTSYNC_API__VIEWER_TOKEN", "with blanks in it 123"),
        ("HOSTSYNC_API__VIEWER_TOKEN", "schlüssel-schlüssel"),
    ] {
        assert_eq!(problems(load("", &[operator, (name, token)])).len(), 1, "{token:?}");
    }
    assert!(load("", &[operator, ("HOSTSYNC_API__VIEWER_TOKEN", "fedcba9876543210")]).is_ok());
}

#[test]
fn an_endpoint_has_one_way_to_authenticate() {
    let toml = "
        [elasticsearch.endpoints.a]
        url = 'http://a'
        username = 'u'
        [elasticsearch.endpoints.b]
        url = 'http://b'
        password = 'p'
        [elasticsearch.endpoints.c]
        url = 'http://c'
        username = 'u'
        password = 'p'
        api_key = 'k'
        [elasticsearch.endpoints.d]
        url = 'http://d'
        api_key = 'k'
        bearer_token = 't'
        [elasticsearch.endpoints.e]
        url = 'http://e'
        kind = 'proxy'
        [elasticsearch.endpoints.f]
        timeout = '1s'
        [elasticsearch.endpoints.G]
        url = 'http://g'
        timeout = '11m'
    ";
    let mut lines = problems(load(toml, &[]));
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    elasticsearch.endpoints.G.timeout: must be from 1s to 10m, not "11m" (file)
    elasticsearch.endpoints.G: the name must be 1 to 64 of a-z, 0-9, _ and -, without two underscores in a row (file)
    elasticsearch.endpoints.a.password: must be set, since username is (-)
    elasticsearch.endpoints.b.username: must be set, since password is (-)
    elasticsearch.endpoints.c.api_key: only one way to authenticate may be given, not password and api_key (file)
    elasticsearch.endpoints.d.bearer_token: only one way to authenticate may be given, not api_key and bearer_token (file)
    elasticsearch.endpoints.f.url: must be set, since other keys of this endpoint are (-)
    "#);
}

#[test]
fn an_endpoint_is_found_by_name_or_exact_url() {
    let toml = "
        [elasticsearch]
        default_endpoint = 'main'
        [elasticsearch.endpoints.main]
        url = 'http://Search.example:9200/'
        [elasticsearch.endpoints.also]
        url = 'http://search.example:9200'
        [elasticsearch.endpoints.far]
        url = 'https://far.example/es/'
    ";
    let elasticsearch = load(toml, &[]).expect("a configuration").elasticsearch;
    let found = |name: &str| elasticsearch.endpoint_named(name).map(|(name, _)| name);
    for name in ["", "main", "http://search.example:9200", "http://search.example:9200/"] {
        assert_eq!(found(name), Some("main"), "{name:?}");
    }
    assert_eq!(found("also"), Some("also"));
    for name in ["far", "https://far.example/es", "https://far.example/es/"] {
        assert_eq!(found(name), Some("far"), "{name:?}");
    }
    for name in ["Main", "http://search.example", "http://search.example:9200/x", "http://u:p@search.example:9200", "x"]
    {
        assert_eq!(found(name), None, "{name:?}");
    }
}

#[test]
fn the_default_mapping_must_exist() {
    let lines = problems(load("[elasticsearch]\ndefault_mapping = 'none'", &[]));
    assert_eq!(
        lines,
        ["elasticsearch.default_mapping: there is no mapping \"none\"; there is metricbeat, zabbix (file)"]
    );
    let lines = problems(load("[elasticsearch]\ndefault_mapping = 'mine'\n[mappings.mine]\nhost_field = 'h'", &[]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("mappings.mine."), "{lines:?}");
}

/// A mapping as the built-in one, with another time field.
const MAPPING: &str = "
    time_field = 'when'
    host_field = 'host'
    cpu = { max = 'c', avg = 'c', min = 'c', unit = 'percent' }
    memory = { max = 'm', avg = 'm', min = 'm', unit = 'gb' }
    disk = { max = 'd', avg = 'd', min = 'd', unit = 'gb' }
    filter = { term = { kind = \"a \\\"b\\\"\" } }
";

#[test]
fn a_built_in_mapping_may_be_replaced() {
    let config = load(&format!("[mappings.zabbix]{MAPPING}"), &[]).expect("a configuration");
    assert_eq!(config.mappings.keys().collect::<Vec<_>>(), ["metricbeat", "zabbix"]);
    assert_eq!(config.mappings["zabbix"].time_field, "when");
    assert!(load("[mappings.zabbix]\ntime_field = ''", &[]).is_err());
    let lines = problems(load(&format!("[mappings.Upper]{MAPPING}"), &[]));
    assert!(lines[0].starts_with("mappings.Upper: the name must be"), "{lines:?}");
}

#[test]
fn what_is_in_force_is_shown_with_secrets_masked() {
    let toml = "
        [database]
        url = 'mysql://user:hunter2@host:3306/db?ssl-mode=required'
        [rabbitmq]
        url = 'amqp://host/'
        [api]
        operator_token = 'hunter2-hunter2-hunter2'
        tokens.alice = { role = 'viewer', token = 'another-hunter2-hunter2' }
        [elasticsearch.endpoints.default]
        url = 'http://host:9200'
        username = 'u'
        password = 'hunter2'
    ";
    let shown = load(toml, &[]).expect("a configuration").masked_toml();
    assert!(!shown.contains("hunter2"), "{shown}");
    let (before, rest) = shown.split_once("[mappings.metricbeat]").expect("a mapping");
    let (_, after) = rest.split_once("[scheduler]").expect("a section");
    insta::assert_snapshot!(format!("{before}…\n{after}"), @r#"
    [database]
    url = "mysql://user:***@host:3306/db?ssl-mode=required"
    max_connections = 10

    [rabbitmq]
    url = "amqp://host/"
    prefix = "hostsync"

    [api]
    listen = "127.0.0.1:8888"
    rpc_listen = "127.0.0.1:8080"
    auth = "token"
    operator_token = "***"
    # viewer_token is not set

    [api.tokens.alice]
    role = "viewer"
    token = "***"

    [elasticsearch]
    default_endpoint = "default"
    default_index_pattern = "cluster*:data-zabbix-host-monitor-*"
    default_mapping = "zabbix"

    [elasticsearch.endpoints.default]
    url = "http://host:9200"
    kind = "cluster"
    username = "u"
    password = "***"
    # api_key is not set
    # bearer_token is not set
    # ca_file is not set
    timeout = "30s"

    …

    listen = "127.0.0.1:8891"
    time_zone = "UTC"
    retention = "90d"
    audit_retention = "400d"
    execution_deadline = "24h"

    [worker]
    listen = "127.0.0.1:8892"
    batch_hosts = 500
    batch_linger = "20ms"
    concurrency = 2
    shutdown_grace = "45s"

    [telemetry]
    # otlp_endpoint is not set
    # log_format is not set
    log_level = "info"
    "#);
}

#[test]
fn what_is_shown_can_be_read_back() {
    let toml = format!(
        "[telemetry]\nlog_format = 'json'\notlp_endpoint = 'http://c:4318/'\n[mappings.zabbix]{MAPPING}\
         [elasticsearch.endpoints.a]\nurl='http://a'\nca_file = '/etc/ca \"1\".pem'"
    );
    let config = load(&toml, &[]).expect("a configuration");
    let again = load(&config.masked_toml(), &[]).expect("readable");
    assert_eq!(again.masked_toml(), config.masked_toml());
    assert_eq!(again.mappings, config.mappings);
    assert_eq!(again.telemetry, config.telemetry);
}

#[test]
fn an_empty_otlp_endpoint_takes_the_files_back() {
    let config = load("[telemetry]\notlp_endpoint = 'http://c:4318'", &[("HOSTSYNC_TELEMETRY__OTLP_ENDPOINT", "")])
        .expect("off");
    assert_eq!(config.telemetry.otlp_endpoint, None);
}

#[test]
fn log_levels_may_be_directives() {
    for level in ["info", "WARN", "info,lapin=debug", "hostsync_worker[batch{id=1}]=trace,warn", "off"] {
        assert!(load("", &[("HOSTSYNC_TELEMETRY__LOG_LEVEL", level)]).is_ok(), "{level:?}");
    }
    for level in ["", "loud", "info,lapin=loud", "info,,=x"] {
        assert!(load("", &[("HOSTSYNC_TELEMETRY__LOG_LEVEL", level)]).is_err(), "{level:?}");
    }
}

/// The key as a user would write it, with a name where the user chooses one.
fn concrete(name: &str) -> String {
    name.replace("<name>", "default")
}

#[test]
fn the_defaults_in_the_list_are_the_true_ones() {
    let endpoint = ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL".to_owned(), "http://h".to_owned());
    let shown = Config::load(None, [endpoint.clone()]).expect("defaults").masked_toml();
    let written =
        keys().into_iter().filter_map(|key| Some((variable_of_key(&concrete(&key.name)), key.default?.to_owned())));
    let config = Config::load(None, written.chain([endpoint])).expect("defaults written out");
    assert_eq!(config.masked_toml(), shown);
    assert_eq!(config.elasticsearch.endpoints["default"].timeout, Duration::from_secs(30));
    for key in keys() {
        let name = key.name.rsplit('.').next().expect("a name");
        if let Some(default) = key.default {
            let as_text = format!("{name} = \"{default}\"");
            assert!(shown.contains(&as_text) || shown.contains(&format!("{name} = {default}")), "{}", key.name);
        }
    }
}

#[test]
fn help_lists_every_key_on_a_line_that_fits() {
    let help = help_table();
    for key in keys() {
        let (section, name) = key.name.rsplit_once('.').expect("a section");
        let (_, rest) = help.split_once(&format!("\n[{section}]\n")).expect(section);
        let (lines, _) = rest.split_once("\n\n").expect("an end");
        let line = lines.lines().find(|line| line.starts_with(&format!("  {name} "))).expect(&key.name);
        assert!(line.contains(key.meaning), "{line}");
    }
    for line in help.lines() {
        assert!(line.len() <= 100, "{line}");
    }
}

#[test]
fn the_argument_beats_the_variable_that_names_the_file() {
    let args = CommonArgs { config: Some("a.toml".into()) };
    assert_eq!(args.config_path(Some("b.toml".into())), Some("a.toml".into()));
    let args = CommonArgs::default();
    assert_eq!(args.config_path(Some("b.toml".into())), Some("b.toml".into()));
    assert_eq!(args.config_path(Some("".into())), None);
    assert_eq!(args.config_path(None), None);
}

/// The user's documentation.
const DOCUMENTATION: &str = include_str!("../../../../docs/configuration.md");

/// The user's documentation of sources and mappings.
const SOURCES: &str = include_str!("../../../../docs/sources.md");

#[test]
fn the_examples_of_the_documentation_of_sources_are_taken_together() {
    let examples: Vec<&str> =
        SOURCES.split("```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    assert!(examples.len() >= 3, "{examples:?}");
    // The files of secrets are not there.
    let whole = examples.join("\n").replace("api_key_file", "#").replace("bearer_token_file", "#");
    let config = load(&whole, &[]).expect("a configuration");
    assert_eq!(config.mappings.keys().collect::<Vec<_>>(), ["agent", "collector", "metricbeat", "zabbix"]);
    let proxy = &config.elasticsearch.endpoints["through-proxy"];
    assert_eq!(proxy.kind, hostsync_source::EndpointKind::Proxy);
    let again = load(&config.masked_toml(), &[]).expect("readable");
    assert_eq!(again.mappings, config.mappings);
}

#[test]
fn the_documentation_of_sources_names_every_file_system_and_the_true_bounds() {
    for kind in hostsync_mapping::METRICBEAT_SKIPPED_FILE_SYSTEMS {
        assert!(SOURCES.contains(&format!("`{kind}`")), "{kind}");
    }
    let to = chrono::DateTime::from_timestamp_millis(0).expect("a time");
    let most = |range: &str| {
        let window = hostsync_model::window::Window::ending_at(to, &range.parse().expect("a range"));
        hostsync_mapping::max_hosts(&Mapping::metricbeat(), window)
    };
    assert!(SOURCES.contains(&format!("{} for a window of a day, {} for 30 days", most("24h"), most("30d"))));
    assert!(SOURCES.contains("at most 50,000 slices") && hostsync_mapping::MAX_BUCKETS == 50_000);
    assert!(SOURCES.contains("at most 100,000.") && hostsync_mapping::MAX_GROUP_HOSTS == 100_000);
}

#[test]
fn what_is_wrong_with_a_mapping_is_told_by_its_key() {
    let of = |mapping: &str| problems(load(&format!("[mappings.agent]\n{mapping}"), &[]));
    let good = "time_field = 't'\nhost_field = 'h'\n\
                memory = { max = 'm', avg = 'm', min = 'm', unit = 'gb' }\n\
                disk = { max = 'd', avg = 'd', min = 'd', unit = 'ratio', split = { field = 'n', how = 'mean' } }\n";
    for (cpu, line) in [
        (
            "{ max = 'c', avg = 'c', min = 'c', unit = 'gb' }",
            "mappings.agent.cpu.unit: must be percent or ratio (file)",
        ),
        (
            "{ max = 'c', avg = 'c', min = 'c', unit = 0 }",
            "mappings.agent.cpu.unit: must be one of percent, ratio, bytes, gb, not 0 (file)",
        ),
        (
            "{ max = 'c', avg = 'c', min = 'c', unit = 'furlong' }",
            "mappings.agent.cpu.unit: must be one of percent, ratio, bytes, gb, not \"furlong\" (file)",
        ),
        (
            "{ max = 'c', avg = 'c', min = 'c', unit = 'ratio', split = { field = 'n', how = 'most' } }",
            "mappings.agent.cpu.split.how: must be one of sum, mean, max, not \"most\" (file)",
        ),
        (
            "{ max = 'c', avg = 'c', min = 'c', unit = 'ratio', split = { field = 'n' } }",
            "mappings.agent.cpu.split.how: must be mean or max for a unit of percent or ratio: shares do not add up (-)",
        ),
        (
            "{ max = 'c', avg = 'c', min = 'c', unit = 'ratio', total = 't' }",
            "mappings.agent.cpu.total: goes with a unit of bytes or gb only: a share says nothing of a capacity (file)",
        ),
    ] {
        assert_eq!(of(&format!("{good}cpu = {cpu}")), [line]);
    }
    let whole = format!("[mappings.agent]\n{good}cpu = {{ max = 'c', avg = 'c', min = 'c', unit = 'ratio' }}");
    assert!(load(&whole, &[]).is_ok());
}

#[test]
fn the_examples_of_the_documentation_are_taken() {
    let examples: Vec<&str> =
        DOCUMENTATION.split("```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        // The files of secrets are not there; everything else must be right.
        let told = match load(example, &[]) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().to_vec(),
        };
        for problem in told {
            assert!(
                problem.key.ends_with("_file") && problem.reason.starts_with("cannot read /run/secrets/"),
                "{problem}"
            );
        }
    }
}

#[test]
fn the_documentation_has_every_key_with_its_default_and_bounds() {
    for key in keys().iter().filter(|key| !key.name.ends_with("_file") || key.name.ends_with("ca_file")) {
        let default = key.default.map(|default| format!("`{default}`")).unwrap_or_default();
        let bounds =
            key.bounds.as_ref().map(|bounds| format!(" {} |", bounds.replace(" to ", "–"))).unwrap_or_default();
        let row = format!("| `{}` | {default} |{bounds}", key.name).replace("|  |", "| |");
        assert!(DOCUMENTATION.contains(&row), "{row}");
    }
}

/// The keys that hold a URL, with what stands before and after a user and a password in it.
const URL_KEYS: [(&str, &str, &str); 4] = [
    ("HOSTSYNC_DATABASE__URL", "mysql://", "@h:3306/db"),
    ("HOSTSYNC_RABBITMQ__URL", "amqp://", "@h:5672/"),
    ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__A__URL", "http://", "@h:9200"),
    ("HOSTSYNC_TELEMETRY__OTLP_ENDPOINT", "http://", "@h:4318"),
];

/// What is printed of a configuration: as it is in force, or why it is refused.
fn printed(outcome: Result<Config, ConfigError>) -> String {
    outcome.map_or_else(
        |error| error.to_string(),
        |config| format!("{} {config:?} {}", config.masked_toml(), config.warnings.join(" ")),
    )
}

/// Whether a text shows four characters of a secret in a row.
fn shows(text: &str, secret: &str) -> bool {
    let secret: Vec<char> = secret.chars().collect();
    secret.windows(4).any(|piece| text.contains(&piece.iter().collect::<String>()))
}

proptest::proptest! {
    #[test]
    fn no_piece_of_a_password_in_a_url_is_printed(password in "[A-Z@/#?:%&=+\\\\\\[\\]~^!\"'\t]{4,16}") {
        for (key, before, after) in URL_KEYS {
            let url = format!("{before}user:{password}{after}");
            let shown = printed(load("", &[(key, &url)]));
            proptest::prop_assert!(!shows(&shown, &password), "{}: {}", key, shown);
        }
    }

    #[test]
    fn no_piece_of_a_password_in_a_bad_file_is_printed(password in "[A-Z@/#?:%&=+\\\\\\[\\]~^!\"']{4,16}", quote in "[\"']?") {
        for (key, before, after) in URL_KEYS {
            let key = key.trim_start_matches("HOSTSYNC_").to_lowercase().replace("__", ".");
            let (_directory, path) = file(&format!("{key} = {quote}{before}user:{password}{after}{quote}\n"));
            let shown = printed(Config::load(Some(&path), NO_VARIABLES));
            proptest::prop_assert!(!shows(&shown, &password), "{}: {}", key, shown);
        }
    }

    #[test]
    fn any_secret_of_the_environment_is_kept_to_the_letter(password in "[^\0]{1,20}") {
        let variables = [
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__A__URL", "http://a"),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__A__USERNAME", "u"),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__A__PASSWORD", password.as_str()),
        ];
        let config = Config::load(None, variables).expect("a configuration");
        let kept = exposed(config.elasticsearch.endpoints["a"].password.as_ref());
        proptest::prop_assert_eq!(kept.as_deref(), Some(password.as_str()));
    }

    #[test]
    fn any_text_that_is_shown_can_be_read_back(username in "[^\0:]{1,20}") {
        let variables = [
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__A__URL", "http://a"),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__A__USERNAME", username.as_str()),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__A__PASSWORD", "p"),
        ];
        let shown = Config::load(None, variables).expect("a configuration").masked_toml();
        let again = load(&shown, &[]).expect("readable");
        let read = again.elasticsearch.endpoints["a"].username.as_deref();
        proptest::prop_assert_eq!(read, Some(username.as_str()));
    }
}
