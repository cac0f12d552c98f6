//! Names of the environment that set nothing but look as if they should: one underscore where two belong.
//!
//! Owns what such a name probably means. Names of other shapes stay ignored without a word: Kubernetes gives every pod
//! `HOSTSYNC_API_PORT` and the like beside a service of that name.

use super::keys::KEYS;
use super::source::variable_of_key;

/// What a key's name holds where the user chooses a level.
const CHOSEN: &str = "<name>";

/// The right spellings of what `path` may mean, which is a name without its prefix and in lower case; none: it resembles
/// no key.
pub(super) fn meant_by(path: &str) -> Vec<String> {
    let squeezed = |text: &str| text.replace(['_', '.'], "");
    let whole = KEYS.iter().filter(|key| squeezed(key.name) == squeezed(path)).map(|key| key.name.to_owned());
    let chosen = KEYS.iter().filter_map(|key| {
        let (before, after) = key.name.split_once(CHOSEN)?;
        let name = path.strip_prefix(&before.replace('.', "_"))?.strip_suffix(&after.replace('.', "_"))?;
        // What stands below the name of a mapping is not among the keys.
        let name = if after.is_empty() { name.split_once('_').map(|_| CHOSEN) } else { Some(name) };
        name.filter(|name| !name.is_empty()).map(|name| key.name.replace(CHOSEN, name))
    });
    let mut keys: Vec<String> = whole.chain(chosen).collect();
    if keys.is_empty() {
        let last = |key: &str| key.rsplit('.').next() == Some(path);
        keys.extend(KEYS.iter().map(|key| key.name).filter(|key| last(key)).map(str::to_owned));
    }
    keys.iter().map(|key| variable_of_key(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::meant_by;

    #[test]
    fn a_name_that_lacks_an_underscore_or_its_section_is_told_as_it_should_be() {
        for (path, meant) in [
            ("worker_batch_hosts", vec!["HOSTSYNC_WORKER__BATCH_HOSTS"]),
            ("worker_batchhosts", vec!["HOSTSYNC_WORKER__BATCH_HOSTS"]),
            ("database_url_file", vec!["HOSTSYNC_DATABASE__URL_FILE"]),
            ("elasticsearch_endpoints_main_api_key", vec!["HOSTSYNC_ELASTICSEARCH__ENDPOINTS__MAIN__API_KEY"]),
            ("elasticsearch_endpoints_far_away_url", vec!["HOSTSYNC_ELASTICSEARCH__ENDPOINTS__FAR_AWAY__URL"]),
            ("mappings_agent_time_field", vec!["HOSTSYNC_MAPPINGS__<NAME>"]),
            ("log_level", vec!["HOSTSYNC_TELEMETRY__LOG_LEVEL"]),
            ("listen", vec!["HOSTSYNC_API__LISTEN", "HOSTSYNC_SCHEDULER__LISTEN", "HOSTSYNC_WORKER__LISTEN"]),
        ] {
            assert_eq!(meant_by(path), meant, "{path}");
        }
    }

    #[test]
    fn what_kubernetes_injects_and_what_is_no_key_at_all_resembles_nothing() {
        for service in ["api", "worker", "scheduler", "api_listen", "elasticsearch", "database"] {
            for ending in
                ["port", "service_host", "service_port", "service_port_http", "port_8888_tcp", "port_8888_tcp_addr"]
            {
                assert_eq!(meant_by(&format!("{service}_{ending}")), [] as [String; 0], "{service}_{ending}");
            }
        }
        for path in ["config", "demo", "dev_database_url", "", "mappings", "elasticsearch_endpoints_url"] {
            assert_eq!(meant_by(path), [] as [String; 0], "{path}");
        }
    }
}
