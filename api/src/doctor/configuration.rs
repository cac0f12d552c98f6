//! The configuration in force. One that cannot be used never gets here: the process has exited 2.

use std::path::Path;

use hostsync_schedule::ZoneRules;
use hostsync_service::config::{ApiAuth, Config};

use super::Check;

pub(super) fn examine(config: &Config, file: Option<&Path>) -> Vec<Check> {
    let file = file.map_or_else(|| "environment alone".to_owned(), |path| path.display().to_string());
    let endpoints: Vec<&str> = config.elasticsearch.endpoints.keys().map(String::as_str).collect();
    let found = format!("{file}; endpoints {}", endpoints.join(", "));
    let mut checks = vec![Check::ok("configuration", found)];
    checks.extend(config.warnings.iter().map(|warning| {
        Check::warn(
            "environment",
            warning.clone(),
            "correct its spelling, or take it away: nothing of hostsync reads it",
        )
    }));
    checks.push(Check::ok("time zones", time_zones(ZoneRules::in_force())));
    checks.push(match config.api.auth {
        ApiAuth::Token => Check::ok("api.auth", "token"),
        ApiAuth::None => Check::warn(
            "api.auth",
            format!("none: whoever reaches {} or {} may do everything", config.api.listen, config.api.rpc_listen),
            "set api.auth = \"token\" and api.operator_token",
        ),
    });
    checks
}

fn time_zones(rules: &ZoneRules) -> String {
    let built_in = ZoneRules::built_in_version();
    if rules.are_older_than_built_in() {
        format!("rules {rules}; older than the {built_in} of this release: bring tzdata up to date")
    } else {
        format!("rules {rules}")
    }
}
