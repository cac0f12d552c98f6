//! The buckets of an answer about hosts, as the search engine writes them.
//!
//! Owns the shapes of the JSON, and that a list of buckets which was cut short is none. What the numbers mean is `read`'s matter.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Metric;
use super::plan::SKIP_FIELD;
use super::whole_answer::{AnswerError, malformed};

/// The aggregations of a search over hosts.
#[derive(Deserialize)]
pub(super) struct HostsAggregation {
    pub(super) hosts: Terms<HostBucket>,
}

/// A `terms` aggregation.
#[derive(Deserialize)]
pub(super) struct Terms<B> {
    pub(super) doc_count_error_upper_bound: i64,
    pub(super) sum_other_doc_count: i64,
    pub(super) buckets: Vec<B>,
}

impl<B> Terms<B> {
    /// The buckets, if they are all that there are.
    pub(super) fn whole_list(&self) -> Result<&[B], AnswerError> {
        let Self { doc_count_error_upper_bound, sum_other_doc_count, buckets } = self;
        for (name, documents) in [
            ("doc_count_error_upper_bound", *doc_count_error_upper_bound),
            ("sum_other_doc_count", *sum_other_doc_count),
        ] {
            if documents != 0 {
                return Err(AnswerError::Truncated { reason: format!("{name} is {documents}") });
            }
        }
        Ok(buckets)
    }
}

/// One host, such as
/// `{"key": "10.0.0.1", "doc_count": 288, "cpu": {"count": 288, "max": 90.0, "avg": 50.5, "min": 1.0}}`.
pub(super) struct HostBucket {
    pub(super) key: String,
    pub(super) doc_count: u64,
    /// What was asked for below it, by name; each once.
    pub(super) aggs: Vec<(String, Agg)>,
}

impl HostBucket {
    pub(super) fn agg(&self, name: &str) -> Option<&Agg> {
        self.aggs.iter().find(|(known, _)| known == name).map(|(_, agg)| agg)
    }
}

impl<'de> Deserialize<'de> for HostBucket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HostBucketVisitor;
        impl<'de> Visitor<'de> for HostBucketVisitor {
            type Value = HostBucket;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bucket of a host")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<HostBucket, M::Error> {
                let (mut key, mut doc_count, mut aggs) = (None, None, Vec::<(String, Agg)>::new());
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "key" => key = Some(map.next_value()?),
                        "doc_count" => doc_count = Some(map.next_value()?),
                        _ if name == SKIP_FIELD || Metric::ALL.iter().any(|metric| name.starts_with(metric.key())) => {
                            let agg = map.next_value()?;
                            // A name that comes again takes no more room.
                            match aggs.iter_mut().find(|(known, _)| *known == name) {
                                Some((_, known)) => *known = agg,
                                None => aggs.push((name, agg)),
                            }
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let missing = |field| serde::de::Error::missing_field(field);
                Ok(HostBucket {
                    key: key.ok_or_else(|| missing("key"))?,
                    doc_count: doc_count.ok_or_else(|| missing("doc_count"))?,
                    aggs,
                })
            }
        }
        deserializer.deserialize_map(HostBucketVisitor)
    }
}

/// Whatever is asked of a metric, below the bucket of a host: each kind of aggregation fills some of these.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Agg {
    pub(super) value: Number,
    pub(super) max: Number,
    pub(super) avg: Number,
    pub(super) min: Number,
    pub(super) count: Number,
    pub(super) mean: Single,
    pub(super) weight: Single,
    pub(super) weights: Single,
    pub(super) doc_count: Number,
    pub(super) slices: Option<SliceList>,
    pub(super) cores: Option<Terms<CoresBucket>>,
}

/// The documents of a host that have the same number of cores, such as `{"key": 4, "used": {"max": 3.2, …}}`.
#[derive(Deserialize)]
pub(super) struct CoresBucket {
    pub(super) key: f64,
    pub(super) used: Range,
}

/// What a `stats` aggregation says below another one.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    pub(super) max: Number,
    pub(super) avg: Number,
    pub(super) min: Number,
    pub(super) count: Number,
}

/// The times of some documents, in milliseconds.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) min: Number,
    pub(super) max: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Single {
    pub(super) value: Number,
}

#[derive(Deserialize)]
pub(super) struct SliceList {
    pub(super) buckets: Vec<SliceBucket>,
}

/// One slice of time with the parts that were measured in it, such as
/// `{"key": 1750000000000, "parts": {"buckets": [{"key": "/", "doc_count": 6, "used": {"value": 10.0}, …}]}}`.
#[derive(Deserialize)]
pub(super) struct SliceBucket {
    pub(super) key: i64,
    pub(super) parts: Terms<PartBucket>,
}

#[derive(Deserialize)]
pub(super) struct PartBucket {
    pub(super) key: PartKey,
    pub(super) doc_count: u64,
    #[serde(default)]
    pub(super) used: Single,
    #[serde(default)]
    pub(super) total: Single,
    #[serde(default)]
    pub(super) time: Times,
}

/// What a part is named by: a text, or a whole number.
pub(super) struct PartKey(pub(super) String);

impl<'de> Deserialize<'de> for PartKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartKeyVisitor;
        impl Visitor<'_> for PartKeyVisitor {
            type Value = PartKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a part")
            }

            fn visit_str<E>(self, text: &str) -> Result<PartKey, E> {
                Ok(PartKey(text.to_owned()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<PartKey, E> {
                Ok(PartKey(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<PartKey, E> {
                Ok(PartKey(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<PartKey, E> {
                Ok(PartKey(number.to_string()))
            }
        }
        deserializer.deserialize_any(PartKeyVisitor)
    }
}

/// A number as an answer has it. What JSON has no number for comes as a text; it is kept as it is, so that its host fails
/// for it and is not taken for unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Number {
    /// Nothing stands there.
    #[default]
    Missing,
    /// The null that stands where no document had one.
    Unknown,
    Known(f64),
}

impl Number {
    /// The number, `None` where no document had one; `part` names what is missing.
    pub(super) fn known(self, part: impl Fn() -> String) -> Result<Option<f64>, BucketDefect> {
        match self {
            Self::Missing => Err(BucketDefect::Missing(part())),
            Self::Unknown => Ok(None),
            Self::Known(number) => Ok(Some(number)),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or null")
            }

            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number::Unknown)
            }

            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                Ok(Number::Known(number))
            }

            #[allow(clippy::cast_precision_loss, reason = "a measured value; JSON itself has no more")]
            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number::Known(number as f64))
            }

            #[allow(clippy::cast_precision_loss, reason = "a measured value; JSON itself has no more")]
            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(Number::Known(number as f64))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                match text {
                    "NaN" => Ok(Number::Known(f64::NAN)),
                    "Infinity" => Ok(Number::Known(f64::INFINITY)),
                    "-Infinity" => Ok(Number::Known(f64::NEG_INFINITY)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// What is wrong with the bucket of a host.
pub(super) enum BucketDefect {
    /// This part is missing.
    Missing(String),
    /// The whole answer is wrong.
    Answer(AnswerError),
}

impl BucketDefect {
    pub(super) fn of_host(self, host: &str) -> AnswerError {
        match self {
            Self::Missing(part) => malformed(&format!("in the bucket of {host}, {part} is missing")),
            Self::Answer(AnswerError::Truncated { reason }) => {
                AnswerError::Truncated { reason: format!("{host} has more parts than there was room for ({reason})") }
            }
            Self::Answer(refusal) => refusal,
        }
    }
}
