//! Service. Only load balancers have something to wait for.

use super::{Error, Fields, Health, healthy, progressing};
use crate::object::Object;

pub(super) fn assess(live: &Object) -> Result<Health, Error> {
    let service = Fields::of(live);
    let balanced = service.text("spec.type")? == "LoadBalancer";
    let addresses = service.list("status.loadBalancer.ingress")?;
    Ok(if balanced && addresses.is_empty() {
        progressing("waits for a load balancer")
    } else {
        healthy("")
    })
}
