//! Secrets that stand in files: what changes there is in force without a restart.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::json;
use wiremock::matchers::{any, header};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{BASE, Ground, OPERATOR, Server, send, until, with_server_of};

/// A folder of this test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("hostsync-secrets-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    /// A file in it; what was there is replaced at once, as a link is swapped.
    fn write(&self, name: &str, content: &str) -> String {
        let (path, new) = (self.0.join(name), self.0.join(format!("{name}.new")));
        std::fs::write(&new, content).expect("written");
        std::fs::rename(&new, &path).expect("swapped");
        path.to_str().expect("a path").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn status_of(server: &Server, token: &str) -> u16 {
    send(server.request(Method::GET, &format!("{BASE}/es-sync-tasks")).bearer_auth(token)).await.status
}

#[tokio::test]
async fn a_token_whose_file_changes_is_another_and_one_whose_file_is_gone_stays() {
    let (first, second) = ("token-of-bob-0123456789", "token-of-bob-9876543210");
    let folder = Folder::new();
    let file = folder.write("bob", &format!("{first}\n"));
    let more =
        [("HOSTSYNC_API__TOKENS__BOB__ROLE", "viewer"), ("HOSTSYNC_API__TOKENS__BOB__TOKEN_FILE", file.as_str())];
    with_server_of(Ground::new(true).await, &more, async |server| {
        assert_eq!((status_of(server, first).await, status_of(server, second).await), (200, 401));
        folder.write("bob", second);
        until("the new token is known", async || status_of(server, second).await == 200).await;
        assert_eq!(status_of(server, first).await, 401, "the old one is known no more");
        std::fs::remove_file(Path::new(&file)).expect("removed");
        let failing = "hostsync_secret_files_failing{key=\"api.tokens.bob.token_file\"} 1";
        until("it is noticed", async || server.get_plain("/metrics").await.text.contains(failing)).await;
        assert_eq!(status_of(server, second).await, 200, "the last one stays in force");
        assert_eq!(status_of(server, OPERATOR).await, 200);
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_is_asked_with_what_its_file_says_now() {
    let engine = MockServer::start().await;
    let refused = json!({"error": {"type": "security_exception", "reason": "no"}, "status": 401});
    Mock::given(any()).respond_with(ResponseTemplate::new(401).set_body_json(refused)).mount(&engine).await;
    let folder = Folder::new();
    let file = folder.write("key", "first-key");
    let url = engine.uri();
    let more = [
        ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", url.as_str()),
        ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__API_KEY_FILE", file.as_str()),
    ];
    with_server_of(Ground::new(true).await, &more, async |server| {
        let asked_with = async |value: &str| {
            server.post("/es-sync-tasks/probe", &json!({})).await;
            let requests = engine.received_requests().await.expect("recorded");
            requests.iter().any(|request| wiremock::Match::matches(&header("authorization", value), request))
        };
        assert!(asked_with("ApiKey first-key").await);
        folder.write("key", "second-key");
        until("it is asked with the new key", async || asked_with("ApiKey second-key").await).await;
    })
    .await;
}

#[tokio::test]
async fn a_password_of_the_database_and_the_broker_that_is_put_right_is_used_without_a_restart() {
    let ground = Ground::new(true).await;
    let folder = Folder::new();
    let wrong = |url: &str| {
        let mut url: reqwest::Url = url.parse().expect("a URL");
        url.set_username("nobody").expect("it has a host");
        url.set_password(Some("wrong")).expect("it has a host");
        url.to_string()
    };
    let urls = [("database", ground.database_url()), ("rabbitmq", ground.servers.rabbitmq.clone())];
    let files = urls.clone().map(|(name, url)| folder.write(name, &wrong(&url)));
    let more = [
        ("HOSTSYNC_DATABASE__URL", ""),
        ("HOSTSYNC_RABBITMQ__URL", ""),
        ("HOSTSYNC_DATABASE__URL_FILE", files[0].as_str()),
        ("HOSTSYNC_RABBITMQ__URL_FILE", files[1].as_str()),
    ];
    let server = Server::start(ground, &more).await;
    let ready = async |name: &str| server.get_plain("/readyz").await.body["checks"][name]["ready"] == true;
    until("it listens", async || server.get_plain("/readyz").await.status == 503).await;
    assert!(!ready("database").await && !ready("rabbitmq").await);
    for (name, url) in &urls {
        folder.write(name, url);
    }
    until("both are reached", async || ready("database").await && ready("rabbitmq").await).await;
    server.shutdown.begin();
    server.serving.await.expect("ended").expect("ended well");
    server.ground.clear().await;
}
