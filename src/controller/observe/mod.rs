//! What one reconcile reads: the source, the rendered target, the live objects, and what a dry run
//! says of them.

pub(in crate::controller) mod compare;
pub(in crate::controller) mod dry_run;
pub(in crate::controller) mod ended;
pub(in crate::controller) mod events;
pub(in crate::controller) mod fights;
pub(in crate::controller) mod gates;
pub(in crate::controller) mod live;
pub(in crate::controller) mod manifests;
pub(in crate::controller) mod moving;
pub(in crate::controller) mod namespace;
pub(in crate::controller) mod projects;
pub(in crate::controller) mod unwatched;
