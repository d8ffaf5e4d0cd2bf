//! JSON texts, one value after another, with the keys that a mapping has twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::YamlError;
use super::compose::{Document, Repeated};
use super::scalar::number_of;

/// The values of a text of JSON and how many there are, keys included; none when it is something
/// else. Of more than `nodes` values none is read.
pub(super) fn documents(
    text: &str,
    nodes: usize,
) -> Result<Option<(Vec<Document>, usize)>, YamlError> {
    if !text.trim_start().starts_with('{') {
        return Ok(None);
    }
    let count = count(text);
    if count > nodes {
        return Err(YamlError::TooDense { limit: nodes });
    }
    Ok(all(text).map(|documents| (documents, count)))
}

/// The values and keys of a text of JSON. They are counted by what stands before each: a comma, a
/// colon or an opening bracket outside of texts.
fn count(text: &str) -> usize {
    let (mut count, mut is_text, mut is_escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' | b':' | b'{' | b'[' if !is_text => count += 1,
            _ => {}
        }
    }
    count
}

fn all(text: &str) -> Option<Vec<Document>> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Noted>();
    let documents = values.map(|noted| {
        let Noted { value, repeated } = noted.ok()?;
        let repeated = repeated.into_iter();
        Some(Document {
            value,
            line: 0,
            repeated: repeated.map(|key| Repeated { line: 0, key }).collect(),
        })
    });
    documents.collect()
}

/// A value, and the keys below it that are there twice.
struct Noted {
    value: Value,
    repeated: Vec<String>,
}

impl From<Value> for Noted {
    fn from(value: Value) -> Self {
        Self {
            value,
            repeated: Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Noted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Noted;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Noted, E> {
        Ok(Value::Null.into())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Noted, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Noted, E> {
        Ok(Value::Number(Number::from(number)).into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Noted, E> {
        Ok(Value::Number(Number::from(number)).into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Noted, E> {
        let number = number_of(number).ok_or_else(|| E::custom("a number that is none"))?;
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Noted, E> {
        Ok(Value::String(text.to_owned()).into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Noted, E> {
        Ok(Value::String(text).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Noted, A::Error> {
        let (mut values, mut repeated) = (Vec::new(), Vec::new());
        while let Some(item) = items.next_element::<Noted>()? {
            values.push(item.value);
            repeated.extend(item.repeated);
        }
        let value = Value::Array(values);
        Ok(Noted { value, repeated })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Noted, A::Error> {
        let (mut map, mut repeated) = (Map::new(), Vec::new());
        while let Some((key, noted)) = entries.next_entry::<String, Noted>()? {
            repeated.extend(noted.repeated);
            if map.insert(key.clone(), noted.value).is_some() {
                repeated.push(key);
            }
        }
        let value = Value::Object(map);
        Ok(Noted { value, repeated })
    }
}
