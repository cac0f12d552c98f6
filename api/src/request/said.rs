//! What a request says, as the audit keeps it.

use serde_json::{Map, Value, json};

use super::text::cut;

/// Most items that are kept of a list.
const MAX_ITEMS_KEPT: usize = 10;

/// Most characters that are kept of a text.
const MAX_TEXT_CHARS: usize = 200;

/// Largest JSON of it, in bytes; of a larger one only the names of the fields are kept. No request that is accepted has one.
const MAX_JSON_BYTES: usize = 16 * 1024;

/// The fields of a request as they were sent, cut. A token is no field of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said(Map<String, Value>);

impl Said {
    /// Of these fields; a null is an absent field.
    pub(super) fn of(values: &Map<String, Value>) -> Self {
        let kept = values.iter().filter(|(_, value)| !value.is_null());
        Self(kept.map(|(name, value)| (cut(name), shortened(value))).collect())
    }

    /// Adds a list of texts.
    pub(crate) fn add_list(&mut self, name: &str, texts: &[String]) {
        let first = texts.iter().take(MAX_ITEMS_KEPT).map(|text| text_kept(text));
        self.0.insert(name.to_owned(), list(first.collect(), texts.len()));
    }

    /// As a JSON object.
    pub(crate) fn json(&self) -> String {
        let json = Value::Object(self.0.clone()).to_string();
        if json.len() <= MAX_JSON_BYTES {
            return json;
        }
        json!({"fields": self.0.keys().take(MAX_ITEMS_KEPT).collect::<Vec<_>>()}).to_string()
    }
}

fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) => text_kept(text),
        Value::Array(items) => list(items.iter().take(MAX_ITEMS_KEPT).map(shortened).collect(), items.len()),
        other => other.clone(),
    }
}

fn list(mut first: Vec<Value>, count: usize) -> Value {
    if count > first.len() {
        first.push(format!("… and {} more", count - first.len()).into());
    }
    Value::Array(first)
}

fn text_kept(text: &str) -> Value {
    let kept: String = text.chars().take(MAX_TEXT_CHARS).collect();
    if kept.len() < text.len() { format!("{kept}…").into() } else { kept.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(value: Value) -> String {
        let Value::Object(values) = value else { panic!("no object") };
        Said::of(&values).json()
    }

    #[test]
    fn what_is_short_is_kept_as_it_is() {
        let request = json!({"flag": true, "name": "nightly", "number": 7});
        assert_eq!(said(request.clone()), request.to_string());
        assert_eq!(said(json!({"name": null})), "{}");
    }

    #[test]
    fn lists_and_texts_are_cut_and_say_so() {
        let hosts: Vec<String> = (0..100_000).map(|n| format!("host {n}")).collect();
        let kept = said(json!({"hosts": hosts, "text": "é".repeat(10_000)}));
        assert!(kept.contains("\"host 9\",\"… and 99990 more\"]") && kept.contains("é…"), "{kept}");
        assert!(kept.len() < 1_000, "{kept}");
        let mut listed = Said::default();
        listed.add_list("hosts", &hosts);
        assert!(listed.json().ends_with("\"host 9\",\"… and 99990 more\"]}"), "{}", listed.json());
    }

    #[test]
    fn whatever_is_sent_it_has_a_bound() {
        let many: Map<String, Value> =
            (0..64).map(|n| (format!("{n}{}", "x".repeat(1_000)), "\u{1}".repeat(1_000).into())).collect();
        let kept = Said::of(&many).json();
        assert!(kept.len() < MAX_JSON_BYTES && kept.starts_with("{\"fields\":["), "{kept}");
    }
}
