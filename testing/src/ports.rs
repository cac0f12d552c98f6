//! Ports that a process keeps when it is stopped and started again.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// Below the ports of the development servers, and below those that the system gives to outgoing connections.
const PORTS: RangeInclusive<u16> = 12_000..=19_999;

/// Those that this process has given away.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on 127.0.0.1 that is free now and that nobody else of this process gets.
///
/// # Errors
///
/// None is free.
pub fn free_port() -> anyhow::Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // From anywhere in between, since other test processes look for theirs too.
    let start = PORTS.start() + rand::random::<u16>() % (PORTS.end() - PORTS.start());
    let port = (start..=*PORTS.end())
        .chain(*PORTS.start()..start)
        .find(|port| !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let port = port.ok_or_else(|| anyhow::anyhow!("no port is free between {} and {}", PORTS.start(), PORTS.end()))?;
    given.insert(port);
    Ok(port)
}
