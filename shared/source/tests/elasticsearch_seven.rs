//! The same searches against a real Elasticsearch 7.10, which `deploy/dev/servers up elasticsearch7` provides.

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
const ENGINE: &str = "HOSTSYNC_DEV_ELASTICSEARCH7_URL";
