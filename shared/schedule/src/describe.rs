//! A schedule in words, for people.
//!
//! Owns the wording alone: it says what the sets of values say, so that expressions which fire alike
//! read alike.

use chrono_tz::Tz;

use super::every::Interval;
use super::expression::{CronFields, DAY_OF_MONTH, DAY_OF_WEEK, FieldKind, FieldValues, HOUR, MINUTE, MONTH, SECOND};

/// Most times of day that are listed one by one.
const MAX_TIMES: usize = 6;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Sunday stands last, so that a weekend is a run.
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// `@every` in words. The zone does not matter to it.
pub(super) fn interval(interval: Interval) -> String {
    let mut rest = interval.seconds();
    let mut parts = Vec::new();
    for (length, unit) in [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")] {
        let count = rest / length;
        rest %= length;
        match count {
            0 => {}
            1 => parts.push(format!("1 {unit}")),
            _ => parts.push(format!("{count} {unit}s")),
        }
    }
    let length = match parts.as_slice() {
        [part] => part.strip_prefix("1 ").unwrap_or(part).to_owned(),
        _ => enumerate(&parts),
    };
    format!("every {length}, counted from when the schedule was set")
}

/// Six fields in words.
pub(super) fn fields(fields: &CronFields, zone: Tz) -> String {
    let days = days(fields);
    match (times(fields), days) {
        (Some(times), days) => {
            let days = days.unwrap_or_else(|| "every day".to_owned());
            format!("{days} at {}, {zone}", enumerate(&times))
        }
        (None, Some(days)) => format!("{days}, {}, {zone}", frequency(fields)),
        (None, None) => format!("{}, {zone}", frequency(fields)),
    }
}

/// The times of day, if they are few.
fn times(fields: &CronFields) -> Option<Vec<String>> {
    let count =
        [fields.hours, fields.minutes, fields.seconds].map(|values| values.iter().count()).iter().product::<usize>();
    if count > MAX_TIMES {
        return None;
    }
    let mut times = Vec::with_capacity(count);
    for hour in fields.hours.iter() {
        for minute in fields.minutes.iter() {
            for second in fields.seconds.iter() {
                times.push(format!("{hour:02}:{minute:02}:{second:02}"));
            }
        }
    }
    Some(times)
}

/// The days; `None` is every day of the year.
fn days(fields: &CronFields) -> Option<String> {
    let all_months = fields.months.is_full(&MONTH);
    let all_dates = fields.days_of_month.is_full(&DAY_OF_MONTH);
    let all_weekdays = fields.days_of_week.is_full(&DAY_OF_WEEK);
    let months = named(fields.months.iter().map(|month| (month - 1, &MONTHS[..])));
    let of_months = if all_months { "every month" } else { &months };
    let weekdays = weekdays(fields.days_of_week);
    let dates = listed(fields.days_of_month, "day");

    let every_day = if fields.either_day { all_dates || all_weekdays } else { all_dates && all_weekdays };
    if every_day {
        return (!all_months).then(|| format!("every day in {months}"));
    }
    if fields.either_day {
        return Some(format!("on {dates} and on every {weekdays} of {of_months}"));
    }
    if all_dates {
        return Some(if all_months { format!("every {weekdays}") } else { format!("every {weekdays} in {months}") });
    }
    let (mut single_date, mut single_month) = (fields.days_of_month.iter(), fields.months.iter());
    Some(match (single_date.next(), single_date.next(), single_month.nth(1)) {
        (Some(date), None, None) => format!("every year on {date} {months}"),
        _ => format!("on {dates} of {of_months}"),
    })
}

/// Weekdays by name.
fn weekdays(values: FieldValues) -> String {
    // Monday is 0 here.
    let mut days: Vec<u32> = values.iter().map(|day| (day + 6) % 7).collect();
    days.sort_unstable();
    named(days.into_iter().map(|day| (day, &WEEKDAYS[..])))
}

/// How often within a day, where that is not a few times.
fn frequency(fields: &CronFields) -> String {
    let zero = |values: FieldValues| values.iter().eq([0]);
    let mut words = Vec::with_capacity(3);
    if !zero(fields.seconds) {
        words.push(Rhythm::of(fields.seconds, &SECOND));
    }
    let hours = Rhythm::of(fields.hours, &HOUR);
    let is_on_the_hour = words.is_empty() && zero(fields.minutes);
    if !(is_on_the_hour && matches!(hours, Rhythm::Every { .. })) {
        words.push(Rhythm::of(fields.minutes, &MINUTE));
    }
    words.push(hours);

    let mut text = String::new();
    let mut last_is_every = false;
    for rhythm in words {
        let is_every = matches!(rhythm, Rhythm::Every { .. });
        if text.is_empty() {
            text = rhythm.leading();
        } else if !(last_is_every && matches!(rhythm, Rhythm::Every { step: 1, .. })) {
            text = format!("{text} of {}", rhythm.following());
        }
        last_is_every = is_every;
    }
    text
}

/// The values of a time field as people say them.
enum Rhythm {
    /// Every so many units from 0 on, without a break at the end of the field.
    Every { step: u32, unit: &'static str },
    /// Some values, in words with the unit.
    Some(String),
}

impl Rhythm {
    fn of(values: FieldValues, kind: &FieldKind) -> Self {
        let size = kind.max + 1;
        let step = values.iter().nth(1).unwrap_or(size);
        let even = values.contains(0)
            && step <= size / 2
            && size.is_multiple_of(step)
            && values.iter().eq((0..size).step_by(step as usize));
        if even { Self::Every { step, unit: kind.name } } else { Self::Some(listed(values, kind.name)) }
    }

    /// At the begin of a phrase: `every 5 minutes`, `at minute 30`.
    fn leading(&self) -> String {
        match self {
            Self::Every { step: 1, unit } => format!("every {unit}"),
            Self::Every { step, unit } => format!("every {step} {unit}s"),
            Self::Some(values) => format!("at {values}"),
        }
    }

    /// After `of`: `every 5th minute`, `minute 30`.
    fn following(&self) -> String {
        match self {
            Self::Every { step: 1, unit } => format!("every {unit}"),
            Self::Every { step: 2, unit } => format!("every 2nd {unit}"),
            Self::Every { step: 3, unit } => format!("every 3rd {unit}"),
            Self::Every { step, unit } => format!("every {step}th {unit}"),
            Self::Some(values) => values.clone(),
        }
    }
}

/// Numbers with their unit: `minute 5`, `hours 9 to 17`.
fn listed(values: FieldValues, unit: &str) -> String {
    let numbers: Vec<u32> = values.iter().collect();
    match numbers.as_slice() {
        [number] => format!("{unit} {number}"),
        [first, second, .., last] if is_stepped(&numbers) => {
            format!("{unit}s {first} to {last} in steps of {}", second - first)
        }
        _ => format!("{unit}s {}", enumerate(&runs(&numbers, u32::to_string))),
    }
}

/// Whether the numbers are four or more with the same distance, above 1.
fn is_stepped(numbers: &[u32]) -> bool {
    let step = numbers.get(1).map_or(0, |second| second - numbers[0]);
    numbers.len() >= 4 && step > 1 && numbers.windows(2).all(|pair| pair[1] - pair[0] == step)
}

/// Names by their index, each with the list it is from.
fn named(values: impl Iterator<Item = (u32, &'static [&'static str])>) -> String {
    let (numbers, names): (Vec<u32>, Vec<_>) = values.unzip();
    let names = names.first().copied().unwrap_or_default();
    enumerate(&runs(&numbers, |number| names.get(*number as usize).copied().unwrap_or_default().to_owned()))
}

/// Ascending numbers with three or more in a row made one: `1`, `5 to 9`.
fn runs(numbers: &[u32], word: impl Fn(&u32) -> String) -> Vec<String> {
    numbers
        .chunk_by(|a, b| a + 1 == *b)
        .flat_map(|run| match run {
            [first, _, .., last] if run.len() > 2 => {
                vec![format!("{} to {}", word(first), word(last))]
            }
            _ => run.iter().map(&word).collect(),
        })
        .collect()
}

/// `a`, `a and b`, `a, b and c`.
fn enumerate(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [words @ .., last] => format!("{} and {last}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use crate::CronSchedule;
    use chrono_tz::Tz;

    fn describe(expression: &str) -> String {
        CronSchedule::parse(expression, Tz::UTC).expect(expression).describe()
    }

    #[track_caller]
    fn assert_reads(pairs: &[(&str, &str)]) {
        for (expression, words) in pairs {
            assert_eq!(describe(expression), *words, "{expression}");
        }
    }

    #[test]
    fn a_few_times_a_day_are_listed_with_their_days() {
        assert_reads(&[
            ("TZ=Asia/Shanghai 0 30 9 * * MON", "every Monday at 09:30:00, Asia/Shanghai"),
            ("0 0 2 * * ?", "every day at 02:00:00, UTC"),
            ("5 0 9,21 * * 1-5", "every Monday to Friday at 09:00:05 and 21:00:05, UTC"),
            ("0 0 0 * * 6,7", "every Saturday and Sunday at 00:00:00, UTC"),
            ("0 0 0 * * 5-7", "every Friday to Sunday at 00:00:00, UTC"),
            ("0 0 0 * 1-3 WED", "every Wednesday in January to March at 00:00:00, UTC"),
            ("@weekly", "every Sunday at 00:00:00, UTC"),
            ("@monthly", "on day 1 of every month at 00:00:00, UTC"),
            ("@yearly", "every year on 1 January at 00:00:00, UTC"),
            ("0 0 0 1,15 4,10 ?", "on days 1 and 15 of April and October at 00:00:00, UTC"),
            ("0 0 0 * 12 *", "every day in December at 00:00:00, UTC"),
            ("0 0 0 13 * 5", "on day 13 and on every Friday of every month at 00:00:00, UTC"),
            ("0 0 0 */2 6 5", "on days 1 to 31 in steps of 2 and on every Friday of June at 00:00:00, UTC"),
            ("0 0 0 1-31 * 5", "every day at 00:00:00, UTC"),
        ]);
    }

    #[test]
    fn many_times_a_day_are_a_rhythm() {
        assert_reads(&[
            ("* * * * * *", "every second, UTC"),
            ("*/10 * * * * *", "every 10 seconds, UTC"),
            ("0 * * * * *", "every minute, UTC"),
            ("15 * * * * *", "at second 15 of every minute, UTC"),
            ("0 */5 * * * *", "every 5 minutes, UTC"),
            ("0 */7 * * * *", "at minutes 0 to 56 in steps of 7 of every hour, UTC"),
            ("0 */5 9-17 * * 1-5", "every Monday to Friday, every 5 minutes of hours 9 to 17, UTC"),
            ("@hourly", "every hour, UTC"),
            ("0 0 */2 * * *", "every 2 hours, UTC"),
            ("0 30 */2 * * *", "at minute 30 of every 2nd hour, UTC"),
            ("0 0 9-17 * * *", "at minute 0 of hours 9 to 17, UTC"),
            ("0 15,45 * 1 * *", "on day 1 of every month, at minutes 15 and 45 of every hour, UTC"),
            ("* 30 * * * *", "every second of minute 30 of every hour, UTC"),
            ("* * 9 * * *", "every second of hour 9, UTC"),
            ("5 */20 * * * *", "at second 5 of every 20th minute, UTC"),
            ("0-5,30 * * * * *", "at seconds 0 to 5 and 30 of every minute, UTC"),
        ]);
    }

    #[test]
    fn an_interval_is_said_in_its_units() {
        assert_reads(&[
            ("@every 1h", "every hour, counted from when the schedule was set"),
            ("@every 90s", "every 1 minute and 30 seconds, counted from when the schedule was set"),
            ("@every 49h0m2s", "every 2 days, 1 hour and 2 seconds, counted from when the schedule was set"),
            ("@every 5m", "every 5 minutes, counted from when the schedule was set"),
        ]);
    }

    #[test]
    fn expressions_that_fire_alike_read_alike() {
        assert_eq!(describe("0 0-59 0-23 * jan-dec *"), describe("0 * * * * *"));
        assert_eq!(describe("0 0 0 * * 0,6"), describe("0 0 0 * * SAT-7"));
    }
}
