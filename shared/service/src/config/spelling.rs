//! Names of the environment that set nothing but look as if they should: one underscore where two belong.
//!
//! Owns what such a name probably means. Names of other shapes stay ignored without a word: Kubernetes gives every pod
//! `HOSTSYNC_API_PORT` and the like beside a service of that name.

use super::keys::Key;
use super::source::variable_of_key;

/// What a key's name holds where the user chooses a level.
const CHOSEN: &str = "<name>";

/// A sentence for each name that resembles a key; with a name stands what is behind our prefix, in lower case.
pub(super) fn warnings(ignored: &[(String, String)], keys: &[Key]) -> Vec<String> {
    let mut warnings: Vec<String> = ignored
        .iter()
        .map(|(name, path)| (name, meant_by(path, keys)))
        .filter(|(_, meant)| !meant.is_empty())
        .map(|(name, meant)| {
            let meant = meant.join(" or ");
            format!("the environment variable {name} sets nothing: two underscores stand between levels, as in {meant}")
        })
        .collect();
    warnings.sort();
    warnings
}

/// The right spellings of what `path` may mean, which is a name without its prefix and in lower case; none: it resembles
/// no key.
fn meant_by(path: &str, keys: &[Key]) -> Vec<String> {
    let squeezed = |text: &str| text.replace(['_', '.'], "");
    let whole = keys.iter().filter(|key| squeezed(&key.name) == squeezed(path)).map(|key| key.name.clone());
    let chosen = keys.iter().filter_map(|key| {
        let (before, after) = key.name.split_once(CHOSEN)?;
        let name = path.strip_prefix(&before.replace('.', "_"))?.strip_suffix(&after.replace('.', "_"))?;
        // What stands below the name of a mapping is not among the keys.
        let name = if after.is_empty() { name.split_once('_').map(|_| CHOSEN) } else { Some(name) };
        name.filter(|name| !name.is_empty()).map(|name| key.name.replace(CHOSEN, name))
    });
    let mut meant: Vec<String> = whole.chain(chosen).collect();
    if meant.is_empty() {
        let last = |key: &str| key.rsplit('.').next() == Some(path);
        meant.extend(keys.iter().map(|key| key.name.clone()).filter(|key| last(key)));
    }
    meant.iter().map(|key| variable_of_key(key)).collect()
}

#[cfg(test)]
mod tests {
    fn meant_by(path: &str) -> Vec<String> {
        super::meant_by(path, &crate::config::keys())
    }

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
