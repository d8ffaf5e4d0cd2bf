//! Which credential goes with which repository: Secrets in Argo CD's shape.
//!
//! A Secret labelled `repository` is for its `url` alone, one labelled `repo-creds` for every URL
//! below its own. A credential is bound to the host of its URL.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::crd::names::{SECRET_TYPE_LABELS, SECRET_TYPE_REPOSITORY, SECRET_TYPE_TEMPLATE};
use crate::git::Credential;
use crate::object::{Object, RepositoryKey};

/// The credentials that are known, by the name of their Secret.
#[derive(Default)]
pub(crate) struct Credentials(Mutex<HashMap<String, Entry>>);

struct Entry {
    url: String,
    template: bool,
    credential: Credential,
}

impl Credentials {
    /// Takes a Secret in, or drops what it said before when it is of no use any more.
    pub(crate) fn set(&self, secret: &Object) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match read(secret) {
            Some(entry) => entries.insert(secret.name().to_owned(), entry),
            None => entries.remove(secret.name()),
        };
    }

    pub(crate) fn remove(&self, secret: &Object) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(secret.name());
    }

    /// The credential for a repository: its own, else that of the longest URL above it.
    pub(crate) fn for_url(&self, url: &str) -> Option<Credential> {
        let wanted = RepositoryKey::parse(url)?;
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = |entry: &&Entry| {
            !entry.template
                && origin(&entry.url) == origin(url)
                && RepositoryKey::parse(&entry.url).as_ref() == Some(&wanted)
        };
        let own = entries.values().find(is_own);
        let above = || {
            entries
                .values()
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

fn read(secret: &Object) -> Option<Entry> {
    let kind = SECRET_TYPE_LABELS
        .iter()
        .find_map(|label| secret.label(label))?;
    let template = match kind {
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
        credentials.set(&secret(
            "a",
            "repo-creds",
            "https://forge.example/team",
            "team",
        ));
        credentials.set(&secret(
            "b",
            "repo-creds",
            "https://forge.example/team/deep",
            "deep",
        ));
        credentials.set(&secret(
            "c",
            "repository",
            "https://forge.example/team/deep/own.git",
            "own",
        ));
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
        credentials.remove(&secret("a", "", "", ""));
        check("https://forge.example/team/a.git", None);
    }

    #[test]
    fn a_secret_without_use_is_none() {
        assert!(read(&secret("a", "other", "https://e.com", "p")).is_none());
        assert!(read(&secret("a", "repository", "", "p")).is_none());
        assert!(read(&secret("a", "repository", "https://e.com", "")).is_none());
    }
}
