//! The API against a real database and a real broker: a server on a port of its own for each test, over a database and
//! queues of its own.
//!
//! The servers are named by `HOSTSYNC_DEV_DATABASE_URL`, `HOSTSYNC_DEV_RABBITMQ_URL`,
//! `HOSTSYNC_DEV_RABBITMQ_MANAGEMENT_URL` and, for a probe of a source, `HOSTSYNC_DEV_ELASTICSEARCH_URL`, as `make` sets
//! them.

mod harness;

mod access;
mod answers;
mod audit;
mod bad_input;
mod binary;
mod callers;
mod console;
mod csv;
mod dead_letters;
mod docs;
mod doctor;
mod document;
mod events;
mod execute;
mod executions;
mod freshness;
mod guide;
mod hosts;
mod idempotency;
mod operate;
mod operating;
mod outage;
mod pages;
mod pause;
mod preview;
mod probe;
mod reruns;
mod rights;
mod secrets;
mod stats;
mod tasks;
