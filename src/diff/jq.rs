//! The fields that a jq expression points at, as Argo CD's `jqPathExpressions`.
//!
//! An expression comes from outside and runs in our process, so it is bounded by what it may say:
//! no definitions, loops, variables or arithmetic, one `..` at most. What is left takes time in
//! the size of the object, and cannot make anything larger than it.

use std::ops::Range;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::load::{Arena, File, Loader, parse};
use jaq_core::path::Part;
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use serde_json::Value;

/// Bytes of one expression.
const LONGEST: usize = 1000;
/// Fields that one expression may point at.
const MOST_PATHS: usize = 10_000;

/// What an expression may call: tests and steps, nothing that repeats or makes anything.
const CALLS: [&str; 27] = [
    "all",
    "any",
    "arrays",
    "ascii_downcase",
    "booleans",
    "contains",
    "empty",
    "endswith",
    "false",
    "first",
    "has",
    "inside",
    "isempty",
    "last",
    "length",
    "ltrimstr",
    "not",
    "null",
    "nulls",
    "numbers",
    "objects",
    "rtrimstr",
    "select",
    "startswith",
    "strings",
    "test",
    "true",
];

/// Of these, what leads from a value to fields of it. The rest makes values of its own.
const LEADS: [&str; 10] = [
    "arrays", "booleans", "empty", "first", "last", "nulls", "numbers", "objects", "select",
    "strings",
];

/// An expression that was read and is safe to run.
#[derive(Clone, Debug)]
pub(super) struct Expression(String);

impl Expression {
    /// Reads an expression. The error says what is wrong with it, for the person who wrote it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a jq expression is at most {LONGEST} bytes long"));
        }
        let term = parse(text, |parser| parser.term())
            .ok_or_else(|| format!("\"{text}\" is no jq expression"))?;
        let mut recursions = 0;
        check(&term, &mut recursions).map_err(|what| {
            format!(
                "\"{text}\" uses {what}; only steps, pipes, comparisons, select and tests are taken"
            )
        })?;
        let expression = Self(text.to_owned());
        // Names and counts of arguments are checked by compiling it, on something small.
        expression.paths(&Value::Null)?;
        leads(&term).map_err(|why| format!("\"{text}\" ignores nothing: {why}"))?;
        match steps(&term) {
            true => Ok(expression),
            false => Err(format!(
                "\"{text}\" ignores nothing: it is about the whole object, not a field of it"
            )),
        }
    }

    /// The fields of `object` that it points at, as steps. A path that leads nowhere is none.
    pub(super) fn paths(&self, object: &Value) -> Result<Vec<Vec<String>>, String> {
        let code = format!("path(({}\n)?)", self.0);
        let definitions = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs());
        let functions = jaq_core::funs()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs());
        let arena = Arena::default();
        let file = File {
            code: code.as_str(),
            path: (),
        };
        let unknown = || format!("\"{}\" calls something that is not known", self.0);
        let modules = Loader::new(definitions)
            .load(&arena, file)
            .map_err(|_| unknown())?;
        let compiler = Compiler::default().with_funs(functions);
        let filter = compiler.compile(modules).map_err(|_| unknown())?;
        let input =
            read::parse_single(object.to_string().as_bytes()).map_err(|it| it.to_string())?;
        let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
        let outputs = filter.id.run((context, input)).map(unwrap_valr);
        let mut paths = Vec::new();
        for output in outputs.take(MOST_PATHS) {
            // What a step does not fit is no field.
            let Ok(path) = output else { continue };
            let steps = serde_json::from_str::<Vec<Value>>(&path.to_string());
            let Ok(steps) = steps else { continue };
            resolve(object, &steps, &mut Vec::new(), &mut paths);
        }
        Ok(paths)
    }
}

/// Adds the plain paths that some steps lead to. A negative index counts from the end, and a slice
/// is each of its items; what leads outside of a list is none.
fn resolve(value: &Value, steps: &[Value], path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let Some((step, rest)) = steps.split_first() else {
        if paths.len() < MOST_PATHS {
            paths.push(path.clone());
        }
        return;
    };
    match (step, value) {
        (Value::Number(_), Value::Array(items)) => {
            let Some(index) = place(step, items.len()) else {
                return;
            };
            let Some(item) = items.get(index) else {
                return;
            };
            path.push(index.to_string());
            resolve(item, rest, path, paths);
            path.pop();
        }
        (Value::Object(_), Value::Array(items)) => {
            let (range, rest) = sliced(items.len(), steps);
            let from = range.start;
            for (item, index) in items.get(range).unwrap_or_default().iter().zip(from..) {
                path.push(index.to_string());
                resolve(item, rest, path, paths);
                path.pop();
            }
        }
        (Value::String(name), value) => {
            path.push(name.clone());
            resolve(value.get(name).unwrap_or(&Value::Null), rest, path, paths);
            path.pop();
        }
        _ => {}
    }
}

/// The places in a list of so many items that the slices at the start of some steps leave, and the
/// steps after them. An index after a slice counts from the start of what is left.
fn sliced(length: usize, mut steps: &[Value]) -> (Range<usize>, &[Value]) {
    let mut range = 0..length;
    while let Some((Value::Object(slice), rest)) = steps.split_first() {
        let left = range.len();
        let end = |name: &str, default: usize| {
            let end = slice.get(name).filter(|end| !end.is_null());
            let end = end.map(|end| place(end, left).unwrap_or_default());
            end.unwrap_or(default).min(left)
        };
        let (start, end) = (end("start", 0), end("end", left));
        range = range.start + start..range.start + end.max(start);
        steps = rest;
    }
    let Some((index @ Value::Number(_), rest)) = steps.split_first() else {
        return (range, steps);
    };
    match place(index, range.len()).filter(|index| *index < range.len()) {
        Some(index) => (range.start + index..range.start + index + 1, rest),
        None => (0..0, rest),
    }
}

/// The place in a list of so many items that a number names.
fn place(number: &Value, length: usize) -> Option<usize> {
    #[expect(clippy::cast_possible_truncation, reason = "an index is small")]
    let number = number
        .as_i64()
        .or(number.as_f64().map(|it| it.floor() as i64))?;
    match usize::try_from(number) {
        Ok(index) => Some(index),
        Err(_) => length.checked_sub(usize::try_from(number.unsigned_abs()).ok()?),
    }
}

/// Whether a term leads from a value to fields of it. The error says what does not.
fn leads(term: &Term<&str>) -> Result<(), String> {
    match term {
        Term::BinOp(left, BinaryOp::Pipe(None) | BinaryOp::Alt, right) => {
            leads(left)?;
            leads(right)
        }
        Term::BinOp(..) => Err("a comparison is no field; use it inside of select".to_owned()),
        Term::Num(_) | Term::Neg(_) | Term::Str(..) => Err("a value is no field".to_owned()),
        Term::TryCatch(tried, _) => leads(tried),
        Term::Path(start, _) => leads(start),
        Term::Call(name, _) if !LEADS.contains(name) => {
            Err(format!("`{name}` gives a value, which is no field"))
        }
        Term::Call("first" | "last", arguments) => arguments.iter().try_for_each(leads),
        _ => Ok(()),
    }
}

/// Whether a term takes a step away from where it starts.
fn steps(term: &Term<&str>) -> bool {
    match term {
        Term::Recurse => true,
        Term::Path(start, path) => steps(start) || !path.0.is_empty(),
        Term::BinOp(left, BinaryOp::Alt, right) => {
            let is_empty = matches!(**right, Term::Call("empty", _));
            steps(left) && (is_empty || steps(right))
        }
        Term::BinOp(left, _, right) => steps(left) || steps(right),
        Term::TryCatch(tried, _) => steps(tried),
        Term::Call("first" | "last", arguments) => {
            arguments.is_empty() || arguments.iter().any(steps)
        }
        _ => false,
    }
}

/// Whether all of a term is of what may be said. The error names what is not.
fn check(term: &Term<&str>, recursions: &mut usize) -> Result<(), String> {
    match term {
        Term::Id | Term::Num(_) => Ok(()),
        Term::Neg(number) if matches!(**number, Term::Num(_)) => Ok(()),
        Term::Recurse => {
            *recursions += 1;
            match *recursions {
                1 => Ok(()),
                _ => Err("more than one `..`".to_owned()),
            }
        }
        Term::Str(None, parts) if parts.iter().all(|part| !matches!(part, StrPart::Term(_))) => {
            Ok(())
        }
        Term::BinOp(left, operator, right) => {
            match operator {
                BinaryOp::Pipe(None)
                | BinaryOp::Alt
                | BinaryOp::Or
                | BinaryOp::And
                | BinaryOp::Cmp(_) => {}
                BinaryOp::Comma => return Err("`,`: write two expressions".to_owned()),
                BinaryOp::Pipe(Some(_)) => return Err("variables".to_owned()),
                _ => return Err("arithmetic or assignment".to_owned()),
            }
            check(left, recursions)?;
            check(right, recursions)
        }
        Term::TryCatch(tried, None) => check(tried, recursions),
        Term::Call(name, arguments) if CALLS.contains(name) => {
            arguments.iter().try_for_each(|it| check(it, recursions))
        }
        Term::Call(name, _) => Err(format!("`{name}`")),
        Term::Path(start, path) => {
            check(start, recursions)?;
            path.0.iter().try_for_each(|(part, _)| match part {
                Part::Index(index) => check(index, recursions),
                Part::Range(from, to) => {
                    let ends = from.iter().chain(to);
                    ends.into_iter().try_for_each(|it| check(it, recursions))
                }
            })
        }
        _ => Err("more than a path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(expression: &str, object: &Value) -> Vec<String> {
        let expression = Expression::parse(expression).unwrap();
        let paths = expression.paths(object).unwrap();
        paths.into_iter().map(|path| path.join("/")).collect()
    }

    #[test]
    fn it_points_at_fields() {
        let object = json!({"spec": {
            "replicas": 2, "a.b": 1,
            "containers": [
                {"name": "web", "image": "w", "env": [{"name": "A"}, {"name": "TMP_B"}]},
                {"name": "istio-proxy", "image": "i"},
            ],
        }});
        for (expression, expected) in [
            (".spec.replicas", vec!["spec/replicas"]),
            (".spec[\"a.b\"]", vec!["spec/a.b"]),
            (
                ".spec.containers[] | select(.name == \"istio-proxy\")",
                vec!["spec/containers/1"],
            ),
            (
                ".spec.containers[]?.image",
                vec!["spec/containers/0/image", "spec/containers/1/image"],
            ),
            (
                ".spec.containers[].env[]? | select(.name | startswith(\"TMP_\"))",
                vec!["spec/containers/0/env/1"],
            ),
            (
                ".spec.containers[] | select(.name | test(\"^istio\")) | .image",
                vec!["spec/containers/1/image"],
            ),
            (
                ".. | select(.name? == \"A\")",
                vec!["spec/containers/0/env/0"],
            ),
            (
                ".spec.containers[-1].image",
                vec!["spec/containers/1/image"],
            ),
            (".spec.containers | last", vec!["spec/containers/1"]),
            (
                ".spec.containers | first | .image",
                vec!["spec/containers/0/image"],
            ),
            ("last(.spec.containers[])", vec!["spec/containers/1"]),
            (
                ".spec.containers[0].env[:1]",
                vec!["spec/containers/0/env/0"],
            ),
            (
                ".spec.containers[0].env[-1:][].name",
                vec!["spec/containers/0/env/1/name"],
            ),
            (
                ".spec.containers[0:]",
                vec!["spec/containers/0", "spec/containers/1"],
            ),
            (
                ".spec.containers[1:][0].image",
                vec!["spec/containers/1/image"],
            ),
            (
                ".spec.containers[1:][-1].image",
                vec!["spec/containers/1/image"],
            ),
            (".spec.containers[5]", vec![]),
            (".spec.containers[-5]", vec![]),
            (".spec.containers[1:][1]", vec![]),
            (".spec.containers[0:][1:].image", vec![]),
            (
                ".spec.containers[0:][1:][0].image",
                vec!["spec/containers/1/image"],
            ),
            (".spec.missing // .spec.replicas", vec!["spec/replicas"]),
            (".missing[]?", vec![]),
            (".spec.replicas.deeper", vec![]),
        ] {
            assert_eq!(paths(expression, &object), expected, "{expression}");
        }
    }

    #[test]
    fn what_could_run_for_long_is_refused() {
        for (expression, expected) in [
            ("def f: f; f", "more than a path"),
            ("repeat(.)", "`repeat`"),
            ("range(1000000000)", "`range`"),
            ("recurse(.)", "`recurse`"),
            ("input", "`input`"),
            ("env", "`env`"),
            ("..|..", "more than one"),
            (".a, .b", "two expressions"),
            (". as $x | $x", "variables"),
            (".a = 1", "assignment"),
            (".a + .a", "arithmetic"),
            ("\"\\(.)\"", "more than a path"),
            ("reduce .[] as $x (0; .)", "more than a path"),
            ("[.[]]", "more than a path"),
            (".spec[", "no jq expression"),
            ("", "no jq expression"),
            ("select()", "no jq expression"),
            ("select(.a; .b)", "not known"),
        ] {
            let error = Expression::parse(expression).unwrap_err();
            assert!(error.contains(expected), "{expression}: {error}");
        }
        Expression::parse(&".a".repeat(600)).unwrap_err();
    }

    #[test]
    fn what_points_at_no_field_is_refused() {
        for (expression, expected) in [
            (".", "the whole object"),
            ("select(.kind == \"A\")", "the whole object"),
            (".spec | length", "`length` gives a value"),
            (".spec.replicas == 2", "a comparison is no field"),
            ("true", "`true` gives a value"),
            ("\"spec\"", "a value is no field"),
            ("1", "a value is no field"),
            (".spec | has(\"a\")", "`has` gives a value"),
            ("first(.spec | length)", "`length` gives a value"),
            ("empty", "the whole object"),
        ] {
            let error = Expression::parse(expression).unwrap_err();
            assert!(error.contains(expected), "{expression}: {error}");
            assert!(error.contains("ignores nothing"), "{expression}: {error}");
        }
    }

    #[test]
    fn a_comment_does_not_swallow_what_comes_after() {
        assert_eq!(paths(".a # all of it", &json!({"a": 1})), ["a"]);
    }
}
