//! The servers that hostsync is tested with (`make test-servers`). Others may do as well; nobody has looked.

use std::fmt;

use hostsync_source::Product;
use hostsync_store::database::{is_mariadb, release};

/// A server by its maker, and the releases of it that were tested: (major, minor), both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tested {
    name: &'static str,
    oldest: (u32, u32),
    newest: (u32, u32),
}

const MYSQL: Tested = Tested { name: "MySQL", oldest: (8, 0), newest: (9, 7) };
const MARIADB: Tested = Tested { name: "MariaDB", oldest: (10, 11), newest: (11, 8) };
const OPENSEARCH: Tested = Tested { name: "OpenSearch", oldest: (2, 19), newest: (3, 8) };
const ELASTICSEARCH: Tested = Tested { name: "Elasticsearch", oldest: (7, 10), newest: (7, 10) };

impl Tested {
    /// The broker.
    pub const RABBITMQ: Self = Self { name: "RabbitMQ", oldest: (3, 10), newest: (4, 3) };

    /// All, as README names them.
    pub const ALL: [Self; 5] = [MYSQL, MARIADB, Self::RABBITMQ, OPENSEARCH, ELASTICSEARCH];

    /// A database, by what it says of its version.
    pub fn database(version: &str) -> Self {
        if is_mariadb(version) { MARIADB } else { MYSQL }
    }

    /// A search engine.
    pub fn engine(product: Product) -> Self {
        match product {
            Product::Elasticsearch => ELASTICSEARCH,
            Product::OpenSearch => OPENSEARCH,
        }
    }

    /// Whether a server that says it has this version is one of those.
    pub fn includes(self, version: &str) -> bool {
        release(version).is_some_and(|release| (self.oldest..=self.newest).contains(&release))
    }
}

/// `RabbitMQ 3.10 to 4.3`.
impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, oldest, newest } = self;
        write!(f, "{name} {}.{}", oldest.0, oldest.1)?;
        if oldest == newest { Ok(()) } else { write!(f, " to {}.{}", newest.0, newest.1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_major_and_minor_release() {
        for (tested, version, is_known) in [
            (Tested::database("8.0.15"), "8.0.15", true),
            (Tested::database("9.7.4-2"), "9.7.4-2", true),
            (Tested::database("10.0.1"), "10.0.1", false),
            (Tested::database("5.5.5-10.11.19-MariaDB-0+deb12u1"), "5.5.5-10.11.19-MariaDB-0+deb12u1", true),
            (Tested::database("11.8.9-MariaDB"), "11.8.9-MariaDB", true),
            (Tested::database("10.6.18-MariaDB"), "10.6.18-MariaDB", false),
            (Tested::RABBITMQ, "3.9.27", false),
            (Tested::RABBITMQ, "3.10.8", true),
            (Tested::RABBITMQ, "4.0.5", true),
            (Tested::RABBITMQ, "4.4.0", false),
            (Tested::RABBITMQ, "unknown", false),
            (Tested::engine(Product::OpenSearch), "3.8.0", true),
            (Tested::engine(Product::Elasticsearch), "8.15.1", false),
        ] {
            assert_eq!(tested.includes(version), is_known, "{tested}: {version}");
        }
    }

    #[test]
    fn the_licence_is_there() {
        let licence = include_str!("../../../LICENSE");
        assert!(licence.contains("Apache License") && licence.contains("Version 2.0"));
        assert_eq!(env!("CARGO_PKG_LICENSE"), "Apache-2.0");
    }

    #[test]
    fn the_readme_names_what_is_tested() {
        let readme = include_str!("../../../README.md");
        for tested in Tested::ALL {
            assert!(readme.contains(&tested.to_string()), "README.md does not name {tested}");
        }
    }
}
