//! Which file imports what of which, read from the `use` lines and paths of the source. A name that a
//! `mod.rs` hands on counts for the file where it is made.

use std::collections::{BTreeMap, BTreeSet};

/// The source: each file's path below `src/`, with its text without tests.
pub(super) struct Imports {
    /// Module path (`sync/execute`) to file (`sync/execute.rs`).
    files: BTreeMap<String, String>,
    /// Path of a name that is handed on to the path where it comes from.
    handed_on: BTreeMap<String, String>,
    /// From file to file.
    pub(super) arrows: BTreeMap<String, BTreeSet<String>>,
}

impl Imports {
    pub(super) fn of(sources: &[(String, String)]) -> Self {
        let files = sources
            .iter()
            .map(|(path, _)| (module_of(path), path.clone()))
            .collect();
        let mut imports = Self {
            files,
            handed_on: BTreeMap::new(),
            arrows: BTreeMap::new(),
        };
        let used: Vec<_> = sources
            .iter()
            .map(|(path, text)| (path, uses(text)))
            .collect();
        for (path, uses) in &used {
            let module = module_of(path);
            for (_, name) in uses.iter().filter(|(public, _)| *public) {
                let Some(source) = imports.absolute(&module, name) else {
                    continue;
                };
                let last = source.rsplit('/').next().unwrap_or_default().to_owned();
                imports.handed_on.insert(join(&module, &last), source);
            }
        }
        for (path, uses) in used {
            let module = module_of(path);
            for (_, name) in uses.iter().filter(|(public, _)| !*public) {
                let file = imports
                    .absolute(&module, name)
                    .and_then(|name| imports.file_of(&name, 0));
                if let Some(file) = file.filter(|file| file != path) {
                    imports.arrows.entry(path.clone()).or_default().insert(file);
                }
            }
        }
        imports
    }

    /// A path as it is written in a module, from the root of the crate; none for other crates.
    fn absolute(&self, module: &str, name: &str) -> Option<String> {
        let mut segments = name.split("::").peekable();
        let mut base: Vec<&str> = module.split('/').collect();
        match segments.peek().copied()? {
            "crate" => {
                segments.next();
                base.clear();
            }
            "self" => drop(segments.next()),
            "super" => {
                while segments.next_if_eq(&"super").is_some() {
                    base.pop();
                }
            }
            // A module below this one.
            first if self.files.contains_key(&join(module, first)) => {}
            _ => return None,
        }
        base.extend(segments);
        Some(base.join("/"))
    }

    /// The file that makes a name.
    fn file_of(&self, name: &str, depth: usize) -> Option<String> {
        let mut end = name.len();
        loop {
            let module = &name[..end];
            if let Some(file) = self.files.get(module) {
                let rest: Vec<&str> = name[end..].split('/').skip(1).collect();
                let source = rest
                    .first()
                    .and_then(|first| self.handed_on.get(&join(module, first)))
                    .filter(|_| depth < 8);
                return match source {
                    Some(source) => {
                        let rest = rest[1..].iter().map(|it| (*it).to_owned());
                        let full: Vec<String> =
                            std::iter::once(source.clone()).chain(rest).collect();
                        self.file_of(&full.join("/"), depth + 1)
                    }
                    None => Some(file.clone()),
                };
            }
            end = module.rfind('/')?;
        }
    }

    /// Files that import each other in a circle, each circle sorted.
    pub(super) fn circles(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<_, _> = self
            .arrows
            .keys()
            .map(|file| (file, self.reached_from(file)))
            .collect();
        let mut circles = BTreeSet::new();
        for (file, from) in &reached {
            if !from.contains(*file) {
                continue;
            }
            let both_ways = from
                .iter()
                .filter(|other| reached.get(other).is_some_and(|it| it.contains(*file)));
            circles.insert(both_ways.cloned().collect::<Vec<_>>());
        }
        circles.into_iter().collect()
    }

    fn reached_from(&self, file: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut open = vec![file.to_owned()];
        while let Some(file) = open.pop() {
            for next in self.arrows.get(&file).into_iter().flatten() {
                if reached.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        reached
    }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() {
        name.to_owned()
    } else {
        format!("{module}/{name}")
    }
}

/// `sync/execute.rs` is `sync/execute`, `sync/mod.rs` is `sync`.
fn module_of(path: &str) -> String {
    let module = path.strip_suffix(".rs").unwrap_or(path);
    module.strip_suffix("/mod").unwrap_or(module).to_owned()
}

/// The names that a text uses, and whether it hands them on (`pub use`).
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let (public, used) = match start.split_once("use ") {
            Some(("", used)) => (false, used),
            Some((before, used)) if before.starts_with("pub") && !before.contains('=') => {
                (true, used)
            }
            _ => {
                rest.push_str(line);
                rest.push('\n');
                continue;
            }
        };
        let mut statement = used.to_owned();
        while !statement.contains(';') {
            let Some(line) = lines.next() else { break };
            statement.push_str(line);
        }
        let statement: String = statement.split(';').next().unwrap_or_default().to_owned();
        let statement = statement.replace(" as _", "");
        let plain: String = statement.split_whitespace().collect();
        found.extend(expanded(&plain).into_iter().map(|name| (public, name)));
    }
    for prefix in ["crate::", "super::", "self::"] {
        for (at, _) in rest.match_indices(prefix) {
            let before = rest[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let end = rest[at..]
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                .map_or(rest.len(), |end| at + end);
            found.push((false, rest[at..end].trim_end_matches(':').to_owned()));
        }
    }
    found
}

/// `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expanded(name: &str) -> Vec<String> {
    let Some((before, inside)) = name.split_once('{') else {
        return vec![name.trim_end_matches("::self").to_owned()];
    };
    let (mut depth, mut parts, mut part) = (0, Vec::new(), String::new());
    for c in inside.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            c => {
                depth += usize::from(c == '{');
                depth -= usize::from(c == '}');
                part.push(c);
            }
        }
    }
    parts.push(part);
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| expanded(&format!("{before}{part}")))
        .collect()
}

#[test]
fn circles_are_found_through_what_is_handed_on() {
    let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let of = |b: &str| {
        Imports::of(&[
            source("a/mod.rs", "mod one;\nmod two;\npub(crate) use one::One;\n"),
            source("a/one.rs", "use crate::a::two::{Two, self};\n"),
            source("a/two.rs", b),
        ])
    };
    assert_eq!(of("use std::fmt;\n").circles(), Vec::<Vec<String>>::new());
    for back in [
        "use super::One;\n",
        "use super::{\n    One,\n};\n",
        "fn f() -> crate::a::One {}\n",
    ] {
        assert_eq!(of(back).circles(), [["a/one.rs", "a/two.rs"]], "{back}");
    }
}
