//! KEDA's RabbitMQ scaler: which request it makes for a trigger, and what it reads from the answer.
//!
//! The rules are those of `pkg/scalers/rabbitmq_scaler.go` of KEDA 2.21.0, for triggers of the mode `QueueLength` over the
//! management HTTP API.

use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use url::Url;

use super::rendered::ScalerTrigger;

/// KEDA's default for a request (`KEDA_HTTP_DEFAULT_TIMEOUT`).
const TIMEOUT: Duration = Duration::from_secs(3);

/// The default vhost, where the address names none.
const ROOT_VHOST: &str = "%2F";

/// What KEDA reads of a queue. A queue that was made a moment ago has no numbers yet; they count as 0, as in Go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Queue {
    pub(crate) messages: u64,
    pub(crate) messages_ready: u64,
}

/// A trigger that can be read.
#[derive(Debug)]
pub(crate) struct Scaler {
    url: Url,
    rule: Rule,
    client: reqwest::Client,
}

/// What a trigger makes of its queue.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// Jobs for which there shall be one worker.
    target: u64,
    /// It is active with more jobs than this.
    activation: u64,
    is_ready_only: bool,
}

/// What a look at a trigger gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Jobs, ready or, unless the trigger excludes them, delivered and not yet acked.
    pub(crate) jobs: u64,
    /// Jobs for which there shall be one worker.
    pub(crate) target: u64,
    /// Whether there shall be a worker at all.
    pub(crate) is_active: bool,
}

impl Scaler {
    /// The scaler of a trigger; `host` is what the trigger's Secret holds, such as `http://user:password@mq:15672/%2f`.
    ///
    /// # Errors
    ///
    /// A number or flag of the trigger, or the address, makes no sense.
    pub(crate) fn new(trigger: &ScalerTrigger, host: &str) -> anyhow::Result<Self> {
        let metadata = &trigger.metadata;
        let number = |key: &str, text: &str| {
            text.parse().with_context(|| format!("trigger {}: {key} is {text:?}, not a whole number", trigger.name))
        };
        let target = number("value", &metadata.value)?;
        anyhow::ensure!(target > 0, "trigger {}: value must not be 0", trigger.name);
        let rule = Rule {
            target,
            activation: number("activationValue", &metadata.activation_value)?,
            is_ready_only: metadata.exclude_unacknowledged.parse().context("excludeUnacknowledged")?,
        };
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { url: queue_url(host, &metadata.queue_name)?, rule, client })
    }

    /// Looks at the queue as KEDA does.
    ///
    /// # Errors
    ///
    /// No answer, or any other than 200 with JSON.
    pub(crate) async fn read(&self) -> anyhow::Result<Reading> {
        Ok(self.rule.reading(self.queue().await?))
    }

    /// What the management API says of the queue, for those who want to see it.
    ///
    /// # Errors
    ///
    /// As [`Scaler::read`].
    pub(crate) async fn queue(&self) -> anyhow::Result<Queue> {
        let answer = self.client.get(self.url.clone()).send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        anyhow::ensure!(status.as_u16() == 200, "the management API answered {status} for {}", self.url.path());
        answer.json().await.context("the management API's answer")
    }
}

impl Rule {
    fn reading(self, queue: Queue) -> Reading {
        let jobs = if self.is_ready_only { queue.messages_ready } else { queue.messages };
        Reading { jobs, target: self.target, is_active: jobs > self.activation }
    }
}

/// The last part of the address's path is the vhost, the default one if it is empty; what stands before it is a prefix.
fn queue_url(host: &str, queue: &str) -> anyhow::Result<Url> {
    let mut url: Url = host.parse().context("the address of the management API")?;
    let (prefix, vhost) = url.path().rsplit_once('/').unwrap_or_default();
    let (prefix, vhost) = (prefix.to_owned(), if vhost.is_empty() { ROOT_VHOST } else { vhost }.to_owned());
    url.set_path(&format!("{prefix}/api/queues/{vhost}/"));
    url.path_segments_mut().ok().context("the address of the management API has no path")?.pop_if_empty().push(queue);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(is_ready_only: bool, activation: u64) -> Rule {
        Rule { target: 10, activation, is_ready_only }
    }

    #[test]
    fn the_vhost_is_the_last_part_of_the_address() {
        for (host, url) in [
            ("http://mq:15672", "http://mq:15672/api/queues/%2F/q.v1"),
            ("http://mq:15672/", "http://mq:15672/api/queues/%2F/q.v1"),
            ("http://me:pw@mq:15672/%2f", "http://me:pw@mq:15672/api/queues/%2f/q.v1"),
            ("https://mq/cmdb", "https://mq/api/queues/cmdb/q.v1"),
            ("https://mq/behind/proxy/cmdb", "https://mq/behind/proxy/api/queues/cmdb/q.v1"),
        ] {
            assert_eq!(queue_url(host, "q.v1").expect(host).as_str(), url);
        }
    }

    #[test]
    fn delivered_jobs_count_unless_the_trigger_excludes_them() {
        let queue = Queue { messages: 12, messages_ready: 5 };
        assert_eq!(rule(false, 0).reading(queue).jobs, 12);
        assert_eq!(rule(true, 0).reading(queue).jobs, 5);
    }

    #[test]
    fn a_trigger_is_active_above_its_activation_value() {
        let is_active =
            |activation, messages| rule(false, activation).reading(Queue { messages, messages_ready: 0 }).is_active;
        assert!(!is_active(0, 0) && is_active(0, 1));
        assert!(!is_active(5, 5) && is_active(5, 6));
    }

    #[test]
    fn a_queue_without_numbers_is_empty() {
        let queue: Queue = serde_json::from_str(r#"{"name": "q.v1", "type": "quorum"}"#).expect("a queue");
        assert_eq!(queue, Queue::default());
    }
}
