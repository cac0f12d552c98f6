//! The configuration of all three services: one TOML file and the environment, the environment winning.
//!
//! Owns every key, its default, its bounds and what a service demands. It reads the file and the files
//! that hold secrets, once, at the start; the environment is passed in. It must not connect to anything.
//! What a mapping may say is the mapping module's matter. `docs/configuration.md` is the user's view.

mod endpoint;
mod error;
mod keys;
mod leaf;
mod masked;
mod reader;
mod sections;
mod server_url;
mod source;
mod spelling;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use hostsync_mapping::Mapping;

pub use endpoint::{DEFAULT_INDEX_PATTERN, ElasticsearchConfig, TIMEOUT_BOUNDS};
pub use error::{ConfigError, Origin, Problem};
pub use keys::{KEYS, Key, help_table};
pub use sections::{
    ApiAuth, ApiConfig, BATCH_HOSTS_BOUNDS, BATCH_LINGER_BOUNDS, CONCURRENCY_BOUNDS, DatabaseConfig,
    EXECUTION_DEADLINE_BOUNDS, LogFormat, MAX_CONNECTIONS_BOUNDS, MIN_TOKEN_CHARS, RETENTION_BOUNDS, RabbitmqConfig,
    SHUTDOWN_GRACE_BOUNDS, SchedulerConfig, TelemetryConfig, WorkerConfig,
};
pub use server_url::place_of;

use endpoint::RawElasticsearch;
use reader::Reader;
use sections::{RawApi, RawDatabase, RawRabbitmq};
use source::ConfigSources;

/// The variable of the environment that names the configuration file when `--config` does not. Read by
/// each `main`.
pub const CONFIG_VARIABLE: &str = "HOSTSYNC_CONFIG";

/// Everything that can be configured, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database.
    pub database: DatabaseConfig,
    /// The broker.
    pub rabbitmq: RabbitmqConfig,
    /// The API alone.
    pub api: ApiConfig,
    /// The endpoints and what a task uses that names nothing.
    pub elasticsearch: ElasticsearchConfig,
    /// The mappings by name, the built-in ones among them. `elasticsearch.default_mapping` is one of them.
    pub mappings: BTreeMap<String, Mapping>,
    /// The scheduler, and what the others must know of it.
    pub scheduler: SchedulerConfig,
    /// The worker alone.
    pub worker: WorkerConfig,
    /// Logs, traces, metrics.
    pub telemetry: TelemetryConfig,
    /// What somebody should know although nothing is refused, a sentence each: names of the environment that set nothing
    /// and look as if they should.
    pub warnings: Vec<String>,
}

/// A process, by what it needs of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Needs the database and the broker.
    Scheduler,
    /// Needs the database, the broker and the default endpoint.
    Worker,
    /// Needs the database, the broker, the default endpoint and, unless told otherwise, an operator's token.
    Api,
    /// `hostsync-api migrate`: needs the database.
    Migrate,
}

/// The arguments that all three binaries take.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CommonArgs {
    /// The configuration file (TOML); else what `HOSTSYNC_CONFIG` names, else none
    #[arg(long, value_name = "PATH", global = true)]
    pub config: Option<PathBuf>,
}

impl CommonArgs {
    /// The file to read: the argument, else the value of [`CONFIG_VARIABLE`] unless that is empty.
    pub fn config_path(&self, from_environment: Option<OsString>) -> Option<PathBuf> {
        self.config.clone().or_else(|| from_environment.filter(|name| !name.is_empty()).map(PathBuf::from))
    }
}

/// The sections as they are given.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    database: RawDatabase,
    rabbitmq: RawRabbitmq,
    api: RawApi,
    elasticsearch: RawElasticsearch,
    mappings: BTreeMap<String, Mapping>,
    scheduler: SchedulerConfig,
    worker: WorkerConfig,
    telemetry: TelemetryConfig,
}

/// Whether a key is about the source.
fn is_source(key: &str) -> bool {
    key.starts_with("elasticsearch.")
}

impl Config {
    /// Reads the file, if one is named, and the environment, and checks every value, whoever uses it.
    ///
    /// Names of the environment that do not begin with `HOSTSYNC_` or have no `__` after it are ignored; one that resembles
    /// a key is told in `warnings`.
    ///
    /// # Errors
    ///
    /// All problems found: unknown keys, values of the wrong form or out of bounds, keys that contradict
    /// each other, files that cannot be read. What a service needs beyond that is told by [`Self::check`].
    pub fn load<K, V>(file: Option<&Path>, environment: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let (config, problems) = Self::read(file, environment);
        ConfigError::from_problems(problems).map_or(Ok(config), Err)
    }

    /// As [`Self::load`] and [`Self::check`] together, reporting the problems of both.
    ///
    /// # Errors
    ///
    /// All problems found.
    pub fn load_for<K, V>(
        service: Service,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let (config, mut problems) = Self::read(file, environment);
        // Without the file everything would seem to be missing.
        if !problems.iter().any(|problem| problem.key.is_empty()) {
            let missing = config.missing(service);
            // A key that is there but bad has been told of, and so has the default endpoint.
            let endpoint = format!("elasticsearch.endpoints.{}.", config.elasticsearch.default_endpoint);
            let is_known = |key: &str| {
                let is_about = |known: &str| known.starts_with(key) || is_source(key) && known.starts_with(&endpoint);
                problems.iter().any(|problem| is_about(&problem.key))
            };
            let missing: Vec<_> = missing.into_iter().filter(|problem| !is_known(&problem.key)).collect();
            problems.extend(missing);
        }
        ConfigError::from_problems(problems).map_or(Ok(config), Err)
    }

    /// Checks that what a service needs is there.
    ///
    /// # Errors
    ///
    /// The keys that must be given, each with how.
    pub fn check(&self, service: Service) -> Result<(), ConfigError> {
        ConfigError::from_problems(self.missing(service)).map_or(Ok(()), Err)
    }

    fn read<K, V>(file: Option<&Path>, environment: impl IntoIterator<Item = (K, V)>) -> (Self, Vec<Problem>)
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut problems = Vec::new();
        let sources = ConfigSources::read(file, environment, &mut problems);
        let raw: RawConfig = sources.extract(&mut problems);
        let mut reader = Reader { sources: &sources, problems: &mut problems };
        let mut mappings = raw.mappings;
        for (name, mapping) in &mappings {
            reader.check_name(&["mappings", name]);
            // What was wrong there has been left out: a second report would be about its default.
            if !reader.has_problem_below(&["mappings", name])
                && let Err(error) = mapping.validate()
            {
                let key: Vec<&str> = ["mappings", name].into_iter().chain(error.key.split('.')).collect();
                reader.report(&key, error.reason);
            }
        }
        for (name, mapping) in Mapping::built_in() {
            mappings.entry(name.to_owned()).or_insert(mapping);
        }
        let config = Self {
            database: raw.database.resolve(&mut reader),
            rabbitmq: raw.rabbitmq.resolve(&mut reader),
            api: raw.api.resolve(&mut reader),
            elasticsearch: raw.elasticsearch.resolve(&mut reader),
            mappings,
            scheduler: raw.scheduler,
            worker: raw.worker,
            telemetry: raw.telemetry,
            warnings: sources.warnings().to_vec(),
        };
        let default_mapping = &config.elasticsearch.default_mapping;
        let is_given = sources.table("mappings").is_some_and(|mappings| mappings.contains_key(default_mapping));
        if !config.mappings.contains_key(default_mapping) && !is_given {
            let known: Vec<_> = config.mappings.keys().map(String::as_str).collect();
            let reason = format!("there is no mapping {default_mapping:?}; there is {}", known.join(", "));
            reader.report(&["elasticsearch", "default_mapping"], reason);
        }
        (config, problems)
    }

    /// What a service needs and is not there.
    fn missing(&self, service: Service) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut demand = |is_there: bool, key: String, how: String| {
            if !is_there {
                let reason = format!("must be set: {how}");
                problems.push(Problem { key, reason, origin: Origin::NotGiven });
            }
        };
        let variable = source::variable_of_key;
        demand(
            self.database.url.is_some(),
            "database.url".to_owned(),
            format!("mysql://user:password@host:3306/db, in the file or as {}", variable("database.url")),
        );
        if service != Service::Migrate {
            demand(
                self.rabbitmq.url.is_some(),
                "rabbitmq.url".to_owned(),
                format!("amqp://user:password@host:5672/, in the file or as {}", variable("rabbitmq.url")),
            );
        }
        if matches!(service, Service::Worker | Service::Api) {
            let ElasticsearchConfig { default_endpoint: name, endpoints, .. } = &self.elasticsearch;
            let url = format!("elasticsearch.endpoints.{name}.url");
            let known: Vec<&str> = endpoints.keys().map(String::as_str).collect();
            let (key, how) = match known.first() {
                None => (url.clone(), format!("the URL of the default endpoint, in the file or as {}", variable(&url))),
                Some(first) => {
                    let key = "elasticsearch.default_endpoint".to_owned();
                    let how = format!(
                        "tasks that name no endpoint would use {name:?}, and there is only {}; say \
                         {key} = {first:?} in the file, or {}={first}, or set {url} too",
                        known.join(", "),
                        variable(&key)
                    );
                    (key, how)
                }
            };
            demand(endpoints.contains_key(name), key, how);
        }
        if service == Service::Api && self.api.auth == ApiAuth::Token {
            demand(
                self.api.operator_token.is_some(),
                "api.operator_token".to_owned(),
                format!(
                    "at least {MIN_TOKEN_CHARS} characters, as {} or in the file that api.operator_token_file names; \
                     or say api.auth = \"none\" to let everybody do everything",
                    variable("api.operator_token")
                ),
            );
        }
        problems
    }
}
