//! Statistics over many executions, out of the sums that the schedulers keep.
//!
//! Owns the range and its buckets. Reads no execution and no detail. Knows no transport.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use hostsync_model::execution::{TaskId, UnknownWord};
use hostsync_store::database;
use hostsync_store::freshness::FreshnessCounts;
use hostsync_store::statistics::percentile_ms;
use hostsync_store::tables::freshness;
use hostsync_store::tables::statistics::{self, DurationStep, ErrorSum, FailingHost, HourSums};
use utoipa::openapi::Schema;

use crate::database::{Database, within_bound};
use crate::error::ApiError;
use crate::request::{Field, Fields, MAX_ID, Submitted, Whole, request, word_schema};

/// The range when the caller does not say where it begins.
const DEFAULT_RANGE: TimeDelta = TimeDelta::days(7);

/// Last year in which a range may end: a DATETIME reaches to the end of the next.
const LAST_YEAR: i32 = 9998;

/// Hosts and errors in an answer.
const MOST: u32 = 20;

/// How fine the answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bucket {
    /// An hour of UTC.
    Hour,
    /// A day of UTC.
    Day,
}

impl Bucket {
    pub(crate) const ALL: [Self; 2] = [Self::Hour, Self::Day];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    const fn length(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
        }
    }

    /// Longest range, so that an answer has at most 744 buckets.
    const fn longest_days(self) -> i64 {
        match self {
            Self::Hour => 31,
            Self::Day => 366,
        }
    }

    /// The beginning of the bucket in which an instant lies.
    fn begin(self, time: DateTime<Utc>) -> DateTime<Utc> {
        let into = time.timestamp().rem_euclid(self.length().num_seconds());
        DateTime::from_timestamp(time.timestamp() - into, 0).unwrap_or(time)
    }

    /// The first beginning of a bucket at an instant or after it.
    fn begin_after(self, time: DateTime<Utc>) -> DateTime<Utc> {
        let begin = self.begin(time);
        if begin == time { begin } else { begin.checked_add_signed(self.length()).unwrap_or(begin) }
    }
}

impl FromStr for Bucket {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let known = Self::ALL.into_iter().find(|bucket| bucket.as_str() == text);
        known.ok_or_else(|| UnknownWord { allowed: Self::ALL.map(Self::as_str).join(", ") })
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Field for Bucket {
    fn schema() -> Schema {
        word_schema(Self::ALL.map(Self::as_str), "How fine the answer is: hours or days of UTC.")
            .default(Some(Self::Day.as_str().into()))
            .build()
            .into()
    }

    fn read(fields: &mut Fields, name: &str) -> Option<Self> {
        fields.word(name)
    }
}

request! {
    /// Which executions to sum up.
    pub(crate) struct StatsQuery as "StatsQuery" {
        /// Only runs that began at this time or later, RFC 3339; cut to the beginning of its bucket. 7 days before `to` if it
        /// is absent; at most 31 days before it for hours, 366 for days.
        from: Option<DateTime<Utc>>, example "2026-01-01T00:00:00Z";
        /// Only runs that began before this time, RFC 3339; extended to the end of its bucket. Now if it is absent.
        to: Option<DateTime<Utc>>, example "2026-01-08T00:00:00Z";
        /// Only runs of this task; 0 means all runs.
        task_id: Option<Whole<0, MAX_ID>>, default 0, example 7;
        bucket: Option<Bucket>;
    }
}

/// Sums of some executions.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sums {
    /// Counts alone; its hour means nothing.
    pub(crate) counts: HourSums,
    steps: BTreeMap<u16, u64>,
}

impl Sums {
    fn add(&mut self, hour: &HourSums) {
        let counts = &mut self.counts;
        for (sum, more) in [
            (&mut counts.runs_success, hour.runs_success),
            (&mut counts.runs_partial, hour.runs_partial),
            (&mut counts.runs_failed, hour.runs_failed),
            (&mut counts.runs_cancelled, hour.runs_cancelled),
            (&mut counts.runs_skipped, hour.runs_skipped),
            (&mut counts.hosts_success, hour.hosts_success),
            (&mut counts.hosts_failed, hour.hosts_failed),
            (&mut counts.hosts_no_data, hour.hosts_no_data),
            (&mut counts.hosts_not_in_pool, hour.hosts_not_in_pool),
            (&mut counts.hosts_cancelled, hour.hosts_cancelled),
        ] {
            *sum += more;
        }
        counts.max_duration_ms = counts.max_duration_ms.max(hour.max_duration_ms);
    }

    fn add_durations(&mut self, durations: &DurationStep) {
        *self.steps.entry(durations.step).or_default() += durations.runs;
    }

    /// Runs that ended in these executions.
    pub(crate) fn runs(&self) -> u64 {
        let counts = &self.counts;
        counts.runs_success + counts.runs_partial + counts.runs_failed + counts.runs_cancelled + counts.runs_skipped
    }

    /// Share of the hosts that should have been written which were; `None` where there is no such host.
    pub(crate) fn success_rate(&self) -> Option<f64> {
        self.share(self.counts.hosts_success)
    }

    /// Share of the hosts that should have been written without a document in their window.
    pub(crate) fn no_data_rate(&self) -> Option<f64> {
        self.share(self.counts.hosts_no_data)
    }

    /// A share of the hosts that should have been written: those of the pool that were not cancelled.
    #[allow(clippy::cast_precision_loss, reason = "a ratio needs no more")]
    fn share(&self, hosts: u64) -> Option<f64> {
        let expected = self.counts.hosts_success + self.counts.hosts_failed + self.counts.hosts_no_data;
        (expected > 0).then(|| hosts as f64 / expected as f64)
    }

    /// Within 2.5 %; never above the maximum, which is exact.
    pub(crate) fn duration_ms(&self, percent: u64) -> Option<u64> {
        let percentile = percentile_ms(&self.steps, percent)?;
        Some(self.counts.max_duration_ms.map_or(percentile, |max| percentile.min(max)))
    }
}

/// Statistics over a range.
#[derive(Debug, Clone)]
pub(crate) struct RunStats {
    pub(crate) from: DateTime<Utc>,
    pub(crate) to: DateTime<Utc>,
    pub(crate) bucket: Bucket,
    pub(crate) total: Sums,
    /// In order, none left out.
    pub(crate) buckets: Vec<(DateTime<Utc>, Sums)>,
    pub(crate) hosts_failing_most: Vec<FailingHost>,
    pub(crate) errors_seen_most: Vec<ErrorSum>,
    /// In order; days on which nothing was counted are left out.
    pub(crate) freshness: Vec<(NaiveDate, FreshnessCounts)>,
}

/// Sums up the executions that began in a range, widened to whole buckets.
///
/// # Errors
///
/// Bad fields, the database.
pub(crate) async fn stats(database: &Database, submitted: Submitted<StatsQuery>) -> Result<RunStats, ApiError> {
    let Submitted { value: query, mut problems, said: _ } = submitted;
    let bucket = query.bucket.unwrap_or(Bucket::Day);
    // What is wrong with the fields is told without the database.
    if let (Some(from), Some(to)) = (query.from, query.to) {
        if from >= to {
            problems.add("to", "must be later than from");
        } else if to - from > TimeDelta::days(bucket.longest_days()) {
            problems.add("from", too_early(bucket));
        }
    }
    // Widened to a whole bucket it must still be a time that the database knows.
    if query.to.is_some_and(|to| to.year() > LAST_YEAR) {
        problems.add("to", format!("must not be later than the year {LAST_YEAR}"));
    }
    problems.check()?;
    let task = query.task_id.map_or(statistics::ALL, |Whole(id)| TaskId(id));
    within_bound(async {
        let mut connection = database.connection().await?;
        let to = match query.to {
            Some(to) => to,
            None => database::now(&mut connection).await?,
        };
        let from = query.from.unwrap_or_else(|| to.checked_sub_signed(DEFAULT_RANGE).unwrap_or(DateTime::UNIX_EPOCH));
        let (from, to) = (bucket.begin(from), bucket.begin_after(to));
        check_range(from, to, bucket)?;
        let hours = statistics::hours(&mut connection, task, from, to).await?;
        let durations = statistics::durations(&mut connection, task, from, to).await?;
        let (first_day, last_day) = (from.date_naive(), (to - TimeDelta::seconds(1)).date_naive());
        let hosts = statistics::failing_most(&mut connection, task, first_day, last_day, MOST).await?;
        let errors = statistics::errors_seen_most(&mut connection, task, first_day, last_day, MOST).await?;
        let freshness = freshness::days(&mut connection, task, first_day, last_day).await?;
        let (total, buckets) = sum_up(bucket, from, to, &hours, &durations);
        Ok(RunStats {
            from,
            to,
            bucket,
            total,
            buckets,
            hosts_failing_most: hosts,
            errors_seen_most: errors,
            freshness,
        })
    })
    .await
}

fn too_early(bucket: Bucket) -> String {
    format!("must be at most {} days before to when the bucket is {bucket}", bucket.longest_days())
}

/// Checks a range of whole buckets, one end of which the caller may not have given.
fn check_range(from: DateTime<Utc>, to: DateTime<Utc>, bucket: Bucket) -> Result<(), ApiError> {
    let mut problems = crate::request::Problems::default();
    if from >= to {
        problems.add("from", "must be earlier than to, which is now unless it is given");
    } else if to - from > TimeDelta::days(bucket.longest_days()) + bucket.length() {
        problems.add("from", too_early(bucket));
    }
    Ok(problems.check()?)
}

fn sum_up(
    bucket: Bucket,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    hours: &[HourSums],
    durations: &[DurationStep],
) -> (Sums, Vec<(DateTime<Utc>, Sums)>) {
    let mut total = Sums::default();
    let mut buckets = BTreeMap::new();
    let mut begin = from;
    while begin < to {
        buckets.insert(begin, Sums::default());
        begin += bucket.length();
    }
    for hour in hours {
        total.add(hour);
        buckets.entry(bucket.begin(hour.hour)).or_default().add(hour);
    }
    for step in durations {
        total.add_durations(step);
        buckets.entry(bucket.begin(step.hour)).or_default().add_durations(step);
    }
    (total, buckets.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().expect(text)
    }

    #[test]
    fn a_range_is_widened_to_whole_buckets() {
        let (from, to) = (time("2026-01-02T03:04:05Z"), time("2026-01-02T03:04:06Z"));
        assert_eq!(Bucket::Hour.begin(from), time("2026-01-02T03:00:00Z"));
        assert_eq!(Bucket::Hour.begin_after(to), time("2026-01-02T04:00:00Z"));
        assert_eq!(Bucket::Day.begin(from), time("2026-01-02T00:00:00Z"));
        assert_eq!(Bucket::Day.begin_after(time("2026-01-03T00:00:00Z")), time("2026-01-03T00:00:00Z"));
        assert_eq!(Bucket::Day.begin(time("1969-12-31T23:59:59Z")), time("1969-12-31T00:00:00Z"));
    }

    #[test]
    fn hosts_without_data_are_no_success() {
        let sums = |hosts_success, hosts_failed, hosts_no_data, hosts_not_in_pool| Sums {
            counts: HourSums { hosts_success, hosts_failed, hosts_no_data, hosts_not_in_pool, ..HourSums::default() },
            ..Sums::default()
        };
        let rates = |sums: Sums| (sums.success_rate(), sums.no_data_rate());
        assert_eq!(rates(sums(0, 0, 10, 0)), (Some(0.0), Some(1.0)));
        assert_eq!(rates(sums(6, 2, 2, 90)), (Some(0.6), Some(0.2)), "a host outside the pool cannot be written");
        assert_eq!(rates(sums(0, 0, 0, 10)), (None, None));
    }

    #[test]
    fn every_bucket_of_the_range_is_there_and_adds_up_to_the_total() {
        let (from, to) = (time("2026-01-01T00:00:00Z"), time("2026-01-04T00:00:00Z"));
        let hour = |text, hosts_success, hosts_failed| HourSums {
            hour: time(text),
            runs_partial: 1,
            hosts_success,
            hosts_failed,
            max_duration_ms: Some(hosts_success),
            ..HourSums::default()
        };
        let hours = [
            hour("2026-01-01T00:00:00Z", 3, 1),
            hour("2026-01-01T23:00:00Z", 1, 3),
            hour("2026-01-03T05:00:00Z", 4, 0),
        ];
        let durations = [DurationStep { hour: hours[2].hour, step: 0, runs: 1 }];
        let (total, buckets) = sum_up(Bucket::Day, from, to, &hours, &durations);
        assert_eq!((total.runs(), total.success_rate()), (3, Some(8.0 / 12.0)));
        assert_eq!(buckets.len(), 3);
        assert_eq!(buckets[0].1.success_rate(), Some(0.5));
        assert_eq!((buckets[1].1.runs(), buckets[1].1.success_rate(), buckets[1].1.duration_ms(50)), (0, None, None));
        assert_eq!((buckets[2].1.duration_ms(95), buckets[2].1.counts.max_duration_ms), (Some(0), Some(4)));
    }
}
