//! What the chart renders for the workers: the `ScaledObject`, the configuration file and the grace period of the pod.
//!
//! The objects come as `helm template` writes them, turned into JSON. A key of the `ScaledObject` that is not known here is
//! refused: nothing that the chart says to KEDA is passed over.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

/// Name of the configuration file in its `ConfigMap`.
const CONFIG_FILE: &str = "hostsync.toml";

/// What the chart says of the workers.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) scaling: Scaling,
    /// The configuration file of all services.
    pub(crate) config: String,
    /// From SIGTERM to SIGKILL, of the pod.
    pub(crate) pod_grace: Duration,
}

/// `spec` of the `ScaledObject`: <https://keda.sh/docs/2.21/reference/scaledobject-spec/>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Scaling {
    scale_target_ref: Value,
    pub(crate) min_replica_count: u32,
    pub(crate) max_replica_count: u32,
    /// Seconds.
    pub(crate) polling_interval: u64,
    /// Seconds.
    pub(crate) cooldown_period: u64,
    pub(crate) fallback: Fallback,
    advanced: Advanced,
    pub(crate) triggers: Vec<ScalerTrigger>,
}

/// What KEDA does while a trigger cannot be read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Fallback {
    /// Looks in a row that must fail.
    pub(crate) failure_threshold: u32,
    #[serde(rename = "replicas")]
    _replicas: u32,
    #[serde(rename = "behavior")]
    _behavior: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Advanced {
    #[serde(rename = "restoreToOriginalReplicaCount")]
    _restore: bool,
    horizontal_pod_autoscaler_config: HpaConfig,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HpaConfig {
    behavior: Behavior,
}

/// How fast the number may change, as in `autoscaling/v2`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Behavior {
    pub(crate) scale_up: Rules,
    pub(crate) scale_down: Rules,
}

/// The rules of one direction.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Rules {
    pub(crate) stabilization_window_seconds: u64,
    pub(crate) policies: Vec<Policy>,
    #[serde(default)]
    pub(crate) select_policy: Select,
}

/// How much may change within a time.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Policy {
    #[serde(rename = "type")]
    pub(crate) kind: PolicyKind,
    pub(crate) value: u32,
    pub(crate) period_seconds: u64,
}

/// What a policy's value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum PolicyKind {
    Pods,
    Percent,
}

/// Which of several policies holds: that of the largest change unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Select {
    #[default]
    Max,
    Min,
    Disabled,
}

/// A trigger of KEDA's RabbitMQ scaler, as far as the chart uses it: <https://keda.sh/docs/2.21/scalers/rabbitmq-queue/>.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ScalerTrigger {
    #[serde(rename = "type")]
    kind: String,
    pub(crate) name: String,
    metric_type: String,
    pub(crate) metadata: Metadata,
    authentication_ref: Reference,
}

/// `metadata` of a trigger. Its numbers are strings, as in every trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Metadata {
    protocol: String,
    pub(crate) queue_name: String,
    mode: String,
    pub(crate) value: String,
    pub(crate) activation_value: String,
    pub(crate) exclude_unacknowledged: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    name: String,
}

impl Rendered {
    /// From the file of all rendered objects.
    ///
    /// # Errors
    ///
    /// It cannot be read, an object is missing, or it says something that is not known here.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let objects: Vec<Value> = serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
        Self::of(&objects)
    }

    fn of(objects: &[Value]) -> anyhow::Result<Self> {
        let scaled = the_one(objects, "ScaledObject")?;
        let scaling: Scaling = serde_json::from_value(scaled["spec"].clone()).context("the ScaledObject")?;
        let target = scaling.scale_target_ref["name"].as_str().context("the ScaledObject names no target")?;
        let workers = objects
            .iter()
            .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == target)
            .with_context(|| format!("no Deployment is named {target}"))?;
        let pod_grace = workers["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .context("the pods of the workers have no terminationGracePeriodSeconds")?;
        let config = objects
            .iter()
            .filter(|object| object["kind"] == "ConfigMap")
            .find_map(|object| object["data"][CONFIG_FILE].as_str())
            .with_context(|| format!("no ConfigMap holds {CONFIG_FILE}"))?;
        check_triggers(&scaling, objects)?;
        Ok(Self { scaling, config: config.to_owned(), pod_grace: Duration::from_secs(pod_grace) })
    }
}

impl Scaling {
    pub(crate) fn behavior(&self) -> &Behavior {
        &self.advanced.horizontal_pod_autoscaler_config.behavior
    }
}

/// The scaler is played for triggers of one kind; any other would be played wrongly.
fn check_triggers(scaling: &Scaling, objects: &[Value]) -> anyhow::Result<()> {
    let authentication = the_one(objects, "TriggerAuthentication")?;
    anyhow::ensure!(
        authentication["spec"]["secretTargetRef"][0]["parameter"] == "host",
        "the TriggerAuthentication does not give the triggers their host"
    );
    for ScalerTrigger { kind, name, metric_type, metadata, authentication_ref } in &scaling.triggers {
        let known = [
            (kind.as_str(), "rabbitmq"),
            (metric_type, "AverageValue"),
            (&metadata.protocol, "http"),
            (&metadata.mode, "QueueLength"),
        ];
        for (said, played) in known {
            anyhow::ensure!(said == played, "trigger {name} says {said}; only {played} is played here");
        }
        anyhow::ensure!(
            authentication["metadata"]["name"] == authentication_ref.name.as_str(),
            "trigger {name} names the TriggerAuthentication {}, which is not rendered",
            authentication_ref.name
        );
    }
    Ok(())
}

fn the_one<'a>(objects: &'a [Value], kind: &str) -> anyhow::Result<&'a Value> {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    match (found.next(), found.next()) {
        (Some(object), None) => Ok(object),
        _ => anyhow::bail!("there is not exactly one {kind} among the rendered objects"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> Vec<Value> {
        let trigger = json!({
            "type": "rabbitmq", "name": "bulk", "metricType": "AverageValue",
            "metadata": {
                "protocol": "http", "queueName": "hostsync.jobs.bulk.v1", "mode": "QueueLength", "value": "5000",
                "activationValue": "0", "excludeUnacknowledged": "false",
            },
            "authenticationRef": {"name": "worker"},
        });
        let rules = json!({
            "stabilizationWindowSeconds": 300, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
        });
        vec![
            json!({"kind": "ConfigMap", "data": {"dashboard.json": "{}"}}),
            json!({"kind": "ConfigMap", "data": {"hostsync.toml": "[worker]\n"}}),
            json!({
                "kind": "TriggerAuthentication", "metadata": {"name": "worker"},
                "spec": {"secretTargetRef": [{"parameter": "host", "name": "hostsync", "key": "url"}]},
            }),
            json!({
                "kind": "Deployment", "metadata": {"name": "worker"},
                "spec": {"template": {"spec": {"terminationGracePeriodSeconds": 60}}},
            }),
            json!({"kind": "ScaledObject", "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "worker"},
                "minReplicaCount": 0, "maxReplicaCount": 6, "pollingInterval": 5, "cooldownPeriod": 10,
                "fallback": {"failureThreshold": 4, "replicas": 2, "behavior": "currentReplicasIfHigher"},
                "advanced": {
                    "restoreToOriginalReplicaCount": false,
                    "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": rules, "scaleUp": rules}},
                },
                "triggers": [trigger],
            }}),
        ]
    }

    #[test]
    fn what_the_chart_says_of_the_workers_is_read() {
        let rendered = Rendered::of(&objects()).expect("rendered");
        assert_eq!((rendered.config.as_str(), rendered.pod_grace), ("[worker]\n", Duration::from_mins(1)));
        let scaling = rendered.scaling;
        assert_eq!((scaling.min_replica_count, scaling.max_replica_count), (0, 6));
        assert_eq!(scaling.behavior().scale_down.select_policy, Select::Max);
        assert_eq!(scaling.triggers[0].metadata.queue_name, "hostsync.jobs.bulk.v1");
    }

    #[test]
    fn what_is_not_played_here_is_refused() {
        let changes: [(&str, Value); 4] = [
            ("/4/spec/triggers/0/metricType", json!("Value")),
            ("/4/spec/triggers/0/metadata/mode", json!("MessageRate")),
            ("/4/spec/triggers/0/authenticationRef/name", json!("another")),
            ("/2/spec/secretTargetRef/0/parameter", json!("password")),
        ];
        for (place, value) in changes {
            let mut changed = Value::Array(objects());
            *changed.pointer_mut(place).expect(place) = value;
            let Value::Array(changed) = changed else { unreachable!("an array") };
            assert!(Rendered::of(&changed).is_err(), "{place}");
        }
        let mut unknown = objects();
        unknown[4]["spec"]["idleReplicaCount"] = json!(0);
        let error = format!("{:#}", Rendered::of(&unknown).expect_err("a key that is not known"));
        assert!(error.contains("idleReplicaCount"), "{error}");
    }
}
