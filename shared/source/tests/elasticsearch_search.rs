//! Searches against a real OpenSearch 2.19, which `make up` provides. Each test has indices of its own and removes
//! them.

#[path = "elasticsearch/bed.rs"]
mod bed;
#[path = "elasticsearch/clusters.rs"]
mod clusters;
#[path = "elasticsearch/groups.rs"]
mod groups;
#[path = "elasticsearch/metricbeat.rs"]
mod metricbeat;
#[path = "elasticsearch/probes.rs"]
mod probes;
#[path = "elasticsearch/shapes.rs"]
mod shapes;
#[path = "elasticsearch/values.rs"]
mod values;

/// The engine under test.
const ENGINE: &str = "HOSTSYNC_DEV_ELASTICSEARCH_URL";
