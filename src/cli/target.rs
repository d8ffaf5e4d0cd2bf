//! Which cluster, namespace and application a command is about.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};

use super::text::distance;
use crate::cluster::{Applications, ClientOptions, Error, connect};
use crate::crd::{ApplicationKey, names};
use crate::object::Object;
use crate::object::duration;

/// Where Applications are when neither a flag nor the context says.
const NAMESPACE: &str = "trimtab";

/// Flags of every command that talks to a cluster.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Args {
    /// Namespace of the Application; the context's when not given, else `trimtab`
    #[arg(short, long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// Kubeconfig file; those of KUBECONFIG when not given, else ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one when not given
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// API group of the Applications
    #[arg(long, value_name = "GROUP", default_value = names::GROUP, value_parser = group)]
    application_group: String,
}

/// An open connection and the namespace that is meant.
pub(super) struct Target {
    pub(super) applications: Applications,
    pub(super) namespace: String,
}

impl Args {
    pub(super) async fn open(&self) -> Result<Target> {
        let client = connect(&ClientOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            prefer_service_account: false,
            fallback_namespace: Some(NAMESPACE.to_owned()),
        })
        .await?;
        let namespace = self.namespace.clone();
        Ok(Target {
            namespace: namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
            applications: Applications::new(client, &self.application_group),
        })
    }
}

impl Target {
    pub(super) fn key(&self, name: &str) -> ApplicationKey {
        ApplicationKey {
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }

    /// The Application as it is stored, or an error that helps to find it.
    pub(super) async fn find(&self, name: &str) -> Result<Object> {
        match self.applications.get_object(&self.key(name)).await {
            Err(Error::NotFound { .. }) => Err(self.missing(name).await),
            found => Ok(found?),
        }
    }

    /// Says which namespace was looked at, what is near and how to see all.
    pub(super) async fn missing(&self, name: &str) -> anyhow::Error {
        // Who may not list everywhere may list here.
        let everywhere = match self.applications.list(None, None).await {
            Err(Error::Forbidden { .. }) => {
                let here = Some(self.namespace.as_str());
                self.applications.list(here, None).await
            }
            listed => listed,
        };
        let known = match everywhere {
            Ok(applications) => applications.into_iter().map(|it| it.key).collect(),
            Err(error @ Error::NoDefinition { .. }) => return error.into(),
            Err(_) => Vec::new(),
        };
        anyhow!(absent(&self.key(name), &known))
    }
}

/// The text for an Application that is not there, given those that are.
fn absent(wanted: &ApplicationKey, known: &[ApplicationKey]) -> String {
    let ApplicationKey { namespace, name } = wanted;
    let mut text = format!("there is no application \"{name}\" in namespace \"{namespace}\"");
    let elsewhere: Vec<&str> = known
        .iter()
        .filter(|key| key.name == *name)
        .map(|key| key.namespace.as_str())
        .collect();
    let near = known
        .iter()
        .map(|key| (distance(&key.name, name), key))
        .filter(|(edits, _)| *edits <= 1 + name.chars().count() / 4)
        .min_by_key(|(edits, key)| (*edits, key.namespace != *namespace));
    if let Some(first) = elsewhere.first() {
        let all = elsewhere.join(", ");
        text.push_str(&format!(", but there is one in {all}: use -n {first}"));
    } else if let Some((_, near)) = near {
        text.push_str(&format!(", did you mean \"{}\"", near.name));
        if near.namespace != *namespace {
            text.push_str(&format!(" in namespace \"{}\"", near.namespace));
        }
        return text + "? `trimtab list -A` shows all";
    }
    text + "; `trimtab list -A` shows all"
}

/// An API group as a flag.
pub(super) fn group(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-')
    };
    if text.len() <= 253 && text.contains('.') && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    Err("an API group is a lower-case domain, such as trimtab.dev".to_owned())
}

/// How long to wait, as a flag.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a time is a number with a unit, such as 90s or 5m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> ApplicationKey {
        ApplicationKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn an_absent_application_is_looked_for_nearby() {
        let known = [
            key("infra", "dns"),
            key("trimtab", "shop"),
            key("infra", "shop"),
        ];
        for (wanted, expected) in [
            (
                key("trimtab", "dns"),
                "\"trimtab\", but there is one in infra: use -n infra;",
            ),
            (
                key("x", "shop"),
                "\"x\", but there is one in trimtab, infra: use -n trimtab;",
            ),
            (key("infra", "shpo"), "\"infra\", did you mean \"shop\"? `"),
            (
                key("x", "dnss"),
                "did you mean \"dns\" in namespace \"infra\"? `",
            ),
            (
                key("x", "something-else"),
                "in namespace \"x\"; `trimtab list -A` shows all",
            ),
        ] {
            let text = absent(&wanted, &known);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn groups_are_domains() {
        for good in ["trimtab.dev", "argoproj.io", "a-b.c1"] {
            assert_eq!(group(good), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "trimtab",
            "Trimtab.dev",
            "a..b",
            ".dev",
            "a/b.c",
            "-a.b",
        ] {
            group(bad).unwrap_err();
        }
    }
}
