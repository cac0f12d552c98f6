//! Whether the tables can hold what hostsync reads and writes: columns, types, defaults, keys. Pure.
//!
//! A fault stops every host or a whole function; a doubt stops some hosts, or rounds what is written. What a table is
//! refused for is said of the table, since the server would say it of each host again and again.

use hostsync_store::tables::diagnosis::{Column, POOL_WRITTEN, RESOURCE_WRITTEN};
use hostsync_store::tables::hosts_pool::MAX_HOST_NAME_CHARS;
use hostsync_store::tables::schema::OurColumn;
use hostsync_store::tables::server_resources::VALUE_COLUMNS;

/// Characters of the longest IPv4 and IPv6 address.
const IPV4_CHARS: u64 = 15;
const IPV6_CHARS: u64 = 39;

/// Digits before the point of a hundred percent, and of the largest disk that is thought of (in GB).
const PERCENT_DIGITS: u64 = 3;
const GIGABYTE_DIGITS: u64 = 6;

/// What was found of a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) faults: Vec<String>,
    pub(super) doubts: Vec<String>,
}

/// A table as it stands.
pub(super) struct Standing {
    pub(super) columns: Vec<Column>,
    /// Unique keys, each as its columns, sorted and joined by commas.
    pub(super) unique_keys: Vec<String>,
    /// `None`: it is a view.
    pub(super) engine: Option<String>,
}

/// What a column must hold.
#[derive(Clone, Copy)]
enum Holds {
    Number,
    Percent,
    Gigabytes,
    Address,
    HostName,
    Day,
    Moment,
}

const POOL: [(&str, Holds); 8] = [
    ("id", Holds::Number),
    ("host_ip", Holds::Address),
    ("host_name", Holds::HostName),
    ("ram", Holds::Number),
    ("disk_size", Holds::Number),
    ("is_deleted", Holds::Number),
    ("create_time", Holds::Moment),
    ("update_time", Holds::Moment),
];

const RESOURCES: [(&str, Holds); 8] = [
    ("id", Holds::Number),
    ("pool_id", Holds::Number),
    ("ip", Holds::Address),
    ("mon_date", Holds::Day),
    ("is_deleted", Holds::Number),
    ("delete_time", Holds::Moment),
    ("create_time", Holds::Moment),
    ("update_time", Holds::Moment),
];

/// `hosts_pool`, which is read, and to which a full sync adds rows.
pub(super) fn pool(table: &Standing) -> Shape {
    let mut shape = Shape::default();
    if !shape.stands("hosts_pool", table) {
        return shape;
    }
    for (name, holds) in POOL {
        shape.column("hosts_pool", name, holds, &table.columns);
    }
    for column in table.columns.iter().filter(|column| !POOL_WRITTEN.contains(&column.name.as_str())) {
        if !column.may_be_left_out {
            shape.doubts.push(format!(
                "hosts_pool.{} takes no NULL and has no default, and hostsync does not know it: full sync cannot add hosts",
                column.name
            ));
        }
    }
    if table.engine.is_some() && !table.unique_keys.iter().any(|key| key == "host_ip") {
        shape.doubts.push("unique key hosts_pool (host_ip) is missing: a host may stand there twice".to_owned());
    }
    shape
}

/// `server_resources`, to which every run writes.
pub(super) fn resources(table: &Standing) -> Shape {
    let mut shape = Shape::default();
    if !shape.stands("server_resources", table) {
        return shape;
    }
    let values = VALUE_COLUMNS.map(|name| {
        let is_share = !name.starts_with("used_");
        (name, if is_share { Holds::Percent } else { Holds::Gigabytes })
    });
    for (name, holds) in RESOURCES.into_iter().chain(values) {
        shape.column("server_resources", name, holds, &table.columns);
    }
    for column in &table.columns {
        let Column { name, .. } = column;
        let is_value = VALUE_COLUMNS.contains(&name.as_str());
        if is_value || RESOURCE_WRITTEN.contains(&name.as_str()) {
            if column.is_generated {
                shape.faults.push(format!("server_resources.{name} is generated: it cannot be written"));
            }
            // An unknown value is NULL; a row that is written again is not deleted any more.
            if !column.takes_null && (is_value || name == "delete_time") {
                shape.faults.push(format!("server_resources.{name} takes no NULL, and an unknown value is NULL"));
            }
        } else if !column.may_be_left_out {
            shape.faults.push(format!(
                "server_resources.{name} takes no NULL and has no default, and hostsync does not write it: every host fails"
            ));
        }
    }
    shape.resource_keys(table);
    shape
}

/// A table of our own, against what the migrations make.
pub(super) fn ours(name: &str, wanted: &[OurColumn], columns: &[Column]) -> Shape {
    let mut shape = Shape::default();
    if columns.is_empty() {
        shape.faults.push(format!("table {name} is missing"));
        return shape;
    }
    for ours in wanted {
        let Some(column) = columns.iter().find(|column| column.name == ours.name) else {
            shape.faults.push(format!("column {name}.{} is missing (migration {})", ours.name, ours.version));
            continue;
        };
        let OurColumn { definition, .. } = ours;
        let is_short = ours.chars().zip(column.chars).is_some_and(|(wanted, chars)| chars < wanted);
        let is_other = ours.chars().is_some() && column.chars.is_none();
        if is_short || is_other {
            shape.faults.push(format!("{name}.{} is {}, and was made as {definition}", column.name, column.shown));
        }
    }
    for column in columns {
        if !column.may_be_left_out && wanted.iter().all(|ours| ours.name != column.name) {
            let column = &column.name;
            shape
                .faults
                .push(format!("{name}.{column} takes no NULL and has no default, and hostsync does not know it"));
        }
    }
    shape
}

impl Shape {
    /// Whether there is anything to look at.
    fn stands(&mut self, name: &str, table: &Standing) -> bool {
        if table.columns.is_empty() {
            self.faults.push(format!("table {name} is missing"));
        } else if table.engine.is_none() {
            self.doubts.push(format!("{name} is a view: its keys cannot be looked at"));
        }
        !table.columns.is_empty()
    }

    fn column(&mut self, table: &str, name: &str, holds: Holds, columns: &[Column]) {
        let Some(column) = columns.iter().find(|column| column.name == name) else {
            self.faults.push(format!("column {table}.{name} is missing"));
            return;
        };
        let is = format!("{table}.{name} is {}", column.shown);
        match holds.misfit(column) {
            None => {}
            Some(Misfit::Fault(why)) => self.faults.push(format!("{is}: {why}")),
            Some(Misfit::Doubt(why)) => self.doubts.push(format!("{is}: {why}")),
        }
    }

    /// One row a host and day, in a table that takes a transaction back.
    fn resource_keys(&mut self, table: &Standing) {
        let Some(engine) = &table.engine else { return };
        if !table.unique_keys.iter().any(|key| key == "ip,mon_date") {
            self.faults.push("unique key server_resources (ip, mon_date) is missing".to_owned());
        }
        for key in &table.unique_keys {
            if !key.split(',').any(|column| column == "mon_date" || column == "id") {
                self.faults.push(format!("unique key server_resources ({key}) lets a day overwrite another"));
            }
        }
        if !engine.eq_ignore_ascii_case("innodb") {
            self.doubts.push(format!("server_resources is {engine}: what is rolled back stays written"));
        }
    }
}

enum Misfit {
    Fault(String),
    Doubt(String),
}

impl Holds {
    /// Why a column cannot hold it.
    fn misfit(self, column: &Column) -> Option<Misfit> {
        let kind = column.kind.as_str();
        let fault = |must: &str| Some(Misfit::Fault(format!("it must be {must}")));
        match self {
            Self::Day if kind != "date" => fault("date"),
            Self::Moment if !matches!(kind, "datetime" | "timestamp") => fault("datetime or timestamp"),
            Self::Address | Self::HostName if column.chars.is_none() => fault("a text"),
            Self::Address => match column.chars.unwrap_or_default() {
                ..IPV4_CHARS => fault("a text of 15 characters or more"),
                IPV4_CHARS..IPV6_CHARS => {
                    Some(Misfit::Doubt(format!("IPv6 addresses, of up to {IPV6_CHARS} characters, do not fit")))
                }
                IPV6_CHARS.. => None,
            },
            Self::HostName => (column.chars.unwrap_or_default() < MAX_HOST_NAME_CHARS as u64)
                .then(|| Misfit::Doubt(format!("full sync adds names of up to {MAX_HOST_NAME_CHARS} characters"))),
            Self::Number if !is_number(kind) && kind != "bit" => fault("a number"),
            Self::Percent | Self::Gigabytes if !is_number(kind) => fault("a number"),
            Self::Percent => value_misfit(column, PERCENT_DIGITS),
            Self::Gigabytes => value_misfit(column, GIGABYTE_DIGITS),
            Self::Day | Self::Moment | Self::Number => None,
        }
    }
}

fn is_number(kind: &str) -> bool {
    kind.ends_with("int") || matches!(kind, "decimal" | "float" | "double")
}

/// Whether a measured value fits, and is kept as it is.
fn value_misfit(column: &Column, wanted: u64) -> Option<Misfit> {
    if matches!(column.kind.as_str(), "float" | "double") {
        return None;
    }
    let decimals = column.decimals.unwrap_or_default();
    let digits = column.digits.unwrap_or_default().saturating_sub(decimals);
    if digits < wanted {
        let most = 10_u64.saturating_pow(u32::try_from(digits).unwrap_or(u32::MAX)).saturating_sub(1);
        return Some(Misfit::Doubt(format!("a host with more than {most} fails")));
    }
    (decimals == 0).then(|| Misfit::Doubt("values are rounded to whole numbers".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A column by its type as the server shows it, such as `decimal(5,2)`.
    fn column(name: &str, shown: &str) -> Column {
        let (kind, width) = shown.trim_end_matches(" unsigned").split_once('(').unwrap_or((shown, ""));
        let mut widths = width.trim_end_matches(')').split(',').map(|width| width.parse::<u64>().ok());
        let (first, second) = (widths.next().flatten(), widths.next().flatten());
        let is_text = kind.contains("char");
        Column {
            name: name.to_owned(),
            kind: kind.trim_end_matches(" unsigned").to_owned(),
            shown: shown.to_owned(),
            chars: if is_text { first } else { None },
            digits: if is_text { None } else { first.or(Some(10)) },
            decimals: second,
            takes_null: true,
            may_be_left_out: true,
            is_generated: false,
        }
    }

    fn standing(columns: Vec<Column>, unique_keys: &[&str]) -> Standing {
        let unique_keys = unique_keys.iter().map(|key| (*key).to_owned()).collect();
        Standing { columns, unique_keys, engine: Some("InnoDB".to_owned()) }
    }

    fn sound_resources() -> Standing {
        let mut columns: Vec<Column> =
            ["id", "pool_id", "is_deleted"].map(|name| column(name, "int(10) unsigned")).to_vec();
        columns.extend(["create_time", "update_time", "delete_time"].map(|name| column(name, "datetime")));
        columns.extend([column("ip", "varchar(50)"), column("mon_date", "date")]);
        columns.extend(VALUE_COLUMNS.map(|name| column(name, "double")));
        standing(columns, &["id", "ip,mon_date"])
    }

    fn change(table: &mut Standing, name: &str, change: impl FnOnce(&mut Column)) {
        change(table.columns.iter_mut().find(|column| column.name == name).expect(name));
    }

    #[test]
    fn a_table_as_it_should_be_raises_neither_fault_nor_doubt() {
        assert_eq!(resources(&sound_resources()), Shape::default());
    }

    #[test]
    fn what_stops_every_host_is_a_fault() {
        let told = |spoil: fn(&mut Standing), told: &str| {
            let mut table = sound_resources();
            spoil(&mut table);
            let shape = resources(&table);
            assert!(shape.faults.iter().any(|fault| fault.contains(told)), "{told}: {shape:?}");
        };
        told(|table| table.columns.clear(), "table server_resources is missing");
        told(|table| table.columns.retain(|column| column.name != "ip"), "column server_resources.ip is missing");
        told(
            |table| {
                let mut owner = column("owner", "varchar(10)");
                (owner.takes_null, owner.may_be_left_out) = (false, false);
                table.columns.push(owner);
            },
            "server_resources.owner takes no NULL and has no default",
        );
        told(
            |table| change(table, "id", |id| id.may_be_left_out = false),
            "server_resources.id takes no NULL and has no",
        );
        told(
            |table| change(table, "cpu_load", |cpu| cpu.takes_null = false),
            "server_resources.cpu_load takes no NULL",
        );
        told(|table| change(table, "delete_time", |time| time.takes_null = false), "delete_time takes no NULL");
        told(|table| change(table, "used_disk", |disk| disk.is_generated = true), "used_disk is generated");
        for (name, shown, must) in [
            ("ip", "int(10) unsigned", "ip is int(10) unsigned: it must be a text"),
            ("ip", "varchar(12)", "a text of 15 characters or more"),
            ("mon_date", "datetime", "it must be date"),
            ("update_time", "varchar(20)", "it must be datetime or timestamp"),
            ("cpu_load", "varchar(20)", "cpu_load is varchar(20): it must be a number"),
        ] {
            let mut table = sound_resources();
            change(&mut table, name, |old| *old = column(name, shown));
            let shape = resources(&table);
            assert!(shape.faults.iter().any(|fault| fault.contains(must)), "{must}: {shape:?}");
        }
        told(
            |table| table.unique_keys = vec!["id".to_owned()],
            "unique key server_resources (ip, mon_date) is missing",
        );
        told(|table| table.unique_keys.push("ip".to_owned()), "(ip) lets a day overwrite another");
    }

    #[test]
    fn what_stops_or_rounds_some_hosts_is_a_doubt() {
        for (name, shown, why) in [
            ("ip", "varchar(20)", "IPv6 addresses"),
            ("used_disk", "decimal(5,2)", "a host with more than 999 fails"),
            ("cpu_percent_max", "decimal(4,2)", "a host with more than 99 fails"),
            ("cpu_load", "decimal(10,0)", "rounded to whole numbers"),
        ] {
            let mut table = sound_resources();
            change(&mut table, name, |old| *old = column(name, shown));
            let shape = resources(&table);
            assert_eq!(shape.faults, [] as [String; 0]);
            assert!(shape.doubts.iter().any(|doubt| doubt.contains(why)), "{why}: {shape:?}");
        }
        let mut table = sound_resources();
        table.engine = Some("MyISAM".to_owned());
        assert_eq!(resources(&table).doubts.len(), 1);
        table.engine = None;
        table.unique_keys.clear();
        assert!(resources(&table).faults.is_empty(), "the keys of a view cannot be seen");
    }

    #[test]
    fn a_table_of_our_own_has_what_its_migrations_made() {
        let ours_is = |name: &str, definition: &str| OurColumn {
            name: name.to_owned(),
            definition: definition.to_owned(),
            version: 4,
        };
        let wanted = [ours_is("id", "BIGINT UNSIGNED NOT NULL"), ours_is("queue", "VARCHAR(20) NOT NULL")];
        let id = || column("id", "bigint(20) unsigned");
        assert_eq!(
            ours("t", &wanted, &[id(), column("queue", "varchar(32)"), column("more", "text")]),
            Shape::default()
        );
        let faults = |columns: &[Column]| ours("t", &wanted, columns).faults.join("; ");
        assert_eq!(faults(&[id()]), "column t.queue is missing (migration 4)");
        assert_eq!(faults(&[]), "table t is missing");
        assert_eq!(
            faults(&[id(), column("queue", "varchar(5)")]),
            "t.queue is varchar(5), and was made as VARCHAR(20) NOT NULL"
        );
    }
}
