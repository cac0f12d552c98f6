//! The fields that a mapping names, and what it uses each for.

use super::{Mapping, Metric};

/// What a mapping uses a field for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldRole {
    Time,
    Host,
    Name,
    Number,
    NumberOrRollUp,
    Part,
}

/// The fields of a mapping, each with its key and role, in the order in which they are checked.
pub(super) fn fields_of(mapping: &Mapping) -> Vec<(String, &str, FieldRole)> {
    let mut fields = vec![
        ("time_field".to_owned(), mapping.time_field.as_str(), FieldRole::Time),
        ("host_field".to_owned(), mapping.host_field.as_str(), FieldRole::Host),
    ];
    for metric in Metric::ALL {
        let of_metric = mapping.metric(metric);
        for (name, field) in of_metric.numbers() {
            let role =
                if of_metric.roll_up_field() == Some(field) { FieldRole::NumberOrRollUp } else { FieldRole::Number };
            fields.push((format!("{}.{name}", metric.key()), field, role));
        }
        if let Some(split) = &of_metric.split {
            fields.push((format!("{}.split.field", metric.key()), &split.field, FieldRole::Part));
        }
    }
    for (key, field) in [("host_name_field", &mapping.host_name_field), ("group_field", &mapping.group_field)] {
        fields.extend(field.as_deref().map(|field| (key.to_owned(), field, FieldRole::Name)));
    }
    fields
}
