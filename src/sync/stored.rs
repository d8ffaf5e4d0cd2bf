//! What the API server stores otherwise than it was sent, object by object, as the status says it:
//! seen in the answers to our applies. Nothing is kept of an object that is stored as it was sent.

use super::refused::as_new;
use super::{Applied, Desired, Engine, Execution, Manifests, prepare, recall};
use crate::crd::StoredField;
use crate::crd::names::FIELD_MANAGER;
use crate::diff::{Baseline, IgnoreRules, Stored, rewritten, still_live, unexplained, value_at};
use crate::object::{Object, ResourceKey};

/// Fields of one object that are named.
const MOST_FIELDS: usize = 10;
/// Characters of a value that are shown.
const LONGEST: usize = 80;

/// The manifests that were applied before this sync, found when they are needed first.
#[derive(Default)]
pub(super) struct Earlier(Option<Vec<(Desired, Manifests)>>);

impl Earlier {
    /// What is to be said of one object after its apply.
    pub(super) async fn stored(
        &mut self,
        engine: &Engine,
        execution: &Execution<'_>,
        (key, answer): (&ResourceKey, &Object),
        baseline: Option<Baseline>,
    ) -> Vec<StoredField> {
        let (Some(applied), Some(manifest), Some(desired)) = (
            &execution.applied,
            execution.manifests.objects.get(key),
            execution.desired.objects.get(key),
        ) else {
            return Vec::new();
        };
        if desired.options.with(execution.options).if_not_present {
            return Vec::new();
        }
        let known = applied.stored.get(key).map_or(&[][..], Vec::as_slice);
        let mut found = stored_of(manifest, answer, execution.ignore, known);
        let before = applied.baselines.get(key);
        if let (Some(before), Some(now)) = (before, baseline)
            && before.entry != now.entry
            && before.desired != now.desired
            && let Some(before) = self.manifest(engine, applied, key, before).await
        {
            let left = left(execution, &before, manifest, answer).await;
            let left = left.into_iter().map(|it| row(key, answer, it));
            let new: Vec<_> = left
                .filter(|row| found.iter().all(|known| known.path != row.path))
                .collect();
            found.extend(new);
        }
        cut(found)
    }

    /// The manifest of an object that was applied before: from disk, else from the history.
    async fn manifest(
        &mut self,
        engine: &Engine,
        applied: &Applied<'_>,
        key: &ResourceKey,
        before: &Baseline,
    ) -> Option<Object> {
        if self.0.is_none() {
            let application = applied.application;
            let mut states = Vec::new();
            if let Some(rendered) = engine.bundles.load_before(&application.uid) {
                states.extend(prepare(engine, application, rendered.objects).await.ok());
            }
            self.0 = Some(states);
        }
        let find = |states: &[(Desired, Manifests)]| {
            let mut states = states.iter();
            states.find_map(|(desired, manifests)| {
                let object = desired.objects.get(key)?;
                let same = object.digest == before.desired;
                manifests.objects.get(key).filter(|_| same).cloned()
            })
        };
        let states = self.0.as_mut()?;
        if let Some(found) = find(states) {
            return Some(found);
        }
        // Once: the last deployment is the second that is asked.
        if states.len() < 2 && !applied.bundle.is_empty() {
            let recalled = recall(engine, applied.application, applied.bundle, "").await;
            states.extend(recalled.ok().flatten());
            while states.len() < 2 {
                states.push(Default::default());
            }
        }
        find(states)
    }
}

/// What left the manifest, is still live, and is there for no reason that anybody gave.
async fn left(
    execution: &Execution<'_>,
    before: &Object,
    manifest: &Object,
    answer: &Object,
) -> Vec<Stored> {
    let left = still_live(before, manifest, answer, FIELD_MANAGER);
    if left.is_empty() {
        return left;
    }
    let ignored = execution.ignore.of(&manifest.key());
    let claims = ignored.map_or_else(Vec::new, |it| it.claims(manifest, answer));
    let mut fresh = None;
    // Whether it is a default, only the API server knows.
    if left.iter().any(|it| it.by.is_none()) {
        let asked = async {
            let served = execution.cluster.served(&manifest.api()).await?;
            as_new(execution.cluster, &served, manifest, answer).await
        };
        match asked.await {
            Ok(object) => fresh = Some(object),
            Err(error) => {
                tracing::debug!(app = %execution.owner, %error, "its defaults are not known");
                let known = left.into_iter().filter(|it| it.by.is_some());
                return unexplained(known.collect(), &claims, None);
            }
        }
    }
    unexplained(left, &claims, fresh.as_ref())
}

/// What is to be said of one object by the answer to an apply or a dry run, and by what was `known`
/// before of fields that left its manifest.
pub(crate) fn stored_of(
    manifest: &Object,
    answer: &Object,
    ignore: &IgnoreRules,
    known: &[StoredField],
) -> Vec<StoredField> {
    let key = manifest.key();
    let mut sent = manifest.clone();
    if let Some(ignored) = ignore.of(&key) {
        ignored.respect(&mut sent, answer);
    }
    let found = rewritten(&sent, answer, FIELD_MANAGER).into_iter();
    let mut found: Vec<_> = found.map(|it| row(&key, answer, it)).collect();
    let value = |object: &Object, path: &str| {
        value_at(&serde_json::Value::Object(object.fields().clone()), path)
    };
    let still = known.iter().filter(|row| {
        row.sent.is_none()
            && value(manifest, &row.path).is_none()
            && value(answer, &row.path).map(|it| shown(answer, &row.path, &it)) == row.stored
    });
    found.extend(still.cloned());
    cut(found)
}

fn row(key: &ResourceKey, object: &Object, found: Stored) -> StoredField {
    let text = |value: Option<serde_json::Value>| value.map(|it| shown(object, &found.path, &it));
    StoredField {
        id: key.id(),
        sent: text(found.sent),
        stored: text(found.stored),
        by: found.by.unwrap_or_default(),
        path: found.path,
        repeated: found.repeated,
    }
}

/// A value in few characters; one of a Secret is hidden.
fn shown(object: &Object, path: &str, value: &serde_json::Value) -> String {
    let secret = object.kind() == "Secret" && object.group().is_empty();
    if secret && !path.starts_with("metadata") && path != "type" {
        return "(hidden)".to_owned();
    }
    let text = value.to_string();
    match text.chars().count() {
        0..=LONGEST => text,
        _ => text.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

/// Few fields of one object, with the number of the others.
fn cut(mut found: Vec<StoredField>) -> Vec<StoredField> {
    if found.len() > MOST_FIELDS {
        let more = found.len() - MOST_FIELDS + 1;
        found.truncate(MOST_FIELDS);
        if let Some(last) = found.last_mut() {
            *last = StoredField {
                id: std::mem::take(&mut last.id),
                path: format!("and {more} more fields"),
                ..StoredField::default()
            };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, data: Value) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": kind, "metadata": {"namespace": "shop", "name": "a"},
            "data": data,
        }))
        .unwrap()
    }

    #[test]
    fn what_is_stored_otherwise_is_said_in_few_words() {
        let long = "x".repeat(200);
        for (kind, sent, stored, expected) in [
            (
                "ConfigMap",
                json!({"a": "1"}),
                json!({"a": "1", "b": "2"}),
                vec![],
            ),
            (
                "ConfigMap",
                json!({"a": "1"}),
                json!({"a": "2"}),
                vec!["data.a was sent as \"1\" and is stored as \"2\"".to_owned()],
            ),
            (
                "ConfigMap",
                json!({"a": long}),
                json!({}),
                vec![format!(
                    "data.a was sent as \"{}… and is not stored",
                    "x".repeat(78)
                )],
            ),
            (
                "Secret",
                json!({"a": "eHk="}),
                json!({"a": "eHo="}),
                vec!["data.a was sent as (hidden) and is stored as (hidden)".to_owned()],
            ),
        ] {
            let (manifest, answer) = (object(kind, sent), object(kind, stored));
            let found = stored_of(&manifest, &answer, &IgnoreRules::default(), &[]);
            let words: Vec<_> = found.iter().map(StoredField::words).collect();
            assert_eq!(words, expected);
        }
        let many: serde_json::Map<_, _> =
            (0..20).map(|n| (format!("k{n:02}"), json!("1"))).collect();
        let manifest = object("ConfigMap", Value::Object(many));
        let found = stored_of(
            &manifest,
            &object("ConfigMap", json!({})),
            &IgnoreRules::default(),
            &[],
        );
        assert_eq!(found.len(), MOST_FIELDS);
        assert_eq!(found[MOST_FIELDS - 1].words(), "and 11 more fields");
    }

    #[test]
    fn what_left_is_said_as_long_as_it_is_there() {
        let left = StoredField {
            id: "/ConfigMap:shop/a".to_owned(),
            path: "data.b".to_owned(),
            stored: Some("\"2\"".to_owned()),
            ..StoredField::default()
        };
        for (sent, stored, expected) in [
            (json!({"a": "1"}), json!({"a": "1", "b": "2"}), true),
            (json!({"a": "1"}), json!({"a": "1", "b": "3"}), false),
            (json!({"a": "1"}), json!({"a": "1"}), false),
            (json!({"b": "2"}), json!({"b": "2"}), false),
        ] {
            let (manifest, answer) = (object("ConfigMap", sent), object("ConfigMap", stored));
            let known = [left.clone()];
            let found = stored_of(&manifest, &answer, &IgnoreRules::default(), &known);
            assert_eq!(!found.is_empty(), expected);
        }
    }
}
