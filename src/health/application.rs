//! A child Application, ours or Argo CD's: as well as it says itself. Argo CD has no rule here,
//! and everybody with applications of applications adds this one.

use serde::Deserialize;

use super::{Error, Fields, Health, unknown};
use crate::crd::{HealthCode, names};
use crate::object::Object;

pub(super) fn is_application(group: &str, kind: &str) -> bool {
    kind == names::KIND && (group == names::GROUP || group == "argoproj.io")
}

/// None before its first assessment.
pub(super) fn assess(live: &Object) -> Result<Option<Health>, Error> {
    let application = Fields::of(live);
    let Some(status) = application.value("status.health.status")? else {
        return Ok(None);
    };
    let message = application.text("status.health.message")?;
    Ok(Some(match HealthCode::deserialize(status) {
        Ok(code) => Health::new(code, message),
        Err(_) => unknown("its health is none that is known"),
    }))
}
