//! Whom verified claims name. As the API server does it with its `--oidc-` flags, but stricter:
//! what is missing, empty or of another type names nobody.

use serde_json::{Map, Value};

use super::Error;
use crate::config::Oidc;
use crate::text::is_unseen;

/// Characters of a name.
const LONGEST: usize = 256;
/// Groups of one person.
const MOST_GROUPS: usize = 1000;

/// Somebody whom the provider named, with the prefixes of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

impl Person {
    /// Reads name and groups from claims.
    pub(super) fn of(claims: &Map<String, Value>, settings: &Oidc) -> Result<Self, Error> {
        let nobody = |why: String| Err(Error::Nobody(why));
        let claim = &settings.username_claim;
        let Some(name) = claims.get(claim).and_then(Value::as_str).and_then(word) else {
            return nobody(format!("it has no claim {claim} that is a name"));
        };
        if claim == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
            return nobody("the provider did not verify the e-mail address".to_owned());
        }
        let claim = &settings.groups_claim;
        let groups = match claims.get(claim) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::String(one)) => word(one).map(|one| vec![one]),
            Some(Value::Array(all)) if all.len() <= MOST_GROUPS => {
                all.iter().map(|it| it.as_str().and_then(word)).collect()
            }
            Some(_) => None,
        };
        let Some(groups) = groups else {
            return nobody(format!("its claim {claim} is no list of names"));
        };
        let person = Self {
            name: format!("{}{name}", settings.username_prefix),
            groups: groups
                .iter()
                .map(|group| format!("{}{group}", settings.groups_prefix))
                .collect(),
        };
        // These are the cluster's own, whoever the provider calls so.
        let all = person.groups.iter().chain([&person.name]);
        if let Some(own) = all.into_iter().find(|it| it.starts_with("system:")) {
            return nobody(format!("{own} is a name of the cluster's own"));
        }
        Ok(person)
    }
}

/// A name that is one: not empty, not endless, nothing that cannot be seen.
fn word(text: &str) -> Option<&str> {
    // A name has no use for joiners either.
    let seen = |c: char| !is_unseen(c) && !matches!(c, '\u{200c}' | '\u{200d}');
    let good = !text.trim().is_empty()
        && text.trim() == text
        && text.chars().count() <= LONGEST
        && text.chars().all(seen);
    good.then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Settings;

    fn settings(more: &str) -> Oidc {
        let text = format!(
            "oidc: {{issuer: https://id.example.com, clientID: a, \
             redirectURL: 'https://t.example.com/login/callback'{more}}}"
        );
        Settings::parse(&text).unwrap().oidc.unwrap()
    }

    fn person(claims: Value, more: &str) -> Result<Person, Error> {
        Person::of(claims.as_object().unwrap(), &settings(more))
    }

    #[test]
    fn people_and_groups_get_their_prefixes() {
        let ann =
            json!({"email": "ann@example.com", "email_verified": true, "groups": ["dev", "ops"]});
        let found = person(ann, "").unwrap();
        assert_eq!(found.name, "oidc:ann@example.com");
        assert_eq!(found.groups, ["oidc:dev", "oidc:ops"]);
        let found = person(
            json!({"sub": "7", "roles": "dev"}),
            ", usernameClaim: sub, groupsClaim: roles, usernamePrefix: 'id:', groupsPrefix: ''",
        );
        let found = found.unwrap();
        assert_eq!(
            (found.name.as_str(), found.groups.as_slice()),
            ("id:7", &["dev".to_owned()][..])
        );
        assert!(
            person(json!({"sub": "7"}), ", usernameClaim: sub")
                .unwrap()
                .groups
                .is_empty()
        );
    }

    #[test]
    fn whoever_is_not_named_well_is_nobody() {
        let bare = ", usernameClaim: sub, usernamePrefix: '', groupsPrefix: ''";
        for (claims, more) in [
            (json!({}), ""),
            (json!({"email": "a@b"}), ""),
            (json!({"email": "a@b", "email_verified": false}), ""),
            (json!({"email": "a@b", "email_verified": "true"}), ""),
            (json!({"email": "", "email_verified": true}), ""),
            (json!({"sub": ""}), bare),
            (json!({"sub": " "}), bare),
            (json!({"sub": " a"}), bare),
            (json!({"sub": "a\nb"}), bare),
            (json!({"sub": "a\u{202e}b"}), bare),
            (json!({"sub": "a".repeat(257)}), bare),
            (json!({"sub": ["a"]}), bare),
            (json!({"sub": 7}), bare),
            (json!({"sub": null}), bare),
            (json!({"sub": "system:admin"}), bare),
            (json!({"sub": "a", "groups": ["system:masters"]}), bare),
            (json!({"sub": "a", "groups": "system:masters"}), bare),
            (
                json!({"sub": "masters"}),
                ", usernameClaim: sub, usernamePrefix: 'system:'",
            ),
            (json!({"sub": "a", "groups": [""]}), bare),
            (json!({"sub": "a", "groups": ["x", 7]}), bare),
            (json!({"sub": "a", "groups": {"x": 1}}), bare),
            (json!({"sub": "a", "groups": 7}), bare),
            (json!({"sub": "a", "groups": vec!["x"; 1001]}), bare),
        ] {
            person(claims.clone(), more).expect_err(&claims.to_string());
        }
    }
}
