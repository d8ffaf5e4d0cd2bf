//! Whether the API server stores a value as it was sent, but for its spelling: numbers, quantities,
//! durations, times and base64 have several forms, and what is empty may be left out or stand for a
//! default.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::canonical::Digest;

/// Numbers that stand for "not set" when they are zero, so that a default takes their place.
const UNSET_WHEN_ZERO: [&str; 7] = [
    "nodePort",
    "healthCheckNodePort",
    "periodSeconds",
    "timeoutSeconds",
    "successThreshold",
    "failureThreshold",
    "targetPort",
];

/// What a value is, as far as it matters for its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A text of the user: labels, annotations, the data of a ConfigMap. Every letter counts.
    Text,
    /// Bytes in base64.
    Bytes,
    /// Anything else.
    Field,
}

/// Whether a single value is stored as it was sent. `name` is the field that it is in.
pub(super) fn same(sent: &Value, stored: &Value, meaning: Meaning, name: &str) -> bool {
    if Digest::of(sent) == Digest::of(stored) {
        return true;
    }
    let texts = sent.as_str().zip(stored.as_str());
    match meaning {
        Meaning::Text => false,
        Meaning::Bytes => texts.is_some_and(|(one, other)| {
            let bytes = |text: &str| {
                let plain: String = text.split_whitespace().collect();
                STANDARD.decode(plain).ok()
            };
            bytes(one).is_some() && bytes(one) == bytes(other)
        }),
        Meaning::Field => {
            stands_for_default(sent, name)
                || same_number(sent, stored)
                || texts.is_some_and(|(one, other)| same_time(one, other))
        }
    }
}

/// Whether a value is as good as none: what the API server leaves out when it stores it.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

fn stands_for_default(sent: &Value, name: &str) -> bool {
    match sent {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(_) => UNSET_WHEN_ZERO.contains(&name) && is_empty(sent),
        _ => false,
    }
}

fn same_number(sent: &Value, stored: &Value) -> bool {
    if let (Value::Number(one), Value::Number(other)) = (sent, stored) {
        return one.as_f64() == other.as_f64();
    }
    let billionths = |value: &Value| match value {
        Value::String(text) => billionths(text),
        Value::Number(number) => billionths(&number.to_string()),
        _ => None,
    };
    let number = billionths(sent);
    number.is_some() && number == billionths(stored)
}

/// A quantity of Kubernetes in billionths, which is as fine as they get; rounded up as there.
fn billionths(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 24 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let mantissa: i128 = digits.parse().ok()?;
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let (factor, exponent) = if let Some(place) = binary.iter().position(|it| *it == suffix) {
        (1_i128 << (10 * (place + 1)), 0)
    } else if let Some(place) = decimal.iter().position(|it| *it == suffix) {
        (1, i32::try_from(place).ok()? * 3 - 9)
    } else {
        let exponent = suffix.strip_prefix(['e', 'E'])?;
        (1, exponent.parse::<i32>().ok()?)
    };
    let exponent = exponent - i32::try_from(fraction.len()).ok()? + 9;
    let value = mantissa.checked_mul(factor)?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let value = match exponent >= 0 {
        true => value.checked_mul(power)?,
        false => value / power + i128::from(value % power != 0),
    };
    Some(if negative { -value } else { value })
}

/// Whether two texts are one duration (`60m` and `1h0m0s`) or one moment.
fn same_time(one: &str, other: &str) -> bool {
    let moment = |text: &str| text.parse::<Timestamp>().ok();
    let duration = |text: &str| {
        let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        text.parse::<SignedDuration>().ok().filter(|_| is_plain)
    };
    (moment(one).is_some() && moment(one) == moment(other))
        || (duration(one).is_some() && duration(one) == duration(other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spellings_of_one_value_are_the_same() {
        for (sent, stored, expected) in [
            (json!(1), json!(1.0), true),
            (json!("1000m"), json!("1"), true),
            (json!("0.5"), json!("500m"), true),
            (json!(0.5), json!("500m"), true),
            (json!(1), json!("1"), true),
            (json!("1024Mi"), json!("1Gi"), true),
            (json!("1e3"), json!("1k"), true),
            (json!("1.5Gi"), json!("1536Mi"), true),
            (json!("1Gi"), json!("1G"), false),
            (json!("2"), json!("1"), false),
            (json!("-1"), json!("1"), false),
            (json!("60m"), json!("1h0m0s"), true),
            (json!("2160h"), json!("2160h0m0s"), true),
            (json!("1h"), json!("2h"), false),
            (
                json!("2026-01-01T00:00:00Z"),
                json!("2026-01-01T01:00:00+01:00"),
                true,
            ),
            (
                json!("2026-01-01T00:00:00Z"),
                json!("2026-01-01T00:00:01Z"),
                false,
            ),
            (json!(""), json!("ClusterFirst"), true),
            (json!(null), json!(3), true),
            (json!(0), json!(3), false),
            (json!(false), json!(true), false),
            (json!("web:1"), json!("registry/web:1"), false),
            (json!("a"), json!(1), false),
        ] {
            let found = same(&sent, &stored, Meaning::Field, "field");
            assert_eq!(found, expected, "{sent} {stored}");
        }
        assert!(same(&json!(0), &json!(30080), Meaning::Field, "nodePort"));
    }

    #[test]
    fn texts_of_the_user_have_one_spelling() {
        let text =
            |sent: &str, stored: &str| same(&json!(sent), &json!(stored), Meaning::Text, "a");
        assert!(text("1.0", "1.0"));
        for (sent, stored) in [("1.0", "1"), ("1000m", "1"), ("", "x"), ("60m", "1h0m0s")] {
            assert!(!text(sent, stored), "{sent} {stored}");
        }
        let bytes =
            |sent: &str, stored: &str| same(&json!(sent), &json!(stored), Meaning::Bytes, "a");
        assert!(bytes("eH\nk=", "eHk="));
        assert!(!bytes("eHk=", "eHo="));
    }

    #[test]
    fn what_is_empty_may_be_left_out() {
        for (value, expected) in [
            (json!(null), true),
            (json!(""), true),
            (json!([]), true),
            (json!({"a": {"b": false, "c": 0}}), true),
            (json!({"a": [0]}), false),
            (json!("0"), false),
            (json!(1), false),
        ] {
            assert_eq!(is_empty(&value), expected, "{value}");
        }
    }
}
