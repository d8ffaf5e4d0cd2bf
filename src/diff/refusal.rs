//! What the API server says when it refuses a write: kept whole for decisions, and never shown, as
//! it may quote the values of a Secret.

use std::fmt;

/// So much of a text is judged: what decides stands at its beginning or in its causes.
const MOST: usize = 64 * 1024;
/// So many causes are judged.
const CAUSES: usize = 256;

/// A refused write.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    text: String,
    pub(crate) causes: Vec<Cause>,
}

/// One field that is at fault.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    /// The API server's word, such as `FieldValueForbidden`.
    pub(crate) reason: String,
    /// The path, such as `spec.ports[1].name`.
    pub(crate) field: String,
    pub(crate) message: String,
}

/// Who refused it, as far as that changes what may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The authoriser: the account may not do this, or may not give these rights.
    Authoriser,
    /// A policy or webhook of the cluster.
    Policy,
    /// A webhook that could not be asked, or a kind whose server does not answer.
    Unreachable,
    /// What the API server itself checks beside the object: accounts, classes, quotas, limits.
    Admission,
    /// Something that it names is not there.
    Missing,
    /// The schema of the kind, or the validation of the object and of its change.
    Validation,
    /// The fields that are remembered of another version of the kind.
    Ownership,
    /// Anything else, for instance too many requests.
    Other,
}

impl Refusal {
    pub(crate) fn new(code: u16, text: &str, causes: impl IntoIterator<Item = Cause>) -> Self {
        Self {
            code,
            text: text.chars().take(MOST).collect(),
            causes: causes.into_iter().take(CAUSES).collect(),
        }
    }

    /// The text, as far as it is judged.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the text holds these words.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.text.contains(words)
    }

    /// What follows the first of these words; empty without them.
    pub(crate) fn after(&self, words: &str) -> &str {
        self.text.split_once(words).map_or("", |(_, after)| after)
    }

    /// Whether the text names something: the whole name, and not a part of a longer one.
    pub(crate) fn names(&self, name: &str) -> bool {
        let part = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == '.';
        let ends = |c: Option<char>| c.is_none_or(|c| !part(c));
        !name.is_empty()
            && self.text.match_indices(name).any(|(at, _)| {
                let after = self.text[at + name.len()..].trim_start_matches('.');
                ends(self.text[..at].chars().next_back()) && ends(after.chars().next())
            })
    }

    /// Whether the text names a kind, whatever its case, and an object by its name.
    pub(crate) fn names_object(&self, kind: &str, name: &str) -> bool {
        self.names(name) && self.text.to_lowercase().contains(&kind.to_lowercase())
    }

    /// Who refused it.
    pub(crate) fn by(&self) -> By {
        let policy = ["denied the request: ", "denied request: "];
        match self.code {
            403 if self.says("is forbidden: User \"") || self.says("to grant RBAC permissions") => {
                By::Authoriser
            }
            _ if policy.iter().any(|words| self.says(words)) => By::Policy,
            _ if self.says("failed calling webhook") || self.says("conversion webhook for") => {
                By::Unreachable
            }
            403 => By::Admission,
            404 => By::Missing,
            400 | 422 => By::Validation,
            500 if self.is_untyped() || self.says("illegal base64") => By::Validation,
            // Of a port for health checks it says so with another code than of all others.
            500 if self.says("provided port is already allocated") => By::Validation,
            500 if self.is_lasting() => By::Ownership,
            503 => By::Unreachable,
            _ => By::Other,
        }
    }

    /// Whether an answer 500 stays one, whatever time passes: the API server has no other code for
    /// what does not fit a schema.
    pub(crate) fn is_lasting(&self) -> bool {
        const WORDS: [&str; 6] = [
            "illegal base64",
            "field not declared in schema",
            "failed to create typed",
            "failed to prune fields",
            "invalid group/version",
            "to smd typed",
        ];
        self.code == 500 && !self.says("webhook") && WORDS.iter().any(|words| self.says(words))
    }

    /// Whether the manifest itself does not fit the schema of its kind.
    pub(crate) fn is_untyped(&self) -> bool {
        self.says("failed to create typed patch object")
    }

    /// Whether what is live does not fit the schema of its kind.
    pub(crate) fn is_about_live_types(&self) -> bool {
        self.code == 500 && self.says("failed to create typed live object")
    }

    /// Whether a version of a definition is to go in which objects may be stored.
    pub(crate) fn keeps_stored_version(&self) -> bool {
        let mut causes = self.causes.iter();
        self.code == 422 && causes.any(|cause| cause.field.starts_with("status.storedVersions"))
    }

    /// Whether no fault is named, or one beside those of the metadata, which no schema of the
    /// kind changes.
    pub(crate) fn is_about_more_than_metadata(&self) -> bool {
        let mut causes = self.causes.iter();
        self.causes.is_empty() || causes.any(|cause| !cause.field.starts_with("metadata"))
    }
}

/// The texts stay out of logs and panics.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusal({}, {:?})", self.code, self.by())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refused() {
        for (code, text, expected) in [
            (
                403,
                "configmaps \"a\" is forbidden: User \"u\" cannot patch resource",
                By::Authoriser,
            ),
            (
                403,
                "roles.rbac.authorization.k8s.io \"a\" is forbidden: user \"u\" (groups=[\"g\"]) is \
                 attempting to grant RBAC permissions not currently held",
                By::Authoriser,
            ),
            (
                422,
                "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' \
                 denied request: no",
                By::Policy,
            ),
            (
                400,
                "admission webhook \"w.example.com\" denied the request: no",
                By::Policy,
            ),
            (
                500,
                "Internal error occurred: failed calling webhook \"w\"",
                By::Unreachable,
            ),
            (
                500,
                "conversion webhook for a/v1, Kind=B failed: field not declared in schema",
                By::Unreachable,
            ),
            (
                403,
                "pods \"a\" is forbidden: no PriorityClass with name b was found",
                By::Admission,
            ),
            (
                404,
                "roles.rbac.authorization.k8s.io \"a\" not found",
                By::Missing,
            ),
            (422, "Service \"a\" is invalid: spec.ports", By::Validation),
            (
                500,
                "failed to create typed patch object (a/b): .spec.keep: field not declared in schema",
                By::Validation,
            ),
            (
                500,
                "failed to prune fields: failed to convert merged object at version a/v1beta1: \
                 .spec.extra: field not declared in schema",
                By::Ownership,
            ),
            (
                500,
                ".spec.policy: field not declared in schema",
                By::Ownership,
            ),
            (
                500,
                "request to convert CR to an invalid group/version: a/v1alpha1",
                By::Ownership,
            ),
            (500, "illegal base64 data at input byte 7", By::Validation),
            (
                500,
                "failed to allocate requested HealthCheck NodePort 31111: provided port is already \
                 allocated",
                By::Validation,
            ),
            (500, "etcdserver: leader changed", By::Other),
            (429, "too many requests", By::Other),
            (503, "service unavailable", By::Unreachable),
        ] {
            assert_eq!(Refusal::new(code, text, []).by(), expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_a_whole_word() {
        let says = |text| Refusal::new(403, text, []);
        let missing = says("error looking up service account shop/tool: serviceaccount \"tool\"");
        assert!(missing.names_object("ServiceAccount", "tool"));
        assert!(missing.names("shop") && !missing.names("too") && !missing.names(""));
        assert!(!missing.names_object("ConfigMap", "tool"));
        assert!(!says("no PriorityClass with name a-high was found").names("high"));
        assert!(says("RuntimeClass \"fast.io\" is not there.").names("fast.io"));
        assert!(says("it needs shop.").names("shop"));
    }

    #[test]
    fn what_it_says_is_not_shown() {
        let refusal = Refusal::new(422, "data: Invalid value: \"hunter2\"", []);
        assert_eq!(format!("{refusal:?}"), "Refusal(422, Validation)");
    }
}
