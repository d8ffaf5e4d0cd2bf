//! Sync options: Argo CD's words, and what they mean here.
//!
//! The application lists them (`syncOptions`) and an object carries them in an annotation
//! (`sync-options`, comma-separated), which wins. Flux's and Helm's words on an object count where it
//! says nothing in ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::foreign;
use super::names::{ARGO_FINALIZERS, COMPARE_OPTIONS, FINALIZER, SYNC_OPTIONS, annotation};
use crate::object::Object;

/// Whether something may be done to an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Consent {
    #[default]
    Yes,
    No,
    /// When a person agreed.
    Confirm,
}

/// What becomes of the objects that a deleted object owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    /// As `DeleteOptions` say it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// What a finalizer says about the objects that the resources own. As in Argo CD the one without
/// a suffix means foreground; ours means background, which is quicker.
pub(super) fn propagation(finalizer: &str) -> Option<Propagation> {
    match finalizer {
        FINALIZER => Some(Propagation::Background),
        finalizer if finalizer.ends_with("/background") => Some(Propagation::Background),
        finalizer if ARGO_FINALIZERS.contains(&finalizer) => Some(Propagation::Foreground),
        _ => None,
    }
}

/// The options that are in force for one object, or for a whole application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncOptions {
    /// Written whole instead of merged: fields of others go.
    pub(crate) replace: bool,
    /// Deleted and created again where a change is impossible.
    pub(crate) force: bool,
    /// The object itself says so, which is needed for what holds data.
    pub(crate) force_by_name: bool,
    /// Created when missing, left alone after.
    pub(crate) if_not_present: bool,
    /// Deleted only after everything that was applied is healthy.
    pub(crate) prune_last: bool,
    /// Whether it may be deleted when it is no longer desired.
    pub(crate) prune: Consent,
    /// Whether it may be deleted with its Application.
    pub(crate) delete: Consent,
    pub(crate) create_namespace: bool,
    /// What people set by kubectl beside what is declared goes again.
    pub(crate) revert_kubectl: bool,
    /// Not asked about before the first write while nobody serves its kind.
    #[serde(default)]
    pub(crate) skip_missing: bool,
    /// Never written and never deleted, whether it is there or not.
    #[serde(default)]
    pub(crate) left_alone: bool,
    /// What `kubectl apply` set and the source does not say stays.
    #[serde(default)]
    pub(crate) keeps_kubectl: bool,
    pub(crate) propagation: Propagation,
}

/// What is in force always: giving it changes nothing, and what happens when it is switched off.
const ALWAYS: [(&str, &str); 6] = [
    (
        "ServerSideApply",
        "objects are always applied server-side; Replace=true writes them whole",
    ),
    ("Validate", "the API server always validates"),
    ("ApplyOutOfSyncOnly", "only what differs is applied"),
    (
        "RespectIgnoreDifferences",
        "ignored differences are always left alone",
    ),
    (
        "FailOnSharedResource",
        "what belongs to another application is never taken over",
    ),
    (
        "ClientSideApplyMigration",
        "fields of earlier tools are always taken over",
    ),
];

impl SyncOptions {
    /// The options of an application, and of one sync of it where more are given.
    pub(crate) fn of_application(options: &[String]) -> Self {
        Self::default().with(options)
    }

    /// The options of one object: what it says itself wins over what the application says.
    pub(crate) fn of_object(self, object: &Object) -> Self {
        let mut read = self;
        read.left_alone = foreign::is_left_alone(object);
        read.force |= foreign::forces(object);
        match foreign::apply(object) {
            Some(foreign::Apply::Override) => read.revert_kubectl = true,
            Some(foreign::Apply::Merge) => {
                (read.revert_kubectl, read.keeps_kubectl) = (false, true);
            }
            Some(foreign::Apply::IfNotPresent) => read.if_not_present = true,
            None => {}
        }
        read = read.with_all(texts(object));
        let by_name = foreign::forces(object) || texts(object).any(|option| option == "Force=true");
        read.force_by_name = read.force && by_name;
        read
    }

    /// These options with more that win over them.
    pub(crate) fn with(self, options: &[String]) -> Self {
        self.with_all(options.iter().map(String::as_str))
    }

    fn with_all<'a>(mut self, options: impl Iterator<Item = &'a str> + Clone) -> Self {
        for option in options.clone() {
            self.take(option);
        }
        // Deleting cannot be taken back: of several words about it the most careful counts.
        self.prune = consent_of("Prune", options.clone()).unwrap_or(self.prune);
        self.delete = consent_of("Delete", options).unwrap_or(self.delete);
        self
    }

    /// Takes one option in; false when it is not known.
    fn take(&mut self, option: &str) -> bool {
        let Some((name, value)) = option.trim().split_once('=') else {
            return false;
        };
        let flag = match value {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        let consent = consent(value);
        match (name, flag, consent) {
            ("Replace", Some(flag), _) => self.replace = flag,
            ("Force", Some(flag), _) => self.force = flag,
            ("IfNotPresent", Some(flag), _) => self.if_not_present = flag,
            ("PruneLast", Some(flag), _) => self.prune_last = flag,
            ("CreateNamespace", Some(flag), _) => self.create_namespace = flag,
            ("RevertKubectlFields", Some(flag), _) => self.revert_kubectl = flag,
            ("SkipDryRunOnMissingResource", Some(flag), _) => self.skip_missing = flag,
            ("Prune", _, Some(consent)) => self.prune = consent,
            ("Delete", _, Some(consent)) => self.delete = consent,
            ("PrunePropagationPolicy", ..) => {
                self.propagation = match value {
                    "background" => Propagation::Background,
                    "foreground" => Propagation::Foreground,
                    "orphan" => Propagation::Orphan,
                    _ => return false,
                }
            }
            (_, Some(_), _) => return ALWAYS.iter().any(|(known, _)| *known == name),
            _ => return false,
        }
        true
    }
}

/// What an object says itself about being pruned; none where it says nothing. Flux's and Helm's words
/// for staying are a no.
pub(crate) fn prune_consent(object: &Object) -> Option<Consent> {
    let kept = foreign::is_kept(object).then_some(Consent::No);
    consent_of("Prune", texts(object)).or(kept)
}

fn consent(value: &str) -> Option<Consent> {
    match value {
        "true" => Some(Consent::Yes),
        "false" => Some(Consent::No),
        "confirm" => Some(Consent::Confirm),
        _ => None,
    }
}

/// What options say about a deletion; the most careful where they say several things, as in Argo
/// CD.
fn consent_of<'a>(name: &str, options: impl Iterator<Item = &'a str>) -> Option<Consent> {
    let named = options.filter_map(|option| option.trim().split_once('='));
    let consents = named.filter_map(|(given, value)| consent(value).filter(|_| given == name));
    consents.max_by_key(|consent| match consent {
        Consent::Yes => 0,
        Consent::Confirm => 1,
        Consent::No => 2,
    })
}

/// What an object says itself about being deleted with its Application; Flux's and Helm's words for
/// staying are a no.
pub(crate) fn delete_consent(object: &Object) -> Option<Consent> {
    let kept = foreign::is_kept(object).then_some(Consent::No);
    consent_of("Delete", texts(object)).or(kept)
}

/// Whether an object asks not to be counted as difference when it is not desired (any more): by the
/// option for it, or as what Flux and Helm would keep and forget.
pub(crate) fn is_extraneous(object: &Object) -> bool {
    let forgotten = foreign::is_kept(object) && prune_consent(object) == Some(Consent::No);
    let asks = annotation(object, COMPARE_OPTIONS).is_some_and(|text| {
        text.split(',')
            .any(|option| option.trim() == "IgnoreExtraneous")
    });
    asks || forgotten
}

/// The options that an object carries.
fn texts(object: &Object) -> impl Iterator<Item = &str> + Clone {
    annotation(object, SYNC_OPTIONS)
        .into_iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty())
}

/// Whether an option is known.
pub(crate) fn is_known(option: &str) -> bool {
    SyncOptions::default().take(option)
}

/// What an option that cannot be switched off, or that nobody knows, leads to. Empty for others.
pub(crate) fn remark(option: &str) -> Option<String> {
    let option = option.trim();
    if !is_known(option) {
        return Some(format!("{option} is not known and changes nothing"));
    }
    let (name, _) = option.split_once("=false")?;
    let (_, instead) = ALWAYS.iter().find(|(known, _)| *known == name)?;
    Some(format!("{option} changes nothing: {instead}"))
}

/// Says of each option that is given several values which of them counts.
fn contradictions<'a>(options: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for option in options.map(str::trim).filter(|option| is_known(option)) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let values = given.entry(name).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }
    given.retain(|_, values| values.len() > 1);
    let said = given.iter().map(|(name, values)| {
        let counts = match *name {
            "Prune" | "Delete" => "the most careful counts",
            _ => "the last counts",
        };
        format!(
            "{name} is given several values ({}): {counts}",
            values.join(", ")
        )
    });
    said.collect()
}

/// The remarks on the options that an object carries.
pub(crate) fn remarks(object: &Object) -> Vec<String> {
    let key = object.key();
    let foreign = foreign::unknown(object).into_iter();
    let foreign = foreign.map(|word| format!("{word} is not known and changes nothing"));
    let remarks = texts(object).filter_map(remark).chain(foreign);
    let remarks = remarks.chain(contradictions(texts(object)));
    remarks.map(|remark| format!("{key}: {remark}")).collect()
}

/// The remarks on the options of an application.
pub(crate) fn remarks_of_application(options: &[String]) -> Vec<String> {
    let remarks = options.iter().filter_map(|option| remark(option));
    remarks
        .chain(contradictions(options.iter().map(String::as_str)))
        .map(|remark| format!("spec.syncPolicy.syncOptions: {remark}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(options: &str) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "annotations": {"argocd.argoproj.io/sync-options": options}},
        }))
        .unwrap()
    }

    fn application(options: &[&str]) -> SyncOptions {
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        SyncOptions::of_application(&options)
    }

    #[test]
    fn an_object_wins_over_its_application() {
        let of_app = application(&["Prune=false", "Replace=true", "Delete=confirm"]);
        assert_eq!(of_app.prune, Consent::No);
        let of_object = of_app.of_object(&object("Prune=true, Force=true"));
        assert_eq!(of_object.prune, Consent::Yes);
        assert_eq!(of_object.delete, Consent::Confirm);
        assert!(of_object.replace && of_object.force && of_object.force_by_name);
        assert!(!application(&["Force=true"]).force_by_name);
    }

    #[test]
    fn of_several_values_one_counts_and_that_is_said() {
        for (options, prune, replace, said) in [
            (
                "Prune=false,Prune=true",
                Some(Consent::No),
                false,
                Some("most careful"),
            ),
            (
                "Prune=true, Prune=confirm",
                Some(Consent::Confirm),
                false,
                Some("true, confirm"),
            ),
            ("Prune=true,Prune=true", Some(Consent::Yes), false, None),
            (
                "Replace=true,Replace=false",
                None,
                false,
                Some("the last counts"),
            ),
            (
                "Replace=false,Replace=true",
                None,
                true,
                Some("the last counts"),
            ),
        ] {
            let object = object(options);
            assert_eq!(prune_consent(&object), prune, "{options}");
            let read = SyncOptions::default().of_object(&object);
            assert_eq!(read.prune, prune.unwrap_or_default(), "{options}");
            assert_eq!(read.replace, replace, "{options}");
            let list: Vec<_> = options.split(',').map(str::to_owned).collect();
            assert_eq!(SyncOptions::of_application(&list).prune, read.prune);
            for remarks in [remarks(&object), remarks_of_application(&list)] {
                assert_eq!(remarks.len(), usize::from(said.is_some()), "{options}");
                assert!(
                    said.is_none_or(|said| remarks[0].contains(said)),
                    "{remarks:?}"
                );
            }
        }
    }

    #[test]
    fn words_of_other_tools_count_where_ours_say_nothing() {
        let object = |ours: &str, name: &str, value: &str| {
            let mut object = object(ours);
            object.set_annotation(name, value);
            object
        };
        let flux = |ours, word: &str, value| {
            let name = format!("kustomize.toolkit.fluxcd.io/{word}");
            object(ours, &name, value)
        };
        let keep = |ours| object(ours, "helm.sh/resource-policy", "keep");
        for kept in [
            flux("", "prune", "disabled"),
            flux("", "reconcile", "disabled"),
            keep(""),
        ] {
            assert_eq!(prune_consent(&kept), Some(Consent::No));
            assert_eq!(delete_consent(&kept), Some(Consent::No));
            assert!(is_extraneous(&kept));
        }
        let both = keep("Prune=true,Delete=confirm");
        assert_eq!(prune_consent(&both), Some(Consent::Yes));
        assert_eq!(delete_consent(&both), Some(Consent::Confirm));
        assert!(!is_extraneous(&both));
        let of = |object: &Object| application(&["RevertKubectlFields=true"]).of_object(object);
        assert!(of(&flux("", "ssa", "IfNotPresent")).if_not_present);
        assert!(of(&flux("", "ssa", "Ignore")).left_alone);
        let merged = of(&flux("", "ssa", "Merge"));
        assert!(merged.keeps_kubectl && !merged.revert_kubectl);
        assert!(
            SyncOptions::default()
                .of_object(&flux("", "ssa", "Override"))
                .revert_kubectl
        );
        let forced = of(&flux("", "force", "enabled"));
        assert!(forced.force && forced.force_by_name);
        assert!(!of(&flux("Force=false", "force", "enabled")).force);
        assert_eq!(remarks(&flux("", "prune", "off")).len(), 1);
    }

    #[test]
    fn the_policy_of_deletion_is_read() {
        for (value, expected) in [
            ("foreground", Propagation::Foreground),
            ("background", Propagation::Background),
            ("orphan", Propagation::Orphan),
        ] {
            let option = format!("PrunePropagationPolicy={value}");
            assert_eq!(application(&[&option]).propagation, expected);
        }
        assert!(!is_known("PrunePropagationPolicy=never"));
    }

    #[test]
    fn what_changes_nothing_is_said() {
        for (option, expected) in [
            ("ServerSideApply=true", None),
            ("ServerSideApply=false", Some("always applied server-side")),
            ("Validate=false", Some("always validates")),
            ("Replace=false", None),
            ("PruneLast=true", None),
            ("RevertKubectlFields=true", None),
            ("SkipDryRunOnMissingResource=false", None),
            ("Sparkle=true", Some("not known")),
            ("Prune=maybe", Some("not known")),
            ("nonsense", Some("not known")),
        ] {
            let remark = remark(option);
            match expected {
                None => assert_eq!(remark, None, "{option}"),
                Some(text) => assert!(remark.unwrap().contains(text), "{option}"),
            }
        }
        assert_eq!(remarks(&object("Validate=false,Replace=true,")).len(), 1);
    }
}
