//! Ingress. Unlike in Argo CD it is healthy without an address: many controllers never write one,
//! and which do cannot be seen here.

use super::{Error, Fields, Health, healthy};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let addresses = Fields::of(live).list("status.loadBalancer.ingress")?;
    Ok(healthy(if addresses.is_empty() {
        "no address"
    } else {
        ""
    }))
}
