//! What a person can agree to or decide about deletions. Pure.

use clap::ValueEnum;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Application, names};

/// What becomes of the objects of a deleted Application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cascade {
    /// They are deleted; what they own goes after them
    Background,
    /// They are deleted after what they own
    Foreground,
    /// They stay
    Orphan,
}

impl Cascade {
    /// The finalizer that says so, none for objects that stay.
    pub(crate) fn finalizer(self) -> Option<&'static str> {
        let [_, _, foreground] = names::ARGO_FINALIZERS;
        match self {
            Self::Background => Some(names::FINALIZER),
            Self::Foreground => Some(foreground),
            Self::Orphan => None,
        }
    }
}

/// The annotation (without its prefix) and value that approve what waits; none when nothing does.
pub(crate) fn approval(
    application: &Application,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    let conditions = &application.status.conditions;
    let message = |type_: &str| {
        let found = conditions.iter().find(|condition| condition.type_ == type_);
        found.map(|condition| condition.message.as_str())
    };
    if application.object.is_terminating() {
        message("Deleting").filter(|message| message.contains(names::DELETION_APPROVED))?;
        return Some((names::DELETION_APPROVED, now.to_string()));
    }
    let marker = format!("{}=", names::PRUNE_APPROVED);
    let (_, token) = message("PruneHeld")?.rsplit_once(&marker)?;
    Some((names::PRUNE_APPROVED, token.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::read;
    use crate::object::Object;

    #[test]
    fn only_what_waits_is_approved() {
        let now = Timestamp::UNIX_EPOCH;
        let application = |type_: &str, message: &str| {
            let conditions = json!([{"type": type_, "message": message}]);
            read(
                Object::new(json!({
                    "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                    "metadata": {"name": "shop"}, "status": {"conditions": conditions},
                }))
                .unwrap(),
            )
        };
        let held =
            "if that is meant, annotate the Application with trimtab.dev/prune-approved=a1b2";
        let expected = Some((names::PRUNE_APPROVED, "a1b2".to_owned()));
        assert_eq!(approval(&application("PruneHeld", held), now), expected);
        assert_eq!(
            approval(&application("PruneHeld", "the commit does not render"), now),
            None
        );
        assert_eq!(approval(&application("SyncError", held), now), None);
    }
}
