//! Durations as manifests and settings write them, and moments as statuses do.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// RFC 3339 in whole seconds, as Kubernetes writes moments.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The moment so long before another, as [`rfc3339`].
pub(crate) fn rfc3339_before(at: Timestamp, ago: Duration) -> String {
    let ago = SignedDuration::try_from(ago).ok();
    let then = ago.and_then(|ago| at.checked_sub(ago).ok());
    rfc3339(then.unwrap_or(at))
}

/// The moment so long after another, as [`rfc3339`]; none when there is no such moment.
pub(crate) fn rfc3339_after(at: Timestamp, time: Duration) -> Option<String> {
    let time = SignedDuration::try_from(time).ok()?;
    at.checked_add(time).ok().map(rfc3339)
}

/// A duration as Argo CD writes them: seconds without a unit, or a sum such as `1m30s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let millis = match &rest[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(millis)?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// A duration as people write it, such as `1m30s`.
pub(crate) fn duration_text(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let parts = [(hours, "h"), (minutes, "m"), (seconds, "s")];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let text: String = parts
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    match text.is_empty() {
        true => format!("{}ms", time.as_millis()),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["1m30s", "5m", "90m", "2h0m1s", "250ms", "0ms"] {
            let read = duration(text).unwrap();
            assert_eq!(duration(&duration_text(read)), Some(read), "{text}");
        }
        let text = duration_text(Duration::from_secs(5400));
        assert_eq!(text, "1h30m");
    }

    #[test]
    fn durations_are_read_as_in_go() {
        let check = |text, millis: Option<u64>| {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        };
        check("5s", Some(5_000));
        check("1m30s", Some(90_000));
        check("250ms", Some(250));
        check("7", Some(7_000));
        for nonsense in ["", "s", "5x", "-5s", "5s5", "99999999999999999999h"] {
            check(nonsense, None);
        }
    }
}
