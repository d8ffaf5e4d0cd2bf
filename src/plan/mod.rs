//! From what differs to what is done about it: in which order, what is pruned, what is refused,
//! and whether anything is done at all. Never sees the cluster.

mod decide;
mod order;
mod prune;

pub(crate) use decide::{Action, Reason, Retry, Situation, decide, retry_delay};
pub(crate) use order::{batches, reverse_order};
pub(crate) use prune::{PruneGuard, check_prune};
