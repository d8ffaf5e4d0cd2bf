//! What an unquoted text means: the rules of sigs.k8s.io/yaml, which kubectl, kustomize and helm
//! read with. They are YAML 1.1 in the words for true and false and in octal numbers, and neither
//! version's in the rest.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Number, Value};

/// A scalar that was resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Above the range of `Int`.
    Uint(u64),
    Float(f64),
    Text(String),
}

const BOOL: &str = "tag:yaml.org,2002:bool";
const INT: &str = "tag:yaml.org,2002:int";
const FLOAT: &str = "tag:yaml.org,2002:float";
const NULL: &str = "tag:yaml.org,2002:null";
const BINARY: &str = "tag:yaml.org,2002:binary";
/// The tag of a merge key, `<<`.
pub(super) const MERGE: &str = "tag:yaml.org,2002:merge";

/// Resolves a scalar. `implicit` is set for an unquoted one without a tag.
pub(super) fn resolve(
    tag: Option<&str>,
    implicit: bool,
    text: String,
) -> Result<Scalar, &'static str> {
    match tag {
        None if implicit => Ok(plain(&text).unwrap_or(Scalar::Text(text))),
        Some(NULL | BOOL | INT | FLOAT) => typed(tag.unwrap_or_default(), &text),
        Some(BINARY) => {
            let plain: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            let bytes = STANDARD.decode(plain);
            let bytes = bytes.map_err(|_| "!!binary without valid base64")?;
            Ok(Scalar::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        None | Some(_) => Ok(Scalar::Text(text)),
    }
}

/// A scalar whose tag says its type, such as `!!int "5"`.
fn typed(tag: &str, text: &str) -> Result<Scalar, &'static str> {
    #[expect(clippy::cast_precision_loss, reason = "as the tools read it")]
    match (tag, plain(text)) {
        (NULL, Some(Scalar::Null)) => Ok(Scalar::Null),
        (BOOL, Some(scalar @ Scalar::Bool(_)))
        | (INT, Some(scalar @ (Scalar::Int(_) | Scalar::Uint(_))))
        | (FLOAT, Some(scalar @ Scalar::Float(_))) => Ok(scalar),
        (FLOAT, Some(Scalar::Int(number))) => Ok(Scalar::Float(number as f64)),
        _ => Err("a value that is not of the type its tag says"),
    }
}

/// What an unquoted text is, none for a text.
fn plain(text: &str) -> Option<Scalar> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Scalar::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Some(Scalar::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Some(Scalar::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" => return Some(Scalar::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Some(Scalar::Float(f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Some(Scalar::Float(f64::NEG_INFINITY)),
        _ => {}
    }
    match text.as_bytes().first()? {
        b'.' => float(text),
        b'0'..=b'9' | b'+' | b'-' => number(text),
        _ => None,
    }
}

fn number(text: &str) -> Option<Scalar> {
    let without;
    let text = if text.contains('_') {
        without = text.replace('_', "");
        without.as_str()
    } else {
        text
    };
    integer(text)
        .or_else(|| float(text))
        .or_else(|| binary(text))
}

/// An integer with the prefixes `0x`, `0o`, `0b` and `0` (octal), in any case.
fn integer(text: &str) -> Option<Scalar> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (Some('-'), &text[1..]),
        b'+' => (Some('+'), &text[1..]),
        _ => (None, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', _, ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', _, ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // A second sign is none of the digits.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let signed = match sign {
        Some('-') => i64::from_str_radix(&format!("-{digits}"), base),
        _ => i64::from_str_radix(digits, base),
    };
    match (signed, sign) {
        (Ok(number), _) => Some(Scalar::Int(number)),
        (Err(_), None) => u64::from_str_radix(digits, base).ok().map(Scalar::Uint),
        (Err(_), Some(_)) => None,
    }
}

/// A decimal number with a point or an exponent. One that is too large is a text: short commit
/// ids such as `12e4567` are.
fn float(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_mantissa = match mantissa.split_once('.') {
        None => is_digits(mantissa),
        Some(("", fraction)) => is_digits(fraction),
        Some((whole, fraction)) => is_digits(whole) && (fraction.is_empty() || is_digits(fraction)),
    };
    let is_exponent = exponent
        .is_none_or(|exponent| is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    if !is_mantissa || !is_exponent {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(Scalar::Float(number))
}

/// `0b-1` and `-0b-1`, which the tools take by accident.
fn binary(text: &str) -> Option<Scalar> {
    if let Some(digits) = text.strip_prefix("0b") {
        return i64::from_str_radix(digits, 2).ok().map(Scalar::Int);
    }
    let digits = text.strip_prefix("-0b")?;
    i64::from_str_radix(&format!("-{digits}"), 2)
        .ok()
        .map(Scalar::Int)
}

impl Scalar {
    /// As JSON. Integral floats are integers there: `1.0` and `08` are written as `1` and `8`.
    pub(super) fn into_value(self) -> Result<Value, &'static str> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(number) => number.into(),
            Self::Uint(number) => number.into(),
            Self::Float(number) => {
                number_of(number).ok_or("`.inf` or `.nan`, which JSON does not have: quote it")?
            }
            Self::Text(text) => Value::String(text),
        })
    }

    /// As the key of a mapping, which kubectl writes out again after it was resolved: `on` is
    /// `true`, `0644` is `420`.
    pub(super) fn into_key(self) -> Result<String, &'static str> {
        Ok(match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => float_key(number),
            Self::Text(text) => text,
            Self::Null => return Err("a key that is null"),
            Self::Uint(_) => return Err("a key that is a number above 2^63: quote it"),
        })
    }
}

/// A float in JSON, none when JSON cannot say it.
pub(super) fn number_of(float: f64) -> Option<Value> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if float.fract() == 0.0 && (-LIMIT..LIMIT).contains(&float) {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be integral")]
        return Some(Value::Number(Number::from(float as i64)));
    }
    Number::from_f64(float).map(Value::Number)
}

/// The shortest text that says this number in 32 bits, with an exponent from a million on.
#[expect(clippy::cast_possible_truncation, reason = "as the tools write it")]
fn float_key(float: f64) -> String {
    let short = float as f32;
    if short.is_nan() {
        return ".nan".to_owned();
    }
    if short.is_infinite() {
        return if short > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = format!("{short:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        // The exponent has two digits at least.
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{short}")
}
