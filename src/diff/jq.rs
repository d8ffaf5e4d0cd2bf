//! The fields that a jq expression points at, as Argo CD's `jqPathExpressions`.
//!
//! An expression comes from outside and runs in our process, so it is bounded by what it may say:
//! no definitions, loops, variables or arithmetic, one `..` at most. What is left takes time in
//! the size of the object, and cannot make anything larger than it.

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
        expression.paths(&Value::Null).map(|_| expression)
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
            paths.push(steps.iter().map(step).collect());
        }
        Ok(paths)
    }
}

fn step(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether all of a term is of what may be said. The error names what is not.
fn check(term: &Term<&str>, recursions: &mut usize) -> Result<(), String> {
    match term {
        Term::Id | Term::Num(_) => Ok(()),
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
    fn a_comment_does_not_swallow_what_comes_after() {
        assert_eq!(paths(".a # all of it", &json!({"a": 1})), ["a"]);
    }
}
