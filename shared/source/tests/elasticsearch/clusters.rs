//! Cross-cluster patterns: the engine reads itself as another cluster, and one that is not there.

use hostsync_mapping::Mapping;
use hostsync_source::SearchError;
use serde_json::{Value, json};

use crate::bed::*;

/// Remote clusters of the engine, by names of this test alone.
struct Remotes<'a> {
    indices: &'a Indices,
    names: Vec<String>,
}

impl<'a> Remotes<'a> {
    async fn connect(indices: &'a Indices, seeds: &[(&str, &str)]) -> Self {
        let mut names = Vec::new();
        for (suffix, seed) in seeds {
            let name = indices.named(suffix);
            Self::set(indices, &name, json!([seed]), json!(true)).await;
            names.push(name);
        }
        Self { indices, names }
    }

    async fn disconnect(self) {
        for name in self.names {
            Self::set(self.indices, &name, Value::Null, Value::Null).await;
        }
    }

    async fn set(indices: &Indices, name: &str, seeds: Value, skip_unavailable: Value) {
        let settings = json!({"persistent": {
            format!("cluster.remote.{name}.seeds"): seeds,
            format!("cluster.remote.{name}.skip_unavailable"): skip_unavailable,
        }});
        indices.send(reqwest::Method::PUT, "_cluster/settings", &settings).await;
    }
}

async fn transport_address(indices: &Indices) -> String {
    let url = format!("{}/_nodes/_local/transport", engine_url());
    let nodes: Value = indices.client.get(url).send().await.expect("an answer").json().await.expect("JSON");
    let nodes = nodes["nodes"].as_object().expect("nodes");
    let node = nodes.values().next().expect("a node");
    node["transport"]["publish_address"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn other_clusters_are_read_and_one_that_is_skipped_makes_the_answer_incomplete() {
    let indices = Indices::new();
    let text = indices.create("data-text", &zabbix_properties(&text_and_keyword_host())).await;
    let keyword = indices.create("data-keyword", &zabbix_properties(&keyword_host())).await;
    indices.add(&text, [document("10.0.0.1", start(), 10.0, 1.0, 1.0)]).await;
    indices.add(&keyword, [document("10.0.0.1", start(), 20.0, 1.0, 1.0)]).await;
    let alive = transport_address(&indices).await;
    // Port 1 is reserved and nobody listens there.
    let remotes = Remotes::connect(&indices, &[("alive", &alive), ("dead", "127.0.0.1:1")]).await;
    let (hosts, mapping) = (texts(["10.0.0.1"]), Mapping::zabbix());
    let proxy = QueryProxy::start().await;
    let search = async |through_proxy: bool, cluster: &str| {
        let pattern = format!("{}-{cluster}:{}-data-*", indices.prefix, indices.prefix);
        let endpoint = if through_proxy { proxy.endpoint() } else { real() };
        endpoint.search(&pattern, &mapping, window_of_a_day(), &hosts).await
    };
    let mut results = Vec::new();
    for through_proxy in [false, true] {
        results.push((
            search(through_proxy, "alive").await,
            search(through_proxy, "dead").await,
            search(through_proxy, "*").await,
        ));
    }
    remotes.disconnect().await;
    for (alive, dead, both) in results {
        // Indices of both shapes, behind the name of another cluster.
        let reading = alive.expect("an answer").readings["10.0.0.1"];
        assert_eq!(reading.data_point_count, 2);
        assert_close(reading.cpu, expected(&[10.0, 20.0]));
        for result in [dead, both] {
            match result {
                Err(SearchError::Incomplete { reason }) => assert!(reason.contains("1 skipped"), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
