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
/// Values that a text may come to beside one for each of its bytes, those that aliases repeat and
/// anchors keep included. Without aliases no text comes to more.
const FREE_NODES: usize = 10_000;
/// Documents of one text.
const MOST_DOCUMENTS: usize = 20_000;
/// Bytes of texts that aliases may repeat and anchors keep, ...
const FREE_REPEATED: usize = 1 << 20;
/// ... and so many more for each byte of the text: values that a chart's author shares by merge
/// keys come to a few times the text, a text that unfolds to thousands of times.
const REPEATED_EACH: usize = 8;

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
    /// Values, and bytes of texts that are repeated, that are taken.
    most_nodes: usize,
    most_repeated: usize,
    anchors: HashMap<String, Anchored>,
    /// Values and bytes of texts so far.
    nodes: usize,
    bytes: usize,
    kept_nodes: usize,
    repeated_bytes: usize,
    documents: usize,
    repeated: Vec<Repeated>,
    /// What is known to be wrong before anything is read.
    fault: Option<Fault>,
    is_over: bool,
}

impl<'t> Composer<'t> {
    /// What is read may cost as much as a text of this length can come to, and never more than
    /// `nodes` values.
    pub(super) fn new(text: &'t str, nodes: usize) -> Self {
        let mut composer = Self::of(text, nodes);
        // The parser takes it for granted that something follows a backslash between quotes.
        if text.ends_with('\\') {
            let more = format!("{text}\n");
            composer.fault = Composer::of(&more, nodes).find_map(Result::err);
        }
        composer
    }

    /// Values that were read so far, keys included.
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    fn of(text: &'t str, nodes: usize) -> Self {
        let mut parser = Parser::new();
        parser.set_encoding(Encoding::Utf8);
        // In pieces: the parser keeps what it is given as characters.
        parser.set_input(BufReader::with_capacity(16 << 10, text.as_bytes()));
        Self {
            parser,
            most_nodes: nodes.min(FREE_NODES + text.len()),
            most_repeated: FREE_REPEATED + text.len().saturating_mul(REPEATED_EACH),
            anchors: HashMap::new(),
            nodes: 0,
            bytes: 0,
            kept_nodes: 0,
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
                let scalar = self.scalar(mark, tag.as_deref(), plain_implicit, value)?;
                let value = scalar.and_then(Scalar::into_value);
                (anchor, value.map_err(|what| Fault::new(mark, what))?)
            }
            EventData::SequenceStart { anchor, .. } => (anchor, self.sequence(depth)?),
            EventData::MappingStart { anchor, .. } => (anchor, self.mapping(depth)?),
            EventData::Alias { anchor } => return self.alias(mark, &anchor),
            _ => return Err(Fault::new(mark, "a value is missing")),
        };
        if let Some(anchor) = anchor {
            let cost = (self.nodes - nodes, self.bytes - bytes);
            self.anchor(mark, anchor, &value, cost)?;
        }
        Ok(value)
    }

    /// What a scalar means; the outer result is the budget's.
    fn scalar(
        &mut self,
        mark: Mark,
        tag: Option<&str>,
        plain: bool,
        value: String,
    ) -> Result<Result<Scalar, &'static str>, Fault> {
        self.count(mark, 0, value.len())?;
        Ok(scalar::resolve(tag, plain, value))
    }

    /// Keeps a value for the aliases to come. It is counted as one that is repeated: anchors inside
    /// of each other would keep the same many times.
    fn anchor(
        &mut self,
        mark: Mark,
        name: String,
        value: &Value,
        (nodes, bytes): (usize, usize),
    ) -> Result<(), Fault> {
        self.spend(mark, nodes, bytes)?;
        let value = value.clone();
        let anchored = Anchored {
            value,
            nodes,
            bytes,
        };
        self.anchors.insert(name, anchored);
        Ok(())
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
                let bytes = value.len();
                let scalar = self.scalar(mark, tag.as_deref(), plain_implicit, value)?;
                if let (Some(anchor), Ok(scalar)) = (anchor, &scalar)
                    && let Ok(value) = scalar.clone().into_value()
                {
                    self.anchor(mark, anchor, &value, (1, bytes))?;
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
        self.spend(mark, 0, bytes)?;
        Ok(self.anchors[anchor].value.clone())
    }

    /// Values and bytes that are part of what is read.
    fn count(&mut self, mark: Mark, nodes: usize, bytes: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        self.spend(mark, 0, 0)
    }

    /// Values that anchors keep, and bytes that are there more than once.
    fn spend(&mut self, mark: Mark, nodes: usize, bytes: usize) -> Result<(), Fault> {
        self.kept_nodes = self.kept_nodes.saturating_add(nodes);
        self.repeated_bytes = self.repeated_bytes.saturating_add(bytes);
        if self.nodes.saturating_add(self.kept_nodes) > self.most_nodes {
            let what = format!("it comes to more than {} values", self.most_nodes);
            return Err(Fault::new(mark, what));
        }
        if self.repeated_bytes > self.most_repeated {
            let what = format!("aliases repeat more than {} bytes", self.most_repeated);
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
