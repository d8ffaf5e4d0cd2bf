//! A digest of JSON values that does not depend on the order of keys or the spelling of numbers.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The first 80 bits of a SHA-256 over the canonical form: two values with equal digests are
/// taken as equal. Ten bytes keep an inventory small.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(pub(crate) [u8; 10]);

impl Digest {
    /// The digest of one value.
    pub(crate) fn of(value: &Value) -> Self {
        let mut hasher = Hasher::default();
        hasher.value(value);
        hasher.finish()
    }

    /// The digest of the fields of a mapping.
    pub(crate) fn of_map(map: &Map<String, Value>) -> Self {
        let mut hasher = Hasher::default();
        hasher.map(map);
        hasher.finish()
    }

    /// The digest of a sequence of texts.
    pub(crate) fn of_texts(texts: &[&str]) -> Self {
        let mut hasher = Hasher::default();
        texts.iter().for_each(|text| hasher.text(b's', text));
        hasher.finish()
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD_NO_PAD.decode(text).ok();
        let digest = bytes.and_then(|bytes| Self::from_slice(&bytes));
        digest.ok_or_else(|| D::Error::custom("a digest of 10 bytes is expected"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

/// Takes in values piece by piece. Every piece is tagged and its length written, so that no two
/// different sequences of pieces look alike.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.tag(b'n'),
            Value::Bool(false) => self.tag(b'f'),
            Value::Bool(true) => self.tag(b't'),
            Value::Number(number) => match whole(number) {
                Some(whole) => self.text(b'i', &whole.to_string()),
                None => self.text(b'd', &number.to_string()),
            },
            Value::String(text) => self.text(b's', text),
            Value::Array(items) => {
                self.count(b'a', items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(map) => self.map(map),
        }
    }

    pub(super) fn map(&mut self, map: &Map<String, Value>) {
        self.count(b'm', map.len());
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in entries {
            self.text(b'k', name);
            self.value(value);
        }
    }

    pub(super) fn text(&mut self, tag: u8, text: &str) {
        self.count(tag, text.len());
        self.0.update(text);
    }

    pub(super) fn tag(&mut self, tag: u8) {
        self.0.update([tag]);
    }

    pub(super) fn count(&mut self, tag: u8, count: usize) {
        self.tag(tag);
        self.0.update((count as u64).to_le_bytes());
    }

    pub(super) fn finish(self) -> Digest {
        let full = self.0.finalize();
        let mut short = [0; 10];
        short.copy_from_slice(&full[..10]);
        Digest(short)
    }
}

/// An integer for every number that is one, however it is written.
fn whole(number: &serde_json::Number) -> Option<i128> {
    if let Some(integer) = number.as_i128() {
        return Some(integer);
    }
    let float = number.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be integral and in range"
    )]
    (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i128)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_and_spelling_do_not_matter() {
        let parse = |text| Digest::of(&serde_json::from_str(text).unwrap());
        assert_eq!(
            parse(r#"{"a": 1, "b": [2]}"#),
            parse(r#"{"b": [2.0], "a": 1.0}"#)
        );
    }

    #[test]
    fn different_values_differ() {
        let values = [
            json!(null),
            json!(false),
            json!(true),
            json!(0),
            json!(1),
            json!(1.5),
            json!(""),
            json!("1"),
            json!([]),
            json!({}),
            json!([1]),
            json!([[1]]),
            json!({"a": 1}),
            json!({"a": {"b": 1}}),
            json!(["a", "b"]),
            json!(["ab"]),
            json!({"a": null}),
        ];
        let digests: std::collections::BTreeSet<_> = values.iter().map(Digest::of).collect();
        assert_eq!(digests.len(), values.len());
    }
}
