//! Which credential goes with which repository: Secrets in Argo CD's shape.
//!
//! A Secret labelled `repository` is for its `url` alone, one labelled `repo-creds` for every URL
//! below its own. A credential is bound to the host of its URL.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::crd::names::{SECRET_TYPE_REPOSITORY, SECRET_TYPE_TEMPLATE};
use crate::git::Credential;
use crate::object::{Object, RepositoryKey};

/// The credentials that are known, by the label that their Secret was found by, and its name.
#[derive(Default)]
pub(crate) struct Credentials(Mutex<HashMap<&'static str, Found>>);

/// The credentials of the Secrets with one label.
#[derive(Default)]
struct Found {
    entries: HashMap<String, Entry>,
    /// The names in the list that is under way.
    listed: Option<HashSet<String>>,
}

struct Entry {
    url: String,
    template: bool,
    credential: Credential,
}

impl Credentials {
    fn found(&self) -> MutexGuard<'_, HashMap<&'static str, Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a Secret in, or drops what it said before when it is of no use any more.
    pub(crate) fn set(&self, label: &'static str, secret: &Object) {
        let mut found = self.found();
        let found = found.entry(label).or_default();
        let name = secret.name().to_owned();
        if let Some(listed) = &mut found.listed {
            listed.insert(name.clone());
        }
        match read(label, secret) {
            Some(entry) => found.entries.insert(name, entry),
            None => found.entries.remove(&name),
        };
    }

    pub(crate) fn remove(&self, label: &'static str, secret: &Object) {
        let mut found = self.found();
        found
            .entry(label)
            .or_default()
            .entries
            .remove(secret.name());
    }

    /// All Secrets with a label follow.
    pub(crate) fn begin_list(&self, label: &'static str) {
        self.found().entry(label).or_default().listed = Some(HashSet::new());
    }

    /// All have come: a Secret that was not among them went while nobody watched.
    pub(crate) fn end_list(&self, label: &'static str) {
        let mut found = self.found();
        let found = found.entry(label).or_default();
        if let Some(listed) = found.listed.take() {
            found.entries.retain(|name, _| listed.contains(name));
        }
    }

    /// The credential for a repository: its own, else that of the longest URL above it.
    pub(crate) fn for_url(&self, url: &str) -> Option<Credential> {
        let wanted = RepositoryKey::parse(url)?;
        let found = self.found();
        let entries = || found.values().flat_map(|found| found.entries.values());
        let is_own = |entry: &&Entry| {
            !entry.template
                && origin(&entry.url) == origin(url)
                && RepositoryKey::parse(&entry.url).as_ref() == Some(&wanted)
        };
        let own = entries().find(is_own);
        let above = || {
            entries()
                .filter(|entry| entry.template && is_above(&entry.url, url))
                .max_by_key(|entry| entry.url.len())
        };
        own.or_else(above).map(|entry| entry.credential.clone())
    }
}

/// Scheme, host and port: a credential for one origin never goes to another.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{host}").to_ascii_lowercase())
}

/// Whether a template's URL is the repository's or lies above it: same scheme and host, and the
/// path is a prefix that ends at a `/`.
fn is_above(template: &str, url: &str) -> bool {
    let template = template.trim_end_matches('/');
    let Some((scheme, rest)) = template.split_once("://") else {
        return false;
    };
    if scheme.is_empty() || rest.is_empty() {
        return false;
    }
    match url.strip_prefix(template) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

fn read(label: &str, secret: &Object) -> Option<Entry> {
    let template = match secret.label(label)? {
        SECRET_TYPE_REPOSITORY => false,
        SECRET_TYPE_TEMPLATE => true,
        _ => return None,
    };
    let url = value(secret, "url")?;
    let password = value(secret, "password").or_else(|| value(secret, "bearerToken"));
    let certificate = value(secret, "ca.crt");
    let insecure = value(secret, "insecure").as_deref() == Some("true");
    if password.is_none() && certificate.is_none() && !insecure {
        return None;
    }
    let mut credential = match password {
        // Forges take any user name with a token.
        Some(password) => {
            let username = value(secret, "username").unwrap_or_else(|| "git".to_owned());
            Credential::new(&username, &password)
        }
        None => Credential::anonymous(),
    };
    if let Some(pem) = certificate {
        credential = credential.with_ca_pem(pem.into_bytes());
    }
    if insecure {
        credential = credential.with_insecure_tls();
    }
    Some(Entry {
        url,
        template,
        credential,
    })
}

fn value(secret: &Object, name: &str) -> Option<String> {
    let encoded = secret.get("/data")?.get(name).and_then(Value::as_str)?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let text = text.trim_end_matches(['\n', '\r']).to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::names::SECRET_TYPE_LABELS;

    const LABEL: &str = SECRET_TYPE_LABELS[1];

    fn secret(name: &str, kind: &str, url: &str, password: &str) -> Object {
        let encode = |text: &str| STANDARD.encode(text);
        Object::new(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "labels": {"argocd.argoproj.io/secret-type": kind}},
            "data": {"url": encode(url), "username": encode("u"), "password": encode(password)},
        }))
        .unwrap()
    }

    #[test]
    fn the_nearest_credential_is_taken_and_none_of_another_host() {
        let credentials = Credentials::default();
        credentials.set(
            LABEL,
            &secret("a", "repo-creds", "https://forge.example/team", "team"),
        );
        credentials.set(
            LABEL,
            &secret("b", "repo-creds", "https://forge.example/team/deep", "deep"),
        );
        credentials.set(
            LABEL,
            &secret(
                "c",
                "repository",
                "https://forge.example/team/deep/own.git",
                "own",
            ),
        );
        let check = |url, expected: Option<&str>| {
            let found = credentials.for_url(url);
            assert_eq!(found.as_ref().map(Credential::password), expected, "{url}");
        };
        check("https://forge.example/team/a.git", Some("team"));
        check("https://forge.example/team/deep/a", Some("deep"));
        check("https://forge.example/team/deep/own", Some("own"));
        check("http://forge.example/team/deep/own", None);
        check("https://forge.example:8443/team/deep/own", None);
        check("https://forge.example/teams/a", None);
        check("https://evil.example/team/a", None);
        check("http://forge.example/team/a", None);
        check("https://forge.example.evil.com/team/a", None);
        credentials.remove(LABEL, &secret("a", "", "", ""));
        check("https://forge.example/team/a.git", None);
    }

    #[test]
    fn what_went_while_nobody_watched_is_forgotten() {
        let credentials = Credentials::default();
        let own = |name: &str, url| secret(name, "repository", url, name);
        let password = |url| {
            let found = credentials.for_url(url);
            found.map(|found| found.password().to_owned())
        };
        credentials.begin_list(LABEL);
        credentials.set(LABEL, &own("a", "https://forge.example/a"));
        credentials.set(LABEL, &own("b", "https://forge.example/b"));
        credentials.end_list(LABEL);
        let mut other = own("c", "https://forge.example/c");
        other.set_label(SECRET_TYPE_LABELS[0], "repository");
        credentials.set(SECRET_TYPE_LABELS[0], &other);
        // The watch broke, and is listed again.
        credentials.begin_list(LABEL);
        credentials.set(LABEL, &own("b", "https://forge.example/b"));
        assert_eq!(password("https://forge.example/a").as_deref(), Some("a"));
        credentials.end_list(LABEL);
        assert_eq!(password("https://forge.example/a"), None);
        assert_eq!(password("https://forge.example/b").as_deref(), Some("b"));
        // That list is of another label.
        assert_eq!(password("https://forge.example/c").as_deref(), Some("c"));
    }

    #[test]
    fn a_secret_without_use_is_none() {
        assert!(read(LABEL, &secret("a", "other", "https://e.com", "p")).is_none());
        assert!(read(LABEL, &secret("a", "repository", "", "p")).is_none());
        assert!(read(LABEL, &secret("a", "repository", "https://e.com", "")).is_none());
    }
}
