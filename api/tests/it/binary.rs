//! The binary itself: commands, exit codes, signals.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::harness::{Ground, with_ground};

/// The binary with nothing of our own environment but what a test gives it.
fn binary(environment: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostsync-api"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOSTSYNC_") || name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    command.envs(environment.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
    command
}

pub(crate) async fn run(environment: &[(String, String)], arguments: &[&str]) -> (i32, String, String) {
    let output = binary(environment).args(arguments).output();
    let Output { status, stdout, stderr } =
        tokio::time::timeout(Duration::from_mins(1), output).await.expect("in time").expect("started");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

#[tokio::test]
async fn migrate_says_what_it_did_and_may_be_run_again() {
    with_ground(Ground::new(false).await, async |ground| {
        let (code, _, errors) = run(&ground.environment(), &[]).await;
        assert_eq!(code, 1, "{errors}");
        assert!(errors.contains("hostsync-api migrate"), "{errors}");
        let (code, output, errors) = run(&ground.environment(), &["migrate"]).await;
        assert_eq!((code, errors.as_str()), (0, ""));
        assert!(output.starts_with("applied 0001 "), "{output}");
        assert!(output.ends_with("the schema of the database is up to date\n"), "{output}");
        let (code, output, _) = run(&ground.environment(), &["migrate"]).await;
        assert_eq!((code, output.as_str()), (0, "the schema of the database is up to date\n"));
    })
    .await;
}

#[tokio::test]
async fn migrate_gives_the_line_that_lets_it_do_its_work() {
    with_ground(Ground::new(false).await, async |ground| {
        let execute = async |sql: &str| {
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&ground.pool).await.expect("executed");
        };
        let user = format!("u{:x}", rand::random::<u32>());
        let mut url: reqwest::Url = ground.database_url().parse().expect("a URL");
        url.set_username(&user).expect("it has a host");
        let mut environment = ground.environment();
        environment.retain(|(name, _)| name != "HOSTSYNC_DATABASE__URL");
        environment.push(("HOSTSYNC_DATABASE__URL".to_owned(), url.into()));
        execute(&format!("CREATE USER '{user}'@'%'")).await;

        let mut told = Vec::new();
        for given in ["", "SELECT", "SELECT, INSERT, CREATE"] {
            if !given.is_empty() {
                execute(&format!("GRANT {given} ON `{}`.* TO '{user}'@'%'", ground.name)).await;
            }
            let (code, _, errors) = run(&environment, &["migrate"]).await;
            assert_eq!(code, 1, "{errors}");
            told.push(errors);
        }
        let line = told[0].split("say: ").nth(1).expect("a line").trim().to_owned();
        execute(&line).await;
        let (code, output, errors) = run(&environment, &["migrate"]).await;
        execute(&format!("DROP USER '{user}'@'%'")).await;

        assert_eq!((code, errors.as_str()), (0, ""), "{output}");
        for errors in &told {
            assert!(errors.ends_with(&format!("{line}\n")), "{errors}");
            assert!(!errors.contains("did not answer"), "{errors}");
        }
        assert!(told[0].contains("the database user lacks a right"), "{told:?}");
        assert!(told[1].contains("CREATE command denied"), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_in_use_is_told_by_the_key_that_sets_it() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    with_ground(Ground::new(true).await, async |ground| {
        for (variable, key) in [("HOSTSYNC_API__LISTEN", "api.listen"), ("HOSTSYNC_API__RPC_LISTEN", "api.rpc_listen")]
        {
            let mut environment = ground.environment();
            environment.retain(|(name, _)| name != variable);
            environment.push((variable.to_owned(), address.clone()));
            let (code, _, errors) = run(&environment, &[]).await;
            assert_eq!(code, 1, "{errors}");
            assert!(errors.contains(key) && errors.contains(&address) && errors.contains("in use"), "{errors}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_configuration_is_told_by_key_with_exit_code_2() {
    let given = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let (code, output, errors) = run(&given(&[("HOSTSYNC_API__LISTEN", "everywhere")]), &[]).await;
    assert_eq!((code, output.as_str()), (2, ""));
    for key in
        ["api.listen", "database.url", "rabbitmq.url", "api.operator_token", "elasticsearch.endpoints.default.url"]
    {
        assert!(errors.contains(key), "{key}: {errors}");
    }
    let (code, _, errors) = run(&[], &["migrate"]).await;
    assert_eq!(code, 2);
    assert!(errors.contains("database.url") && !errors.contains("rabbitmq.url"), "{errors}");
    assert_eq!(run(&[], &["dance"]).await.0, 2);
}

#[tokio::test]
async fn config_shows_what_is_in_force_without_secrets() {
    let environment = [
        ("HOSTSYNC_DATABASE__URL".to_owned(), "mysql://user:hunter2@db.invalid/x".to_owned()),
        ("HOSTSYNC_API__OPERATOR_TOKEN".to_owned(), "a-secret-operator-token".to_owned()),
    ];
    let (code, output, _) = run(&environment, &["config"]).await;
    assert_eq!(code, 0);
    assert!(output.contains("db.invalid") && output.contains("operator_token"), "{output}");
    assert!(!output.contains("hunter2") && !output.contains("a-secret"), "{output}");
}

#[tokio::test]
async fn a_password_that_ends_early_is_shown_by_no_command() {
    for (key, url) in [
        ("HOSTSYNC_DATABASE__URL", "mysql://u:p@ss/hunter2#rd@127.0.0.1/db"),
        ("HOSTSYNC_RABBITMQ__URL", "amqp://guest:Tr0ub@hunter2/3@127.0.0.1/"),
        ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", "http://u:12/hunter2@127.0.0.1"),
        ("HOSTSYNC_TELEMETRY__OTLP_ENDPOINT", "http://u:p?hunter2@127.0.0.1"),
    ] {
        for command in [&["config"][..], &["doctor"], &["migrate"], &["healthcheck"], &[]] {
            let (code, output, errors) = run(&[(key.to_owned(), url.to_owned())], command).await;
            assert_eq!(code, 2, "{command:?} {errors}");
            assert!(!output.contains("hunter2") && !errors.contains("hunter2"), "{output} {errors}");
            let name = key.trim_start_matches("HOSTSYNC_").to_lowercase().replace("__", ".");
            assert!(errors.contains(&name), "{errors}");
        }
    }
}

#[tokio::test]
async fn help_lists_the_keys() {
    for argument in ["--help", "-h"] {
        let (code, output, _) = run(&[], &[argument]).await;
        assert_eq!(code, 0);
        for word in ["migrate", "config", "operator_token", "max_connections", "127.0.0.1:8888"] {
            assert!(output.contains(word), "{word}: {output}");
        }
    }
}

#[tokio::test]
async fn sigterm_ends_it_with_exit_code_0() {
    with_ground(Ground::new(true).await, async |ground| {
        let mut child = binary(&ground.environment()).stderr(Stdio::piped()).spawn().expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let until_line = async |lines: &mut tokio::io::Lines<_>, text: &str| {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if line.contains(text) {
                    return;
                }
            }
            panic!("it ended before it said {text:?}");
        };
        let wait = Duration::from_secs(30);
        tokio::time::timeout(wait, until_line(&mut lines, "database is ready")).await.expect("ready in time");
        let pid = child.id().expect("it runs").to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill");
        assert!(killed.success());
        let ended = async {
            while lines.next_line().await.expect("a line").is_some() {}
            child.wait().await.expect("waited")
        };
        let status = tokio::time::timeout(wait, ended).await.expect("ended in time");
        assert_eq!(status.code(), Some(0));
    })
    .await;
}
