//! From the events of the parser to values, by the rules of sigs.k8s.io/yaml: anchors, merge keys,
//! and of several values of one key the last.

use std::collections::{HashMap, HashSet};
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{Encoding, Event, EventData, Mark, Parser};
use serde_json::{Map, Value};

use super::scalar::{self, Scalar};

/// Collections in each other. What is kept as JSON may be 128 deep, with what is put around it.
const DEEPEST: usize = 120;
/// Values of one text, those that aliases repeat included.
const MOST_NODES: usize = 2_000_000;
/// Documents of one text.
const MOST_DOCUMENTS: usize = 20_000;
/// Bytes of texts that aliases may repeat.
const MOST_REPEATED: usize = 64 << 20;

/// Why a document cannot be read; never quotes it.
#[derive(Debug)]
pub(super) struct Fault {
    /// Counted from 1.
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) what: String,
}

impl Fault {
    fn new(mark: Mark, what: impl Into<String>) -> Self {
        Self {
            line: mark.line + 1,
            column: mark.column + 1,
            what: what.into(),
        }
    }
}

/// A key that a mapping has twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    /// Counted from 1; 0 where it is not known.
    pub(super) line: u64,
    pub(super) key: String,
}

/// One document of a text.
pub(super) struct Document {
    pub(super) value: Value,
    /// Where its content starts, counted from 1.
    pub(super) line: u64,
    pub(super) repeated: Vec<Repeated>,
}

/// What an alias stands for, and what it costs to repeat it.
struct Anchored {
    value: Value,
    nodes: usize,
    bytes: usize,
}

/// Reads the documents of a text one by one.
pub(super) struct Composer<'t> {
    parser: Parser<BufReader<&'t [u8]>>,
    anchors: HashMap<String, Anchored>,
    /// Values and bytes of texts so far.
    nodes: usize,
    bytes: usize,
    repeated_bytes: usize,
    documents: usize,
    repeated: Vec<Repeated>,
    /// What is known to be wrong before anything is read.
    fault: Option<Fault>,
    is_over: bool,
}

impl<'t> Composer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let mut composer = Self::of(text);
        // The parser takes it for granted that something follows a backslash between quotes.
        if text.ends_with('\\') {
            let more = format!("{text}\n");
            composer.fault = Composer::of(&more).find_map(Result::err);
        }
        composer
    }

    fn of(text: &'t str) -> Self {
        let mut parser = Parser::new();
        parser.set_encoding(Encoding::Utf8);
        // In pieces: the parser keeps what it is given as characters.
        parser.set_input(BufReader::with_capacity(16 << 10, text.as_bytes()));
        Self {
            parser,
            anchors: HashMap::new(),
            nodes: 0,
            bytes: 0,
            repeated_bytes: 0,
            documents: 0,
            repeated: Vec::new(),
            fault: None,
            is_over: false,
        }
    }

    fn document(&mut self) -> Result<Option<Document>, Fault> {
        let start = loop {
            let event = self.event()?;
            match event.data {
                EventData::StreamEnd => return Ok(None),
                EventData::DocumentStart { .. } => break event.end_mark,
                _ => {}
            }
        };
        self.documents += 1;
        if self.documents > MOST_DOCUMENTS {
            return Err(Fault::new(
                start,
                format!("more than {MOST_DOCUMENTS} documents"),
            ));
        }
        self.anchors.clear();
        let event = self.event()?;
        let line = event.start_mark.line + 1;
        let value = self.node(event, 0)?;
        Ok(Some(Document {
            value,
            line,
            repeated: std::mem::take(&mut self.repeated),
        }))
    }

    fn event(&mut self) -> Result<Event, Fault> {
        let parser = AssertUnwindSafe(&mut self.parser);
        // What the parser did not think of is the text's fault, not the agent's end.
        let event = catch_unwind(|| { parser }.parse());
        let Ok(event) = event else {
            return Err(Fault::new(Mark::default(), "cannot be parsed"));
        };
        event.map_err(|error| {
            let what = match error.context() {
                Some(context) => format!("{} {context}", error.problem()),
                None => error.problem().to_owned(),
            };
            let mark = error.problem_mark().or(error.context_mark());
            Fault::new(mark.unwrap_or_default(), what)
        })
    }

    fn node(&mut self, event: Event, depth: usize) -> Result<Value, Fault> {
        let mark = event.start_mark;
        if depth > DEEPEST {
            return Err(Fault::new(
                mark,
                format!("nested more than {DEEPEST} levels deep"),
            ));
        }
        let (nodes, bytes) = (self.nodes, self.bytes);
        self.count(mark, 1, 0)?;
        let (anchor, value) = match event.data {
            EventData::Scalar {
                anchor,
                tag,
                value,
                plain_implicit,
                ..
            } => {
                self.count(mark, 0, value.len())?;
                let scalar = scalar::resolve(tag.as_deref(), plain_implicit, value);
                let value = scalar.and_then(Scalar::into_value);
                (anchor, value.map_err(|what| Fault::new(mark, what))?)
            }
            EventData::SequenceStart { anchor, .. } => (anchor, self.sequence(depth)?),
            EventData::MappingStart { anchor, .. } => (anchor, self.mapping(depth)?),
            EventData::Alias { anchor } => return self.alias(mark, &anchor),
            _ => return Err(Fault::new(mark, "a value is missing")),
        };
        if let Some(anchor) = anchor {
            let anchored = Anchored {
                value: value.clone(),
                nodes: self.nodes - nodes,
                bytes: self.bytes - bytes,
            };
            self.repeat(mark, anchored.bytes)?;
            self.anchors.insert(anchor, anchored);
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            let event = self.event()?;
            if event.data == EventData::SequenceEnd {
                return Ok(Value::Array(items));
            }
            items.push(self.node(event, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut map = Map::new();
        let mut merged: HashSet<String> = HashSet::new();
        loop {
            let event = self.event()?;
            let mark = event.start_mark;
            if event.data == EventData::MappingEnd {
                return Ok(Value::Object(map));
            }
            if is_merge(&event.data) {
                let event = self.event()?;
                let value = self.node(event, depth + 1)?;
                merge(value, &mut map, &mut merged).map_err(|what| Fault::new(mark, what))?;
                continue;
            }
            let key = self.key(event)?;
            let event = self.event()?;
            let value = self.node(event, depth + 1)?;
            let was_there = map.insert(key.clone(), value).is_some();
            if was_there && !merged.remove(&key) {
                let line = mark.line + 1;
                self.repeated.push(Repeated { line, key });
            }
        }
    }

    fn key(&mut self, event: Event) -> Result<String, Fault> {
        let mark = event.start_mark;
        self.count(mark, 1, 0)?;
        let scalar = match event.data {
            EventData::Scalar {
                anchor,
                tag,
                value,
                plain_implicit,
                ..
            } => {
                self.count(mark, 0, value.len())?;
                let scalar = scalar::resolve(tag.as_deref(), plain_implicit, value);
                if let (Some(anchor), Ok(scalar)) = (anchor, &scalar)
                    && let Ok(value) = scalar.clone().into_value()
                {
                    let bytes = value.as_str().map_or(0, str::len);
                    let nodes = 1;
                    let anchored = Anchored {
                        value,
                        nodes,
                        bytes,
                    };
                    self.anchors.insert(anchor, anchored);
                }
                scalar
            }
            EventData::Alias { anchor } => scalar_of(self.alias(mark, &anchor)?),
            _ => Err("a key that is a list or a mapping"),
        };
        scalar
            .and_then(Scalar::into_key)
            .map_err(|what| Fault::new(mark, what))
    }

    fn alias(&mut self, mark: Mark, anchor: &str) -> Result<Value, Fault> {
        let Some(anchored) = self.anchors.get(anchor) else {
            return Err(Fault::new(
                mark,
                "an alias of an anchor that is not known here",
            ));
        };
        let (nodes, bytes) = (anchored.nodes, anchored.bytes);
        self.count(mark, nodes, bytes)?;
        self.repeat(mark, bytes)?;
        Ok(self.anchors[anchor].value.clone())
    }

    fn count(&mut self, mark: Mark, nodes: usize, bytes: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > MOST_NODES {
            return Err(Fault::new(mark, format!("more than {MOST_NODES} values")));
        }
        Ok(())
    }

    fn repeat(&mut self, mark: Mark, bytes: usize) -> Result<(), Fault> {
        self.repeated_bytes = self.repeated_bytes.saturating_add(bytes);
        if self.repeated_bytes > MOST_REPEATED {
            let what = format!("aliases repeat more than {MOST_REPEATED} bytes");
            return Err(Fault::new(mark, what));
        }
        Ok(())
    }
}

impl Iterator for Composer<'_> {
    type Item = Result<Document, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let found = match self.fault.take() {
            Some(fault) => Err(fault),
            None => self.document(),
        };
        self.is_over = !matches!(found, Ok(Some(_)));
        found.transpose()
    }
}

fn is_merge(event: &EventData) -> bool {
    matches!(event, EventData::Scalar { tag, value, plain_implicit, .. }
        if value == "<<" && (*plain_implicit || tag.as_deref() == Some(scalar::MERGE)))
}

/// Takes over what a merge key names. As in kubectl it counts from its place on: what the mapping
/// said before is replaced, what it says after replaces it. Of several the first counts.
fn merge(
    value: Value,
    map: &mut Map<String, Value>,
    merged: &mut HashSet<String>,
) -> Result<(), &'static str> {
    const NO_MAP: &str = "a merge key (`<<`) takes a mapping or a list of mappings";
    match value {
        Value::Object(other) => {
            merged.extend(other.keys().cloned());
            map.extend(other);
            Ok(())
        }
        Value::Array(items) => items.into_iter().rev().try_for_each(|item| match item {
            Value::Object(_) => merge(item, map, merged),
            _ => Err(NO_MAP),
        }),
        _ => Err(NO_MAP),
    }
}

fn scalar_of(value: Value) -> Result<Scalar, &'static str> {
    match value {
        Value::Null => Ok(Scalar::Null),
        Value::Bool(value) => Ok(Scalar::Bool(value)),
        Value::String(text) => Ok(Scalar::Text(text)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Ok(Scalar::Int(number)),
            (None, Some(number)) => Ok(Scalar::Uint(number)),
            (None, None) => Ok(Scalar::Float(number.as_f64().unwrap_or_default())),
        },
        Value::Array(_) | Value::Object(_) => Err("a key that is a list or a mapping"),
    }
}
