//! From what differs to what is done about it: in which order, what is pruned, what is refused,
//! and whether anything is done at all. Never sees the cluster.

mod confirm;
mod decide;
mod hook;
mod later;
mod needs;
mod order;
mod permit;
mod prune;
mod pull_up;
mod step;
mod window;

pub(crate) use confirm::{Question, is_confirmed};
pub(crate) use decide::{Action, Reason, Retry, Situation, decide, retry_pause, retry_pause_of};
pub(crate) use hook::{Hook, Role, role, wave};
pub(crate) use later::{
    Coming, Obstacle, When, enough, is_judged_by_content, later, stands_in_the_way, without,
};
pub(crate) use needs::needs;
pub(crate) use order::{Needs, batches_of_need, reverse_order};
pub(crate) use permit::{Applicant, permit, permit_objects};
pub(crate) use prune::{PruneGuard, check_prune};
pub(crate) use pull_up::{Needed, pull_up};
pub(crate) use step::{Patience, Place, Progress, Step, Subject, Task, some_of, step};
pub(crate) use window::windows;
