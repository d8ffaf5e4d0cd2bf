//! Reading an object of any shape: absent and null are the same, another type is an error.

use serde_json::{Map, Value};

use super::error::Error;
use crate::object::Object;

/// A mapping whose fields are read by dotted paths.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a Map<String, Value>);

/// One entry of a list of conditions. What is absent is empty.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    pub(super) name: &'a str,
    status: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

impl<'a> Fields<'a> {
    pub(super) fn of(object: &'a Object) -> Self {
        Self(object.fields())
    }

    /// The value at a path; none where it or one of its parents is absent or null.
    pub(super) fn value(self, path: &'static str) -> Result<Option<&'a Value>, Error> {
        let mut map = self.0;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            match map.get(name) {
                None | Some(Value::Null) => return Ok(None),
                Some(value) if names.peek().is_none() => return Ok(Some(value)),
                Some(Value::Object(inner)) => map = inner,
                Some(_) => return Err(Error::Type(path)),
            }
        }
        Ok(None)
    }

    pub(super) fn number(self, path: &'static str) -> Result<Option<i64>, Error> {
        self.typed(path, Value::as_i64)
    }

    /// A number, 0 when absent.
    pub(super) fn count(self, path: &'static str) -> Result<i64, Error> {
        Ok(self.number(path)?.unwrap_or_default())
    }

    /// A text, empty when absent.
    pub(super) fn text(self, path: &'static str) -> Result<&'a str, Error> {
        Ok(self.typed(path, Value::as_str)?.unwrap_or_default())
    }

    /// A boolean, false when absent.
    pub(super) fn flag(self, path: &'static str) -> Result<bool, Error> {
        Ok(self.typed(path, Value::as_bool)?.unwrap_or_default())
    }

    pub(super) fn map(self, path: &'static str) -> Result<Option<Self>, Error> {
        self.typed(path, |value| value.as_object().map(Self))
    }

    /// A list of mappings, empty when absent.
    pub(super) fn list(self, path: &'static str) -> Result<Vec<Self>, Error> {
        match self.value(path)? {
            None => Ok(Vec::new()),
            Some(list) => maps(list).ok_or(Error::Type(path)),
        }
    }

    pub(super) fn conditions(self) -> Result<Vec<Condition<'a>>, Error> {
        let list = self.list("status.conditions")?;
        list.into_iter().map(Condition::read).collect()
    }

    /// Whether the controller has looked at the last change of the desired state.
    pub(super) fn is_observed(self) -> Result<bool, Error> {
        Ok(self.count("metadata.generation")? <= self.count("status.observedGeneration")?)
    }

    fn typed<T>(
        self,
        path: &'static str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.value(path)?
            .map(|value| convert(value).ok_or(Error::Type(path)))
            .transpose()
    }
}

impl<'a> Condition<'a> {
    /// Reads conditions that are not in `status.conditions`.
    pub(super) fn read_all(list: &'a Value) -> Option<Vec<Self>> {
        maps(list)?
            .into_iter()
            .map(|fields| Self::read(fields).ok())
            .collect()
    }

    pub(super) fn is(&self, name: &str, status: &str) -> bool {
        self.name == name && self.status == status
    }

    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    pub(super) fn is_false(&self) -> bool {
        self.status == "False"
    }

    /// What it says to people.
    pub(super) fn words(&self) -> &'a str {
        match (self.message, self.reason) {
            ("", "") => self.name,
            ("", reason) => reason,
            (message, _) => message,
        }
    }

    fn read(fields: Fields<'a>) -> Result<Self, Error> {
        let text = |field| {
            fields
                .text(field)
                .map_err(|_| Error::Type("a condition's field"))
        };
        Ok(Self {
            name: text("type")?,
            status: text("status")?,
            reason: text("reason")?,
            message: text("message")?,
        })
    }
}

fn maps(list: &Value) -> Option<Vec<Fields<'_>>> {
    list.as_array()?
        .iter()
        .map(|item| item.as_object().map(Fields))
        .collect()
}
