//! A difference as text, the way `diff -u` writes it.

use similar::TextDiff;

use super::changes::as_manifest;
use crate::object::{Object, to_yaml};

/// Lines around a change.
const CONTEXT: usize = 3;
/// Beyond so many bytes on one side no text is made: fields are told one by one all the same.
const LARGEST: usize = 1 << 20;

/// From the live object to the desired one as a unified diff of their YAML, empty when they are
/// equal. A side that is not there is empty.
pub(crate) fn unified(live: Option<&Object>, desired: Option<&Object>) -> String {
    let yaml = |object: Option<&Object>| {
        let object = object.map(as_manifest);
        object
            .and_then(|object| to_yaml(object.fields()).ok())
            .unwrap_or_default()
    };
    let (live, desired) = (yaml(live), yaml(desired));
    if live.len().max(desired.len()) > LARGEST {
        return format!(
            "(too large to show: {} and {} bytes)\n",
            live.len(),
            desired.len()
        );
    }
    let mut config = TextDiff::configure();
    // A pathological pair costs a coarser diff, not a hanging request.
    config.timeout(std::time::Duration::from_secs(1));
    let diff = config.diff_lines(live.as_str(), desired.as_str());
    diff.unified_diff()
        .context_radius(CONTEXT)
        .header("live", "desired")
        .to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: &str) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "resourceVersion": value}, "data": {"key": value},
        }))
        .unwrap()
    }

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let expected = "\
--- live
+++ desired
@@ -1,6 +1,6 @@
 apiVersion: v1
 data:
-  key: one
+  key: two
 kind: ConfigMap
 metadata:
   name: a
";
        assert_eq!(unified(Some(&map("one")), Some(&map("two"))), expected);
        assert_eq!(unified(Some(&map("one")), Some(&map("one"))), "");
    }

    #[test]
    fn one_side_may_be_missing() {
        assert!(unified(None, Some(&map("a"))).contains("+kind: ConfigMap\n"));
        assert!(unified(Some(&map("a")), None).contains("-kind: ConfigMap\n"));
    }
}
