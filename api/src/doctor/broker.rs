//! The broker: the way to it, what is declared there, how full it is, and whether anybody consumes.

use std::collections::BTreeMap;

use hostsync_shared::config::{Config, place_of};
use hostsync_shared::execution::JobQueue;
use hostsync_shared::queue::{Broker, Declared, Depth, MAX_JOBS, QueueError, QueueSettings, Refusal, Topology};
use hostsync_shared::tested::Tested;

use super::{Check, untested, within};

/// What was found, and how full the queues are.
pub(super) struct Examined {
    pub(super) checks: Vec<Check>,
    pub(super) depths: BTreeMap<JobQueue, Depth>,
}

pub(super) async fn examine(config: &Config) -> Examined {
    let mut examined = Examined { checks: Vec::new(), depths: BTreeMap::new() };
    let settings = QueueSettings::configured(&config.rabbitmq, "hostsync-api doctor");
    let (place, settings) = match config.rabbitmq.url().and_then(|url| Ok((place_of(url), settings?))) {
        Ok(known) => known,
        Err(error) => {
            examined.checks.push(Check::fail("broker", error.to_string(), "set rabbitmq.url"));
            return examined;
        }
    };
    let asked = within(async {
        let broker = Broker::connect(&settings).await?;
        let asked = ask(&broker, &settings.topology, &place, &mut examined).await;
        broker.close().await;
        asked
    })
    .await;
    match asked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => examined.checks.push(refused("broker", &place, &error.refusal())),
        Err(reason) => examined.checks.push(Check::fail("broker", format!("{place}: {reason}"), WAY)),
    }
    examined
}

async fn ask(broker: &Broker, topology: &Topology, place: &str, examined: &mut Examined) -> Result<(), QueueError> {
    let version = broker.version().await?.unwrap_or_else(|| "unknown".to_owned());
    let found = format!("{place}, {version} (tested: {})", Tested::RABBITMQ);
    examined.checks.push(Check::ok("broker", found));
    examined.checks.extend(untested("broker", Tested::RABBITMQ, &version));
    for (name, exchange) in broker.exchanges().await? {
        match exchange {
            Declared::AsOurs(()) => {}
            Declared::Missing => examined.checks.push(missing("exchange", &name)),
            Declared::Refused(refusal) => examined.checks.push(refused("exchange", &name, &refusal)),
        }
    }
    for &queue in JobQueue::ALL {
        let check = format!("queue {}", queue.as_str());
        let name = topology.queue(queue);
        examined.checks.push(match broker.jobs(queue).await? {
            Declared::AsOurs(depth) => {
                examined.depths.insert(queue, depth);
                jobs(&check, &name, depth)
            }
            Declared::Missing => missing(&check, &name),
            Declared::Refused(refusal) => refused(&check, &name, &refusal),
        });
    }
    let name = topology.dead_queue();
    examined.checks.push(match broker.dead_letters().await? {
        Declared::AsOurs(Depth { ready: 0, .. }) => Check::ok("dead letters", "none"),
        Declared::AsOurs(Depth { ready, .. }) => Check::warn(
            "dead letters",
            format!("{ready} in {name}: messages that could not be worked on"),
            "hostsync-api dead-letters list",
        ),
        Declared::Missing => missing("dead letters", &name),
        Declared::Refused(refusal) => refused("dead letters", &name, &refusal),
    });
    Ok(())
}

fn jobs(check: &str, name: &str, Depth { ready, consumers }: Depth) -> Check {
    let found = format!("{name}: {ready} jobs wait, {consumers} consumers");
    if ready >= MAX_JOBS {
        let next = "start more workers (worker.scaling.max), or cancel runs: docs/operations.md, HostsyncQueueFull";
        return Check::fail(check, format!("{found}: it is full"), next);
    }
    if ready > 0 && consumers == 0 {
        let next = "no worker consumes: kubectl get deployment,scaledobject -l app.kubernetes.io/component=worker";
        return Check::warn(check, found, next);
    }
    Check::ok(check, found)
}

fn missing(check: &str, name: &str) -> Check {
    let next = "restart a worker: every service declares it as it connects, with its binding";
    Check::warn(check, format!("{name} is not there"), next)
}

/// What helps where nobody answers.
const WAY: &str = "is RabbitMQ up, do host and port of rabbitmq.url lead to it, does a network policy let us through?";

fn refused(check: &str, name: &str, refusal: &Refusal) -> Check {
    let (reason, next) = match refusal {
        Refusal::Credentials(text) => {
            (text, "correct user and password in rabbitmq.url: rabbitmqctl authenticate_user <user>".to_owned())
        }
        Refusal::Vhost(text) => (
            text,
            "correct the vhost at the end of rabbitmq.url (%2f is the default one), or rabbitmqctl set_permissions -p <vhost>"
                .to_owned(),
        ),
        Refusal::Permission(text) => {
            (text, "rabbitmqctl set_permissions -p <vhost> <user> '^hostsync\\.' '^hostsync\\.' '^hostsync\\.'".to_owned())
        }
        Refusal::Arguments(text) => (
            text,
            format!(
                "somebody else declared it: stop the workers, rabbitmqctl delete_queue {name}, start them; runs are published again"
            ),
        ),
        Refusal::Missing(text) | Refusal::Away(text) => (text, WAY.to_owned()),
    };
    Check::fail(check, format!("{name}: {reason}"), next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_queue_is_judged_by_its_jobs_and_its_consumers() {
        let level = |ready, consumers| jobs("queue bulk", "hostsync.jobs.bulk.v1", Depth { ready, consumers }).level;
        assert_eq!([level(0, 0), level(0, 2), level(MAX_JOBS - 1, 1)], [Level::Ok; 3]);
        assert_eq!(level(1, 0), Level::Warn, "nobody consumes");
        assert_eq!(level(MAX_JOBS, 9), Level::Fail, "it is full");
    }
}
