//! The text of an expression → sets of values per field.
//!
//! Owns the notation (robfig/cron v3 with seconds, and 7 for Sunday) and its errors; knows no time
//! zone rule and no instant. Every value is checked here, so that what is handed on always fires.

use std::ops::RangeInclusive;

use super::error::{ScheduleError, quote};

/// What one field may hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FieldKind {
    pub(super) name: &'static str,
    pub(super) min: u32,
    pub(super) max: u32,
    /// Three-letter names of the values from `min` on; empty where there are none.
    pub(super) names: &'static [&'static str],
    /// Allowed values as an error says them.
    allowed: &'static str,
}

pub(super) const SECOND: FieldKind = FieldKind { name: "second", min: 0, max: 59, names: &[], allowed: "0 to 59" };
pub(super) const MINUTE: FieldKind = FieldKind { name: "minute", ..SECOND };
pub(super) const HOUR: FieldKind = FieldKind { name: "hour", max: 23, allowed: "0 to 23", ..SECOND };
pub(super) const DAY_OF_MONTH: FieldKind =
    FieldKind { name: "day-of-month", min: 1, max: 31, names: &[], allowed: "1 to 31" };
pub(super) const MONTH: FieldKind = FieldKind {
    name: "month",
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    allowed: "1 to 12 or JAN to DEC",
};
pub(super) const DAY_OF_WEEK: FieldKind = FieldKind {
    name: "day-of-week",
    min: 0,
    max: 6,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    allowed: "0 to 7 (0 and 7 are Sunday) or SUN to SAT",
};

/// The field names in their order, as an error lists them.
const FIELD_ORDER: &str = "second minute hour day-of-month month day-of-week";

/// Most days each month can have, January first.
const LONGEST_MONTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// The descriptors and the six fields they stand for.
const DESCRIPTORS: [(&str, &str); 7] = [
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
];

/// Values of one field, each below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FieldValues(u64);

impl FieldValues {
    fn stepped(range: RangeInclusive<u32>, step: u32) -> Self {
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        Self(range.step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    pub(super) fn all_of(kind: &FieldKind) -> Self {
        Self::stepped(kind.min..=kind.max, 1)
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn contains(self, value: u32) -> bool {
        value < u64::BITS && self.0 >> value & 1 == 1
    }

    /// Whether no value of the field is missing.
    pub(super) fn is_full(self, kind: &FieldKind) -> bool {
        self == Self::all_of(kind)
    }

    /// Its values, lowest first.
    pub(super) fn iter(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |value| self.contains(*value))
    }
}

/// The six fields of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CronFields {
    pub(super) seconds: FieldValues,
    pub(super) minutes: FieldValues,
    pub(super) hours: FieldValues,
    pub(super) days_of_month: FieldValues,
    pub(super) months: FieldValues,
    /// 0 is Sunday, 6 is Saturday.
    pub(super) days_of_week: FieldValues,
    /// Both day fields are restricted: a day matches if either does. Else both must match, which
    /// comes to the restricted one.
    pub(super) either_day: bool,
    /// The minute or hour field starts with `*` or `?`: across a clock change real time counts.
    pub(super) real_time: bool,
}

/// What an expression says, zone prefix taken off.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// Six fields, or five, or a descriptor.
    Fields(CronFields),
    /// The text behind `@every`.
    Every(&'a str),
}

/// Splits a `TZ=Zone` or `CRON_TZ=Zone` prefix off. Gives the zone's name, if there is a prefix, and
/// the trimmed rest.
pub(super) fn split_zone(expression: &str) -> (Option<&str>, &str) {
    let expression = expression.trim();
    let Some(prefixed) = ["TZ=", "CRON_TZ="].iter().find_map(|prefix| expression.strip_prefix(prefix)) else {
        return (None, expression);
    };
    match prefixed.split_once(char::is_whitespace) {
        Some((zone, rest)) => (Some(zone), rest.trim_start()),
        None => (Some(prefixed), ""),
    }
}

/// Reads an expression that has no zone prefix and no surrounding blanks.
pub(super) fn parse(text: &str) -> Result<Parsed<'_>, ScheduleError> {
    if text.is_empty() {
        return Err(ScheduleError::whole(format!(
            "the expression is empty: write six fields ({FIELD_ORDER}), such as 0 30 2 * * *"
        )));
    }
    if text.starts_with('@') {
        return parse_descriptor(text);
    }
    let mut given: Vec<&str> = text.split_whitespace().collect();
    let count = given.len();
    if count == 5 {
        given.insert(0, "0");
    }
    let Ok([second, minute, hour, date, month, weekday]) = <[&str; 6]>::try_from(given) else {
        let noun = if count == 1 { "field" } else { "fields" };
        let hint = if count == 7 { "; there is no year field" } else { "" };
        return Err(ScheduleError::whole(format!(
            "the expression has {count} {noun}: write six ({FIELD_ORDER}), or five without the \
             second{hint}"
        )));
    };

    let mut wrong = Vec::new();
    let mut read = |kind, text| parse_field(kind, text).map_err(|error| wrong.push(error)).ok();
    let read = (
        read(&SECOND, second),
        read(&MINUTE, minute),
        read(&HOUR, hour),
        read(&DAY_OF_MONTH, date),
        read(&MONTH, month),
        read(&DAY_OF_WEEK, weekday),
    );
    let (Some(seconds), Some(minutes), Some(hours), Some(days_of_month), Some(months), Some(days_of_week)) = read
    else {
        return Err(ScheduleError::all(&wrong));
    };
    let fields = CronFields {
        seconds: seconds.values,
        minutes: minutes.values,
        hours: hours.values,
        days_of_month: days_of_month.values,
        months: months.values,
        days_of_week: days_of_week.values,
        either_day: !days_of_month.unrestricted && !days_of_week.unrestricted,
        real_time: minutes.starts_open || hours.starts_open,
    };
    if !fields.either_day && !fields.has_a_date() {
        return Err(ScheduleError::in_field(
            DAY_OF_MONTH.name,
            format!(
                "the day-of-month {} never comes in the month {}: the expression never fires",
                quote(date),
                quote(month)
            ),
        ));
    }
    Ok(Parsed::Fields(fields))
}

impl CronFields {
    /// Whether one of the months can have one of the days of the month.
    pub(super) fn has_a_date(&self) -> bool {
        (1..)
            .zip(LONGEST_MONTHS)
            .any(|(month, length)| self.months.contains(month) && self.days_of_month.iter().any(|day| day <= length))
    }
}

fn parse_descriptor(text: &str) -> Result<Parsed<'_>, ScheduleError> {
    if let Some((_, fields)) = DESCRIPTORS.iter().find(|(name, _)| *name == text) {
        return parse(fields);
    }
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if name == "@every" {
        return Ok(Parsed::Every(rest.trim_start()));
    }
    Err(ScheduleError::whole(format!(
        "{} is no descriptor: use @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly \
         or @every with a duration such as @every 1h30m",
        quote(text)
    )))
}

/// One field as it was written.
#[derive(Debug)]
struct Field {
    values: FieldValues,
    /// Holds `*` or `?` with no step above 1. This is what robfig/cron's star bit says: `*/2`
    /// restricts a day field, and so does `1-31`.
    unrestricted: bool,
    /// Starts with `*` or `?`, with whatever step.
    starts_open: bool,
}

fn parse_field(kind: &FieldKind, text: &str) -> Result<Field, ScheduleError> {
    let mut field = Field { values: FieldValues(0), unrestricted: false, starts_open: text.starts_with(['*', '?']) };
    for item in text.split(',') {
        let item = Item { kind, text: item };
        let (values, unrestricted) = item.parse()?;
        field.values = field.values.union(values);
        field.unrestricted |= unrestricted;
    }
    Ok(field)
}

/// One element of a field's list.
struct Item<'a> {
    kind: &'a FieldKind,
    text: &'a str,
}

impl Item<'_> {
    /// Its values, and whether it leaves the field unrestricted.
    fn parse(&self) -> Result<(FieldValues, bool), ScheduleError> {
        if self.text.is_empty() {
            return Err(self.error(format!(
                "the {} field has an empty list element: write a value between commas",
                self.kind.name
            )));
        }
        let (span, step) = match self.text.split_once('/') {
            Some((span, step)) => (span, Some(self.step(step)?)),
            None => (self.text, None),
        };
        let range = if span == "*" || span == "?" {
            self.kind.min..=self.kind.max
        } else if let Some((first, last)) = span.split_once('-') {
            self.range(first, last)?
        } else {
            let value = match self.value(span)? {
                7 if self.is_day_of_week() => 0,
                value => value,
            };
            value..=if step.is_some() { self.kind.max } else { value }
        };
        let step = step.unwrap_or(1);
        let unrestricted = span.starts_with(['*', '?']) && step == 1;
        let mut values = FieldValues::stepped(range, step);
        if self.is_day_of_week() && values.contains(7) {
            values = FieldValues(values.0 & !(1 << 7) | 1);
        }
        Ok((values, unrestricted))
    }

    fn range(&self, first: &str, last: &str) -> Result<RangeInclusive<u32>, ScheduleError> {
        let (first, last) = (self.value(first)?, self.value(last)?);
        if first <= last {
            return Ok(first..=last);
        }
        let hint = if self.is_day_of_week() && last == 0 {
            ": write 7 for a Sunday that ends a range"
        } else {
            ": put the smaller value first, or write two ranges"
        };
        Err(self.error(format!("the {} range {} runs backwards{hint}", self.kind.name, quote(self.text))))
    }

    fn step(&self, text: &str) -> Result<u32, ScheduleError> {
        match digits(text) {
            Some(0) => Err(self.error(format!(
                "the {} field has a step of zero in {}: a step is 1 or more",
                self.kind.name,
                quote(self.text)
            ))),
            Some(step) => Ok(step),
            None => Err(self.unreadable()),
        }
    }

    /// One number or name. In a day-of-week, 7 passes as itself.
    fn value(&self, text: &str) -> Result<u32, ScheduleError> {
        let named = (self.kind.min..).zip(self.kind.names).find(|(_, name)| name.eq_ignore_ascii_case(text));
        if let Some((value, _)) = named {
            return Ok(value);
        }
        let value = digits(text).ok_or_else(|| self.unreadable())?;
        let max = if self.is_day_of_week() { 7 } else { self.kind.max };
        if (self.kind.min..=max).contains(&value) {
            return Ok(value);
        }
        let place = if text == self.text { String::new() } else { format!(" in {}", quote(self.text)) };
        Err(self.error(format!(
            "the {} {}{place} is out of range: use {}",
            self.kind.name,
            quote(text),
            self.kind.allowed
        )))
    }

    fn is_day_of_week(&self) -> bool {
        *self.kind == DAY_OF_WEEK
    }

    fn unreadable(&self) -> ScheduleError {
        let is_day = self.is_day_of_week() || *self.kind == DAY_OF_MONTH;
        let is_quartz = |byte: u8| matches!(byte.to_ascii_uppercase(), b'L' | b'W' | b'#');
        let is_quartz_day = is_day
            && self.text.bytes().any(is_quartz)
            && self.text.bytes().all(|byte| is_quartz(byte) || byte.is_ascii_digit() || byte == b'-');
        if is_quartz_day {
            return self.error(format!(
                "the {} field holds {}: L, W and # are not supported, use {}",
                self.kind.name,
                quote(self.text),
                self.kind.allowed
            ));
        }
        self.error(format!(
            "the {} field cannot hold {}: use {}, *, ?, a list a,b, a range a-b or a step */n, a/n or \
             a-b/n",
            self.kind.name,
            quote(self.text),
            self.kind.allowed
        ))
    }

    fn error(&self, message: String) -> ScheduleError {
        ScheduleError::in_field(self.kind.name, message)
    }
}

/// The number that ASCII digits, and nothing else, stand for; numbers too large for 32 bits come out
/// as the largest.
fn digits(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> CronFields {
        match parse(text).expect(text) {
            Parsed::Fields(fields) => fields,
            Parsed::Every(_) => panic!("{text} is no list of fields"),
        }
    }

    fn values(kind: &FieldKind, text: &str) -> Vec<u32> {
        parse_field(kind, text).expect(text).values.iter().collect()
    }

    /// Field and message of the refusal.
    fn refusal(text: &str) -> (Option<&'static str>, String) {
        let error = parse(text).expect_err(text);
        (error.field(), error.to_string())
    }

    #[test]
    fn lists_ranges_and_steps_are_sets_of_values() {
        assert_eq!(values(&MINUTE, "5"), [5]);
        assert_eq!(values(&MINUTE, "05,7,5"), [5, 7]);
        assert_eq!(values(&MINUTE, "1-3,58-59"), [1, 2, 3, 58, 59]);
        assert_eq!(values(&MINUTE, "*/20"), [0, 20, 40]);
        assert_eq!(values(&MINUTE, "?/20"), [0, 20, 40]);
        assert_eq!(values(&MINUTE, "50/4"), [50, 54, 58]);
        assert_eq!(values(&MINUTE, "10-20/5"), [10, 15, 20]);
        assert_eq!(values(&MINUTE, "*/90"), [0]);
        assert_eq!(values(&MINUTE, "7/4294967296"), [7]);
        assert_eq!(values(&MONTH, "jan,Mar-MAY,nov/1"), [1, 3, 4, 5, 11, 12]);
        assert_eq!(values(&DAY_OF_MONTH, "*/10"), [1, 11, 21, 31]);
        assert!(fields("* ? * ? * ?").seconds.is_full(&SECOND));
    }

    #[test]
    fn sunday_is_0_and_7_also_at_the_end_of_a_range() {
        assert_eq!(values(&DAY_OF_WEEK, "0"), [0]);
        assert_eq!(values(&DAY_OF_WEEK, "7"), [0]);
        assert_eq!(values(&DAY_OF_WEEK, "sun"), [0]);
        assert_eq!(values(&DAY_OF_WEEK, "5-7"), [0, 5, 6]);
        assert_eq!(values(&DAY_OF_WEEK, "FRI-7"), [0, 5, 6]);
        assert_eq!(values(&DAY_OF_WEEK, "7-7"), [0]);
        assert_eq!(values(&DAY_OF_WEEK, "0-7"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(values(&DAY_OF_WEEK, "1-7/2"), [0, 1, 3, 5]);
        assert_eq!(values(&DAY_OF_WEEK, "5/2"), [5]);
        assert_eq!(values(&DAY_OF_WEEK, "7/2"), [0, 2, 4, 6]);
        assert_eq!(values(&DAY_OF_WEEK, "mon/2"), [1, 3, 5]);
    }

    #[test]
    fn only_a_star_without_a_step_leaves_a_day_field_unrestricted() {
        for (expression, either_day) in [
            ("0 0 0 13 * 5", true),
            ("0 0 0 */2 * 1", true),
            ("0 0 0 1-31 * 1", true),
            ("0 0 0 1 * 0-6", true),
            ("0 0 0 * * 1", false),
            ("0 0 0 ? * 1", false),
            ("0 0 0 */1 * 1", false),
            ("0 0 0 ?/1 * 1", false),
            ("0 0 0 1,* * 1", false),
            ("0 0 0 13 * ?", false),
            ("0 0 0 13 * */1", false),
        ] {
            assert_eq!(fields(expression).either_day, either_day, "{expression}");
        }
    }

    #[test]
    fn real_time_counts_where_minute_or_hour_starts_with_a_star_or_question_mark() {
        for (expression, real_time) in [
            ("0 30 2 * * *", false),
            ("* 30 2 * * *", false),
            ("0 0-59 0-23 * * *", false),
            ("0 30,* 2 * * *", false),
            ("0 * 2 * * *", true),
            ("0 */5 2 * * *", true),
            ("0 ? 2 * * *", true),
            ("0 30 * * * *", true),
            ("0 30 */2 * * *", true),
            ("0 30 *,5 * * *", true),
            ("@hourly", true),
            ("@daily", false),
        ] {
            assert_eq!(fields(expression).real_time, real_time, "{expression}");
        }
    }

    #[test]
    fn five_fields_are_second_zero() {
        assert_eq!(fields("30 2 * * 1-5"), fields("0 30 2 * * 1-5"));
        assert_eq!(fields("  30\t2  * * 1-5 "), fields("0 30 2 * * 1-5"));
    }

    #[test]
    fn descriptors_stand_for_their_fields() {
        assert_eq!(fields("@yearly"), fields("0 0 0 1 1 *"));
        assert_eq!(fields("@annually"), fields("@yearly"));
        assert_eq!(fields("@monthly"), fields("0 0 0 1 * *"));
        assert_eq!(fields("@weekly"), fields("0 0 0 * * 0"));
        assert_eq!(fields("@midnight"), fields("@daily"));
        assert_eq!(parse("@every  90s"), Ok(Parsed::Every("90s")));
        assert_eq!(parse("@every"), Ok(Parsed::Every("")));
    }

    #[test]
    fn a_zone_prefix_is_split_off() {
        assert_eq!(split_zone("TZ=Asia/Tokyo 0 0 0 * * *"), (Some("Asia/Tokyo"), "0 0 0 * * *"));
        assert_eq!(split_zone(" CRON_TZ=UTC\t @daily "), (Some("UTC"), "@daily"));
        assert_eq!(split_zone("TZ=UTC"), (Some("UTC"), ""));
        assert_eq!(split_zone("TZ= @daily"), (Some(""), "@daily"));
        assert_eq!(split_zone("@daily"), (None, "@daily"));
    }

    #[test]
    fn a_refusal_names_the_field_the_value_and_what_is_allowed() {
        for (expression, field, parts) in [
            ("60 0 0 * * *", "second", ["\"60\"", "0 to 59"]),
            ("0 75 0 * * *", "minute", ["\"75\"", "0 to 59"]),
            ("0 50-75 0 * * *", "minute", ["\"75\" in \"50-75\"", "0 to 59"]),
            ("0 0 24 * * *", "hour", ["\"24\"", "0 to 23"]),
            ("0 0 99999999999 * * *", "hour", ["\"99999999999\"", "0 to 23"]),
            ("0 0 0 0 * *", "day-of-month", ["\"0\"", "1 to 31"]),
            ("0 0 0 32 * *", "day-of-month", ["\"32\"", "1 to 31"]),
            ("0 0 0 1 13 *", "month", ["\"13\"", "1 to 12"]),
            ("0 0 0 1 Sept *", "month", ["\"Sept\"", "JAN to DEC"]),
            ("0 0 0 * * 8", "day-of-week", ["\"8\"", "0 to 7"]),
            ("0 0 0 * * monday", "day-of-week", ["\"monday\"", "SUN to SAT"]),
            ("0 */0 0 * * *", "minute", ["\"*/0\"", "zero"]),
            ("0 5-1 0 * * *", "minute", ["\"5-1\"", "backwards"]),
            ("0 0 0 * * fri-sun", "day-of-week", ["\"fri-sun\"", "write 7"]),
            ("0 1,,2 0 * * *", "minute", ["empty", "value"]),
            ("0 , 0 * * *", "minute", ["empty", "value"]),
            ("0 0 0 L * *", "day-of-month", ["\"L\"", "not supported"]),
            ("0 0 0 15W * *", "day-of-month", ["\"15W\"", "not supported"]),
            ("0 0 0 ? * 5L", "day-of-week", ["\"5L\"", "not supported"]),
            ("0 0 0 ? * 5#2", "day-of-week", ["\"5#2\"", "not supported"]),
            ("0 0 0 30 2 *", "day-of-month", ["\"30\"", "never fires"]),
        ] {
            let (refused, message) = refusal(expression);
            assert_eq!(refused, Some(field), "{expression}: {message}");
            assert!(message.contains(field), "{expression}: {message}");
            for part in parts {
                assert!(message.contains(part), "{expression}: {message}");
            }
        }
    }

    #[test]
    fn garbage_is_refused_in_its_field() {
        for item in [
            "x", "-", "-5", "5-", "1-2-3", "/", "/5", "*/", "*/x", "*/2/3", "*5", "*-5", "5*", "+5", "1.5", "５",
            "mon", "*/-1", "5-*", "1;2", "%",
        ] {
            let (field, message) = refusal(&format!("0 {item} 0 * * *"));
            assert_eq!(field, Some("minute"), "{item}");
            assert!(message.contains("0 to 59"), "{item}: {message}");
        }
    }

    #[test]
    fn a_wrong_number_of_fields_is_refused_with_what_is_expected() {
        for (expression, found) in [
            ("*", "has 1 field:"),
            ("* * * *", "has 4 fields:"),
            ("0 0 0 * * * 2026", "has 7 fields:"),
            ("daily", "has 1 field:"),
        ] {
            let (field, message) = refusal(expression);
            assert_eq!(field, None);
            assert!(message.contains(found), "{message}");
            assert!(message.contains(FIELD_ORDER), "{message}");
        }
        assert!(refusal("").1.contains("empty"));
        assert!(refusal("@fortnightly").1.contains("@weekly"));
        assert!(refusal("@Daily").1.contains("@daily"));
        assert!(refusal("@every5m").1.contains("@every"));
    }

    #[test]
    fn dates_that_no_year_has_are_refused_and_rare_ones_are_not() {
        for expression in ["0 0 0 30 2 *", "0 0 0 31 4,6,9,11 ?", "0 0 0 30-31 feb */1", "TZ=UTC"] {
            let text = split_zone(expression).1;
            assert!(parse(text).is_err(), "{expression}");
        }
        for expression in ["0 0 0 29 2 *", "0 0 0 30 2 1", "0 0 0 31 4,5 *"] {
            assert!(parse(expression).is_ok(), "{expression}");
        }
    }
}
