//! The binary, and what is in it.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::rig::Row;
use crate::lab::tools;

/// Crates that are named.
const LARGEST: usize = 12;

/// The size of the binary that is measured, and which crates its code comes from. The crates are
/// read from the symbols of the release build, which is made without link-time optimisation:
/// shares, not sums.
pub(crate) fn measure(binary: &Path) -> Result<Vec<Row>> {
    let mut rows = vec![row("binary".to_owned(), std::fs::metadata(binary)?.len())];
    rows.push(row(
        "image, unpacked: with kustomize and helm".to_owned(),
        std::fs::metadata(binary)?.len()
            + std::fs::metadata(tools()?.join("kustomize"))?.len()
            + std::fs::metadata(tools()?.join("helm"))?.len(),
    ));
    let Some(symbols) = std::env::var_os("TRIMTAB_SYMBOLS") else {
        return Ok(rows);
    };
    let output = Command::new("nm")
        .args(["--print-size", "--demangle=rust", "--defined-only"])
        .arg(symbols)
        .output()
        .context("could not run nm: install binutils")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut crates: Vec<_> = by_crate(&text).into_iter().collect();
    crates.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    for (name, size) in crates.into_iter().take(LARGEST) {
        rows.push(row(format!("code of {name} (release build)"), size));
    }
    Ok(rows)
}

fn row(measurement: String, bytes: u64) -> Row {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mib = bytes as f64 / f64::from(1 << 20);
    Row {
        measurement,
        mib: Some(mib),
        ..Row::default()
    }
}

/// Sums the sizes of functions by the crate that a name begins with: `address size type name`.
fn by_crate(text: &str) -> BTreeMap<String, u64> {
    let mut crates = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ').skip(1);
        let (Some(size), Some("t" | "T"), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(size) = u64::from_str_radix(size, 16) else {
            continue;
        };
        // `<a::B as c::D>::e` is a's; a name without a path comes from C or assembler.
        let path = name.trim_start_matches(['<', '&', '*', '(', '[']);
        let path = path.strip_prefix("dyn ").unwrap_or(path);
        let of = match path.split_once("::") {
            Some((first, _)) if first.chars().all(|c| c.is_alphanumeric() || c == '_') => first,
            _ => "no crate (C, assembler, closures)",
        };
        *crates.entry(of.to_owned()).or_default() += size;
    }
    crates
}
