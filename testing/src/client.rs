//! A caller of the REST API.

use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bed::OPERATOR_TOKEN;

/// Pause between two looks while waiting for something.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A caller with the operator's token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// A caller of the API at `url`, as the operator of a bed.
    pub fn new(url: &str) -> Self {
        Self::with_token(url, OPERATOR_TOKEN)
    }

    /// A caller with another token.
    pub fn with_token(url: &str, token: &str) -> Self {
        Self { http: reqwest::Client::new(), base: format!("{url}/api/cmdb/v1"), token: token.to_owned() }
    }

    /// Sends a request; returns status and body.
    ///
    /// # Errors
    ///
    /// No answer, or one that is not JSON.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await.context("the body is not JSON")?))
    }

    /// Sends a request that must succeed.
    ///
    /// # Errors
    ///
    /// Any other answer than 200.
    pub async fn ok(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (status, answer) = self.send(method, path, body).await?;
        anyhow::ensure!(status == 200, "{path} answered {status}: {answer}");
        Ok(answer)
    }

    /// Waits until the API is ready.
    ///
    /// # Errors
    ///
    /// It is not within `limit`.
    pub async fn wait_until_ready(&self, limit: Duration) -> anyhow::Result<()> {
        let url = self.base.replace("/api/cmdb/v1", "/readyz");
        wait_for("the API to be ready", limit, async || {
            Ok(self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await
    }

    /// Enqueues a host list; returns the execution's id.
    ///
    /// # Errors
    ///
    /// It was refused.
    pub async fn execute(&self, task_name: &str, hosts: &[String], range: &str) -> anyhow::Result<u64> {
        let body = json!({"task_name": task_name, "host_ip_list": hosts, "query_time_range": range});
        let answer = self.ok(Method::POST, "/es-sync-execute", Some(&body)).await?;
        answer["execution_id"].as_u64().context("no execution_id")
    }

    /// Creates a task that is enabled; returns its id.
    ///
    /// # Errors
    ///
    /// It was refused.
    pub async fn create_enabled_task(&self, name: &str, expression: &str, range: &str) -> anyhow::Result<u64> {
        let body = json!({
            "task_name": name, "cron_expression": expression, "query_time_range": range, "is_enabled": true,
        });
        let answer = self.ok(Method::POST, "/es-sync-tasks", Some(&body)).await?;
        answer["task_id"].as_u64().context("no task_id")
    }

    /// Enables or disables a task.
    ///
    /// # Errors
    ///
    /// It was refused.
    pub async fn enable_task(&self, id: u64, is_enabled: bool) -> anyhow::Result<()> {
        self.ok(Method::PUT, "/es-sync-tasks/enable", Some(&json!({"id": id, "is_enabled": is_enabled}))).await?;
        Ok(())
    }

    /// The execution logs of a task, newest first.
    ///
    /// # Errors
    ///
    /// It was refused.
    pub async fn execution_logs(&self, task_id: u64) -> anyhow::Result<Vec<Value>> {
        let path = format!("/es-sync-execution-logs?task_id={task_id}&limit=500");
        let mut answer = self.ok(Method::GET, &path, None).await?;
        match answer["execution_logs"].take() {
            Value::Array(logs) => Ok(logs),
            other => anyhow::bail!("execution_logs is {other}"),
        }
    }

    /// The log of an execution, without its details.
    ///
    /// # Errors
    ///
    /// It was refused.
    pub async fn execution(&self, id: u64) -> anyhow::Result<Value> {
        let answer = self.ok(Method::GET, &format!("/es-sync-execution-detail/{id}?limit=1"), None).await?;
        Ok(answer["execution_log"].clone())
    }

    /// All details of an execution, page by page.
    ///
    /// # Errors
    ///
    /// It was refused.
    pub async fn details(&self, id: u64) -> anyhow::Result<Vec<Value>> {
        let mut details = Vec::new();
        let mut path = format!("/es-sync-execution-detail/{id}?limit=500");
        loop {
            let mut answer = self.ok(Method::GET, &path, None).await?;
            if let Value::Array(page) = answer["execution_details"].take() {
                details.extend(page);
            }
            match answer["next_cursor"].as_str() {
                Some(cursor) => path = format!("/es-sync-execution-detail/{id}?limit=500&cursor={cursor}"),
                None => return Ok(details),
            }
        }
    }

    /// Waits for the end of an execution; returns its log.
    ///
    /// # Errors
    ///
    /// It has not ended within `limit`.
    pub async fn wait_for_end(&self, id: u64, limit: Duration) -> anyhow::Result<Value> {
        wait_for(&format!("the end of execution {id}"), limit, async || {
            let log = self.execution(id).await?;
            let is_going = matches!(log["execution_status"].as_str(), Some("running" | "waiting"));
            Ok((!is_going).then_some(log))
        })
        .await
    }
}

/// Looks again and again until there is something to return.
///
/// # Errors
///
/// A look failed, or there was nothing within `limit`.
pub async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        anyhow::ensure!(started.elapsed() < limit, "waited {} s for {what}", limit.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
