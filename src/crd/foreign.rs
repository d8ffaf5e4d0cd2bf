//! What other tools' words on an object ask for: Flux's `kustomize.toolkit.fluxcd.io/…` and Helm's
//! `helm.sh/resource-policy`, so that what was moved from them is treated as before.
//!
//! As in Flux a word counts as label and as annotation, and its value in any case of letters.

use crate::object::Object;

/// Before the names of Flux's words.
const PREFIX: &str = "kustomize.toolkit.fluxcd.io/";

/// Each word of Flux with the values that it can have.
const WORDS: [(&str, &[&str]); 4] = [
    ("prune", &["disabled", "enabled"]),
    ("reconcile", &["disabled", "enabled"]),
    ("force", &["enabled", "disabled"]),
    ("ssa", &["Override", "Merge", "IfNotPresent", "Ignore"]),
];

/// Names with the same prefix that say nothing about what is done to an object: bookkeeping of
/// Flux, and what switches off what is not done here anyway.
const WITHOUT_MEANING: [&str; 5] = ["name", "namespace", "checksum", "substitute", "sops"];

/// How Flux is asked to apply an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apply {
    Override,
    Merge,
    IfNotPresent,
}

/// How an object asks to be applied.
pub(super) fn apply(object: &Object) -> Option<Apply> {
    let asks = |value| says(object, "ssa", value);
    if asks("IfNotPresent") {
        Some(Apply::IfNotPresent)
    } else if asks("Merge") {
        Some(Apply::Merge)
    } else {
        asks("Override").then_some(Apply::Override)
    }
}

/// Whether an object asks to be created again where a change is impossible.
pub(super) fn forces(object: &Object) -> bool {
    says(object, "force", "enabled")
}

/// Whether an object asks not to be written at all. As in Flux it may say so in the source or in
/// the cluster.
pub(crate) fn is_left_alone(object: &Object) -> bool {
    says(object, "reconcile", "disabled") || says(object, "ssa", "Ignore")
}

/// Whether a live object asks to stay when it is not desired any more, or its Application goes.
pub(super) fn is_kept(object: &Object) -> bool {
    let policy = object.annotation("helm.sh/resource-policy");
    says(object, "prune", "disabled")
        || says(object, "reconcile", "disabled")
        || policy.is_some_and(|policy| policy.trim().eq_ignore_ascii_case("keep"))
}

/// The words that are not known, with their values.
pub(super) fn unknown(object: &Object) -> Vec<String> {
    let metadata = ["labels", "annotations"].into_iter().filter_map(|field| {
        let map = object.get(&format!("/metadata/{field}"))?;
        map.as_object()
    });
    let mut unknown = Vec::new();
    for (name, value) in metadata.flatten() {
        let Some(word) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let value = value.as_str().unwrap_or_default();
        let values = WORDS.iter().find(|(known, _)| *known == word);
        let known = match values {
            Some((_, values)) => values.iter().any(|it| it.eq_ignore_ascii_case(value)),
            None => WITHOUT_MEANING.contains(&word),
        };
        if !known {
            unknown.push(format!("{name}: {value}"));
        }
    }
    unknown
}

fn says(object: &Object, word: &str, value: &str) -> bool {
    let name = format!("{PREFIX}{word}");
    let values = [object.label(&name), object.annotation(&name)];
    let mut values = values.into_iter().flatten();
    values.any(|given| given.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(field: &str, name: &str, value: &str) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", field: {name: value}},
        }))
        .unwrap()
    }

    #[test]
    fn words_count_as_label_and_annotation_in_any_case() {
        for field in ["labels", "annotations"] {
            let says = |word: &str, value: &str| object(field, &format!("{PREFIX}{word}"), value);
            for (given, left, kept, forced, applied) in [
                (says("prune", "disabled"), false, true, false, None),
                (says("prune", "Disabled"), false, true, false, None),
                (says("prune", "enabled"), false, false, false, None),
                (says("reconcile", "disabled"), true, true, false, None),
                (says("ssa", "Ignore"), true, false, false, None),
                (says("force", "Enabled"), false, false, true, None),
                (
                    says("ssa", "merge"),
                    false,
                    false,
                    false,
                    Some(Apply::Merge),
                ),
                (
                    says("ssa", "Override"),
                    false,
                    false,
                    false,
                    Some(Apply::Override),
                ),
                (
                    says("ssa", "IfNotPresent"),
                    false,
                    false,
                    false,
                    Some(Apply::IfNotPresent),
                ),
            ] {
                assert_eq!(is_left_alone(&given), left, "{given:?}");
                assert_eq!(is_kept(&given), kept, "{given:?}");
                assert_eq!(forces(&given), forced, "{given:?}");
                assert_eq!(apply(&given), applied, "{given:?}");
                assert_eq!(unknown(&given), Vec::<String>::new());
            }
        }
    }

    #[test]
    fn helm_keeps_by_annotation_only() {
        let policy = "helm.sh/resource-policy";
        assert!(is_kept(&object("annotations", policy, "keep")));
        assert!(is_kept(&object("annotations", policy, " Keep")));
        assert!(!is_kept(&object("annotations", policy, "delete")));
        assert!(!is_kept(&object("labels", policy, "keep")));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (word, value, known) in [
            ("prune", "false", false),
            ("ssa", "Sometimes", false),
            ("sparkle", "disabled", false),
            ("substitute", "disabled", true),
            ("name", "apps", true),
        ] {
            let found = unknown(&object("annotations", &format!("{PREFIX}{word}"), value));
            assert_eq!(found.is_empty(), known, "{word}: {found:?}");
        }
    }
}
