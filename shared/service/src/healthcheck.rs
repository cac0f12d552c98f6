//! `healthcheck`: what a container without a shell asks about the service that runs in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::config::{CommonArgs, Config, Service};
use crate::process::{self, Surroundings};
use crate::telemetry;
use hostsync_model::causes::causes;

/// Longest wait for the answer.
const TIME_OUT: Duration = Duration::from_secs(5);

/// Asks the service that listens where this configuration says whether it is ready, and says what it answers.
///
/// The exit code is 0 if it is ready, 1 if it is not or does not answer, 2 if the configuration cannot be used.
pub fn healthcheck(service: Service, args: &CommonArgs, surroundings: &Surroundings) -> ExitCode {
    let config = match process::configuration(service, args, surroundings) {
        Ok(config) => config,
        Err(code) => return code,
    };
    telemetry::use_ring();
    let asked = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(ask(listens_at(service, &config))));
    let (is_ready, message) = asked.unwrap_or_else(|error| (false, causes(error.as_ref()).to_string()));
    say(&message);
    if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn listens_at(service: Service, config: &Config) -> SocketAddr {
    match service {
        Service::Scheduler => config.scheduler.listen,
        Service::Worker => config.worker.listen,
        Service::Api | Service::Migrate => config.api.listen,
    }
}

/// An address that listens everywhere is asked on the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether the service at `address` is ready, and its own words.
async fn ask(address: SocketAddr) -> anyhow::Result<(bool, String)> {
    let url = format!("http://{}/readyz", reachable(address));
    let client = reqwest::Client::builder().no_proxy().timeout(TIME_OUT).build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("{url} does not answer"))?;
    let is_ready = answer.status().is_success();
    let body: Value = answer.json().await.with_context(|| format!("{url} does not answer as hostsync does"))?;
    Ok((is_ready, body["message"].as_str().unwrap_or_default().to_owned()))
}

#[allow(clippy::print_stdout, reason = "the container's health log is the standard output of this command")]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_listens_everywhere_is_asked_on_the_loopback() {
        for (listens, asked) in
            [("0.0.0.0:8891", "127.0.0.1:8891"), ("[::]:8891", "[::1]:8891"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(reachable(listens.parse().expect("an address")), asked.parse().expect("an address"));
        }
    }
}
