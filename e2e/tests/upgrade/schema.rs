//! Migrations only expand: what the last release reads and writes is still there, and takes what it took.

use std::collections::{BTreeMap, BTreeSet};

use hostsync_testing::bed::{Bed, on_bed_without_schema};

use crate::fleet::Release;

/// A column as `information_schema` tells it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Column {
    in_table: String,
    name: String,
    /// Without its length: `varchar`, `int`.
    kind: String,
    /// As in `CREATE TABLE`.
    declared: String,
    is_nullable: bool,
    default_value: Option<String>,
    /// `auto_increment`, or how it is generated.
    extra: String,
    characters: Option<u64>,
    digits: Option<u64>,
    decimals: Option<u64>,
    second_decimals: Option<u64>,
}

type Columns = BTreeMap<(String, String), Column>;

const COLUMNS: &str = "
    SELECT CAST(table_name AS CHAR) AS in_table, CAST(column_name AS CHAR) AS name,
           LOWER(CAST(data_type AS CHAR)) AS kind, LOWER(CAST(column_type AS CHAR)) AS declared,
           is_nullable = 'YES' AS is_nullable, CAST(column_default AS CHAR) AS default_value,
           LOWER(CAST(extra AS CHAR)) AS extra, CAST(character_maximum_length AS UNSIGNED) AS characters,
           CAST(numeric_precision AS UNSIGNED) AS digits, CAST(numeric_scale AS UNSIGNED) AS decimals,
           CAST(datetime_precision AS UNSIGNED) AS second_decimals
    FROM information_schema.columns WHERE table_schema = DATABASE()";

/// Unique keys, by table, name and columns.
const UNIQUE_KEYS: &str = "
    SELECT CONCAT(table_name, ': ', GROUP_CONCAT(column_name ORDER BY seq_in_index))
    FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND non_unique = 0 GROUP BY table_name, index_name";

async fn columns(bed: &Bed) -> Columns {
    let rows: Vec<Column> = sqlx::query_as(COLUMNS).fetch_all(&bed.pool).await.expect("columns");
    rows.into_iter().map(|column| ((column.in_table.clone(), column.name.clone()), column)).collect()
}

async fn unique_keys(bed: &Bed) -> BTreeSet<String> {
    let keys: Vec<String> = sqlx::query_scalar(UNIQUE_KEYS).fetch_all(&bed.pool).await.expect("keys");
    keys.into_iter().collect()
}

/// Types of one kind, from narrow to wide.
const WIDER: [&[&str]; 3] = [
    &["tinyint", "smallint", "mediumint", "int", "bigint"],
    &["tinytext", "text", "mediumtext", "longtext"],
    &["float", "double"],
];

/// Whether the type takes everything that it took before.
fn is_as_wide(before: &Column, after: &Column) -> bool {
    let place = |column: &Column| {
        WIDER
            .iter()
            .enumerate()
            .find_map(|(family, names)| names.iter().position(|name| *name == column.kind).map(|width| (family, width)))
    };
    let is_kind_kept = match (place(before), place(after)) {
        (Some((family, width)), Some((other, other_width))) => family == other && other_width >= width,
        _ => before.kind == after.kind,
    };
    let is_unsigned = |column: &Column| column.declared.contains("unsigned");
    let is_size_kept = [
        (before.characters, after.characters),
        (before.digits, after.digits),
        (before.decimals, after.decimals),
        (before.second_decimals, after.second_decimals),
    ]
    .iter()
    .all(|(before, after)| after >= before);
    let is_list = matches!(before.kind.as_str(), "enum" | "set");
    is_kind_kept
        && is_size_kept
        && is_unsigned(before) == is_unsigned(after)
        && (!is_list || before.declared == after.declared)
}

/// What the last release could not live beside, in words.
fn broken(before: &Columns, after: &Columns) -> Vec<String> {
    let mut broken = Vec::new();
    for ((table, name), old) in before {
        let Some(new) = after.get(&(table.clone(), name.clone())) else {
            broken.push(format!("{table}.{name} is gone"));
            continue;
        };
        if !is_as_wide(old, new) {
            broken.push(format!("{table}.{name} was {} and is {}", old.declared, new.declared));
        }
        let rest = |column: &Column| (column.is_nullable, column.default_value.clone(), column.extra.clone());
        if rest(old) != rest(new) {
            broken.push(format!("{table}.{name} had {:?} and has {:?}", rest(old), rest(new)));
        }
    }
    let tables: BTreeSet<&String> = before.keys().map(|(table, _)| table).collect();
    for ((table, name), new) in after.iter().filter(|(key, _)| !before.contains_key(*key) && tables.contains(&key.0)) {
        let fills_itself = new.is_nullable || new.default_value.is_some() || !new.extra.is_empty();
        if !fills_itself {
            broken.push(format!("{table}.{name} is new, without a default"));
        }
    }
    broken
}

#[tokio::test]
async fn migrations_only_add_to_the_schema_of_the_last_release() {
    on_bed_without_schema("expand", async |bed| {
        Release::last().migrate(&bed).await;
        let (before, keys_before) = (columns(&bed).await, unique_keys(&bed).await);
        assert!(before.len() > 50, "the schema of the last release: {before:?}");
        Release::this().migrate(&bed).await;
        let (after, keys_after) = (columns(&bed).await, unique_keys(&bed).await);
        assert_eq!(broken(&before, &after), Vec::<String>::new());
        // A new one would refuse rows that the last release writes; one that is gone would let it write them twice.
        let tables: BTreeSet<&str> = before.keys().map(|(table, _)| table.as_str()).collect();
        let of_then: BTreeSet<String> = keys_after
            .into_iter()
            .filter(|key| key.split_once(": ").is_some_and(|(table, _)| tables.contains(table)))
            .collect();
        assert_eq!(of_then, keys_before, "unique keys of the tables of the last release");
    })
    .await;
}

fn column(name: &str, kind: &str, declared: &str, characters: Option<u64>) -> Column {
    Column {
        in_table: "t".to_owned(),
        name: name.to_owned(),
        kind: kind.to_owned(),
        declared: declared.to_owned(),
        is_nullable: false,
        default_value: None,
        extra: String::new(),
        characters,
        digits: None,
        decimals: None,
        second_decimals: None,
    }
}

fn schema(columns: impl IntoIterator<Item = Column>) -> Columns {
    columns.into_iter().map(|column| ((column.in_table.clone(), column.name.clone()), column)).collect()
}

#[test]
fn what_the_last_release_cannot_live_beside_is_found() {
    let name = column("name", "varchar", "varchar(50)", Some(50));
    let count = column("count", "int", "int unsigned", None);
    let before = schema([name.clone(), count.clone()]);
    let found = |columns: [Column; 2]| broken(&before, &schema(columns)).join("; ");

    assert_eq!(found([name.clone(), count.clone()]), "");
    assert_eq!(found([column("name", "varchar", "varchar(90)", Some(90)), count.clone()]), "");
    assert_eq!(found([name.clone(), column("count", "bigint", "bigint unsigned", None)]), "");
    assert_eq!(
        found([column("name", "varchar", "varchar(49)", Some(49)), count.clone()]),
        "t.name was varchar(50) and is varchar(49)"
    );
    assert_eq!(
        found([name.clone(), column("count", "smallint", "smallint unsigned", None)]),
        "t.count was int unsigned and is smallint unsigned"
    );
    assert_eq!(found([name.clone(), column("count", "int", "int", None)]), "t.count was int unsigned and is int");
    assert_eq!(
        found([name.clone(), column("sum", "int", "int unsigned", None)]),
        "t.count is gone; t.sum is new, without a default"
    );
    let nullable = Column { is_nullable: true, ..count };
    assert_eq!(found([name, nullable]), "t.count had (false, None, \"\") and has (true, None, \"\")");
}
