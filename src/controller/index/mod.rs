//! What is known over all Applications, each behind a lock of its own: who claims which object, who
//! depends on whom, what projects permit, and how many there are of what.

pub(in crate::controller) mod claims;
pub(in crate::controller) mod dependencies;
pub(in crate::controller) mod projects;
pub(in crate::controller) mod summary;
