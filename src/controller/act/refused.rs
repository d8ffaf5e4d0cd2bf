//! What the API server did not take, before it is known what becomes of it.

use crate::diff::Refusal;
use crate::object::ResourceKey;
use crate::plan::Place;

/// What the API server did not take.
pub(in crate::controller) struct Refused {
    pub(in crate::controller) key: ResourceKey,
    pub(in crate::controller) place: Place,
    pub(in crate::controller) why: String,
    pub(in crate::controller) refusal: Option<Refusal>,
}
