//! The broker: the way to it, what is declared there, how full it is, and whether anybody consumes.

use std::collections::BTreeMap;

use hostsync_model::execution::JobQueue;
use hostsync_queue::{Broker, BrokerRefusal, DeclarationState, Depth, MAX_JOBS, Permission, QueueError, Topology};
use hostsync_service::config::{Config, place_of};
use hostsync_service::tested::Tested;

use super::{Check, untested, within};

/// What was found, and how full the queues are.
pub(super) struct BrokerExamination {
    pub(super) checks: Vec<Check>,
    pub(super) depths: BTreeMap<JobQueue, Depth>,
    /// Dead letters that are still there, and the name of their queue.
    pub(super) dead_letters: Option<(String, u32)>,
}

pub(super) async fn examine(config: &Config) -> BrokerExamination {
    let mut examined = BrokerExamination { checks: Vec::new(), depths: BTreeMap::new(), dead_letters: None };
    let settings = config.rabbitmq.settings("hostsync-api doctor");
    let (place, settings) = match config.rabbitmq.url().and_then(|url| Ok((place_of(&url.get()), settings?))) {
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
        Ok(Err(error)) => {
            let line = permission_line("<user>", "<vhost>", &config.rabbitmq.prefix);
            examined.checks.push(refused("broker", &place, &error.refusal(), &line));
        }
        Err(reason) => examined.checks.push(Check::fail("broker", format!("{place}: {reason}"), WAY)),
    }
    examined
}

async fn ask(
    broker: &Broker,
    topology: &Topology,
    place: &str,
    examined: &mut BrokerExamination,
) -> Result<(), QueueError> {
    let version = broker.version().await?.unwrap_or_else(|| "unknown".to_owned());
    let found = format!("{place}, {version} (tested: {})", Tested::RABBITMQ);
    examined.checks.push(Check::ok("broker", found));
    examined.checks.extend(untested("broker", Tested::RABBITMQ, &version));
    let (user, vhost) = broker.place();
    let line = permission_line(&user, &vhost, topology.prefix());
    let lacking = broker.lacking().await?;
    examined.checks.push(permissions(&lacking, &user, &vhost, topology.prefix(), &line));
    if !lacking.is_empty() {
        // Each exchange and queue would be told once more, with the same line to mend it.
        return Ok(());
    }
    for (name, exchange) in broker.exchanges().await? {
        match exchange {
            DeclarationState::AsOurs(()) => {}
            DeclarationState::Missing => examined.checks.push(missing("exchange", &name)),
            DeclarationState::Refused(refusal) => examined.checks.push(refused("exchange", &name, &refusal, &line)),
        }
    }
    for &queue in JobQueue::ALL {
        let check = format!("queue {}", queue.as_str());
        let name = topology.queue(queue);
        examined.checks.push(match broker.jobs(queue).await? {
            DeclarationState::AsOurs(depth) => {
                examined.depths.insert(queue, depth);
                jobs(&check, &name, depth)
            }
            DeclarationState::Missing => missing(&check, &name),
            DeclarationState::Refused(refusal) => refused(&check, &name, &refusal, &line),
        });
    }
    let name = topology.dead_queue();
    match broker.dead_letters().await? {
        DeclarationState::AsOurs(Depth { ready, .. }) => examined.dead_letters = Some((name, ready)),
        DeclarationState::Missing => examined.checks.push(missing("dead letter queue", &name)),
        DeclarationState::Refused(refusal) => {
            examined.checks.push(refused("dead letter queue", &name, &refusal, &line));
        }
    }
    Ok(())
}

fn jobs(check: &str, name: &str, Depth { ready, consumers }: Depth) -> Check {
    let found = format!("{name}: {ready} jobs wait, {consumers} consumers");
    if ready >= MAX_JOBS {
        let next = "start more workers (worker.scaling.max), or cancel runs: docs/operations.md, HostsyncQueueFull";
        return Check::fail(check, format!("{found}: it is full"), next);
    }
    if ready > 0 && consumers == 0 {
        let next = "no worker consumes: systemctl status hostsync-worker and its journal, or kubectl get \
                    deployment,scaledobject -l app.kubernetes.io/component=worker";
        return Check::warn(check, found, next);
    }
    Check::ok(check, found)
}

/// What we may do with queues and exchanges of our prefix.
fn permissions(lacking: &[Permission], user: &str, vhost: &str, prefix: &str, line: &str) -> Check {
    const CHECK: &str = "broker rights";
    if lacking.is_empty() {
        return Check::ok(CHECK, format!("{user} may configure, write and read {prefix}.* in the vhost {vhost}"));
    }
    let lacking: Vec<&str> = lacking.iter().map(|permission| permission.as_str()).collect();
    Check::fail(CHECK, format!("{user} may not {} {prefix}.* in the vhost {vhost}", lacking.join(", ")), line)
}

/// The line that gives a user all that it needs. It replaces the permissions that the user has in the vhost.
fn permission_line(user: &str, vhost: &str, prefix: &str) -> String {
    let ours = format!("'^{}\\.'", prefix.replace('.', "\\."));
    format!("rabbitmqctl set_permissions -p '{vhost}' '{user}' {ours} {ours} {ours}")
}

fn missing(check: &str, name: &str) -> Check {
    let next = "start or restart a worker: every service declares it as it connects, with its binding";
    Check::warn(check, format!("{name} is not there"), next)
}

/// What helps where nobody answers.
const WAY: &str = "is RabbitMQ up (systemctl status rabbitmq-server), do host and port of rabbitmq.url lead to it, does a \
                   firewall or a network policy let us through?";

fn refused(check: &str, name: &str, refusal: &BrokerRefusal, permission_line: &str) -> Check {
    let (reason, next) = match refusal {
        BrokerRefusal::Credentials(text) => {
            (text, "correct user and password in rabbitmq.url: rabbitmqctl authenticate_user <user>".to_owned())
        }
        BrokerRefusal::Vhost(text) => (
            text,
            format!("correct the vhost at the end of rabbitmq.url (none is the default one, /), or {permission_line}"),
        ),
        BrokerRefusal::Permission(text) => (text, permission_line.to_owned()),
        BrokerRefusal::Arguments(text) => (
            text,
            format!(
                "somebody else declared it: stop the workers, rabbitmqctl delete_queue {name}, start them; runs are published again"
            ),
        ),
        BrokerRefusal::Missing(text) | BrokerRefusal::Away(text) => (text, WAY.to_owned()),
    };
    Check::fail(check, format!("{name}: {reason}"), next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn what_a_user_of_the_broker_lacks_is_told_with_the_line_that_gives_it() {
        let line = permission_line("hostsync", "/", "hostsync.test");
        assert_eq!(
            line,
            r"rabbitmqctl set_permissions -p '/' 'hostsync' '^hostsync\.test\.' '^hostsync\.test\.' '^hostsync\.test\.'"
        );
        let of = |lacking: &[Permission]| permissions(lacking, "hostsync", "/", "hostsync.test", &line);
        assert_eq!(of(&[]).level, Level::Ok);
        let check = of(&[Permission::Configure, Permission::Read]);
        assert_eq!(check.found, "hostsync may not configure, read hostsync.test.* in the vhost /");
        assert_eq!((check.level, check.next.as_deref()), (Level::Fail, Some(line.as_str())));
    }

    #[test]
    fn a_queue_is_judged_by_its_jobs_and_its_consumers() {
        let level = |ready, consumers| jobs("queue bulk", "hostsync.jobs.bulk.v1", Depth { ready, consumers }).level;
        assert_eq!([level(0, 0), level(0, 2), level(MAX_JOBS - 1, 1)], [Level::Ok; 3]);
        assert_eq!(level(1, 0), Level::Warn, "nobody consumes");
        assert_eq!(level(MAX_JOBS, 9), Level::Fail, "it is full");
    }
}
