//! apiregistration.k8s.io/APIService. Never degraded: what serves it may still be starting.

use super::{Error, Fields, Health, healthy, progressing};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let conditions = Fields::of(live).conditions()?;
    Ok(match conditions.iter().find(|c| c.name == "Available") {
        Some(condition) if condition.is_true() => healthy(condition.message),
        Some(condition) => progressing(condition.words()),
        None => progressing("waits to be available"),
    })
}
