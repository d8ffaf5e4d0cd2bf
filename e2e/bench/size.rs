//! The binary.

use std::path::Path;

use anyhow::Result;

use super::rig::Row;

/// The size of the binary that is measured.
pub(crate) fn measure(binary: &Path) -> Result<Vec<Row>> {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mib = std::fs::metadata(binary)?.len() as f64 / f64::from(1 << 20);
    Ok(vec![Row {
        measurement: "binary".to_owned(),
        mib: Some(mib),
        ..Row::default()
    }])
}
