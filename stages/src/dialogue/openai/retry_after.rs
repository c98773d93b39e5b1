//! The header `Retry-After`: so many seconds, or a date.

use std::time::{Duration, SystemTime};

/// How long the server wants to be left alone, at the time `now`. A date that has passed is no time at all; what is neither
/// a number nor a date says nothing.
pub(super) fn parse(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    // Some services send fractions.
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let wait = |text: &str| parse(text, now).map(|wait| wait.as_secs_f64());
        assert_eq!(wait(" 120 "), Some(120.0));
        assert_eq!(wait("0.5"), Some(0.5));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60.0));
        assert_eq!(wait("Sunday, 06-Nov-94 08:49:47 GMT"), Some(10.0));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0.0));
        for text in ["", "-1", "soon", "NaN", "inf", "Sun, 36 Nov 1994 08:49:37 GMT"] {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
