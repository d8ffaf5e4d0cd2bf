//! Desired against live: what was asked for, what is there, and whether the difference is ours.
//!
//! Drift is judged by field ownership: after our own apply the API server tells which fields are
//! ours (`metadata.managedFields`), and the digests of that entry and of the live values it names
//! stay equal until somebody touches one of our fields. Nothing here asks the cluster.

mod adopt;
mod canonical;
mod changes;
mod handover;
mod ignore;
mod jq;
mod kept;
mod mask;
mod normalize;
mod nulls;
mod observe;
mod overlay;
mod owned;
mod refusal;
mod repair;
mod repeated;
mod retyped;
mod same;
mod stored;
mod text;
mod union;

pub(crate) use adopt::{OfKubectl, adopt};
pub(crate) use canonical::Digest;
pub(crate) use changes::{Change, as_manifest, changes};
pub(crate) use handover::{Path, hand_over};
pub(crate) use ignore::IgnoreRules;
pub(crate) use kept::kept;
pub(crate) use mask::masked;
pub(crate) use normalize::normalize;
pub(crate) use nulls::without_nulls;
pub(crate) use observe::{Baseline, Observation, Verdict, differs, judge, observe};
pub(crate) use overlay::overlaid;
pub(crate) use refusal::{By, Cause, Refusal};
pub(crate) use repair::repair;
pub(crate) use repeated::without_repeated;
pub(crate) use retyped::retyped;
pub(crate) use stored::{Stored, rewritten, still_live, unexplained, value_at};
pub(crate) use text::unified;
