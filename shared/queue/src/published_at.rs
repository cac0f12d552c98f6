//! When a message was published, as a header, so that its time in the queue can be measured.
//!
//! AMQP's own `timestamp` has whole seconds. Releases that do not know the header pass it over. The clocks are those of two
//! machines: good for a metric, and nothing is decided by it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::types::{AMQPValue, FieldTable};

/// Milliseconds since 1970 by the publisher's clock. Not a text: texts among the headers are trace context.
const HEADER: &str = "x-hostsync-published-ms";

/// Marks a message as published now.
pub(super) fn mark(headers: &mut FieldTable) {
    headers.insert(HEADER.into(), AMQPValue::LongLongInt(now_ms()));
}

/// When a message was published, by the publisher's clock; `None`: it does not say.
pub(super) fn of(headers: &FieldTable) -> Option<SystemTime> {
    let Some(AMQPValue::LongLongInt(published_ms)) = headers.inner().get(HEADER) else { return None };
    UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(*published_ms).ok()?))
}

/// How long ago a message was published; `None`: it does not say, or a clock is before the other.
pub(super) fn elapsed(headers: &FieldTable) -> Option<Duration> {
    let Some(AMQPValue::LongLongInt(published_ms)) = headers.inner().get(HEADER) else { return None };
    u64::try_from(now_ms().saturating_sub(*published_ms)).ok().map(Duration::from_millis)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_how_long_it_was_on_its_way() {
        let mut headers = FieldTable::default();
        assert_eq!(elapsed(&headers), None, "published by a release that does not mark");
        mark(&mut headers);
        assert!(elapsed(&headers).is_some_and(|on_its_way| on_its_way < Duration::from_mins(1)));
        headers.insert(HEADER.into(), AMQPValue::LongLongInt(now_ms() - 90_000));
        assert!(elapsed(&headers).is_some_and(|on_its_way| on_its_way >= Duration::from_secs(90)));
        headers.insert(HEADER.into(), AMQPValue::LongLongInt(now_ms() + 3_600_000));
        assert_eq!(elapsed(&headers), None, "the publisher's clock is ahead");
    }
}
