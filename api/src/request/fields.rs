//! The fields of a request, whether JSON, a form or a query string carried them.
//!
//! Owns reading them into plain types and collecting everything that is wrong with them, so that a caller hears of all
//! of it at once: wrong types, fields that nobody knows, and whatever the services add. Knows no field by name.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{DateTime, SubsecRound as _, Utc};
use hostsync_model::execution::UnknownWord;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::problems::Problems;
use super::said::Said;
use super::text::{cut, quoted};

/// Most fields of a request, known or not. The largest has a dozen.
pub(crate) const MAX_FIELDS: usize = 64;

/// Largest id that a request may name: what a signed number of 64 bits holds, as the document says (`int64`).
pub(crate) const MAX_ID: u64 = i64::MAX.unsigned_abs();

/// Most items of a list: twice the hosts of a run, since repeats are forgiven. An item takes some 70 bytes of memory
/// however short it is.
pub(crate) const MAX_ITEMS: usize = 200_000;

/// What a caller has sent, with what is already known to be wrong about it.
#[derive(Debug, Default)]
pub(crate) struct Submitted<T> {
    /// As it was sent; a field of the wrong type is absent.
    pub(crate) value: T,
    /// What is wrong so far.
    pub(crate) problems: Problems,
    /// What was sent, for the audit.
    pub(crate) said: Said,
}

impl<T> Submitted<T> {
    /// The same with the value made into another.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Submitted<U> {
        Submitted { value: change(self.value), problems: self.problems, said: self.said }
    }

    /// The value, when nothing is wrong with it.
    ///
    /// # Errors
    ///
    /// Something is.
    pub(crate) fn checked(self) -> Result<T, Problems> {
        self.problems.check().map(|()| self.value)
    }
}

/// Where the fields stood, which decides how a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Json,
    Text,
}

/// The fields that have not been taken yet.
#[derive(Debug)]
pub(crate) struct Fields {
    values: Map<String, Value>,
    said: Said,
    carrier: Carrier,
    /// Fields of the wrong type, unknown ones.
    misfits: Problems,
    /// Values that are refused.
    problems: Problems,
}

impl Fields {
    /// The fields of a JSON object. A null is an absent field.
    pub(crate) fn from_json(object: JsonObject) -> Self {
        Self::new(object.0, Carrier::Json, Problems::default())
    }

    /// The fields of a query string or a form. An empty one is an absent field; a name given twice is a problem.
    pub(crate) fn from_text(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut values = Map::new();
        let mut misfits = Problems::default();
        for (name, text) in pairs {
            if values.contains_key(&name) {
                misfits.add(cut(&name), "is given twice");
            } else {
                values.insert(name, Value::String(text));
            }
        }
        values.retain(|_, value| value.as_str() != Some(""));
        Self::new(values, Carrier::Text, misfits)
    }

    fn new(values: Map<String, Value>, carrier: Carrier, misfits: Problems) -> Self {
        Self { said: Said::of(&values), values, carrier, misfits, problems: Problems::default() }
    }

    /// What was sent, for the audit.
    pub(super) fn said(&self) -> Said {
        self.said.clone()
    }

    /// What was wrong with the fields, and that those which nobody has taken are unknown.
    pub(super) fn finish(self) -> Problems {
        let Self { values, misfits: mut problems, problems: refused, .. } = self;
        for name in values.keys() {
            problems.add(cut(name), "is no field of this request");
        }
        problems.append(refused);
        problems
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name).filter(|value| !value.is_null())
    }

    /// Reports a value that is not what it should be.
    fn refuse<T>(&mut self, name: &str, expected: &str, found: &Value) -> Option<T> {
        self.misfits.add(name, format!("must be {expected}, not {}", shown(found)));
        None
    }

    /// A text, to the letter.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => self.refuse(name, "a text", &other),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.take(name)?;
        match (&value, self.carrier) {
            (Value::Bool(flag), _) => Some(*flag),
            (Value::String(text), Carrier::Text) if text == "true" => Some(true),
            (Value::String(text), Carrier::Text) if text == "false" => Some(false),
            _ => self.refuse(name, "true or false", &value),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, name: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(name)?;
        let number = match (&value, self.carrier) {
            (Value::Number(number), _) => number.as_u64().or_else(|| whole_float(number.as_f64()?)),
            (Value::String(text), Carrier::Text) => whole_number(text),
            _ => None,
        };
        match number {
            Some(number) if bounds.contains(&number) => Some(number),
            _ => {
                let expected = match bounds.into_inner() {
                    (low, u64::MAX) => format!("a whole number from {low} on"),
                    (low, high) => format!("a whole number from {low} to {high}"),
                };
                self.refuse(name, &expected, &value)
            }
        }
    }

    /// A list of texts; each item that is none is reported by its position, and is `None`.
    pub(crate) fn texts(&mut self, name: &str) -> Option<Vec<Option<String>>> {
        let items = match self.take(name)? {
            Value::Array(items) => items,
            other => return self.refuse(name, "a list of texts", &other),
        };
        let mut texts = Vec::with_capacity(items.len());
        for (position, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(Some(text)),
                other => texts.push(self.refuse(&format!("{name}[{position}]"), "a text", &other)),
            }
        }
        Some(texts)
    }

    /// A list of whole numbers within bounds; each item that is none is reported by its position and left out.
    pub(crate) fn numbers(&mut self, name: &str, bounds: &RangeInclusive<u64>) -> Option<Vec<u64>> {
        let items = match self.take(name)? {
            Value::Array(items) => items,
            other => return self.refuse(name, "a list of whole numbers", &other),
        };
        let mut numbers = Vec::with_capacity(items.len());
        for (position, item) in items.into_iter().enumerate() {
            match item.as_u64() {
                Some(number) if bounds.contains(&number) => numbers.push(number),
                _ => {
                    let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
                    let _: Option<u64> = self.refuse(&format!("{name}[{position}]"), &expected, &item);
                }
            }
        }
        Some(numbers)
    }

    /// A member of a closed set.
    pub(crate) fn word<T: FromStr<Err = UnknownWord>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(word) => Some(word),
            Err(error) => {
                self.misfits.add(name, format!("{error}, not {}", quoted(&text)));
                None
            }
        }
    }

    /// An instant, RFC 3339 with any offset, cut to the millisecond.
    pub(crate) fn time(&mut self, name: &str) -> Option<DateTime<Utc>> {
        self.exact_time(name).map(|time| time.trunc_subsecs(3))
    }

    /// An instant, RFC 3339 with any offset, as it was given.
    pub(crate) fn exact_time(&mut self, name: &str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        match DateTime::parse_from_rfc3339(&text) {
            Ok(time) => Some(time.with_timezone(&Utc)),
            Err(_) => {
                let expected = "a time such as 2026-01-02T03:04:05Z (in a URL a + is written %2B)";
                self.misfits.add(name, format!("must be {expected}, not {}", quoted(&text)));
                None
            }
        }
    }

    /// Whether something is wrong with this very field: a missing value is not told of when a bad one was.
    pub(super) fn has_problem(&self, name: &str) -> bool {
        self.misfits.has(name) || self.problems.has(name)
    }

    /// For what a field's type finds wrong with a value.
    pub(crate) fn problems(&mut self) -> &mut Problems {
        &mut self.problems
    }
}

/// A number that some languages write with a point or an exponent though it is whole, as JSON Schema takes it.
fn whole_float(number: f64) -> Option<u64> {
    /// Below it every whole number has a float of its own.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    let is_whole = number.fract() == 0.0 && (0.0..LIMIT).contains(&number);
    is_whole.then(|| format!("{:.0}", number.abs()).parse().ok()).flatten()
}

/// Digits alone, as a number.
pub(crate) fn whole_number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// Reads an id.
///
/// # Errors
///
/// It is no whole number, or larger than [`MAX_ID`].
pub(crate) fn read_id(name: &str, text: &str) -> Result<u64, Problems> {
    let problem = match whole_number(text) {
        Some(id) if id <= MAX_ID => return Ok(id),
        Some(_) => format!("must be at most {MAX_ID}, not {}", quoted(text)),
        None => format!("must be a whole number, not {}", quoted(text)),
    };
    Err(Problems::of(name, problem))
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A JSON object in which no name stands twice, of at most [`MAX_FIELDS`] fields. What no request has is not kept: of an
/// object in a field, and of a list or an object in a list, it is known only that they were there.
#[derive(Debug, Default)]
pub(crate) struct JsonObject(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = JsonObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<JsonObject, A::Error> {
                let mut map = Map::new();
                while let Some(name) = access.next_key::<String>()? {
                    if map.len() == MAX_FIELDS {
                        return Err(A::Error::custom(format_args!("more than {MAX_FIELDS} fields")));
                    }
                    if map.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("the field {} is given twice", quoted(&name))));
                    }
                    let Kept::<true>(value) = access.next_value()?;
                    map.insert(name, value);
                }
                Ok(JsonObject(map))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The value of a field; with `KEEPS_LISTS` false an item of a list. What is nested deeper is read and forgotten.
struct Kept<const KEEPS_LISTS: bool>(Value);

impl<'de, const KEEPS_LISTS: bool> Deserialize<'de> for Kept<KEEPS_LISTS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Kept::<KEEPS_LISTS>(Value::Null))
    }
}

impl<'de, const KEEPS_LISTS: bool> Visitor<'de> for Kept<KEEPS_LISTS> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self(Value::Null))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self, E> {
        Ok(Self(Value::Bool(flag)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self, E> {
        Ok(Self(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self, E> {
        Ok(Self(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self, E> {
        Ok(Self(Number::from_f64(number).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self, E> {
        Ok(Self(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self, E> {
        Ok(Self(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
        let mut items = Vec::new();
        if KEEPS_LISTS {
            while let Some(Kept::<false>(item)) = access.next_element()? {
                if items.len() == MAX_ITEMS {
                    return Err(A::Error::custom(format_args!("a list of more than {MAX_ITEMS} items")));
                }
                items.push(item);
            }
        } else {
            while access.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(Self(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
        while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self(Value::Object(Map::new())))
    }
}

#[cfg(test)]
mod tests {
    use hostsync_model::execution::SyncStatus;
    use utoipa::openapi::Schema;
    use utoipa::openapi::schema::ObjectBuilder;

    use super::*;
    use crate::request::{Field, Whole, request};

    fn json(text: &str) -> Fields {
        Fields::from_json(serde_json::from_str(text).expect(text))
    }

    fn told(problems: Problems) -> Vec<String> {
        problems.into_reported().into_iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
    }

    request! {
        /// A field of every kind.
        struct Everything as "Everything" {
            text: Option<String>;
            flag: Option<bool>;
            number: Option<Whole<1, 500>>;
            texts: Option<Texts>;
            word: Option<SyncStatus>;
            time: Option<DateTime<Utc>>;
        }
    }

    #[derive(Debug, Clone, Default, PartialEq)]
    struct Texts(Vec<Option<String>>);

    impl Field for Texts {
        fn schema() -> Schema {
            ObjectBuilder::new().build().into()
        }

        fn read(fields: &mut Fields, name: &str) -> Option<Self> {
            fields.texts(name).map(Self)
        }
    }

    #[test]
    fn every_kind_of_field_is_read_from_json() {
        let submitted = json(
            r#"{"text":" a ","flag":false,"number":500,"texts":["x"],"word":"no_data","time":"2026-01-02T04:04:05.6789+01:00"}"#,
        )
        .read::<Everything>();
        assert_eq!(told(submitted.problems), Vec::<String>::new());
        let value = submitted.value;
        assert_eq!((value.text.as_deref(), value.flag, value.number), (Some(" a "), Some(false), Some(Whole(500))));
        assert_eq!((value.texts, value.word), (Some(Texts(vec![Some("x".to_owned())])), Some(SyncStatus::NoData)));
        assert_eq!(value.time.expect("a time").to_rfc3339(), "2026-01-02T03:04:05.678+00:00");
    }

    #[test]
    fn every_kind_of_field_is_read_from_text() {
        let pairs = [("flag", "true"), ("number", "7"), ("word", "failed"), ("text", "")];
        let submitted =
            Fields::from_text(pairs.map(|(name, text)| (name.to_owned(), text.to_owned()))).read::<Everything>();
        assert_eq!(told(submitted.problems), Vec::<String>::new());
        let Everything { text, flag, number, texts, word, time } = submitted.value;
        assert_eq!((flag, number, word), (Some(true), Some(Whole(7)), Some(SyncStatus::Failed)));
        assert_eq!((text, texts, time), (None, None, None), "an empty text is an absent field");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let submitted = json(
            r#"{"text":5,"flag":"true","number":501,"texts":["x",1],"word":"lost","time":"today","tsak":[],"other":null}"#,
        )
        .read::<Everything>();
        assert_eq!(
            told(submitted.problems),
            [
                "text: must be a text, not the number 5",
                "flag: must be true or false, not the text \"true\"",
                "number: must be a whole number from 1 to 500, not the number 501",
                "texts[1]: must be a text, not the number 1",
                "word: must be one of pending, success, failed, no_data, not_in_pool, cancelled, not \"lost\"",
                "time: must be a time such as 2026-01-02T03:04:05Z (in a URL a + is written %2B), not \"today\"",
                "other: is no field of this request",
                "tsak: is no field of this request",
            ]
        );
    }

    #[test]
    fn what_no_request_has_is_read_and_forgotten() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for (text, expected) in [
            (r#"{"texts":[["a",[1]],{"b":[2]},"c"]}"#.to_owned(), r#"{"texts":[[],{},"c"]}"#),
            (r#"{"x":{"y":[1,2,{"z":3}]}}"#.to_owned(), r#"{"x":{}}"#),
            (format!(r#"{{"x":{deep}}}"#), r#"{"x":[[]]}"#),
            (
                r#"{"a":null,"b":-1,"c":1.5,"d":18446744073709551615,"e":true}"#.to_owned(),
                r#"{"a":null,"b":-1,"c":1.5,"d":18446744073709551615,"e":true}"#,
            ),
        ] {
            let object: JsonObject = serde_json::from_str(&text).expect(&text);
            assert_eq!(serde_json::Value::Object(object.0).to_string(), expected);
        }
    }

    #[test]
    fn fields_items_depth_and_digits_have_a_bound() {
        let refusal = |text: &str| serde_json::from_str::<JsonObject>(text).expect_err("a refusal").to_string();
        let many = |count: usize| (0..count).map(|n| format!("\"f{n}\":0")).collect::<Vec<_>>().join(",");
        assert!(serde_json::from_str::<JsonObject>(&format!("{{{}}}", many(MAX_FIELDS))).is_ok());
        assert!(refusal(&format!("{{{}}}", many(MAX_FIELDS + 1))).starts_with("more than 64 fields"));
        let list = |count: usize| format!("{{\"x\":[{}0]}}", "0,".repeat(count - 1));
        assert!(serde_json::from_str::<JsonObject>(&list(MAX_ITEMS)).is_ok());
        assert!(refusal(&list(MAX_ITEMS + 1)).starts_with("a list of more than 200000 items"));
        assert!(refusal(&format!("{{\"x\":{}", "[".repeat(1_000_000))).starts_with("EOF while parsing"));
        assert!(refusal(&format!("{{\"x\":{}}}", "9".repeat(1_000_000))).starts_with("number out of range"));
    }

    #[test]
    fn a_null_is_an_absent_field() {
        let submitted = json(r#"{"text":null,"texts":null,"number":null}"#).read::<Everything>();
        assert_eq!(told(submitted.problems), Vec::<String>::new());
        let Everything { text, texts, number, .. } = submitted.value;
        assert_eq!((text, texts, number), (None, None, None));
    }

    #[test]
    fn what_stands_twice_is_refused() {
        let error = serde_json::from_str::<JsonObject>(r#"{"a":1,"a":2}"#).expect_err("twice").to_string();
        assert!(error.starts_with("the field \"a\" is given twice"), "{error}");
        let pairs = [("text", "1"), ("text", "2")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(told(Fields::from_text(pairs).read::<Everything>().problems), ["text: is given twice"]);
    }

    #[test]
    fn a_whole_number_may_have_a_point_or_an_exponent_in_json() {
        for (text, expected) in [("7", 7), ("7.0", 7), ("1e2", 100), ("5.0e1", 50)] {
            let submitted = json(&format!(r#"{{"number":{text}}}"#)).read::<Everything>();
            assert_eq!((submitted.value.number, submitted.problems.count()), (Some(Whole(expected)), 0), "{text}");
        }
        for text in ["-0.0", "0.0"] {
            let mut fields = json(&format!(r#"{{"number":{text}}}"#));
            assert_eq!(fields.number("number", 0..=u64::MAX), Some(0), "{text}");
        }
        let mut fields = json(r#"{"number":9007199254740992.0}"#);
        assert_eq!(fields.number("number", 0..=u64::MAX), None);
    }

    #[test]
    fn numbers_that_are_no_whole_numbers_are_refused() {
        for text in ["1.5", "-1", "-1.0", "1e-2", "18446744073709551616", "1e19"] {
            let submitted = json(&format!(r#"{{"number":{text}}}"#)).read::<Everything>();
            assert_eq!(submitted.problems.count(), 1, "{text}");
        }
        for text in ["+1", " 1", "1.0", "x"] {
            let submitted = Fields::from_text([("number".to_owned(), text.to_owned())]).read::<Everything>();
            assert_eq!(submitted.problems.count(), 1, "{text}");
        }
    }
}
