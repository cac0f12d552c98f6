//! The configuration of all three services: one TOML file and the environment, the environment winning.
//!
//! Owns every key, its default, its bounds and what a service demands. It reads the file and the files
//! that hold secrets, once, at the start; the environment is passed in. It must not connect to anything.
//! What a mapping may say is the mapping module's matter. `docs/configuration.md` is the user's view.

mod endpoint;
mod error;
mod keys;
mod mapping;
mod section;
mod sections;
mod server_url;
mod source;
mod spelling;
mod table;
#[cfg(test)]
mod tests;
mod toml;
mod value_kind;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment2::value::Value;

use hostsync_mapping::Mapping;
use hostsync_model::audit::Role;

pub use endpoint::{DEFAULT_INDEX_PATTERN, ElasticsearchConfig};
pub use error::{ConfigError, Origin, Problem};
pub use sections::{
    ApiAuth, ApiConfig, ApiTokenConfig, DatabaseConfig, LogFormat, MIN_TOKEN_CHARS, RabbitmqConfig, SchedulerConfig,
    TelemetryConfig, WorkerConfig,
};
pub use server_url::place_of;

use keys::Key;
use section::{ConfigSection, section};
use source::{ConfigSources, variable_of_key};
use table::Table;
use toml::TomlText;

use crate::secret_files::SecretFile;

/// The variable of the environment that names the configuration file when `--config` does not. Read by
/// each `main`.
pub const CONFIG_VARIABLE: &str = "HOSTSYNC_CONFIG";

section! {
    /// Everything that can be configured, checked.
    pub struct Config {
        ..database: DatabaseConfig, "The database.";
        ..rabbitmq: RabbitmqConfig, "The broker.";
        ..api: ApiConfig, "The API alone.";
        ..elasticsearch: ElasticsearchConfig, "The endpoints and what a task uses that names nothing.";
        ..mappings: BTreeMap<String, Mapping>, "By name, the built-in ones and `elasticsearch.default_mapping` among them.";
        ..scheduler: SchedulerConfig, "The scheduler, and what the others must know of it.";
        ..worker: WorkerConfig, "The worker alone.";
        ..telemetry: TelemetryConfig, "Logs, traces, metrics.";
        + secret_files: Vec<SecretFile>, "The files of secrets, which are read again when they change.";
        + warnings: Vec<String>,
            "Names of the environment that set nothing and look as if they should, a sentence each.";
    }
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

/// Every key, in the order of the documentation.
fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    Config::list("", &mut keys);
    keys
}

/// The text for `--help`: every key with its default and meaning, by section, and how to give it.
pub fn help_table() -> String {
    keys::help(&keys())
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
        let (config, problems) = Self::read_sources(file, environment);
        Self::unless(problems, config)
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
        let (config, mut problems) = Self::read_sources(file, environment);
        // Without the file everything would seem to be missing.
        if let Some(config) = &config
            && !problems.iter().any(|problem| problem.key.is_empty())
        {
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
        Self::unless(problems, config)
    }

    /// Checks that what a service needs is there.
    ///
    /// # Errors
    ///
    /// The keys that must be given, each with how.
    pub fn check(&self, service: Service) -> Result<(), ConfigError> {
        ConfigError::from_problems(self.missing(service)).map_or(Ok(()), Err)
    }

    /// The configuration unless there is a problem.
    fn unless(problems: Vec<Problem>, config: Option<Self>) -> Result<Self, ConfigError> {
        match ConfigError::from_problems(problems) {
            Some(error) => Err(error),
            None => Ok(config.expect("why there is none has been reported")),
        }
    }

    fn read_sources<K, V>(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> (Option<Self>, Vec<Problem>)
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut problems = Vec::new();
        let sources = ConfigSources::read(file, environment, &mut problems);
        let mut secret_files = Vec::new();
        let mut table = Table::root(&sources, &mut problems, &mut secret_files);
        let mut config = Self::read(&mut table);
        if let Some(config) = &mut config {
            config.warnings = spelling::warnings(sources.ignored(), &keys());
            for (name, mapping) in Mapping::built_in() {
                config.mappings.entry(name.to_owned()).or_insert(mapping);
            }
            let default_mapping = &config.elasticsearch.default_mapping;
            // One that is given and bad has been told of.
            let given = sources.values().get("mappings").and_then(Value::as_dict);
            let is_given = given.is_some_and(|mappings| mappings.contains_key(default_mapping));
            if !config.mappings.contains_key(default_mapping) && !is_given {
                let known: Vec<_> = config.mappings.keys().map(String::as_str).collect();
                let reason = format!("there is no mapping {default_mapping:?}; there is {}", known.join(", "));
                table.report(["elasticsearch", "default_mapping"], reason);
            }
        }
        if let Some(config) = &mut config {
            config.secret_files = secret_files;
        }
        (config, problems)
    }

    /// The configuration in force as TOML, secrets masked.
    pub fn masked_toml(&self) -> String {
        let mut text = TomlText::default();
        self.show("", &mut text);
        text.0
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
        let variable = variable_of_key;
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
                self.api.tokens().any(|(_, role, _)| role == Role::Operator),
                "api.operator_token".to_owned(),
                format!(
                    "at least {MIN_TOKEN_CHARS} characters, as {} or in the file that api.operator_token_file names, \
                     or a token of the role operator under api.tokens; or say api.auth = \"none\" to let everybody do everything",
                    variable("api.operator_token")
                ),
            );
        }
        problems
    }
}
