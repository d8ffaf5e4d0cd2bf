//! The shape of the source tree, checked by `cargo test`: floors, circles, purity, size and headers.

mod imports;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lowest floor first. A module may use modules on lower floors only.
const FLOORS: &[&[&str]] = &[
    &["text"],
    &["object", "telemetry"],
    &["crd", "config"],
    &[
        "webhook",
        "diff",
        "health",
        "exec",
        "reload",
        "connect",
        "supervise",
    ],
    &[
        "trigger", "plan", "git", "render", "cluster", "bundle", "oidc",
    ],
    &["sync"],
    &["source", "controller", "server"],
    &["api"],
    &["ui"],
    &["cli"],
    &["micro"],
];

/// The rooms of `controller/`, lowest floor first; the face of the module uses them all.
const CONTROLLER_FLOORS: &[&[&str]] = &[
    &["index", "live"],
    &["mailbox"],
    &["state"],
    &["context", "decide"],
    &["observe"],
    &["act"],
    &["syncing"],
    &["advance", "interrupt", "finalize"],
    &["reconcile"],
    &["registry"],
    &["preview"],
];

/// Paths that decide and never touch the world, and the words that they may not say.
const PURE: &[&str] = &[
    "text.rs",
    "object/",
    "crd/",
    "config/",
    "webhook/",
    "diff/",
    "health/",
    "trigger/",
    "plan/",
    "oidc/claims.rs",
    "oidc/keys.rs",
    "oidc/verify.rs",
    "sync/compare.rs",
    "controller/decide/",
    "controller/state/answered.rs",
    "controller/state/asked.rs",
    "controller/state/fights.rs",
    "controller/state/room.rs",
    "controller/state/settled.rs",
];
const IMPURE: &[&str] = &[
    "tokio::",
    "std::fs",
    "fs::read",
    "std::process",
    "kube::Client",
    "::now()",
    "std::env",
];

/// Lines of one file; about 150 are meant.
const MAX_LINES: usize = 600;

/// What is wrong with one file, given its path below `src/` and its text.
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.lines().count() > MAX_LINES {
        faults.push(format!("{path}: more than {MAX_LINES} lines"));
    }
    if !text.starts_with("//!") {
        faults.push(format!("{path}: no `//!` header"));
    }
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let is_test = path.contains("/tests") || path.ends_with("tests.rs");
    let pure = PURE.iter().any(|prefix| path.starts_with(prefix)) && !is_test;
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    for (number, line) in (1..).zip(code.lines()) {
        for word in IMPURE.iter().filter(|word| pure && line.contains(**word)) {
            faults.push(format!("{path}:{number}: a pure file may not say `{word}`"));
        }
        for used in line.split("crate::").skip(1) {
            let end = used
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(used.len());
            let used = &used[..end];
            if used.is_empty() {
                faults.push(format!("{path}:{number}: one `use crate::module` a module"));
            } else if used != module
                && let (Some(own), Some(other)) = (floor(module), floor(used))
                && other >= own
            {
                faults.push(format!("{path}:{number}: `{module}` may not use `{used}`"));
            }
        }
    }
    faults
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&module))
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let nested = entries.flat_map(|path| {
        if path.is_dir() {
            sources(&path)
        } else {
            vec![path]
        }
    });
    nested
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn every_file_keeps_to_its_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = 0;
    let mut found = Vec::new();
    for file in sources(&root)
        .iter()
        .filter(|file| !file.starts_with(root.join("tidy")))
    {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let module = path.split(['/', '.']).next().unwrap_or_default();
        modules += 1;
        if !matches!(module, "lib" | "main") && floor(module).is_none() {
            found.push(format!("{path}: `{module}` has no floor"));
        }
        found.extend(faults(path, &fs::read_to_string(file).unwrap()));
    }
    assert!(modules > 50, "only {modules} files were looked at");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The product's files without their tests.
fn product() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root).into_iter().filter_map(|file| {
        let path = file
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_product = !path.contains("tests") && !path.starts_with("tidy");
        is_product.then(|| (path, code.to_owned()))
    });
    files.collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = imports::Imports::of(&product());
    assert!(imports.arrows.len() > 200, "{} files", imports.arrows.len());
    assert_eq!(imports.circles(), Vec::<Vec<String>>::new());
}

#[test]
fn the_rooms_of_the_controller_keep_to_their_floors() {
    let room = |path: &str| {
        let path = path.strip_prefix("controller/")?;
        let room = path.split(['/', '.']).next()?;
        CONTROLLER_FLOORS
            .iter()
            .position(|rooms| rooms.contains(&room))
    };
    let imports = imports::Imports::of(&product());
    let mut upward = Vec::new();
    let mut rooms = 0;
    for (from, to) in &imports.arrows {
        if !from.starts_with("controller/") || from == "controller/mod.rs" {
            continue;
        }
        rooms += 1;
        let own = room(from).unwrap_or_else(|| panic!("{from} has no floor"));
        let others = to.iter().filter(|other| room(other) > Some(own));
        upward.extend(others.map(|other| format!("{from} may not use {other}")));
    }
    assert!(rooms > 40, "only {rooms} files were looked at");
    assert!(upward.is_empty(), "\n{}", upward.join("\n"));
}

#[test]
fn faults_are_found() {
    let count = |path: &str, text: &str| faults(path, text).len();
    assert_eq!(
        count("sync/mod.rs", "//! Down.\nuse crate::plan::Plan;\n"),
        0
    );
    assert_eq!(
        count("plan/mod.rs", "//! Up.\nuse crate::sync::Engine;\n"),
        1
    );
    assert_eq!(
        count("plan/mod.rs", "//! Beside.\nuse crate::git::Mirror;\n"),
        1
    );
    assert_eq!(
        count("plan/mod.rs", "//! Grouped.\nuse crate::{crd, object};\n"),
        1
    );
    assert_eq!(count("plan/mod.rs", "use tokio::time;\n"), 2);
    assert_eq!(
        count("plan/mod.rs", &format!("//! Long.{}", "\n".repeat(601))),
        1
    );
    assert_eq!(
        count(
            "plan/mod.rs",
            "//! T.\n#[cfg(test)]\nmod tests {\nuse tokio::x;\n}\n"
        ),
        0
    );
}
