//! The agent's settings, `trimtab.yaml`: text in, checked values out. Reads no file.

mod destination;
mod globs;
mod oidc;
mod project_file;
mod projects;
mod ranges;
mod schedule;
mod source_address;
mod windows;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::object::{IgnoreDifferences, duration, is_dns_name, parse_document};
pub(crate) use oidc::{CALLBACK, Oidc, is_safe};
pub(crate) use projects::{Project, Projects};
pub(crate) use ranges::Ranges;
pub(crate) use windows::{SyncWindow, WindowKind};

/// Why a settings file is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error("trimtab.yaml does not parse: {0}")]
    Syntax(String),
    #[error("trimtab.yaml: {0}")]
    Wrong(String),
}

/// All settings, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) receivers: Vec<Receiver>,
    /// How often every managed object is asked about by dry run; never when none.
    pub(crate) verify_interval: Option<Duration>,
    /// Differences that are left alone in every application.
    pub(crate) ignore_differences: Vec<IgnoreDifferences>,
    /// How long a repository is left alone without a push; each wait varies by up to a tenth.
    pub(crate) poll_interval: Duration,
    pub(crate) limits: Limits,
    pub(crate) projects: Projects,
    /// The ServiceAccount of applications that neither name one nor have one by their project; the
    /// agent's own when empty.
    pub(crate) default_service_account_name: String,
    /// How people log in besides with a token of the cluster.
    pub(crate) oidc: Option<Oidc>,
    /// Proxies that say whom they speak for (`X-Forwarded-For`).
    pub(crate) trusted_proxies: Ranges,
    pub(crate) sandbox: SandboxMode,
}

/// What happens where the kernel cannot confine kustomize and helm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SandboxMode {
    /// They are not run.
    #[default]
    Required,
    /// They run with what the kernel has.
    Preferred,
}

/// One webhook address, `/hooks/<name>`, and what it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    pub(crate) provider: Provider,
    /// Files that hold a secret each; any of them is accepted, so that one can be replaced.
    pub(crate) secret_files: Vec<PathBuf>,
    /// GitLab: files that hold a signing token (`whsec_...`). When given, a signature is required
    /// and `secret_files` are not looked at.
    pub(crate) signing_token_files: Vec<PathBuf>,
}

/// Whose deliveries a receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provider {
    GitHub,
    GitLab,
}

impl Provider {
    /// As people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
        }
    }
}

/// Caps and deadlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of one delivery, at most 25 MiB (GitHub's own limit).
    pub(crate) webhook_body: usize,
    /// Wall clock of one render.
    pub(crate) render_timeout: Duration,
    /// Wall clock of one fetch.
    pub(crate) fetch_timeout: Duration,
    /// Bytes that one fetch may bring.
    pub(crate) fetch_bytes: u64,
    /// Bytes that all mirrors together may have on disk.
    pub(crate) mirror_bytes: u64,
    /// Bytes of memory of one render; as much as fits when none.
    pub(crate) render_bytes: Option<u64>,
}

impl Limits {
    /// Each with its name and its value in words.
    pub(crate) fn described(&self) -> Vec<(&'static str, String)> {
        let seconds = |time: Duration| format!("{} s", time.as_secs());
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        vec![
            ("One render", seconds(self.render_timeout)),
            ("One fetch", seconds(self.fetch_timeout)),
            ("Bytes of one fetch", mib(self.fetch_bytes)),
            ("Bytes of all mirrors", mib(self.mirror_bytes)),
            ("Bytes of one delivery", mib(self.webhook_body as u64)),
        ]
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
struct File {
    receivers: Vec<ReceiverFile>,
    ignore_differences: Vec<IgnoreDifferences>,
    poll_interval: Option<String>,
    verify_interval: Option<String>,
    limits: LimitsFile,
    projects: Vec<project_file::ProjectFile>,
    default_service_account_name: String,
    oidc: Option<oidc::OidcFile>,
    trusted_proxies: Vec<String>,
    sandbox: SandboxMode,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReceiverFile {
    name: String,
    provider: Provider,
    #[serde(default)]
    secret_files: Vec<PathBuf>,
    #[serde(default)]
    signing_token_files: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct LimitsFile {
    webhook_body_mi_b: Option<usize>,
    render_timeout: Option<String>,
    fetch_timeout: Option<String>,
    fetch_mi_b: Option<u64>,
    mirrors_mi_b: Option<u64>,
    render_mi_b: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            receivers: Vec::new(),
            ignore_differences: Vec::new(),
            poll_interval: Duration::from_secs(180),
            verify_interval: None,
            limits: Limits {
                webhook_body: 5 << 20,
                render_timeout: Duration::from_secs(20),
                fetch_timeout: Duration::from_secs(60),
                fetch_bytes: 512 << 20,
                mirror_bytes: 2048 << 20,
                render_bytes: None,
            },
            projects: Projects::default(),
            default_service_account_name: String::new(),
            oidc: None,
            trusted_proxies: Ranges::default(),
            sandbox: SandboxMode::default(),
        }
    }
}

impl Settings {
    /// Reads `trimtab.yaml`. An empty text is all defaults.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let value = parse_document(text).map_err(|error| Error::Syntax(error.to_string()))?;
        let file: File = if value.is_null() {
            File::default()
        } else {
            serde_path_to_error::deserialize(value)
                .map_err(|error| Error::Wrong(format!("{}: {}", error.path(), error.inner())))?
        };
        let mut settings = Self::default();
        let limits = &mut settings.limits;
        if let Some(text) = &file.poll_interval {
            settings.poll_interval = parse_duration("pollInterval", text)?;
        }
        if let Some(text) = &file.verify_interval {
            settings.verify_interval = Some(parse_duration("verifyInterval", text)?);
        }
        if let Some(text) = &file.limits.render_timeout {
            limits.render_timeout = parse_duration("limits.renderTimeout", text)?;
        }
        if let Some(text) = &file.limits.fetch_timeout {
            limits.fetch_timeout = parse_duration("limits.fetchTimeout", text)?;
        }
        if let Some(size) = file.limits.webhook_body_mi_b {
            if !(1..=25).contains(&size) {
                return Err(Error::Wrong(
                    "limits.webhookBodyMiB must be from 1 to 25".into(),
                ));
            }
            limits.webhook_body = size << 20;
        }
        if let Some(size) = file.limits.fetch_mi_b {
            if !(1..=65_536).contains(&size) {
                return Err(Error::Wrong(
                    "limits.fetchMiB must be from 1 to 65536".into(),
                ));
            }
            limits.fetch_bytes = size << 20;
        }
        if let Some(size) = file.limits.mirrors_mi_b {
            if !(8..=1 << 20).contains(&size) {
                return Err(Error::Wrong(
                    "limits.mirrorsMiB must be from 8 to 1048576".into(),
                ));
            }
            limits.mirror_bytes = size << 20;
        }
        if let Some(size) = file.limits.render_mi_b {
            if !(64..=65_536).contains(&size) {
                return Err(Error::Wrong(
                    "limits.renderMiB must be from 64 to 65536".into(),
                ));
            }
            limits.render_bytes = Some(size << 20);
        }
        settings.sandbox = file.sandbox;
        settings.ignore_differences = file.ignore_differences;
        settings.projects = Projects::check(file.projects).map_err(Error::Wrong)?;
        let account = file.default_service_account_name;
        if !account.is_empty() && !is_dns_name(&account) {
            return Err(Error::Wrong(
                "defaultServiceAccountName is no name of a ServiceAccount".into(),
            ));
        }
        settings.default_service_account_name = account;
        settings.trusted_proxies = Ranges::parse(&file.trusted_proxies)
            .map_err(|why| Error::Wrong(format!("trustedProxies: {why}")))?;
        settings.oidc = file.oidc.map(oidc::OidcFile::check).transpose()?;
        let mut names = BTreeSet::new();
        for receiver in file.receivers {
            if !names.insert(receiver.name.clone()) {
                return Err(Error::Wrong(format!(
                    "receivers: \"{}\" twice",
                    receiver.name
                )));
            }
            settings.receivers.push(check_receiver(receiver)?);
        }
        Ok(settings)
    }
}

fn check_receiver(file: ReceiverFile) -> Result<Receiver, Error> {
    let wrong = |what: &str| Err(Error::Wrong(format!("receivers: \"{}\" {what}", file.name)));
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if file.name.is_empty() || file.name.len() > 63 || !file.name.chars().all(plain) {
        return wrong("must be named by 1 to 63 letters, digits, - or _");
    }
    if file.secret_files.is_empty() && file.signing_token_files.is_empty() {
        return wrong("needs secretFiles; a receiver without a secret would let anyone in");
    }
    if !file.signing_token_files.is_empty() && file.provider != Provider::GitLab {
        return wrong("has signingTokenFiles, which only GitLab signs with");
    }
    Ok(Receiver {
        name: file.name,
        provider: file.provider,
        secret_files: file.secret_files,
        signing_token_files: file.signing_token_files,
    })
}

fn parse_duration(field: &str, text: &str) -> Result<Duration, Error> {
    match duration(text) {
        Some(duration) if duration >= Duration::from_millis(100) => Ok(duration),
        _ => Err(Error::Wrong(format!(
            "{field}: \"{text}\" is no duration such as 90s or 3m"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_all_defaults() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
        assert_eq!(Settings::parse("# empty\n").unwrap(), Settings::default());
    }

    #[test]
    fn a_file_that_unfolds_is_refused_without_unfolding() {
        let rows = (1..12).map(|n| {
            let below = format!("*a{}", n - 1);
            format!("a{n}: &a{n} [{}]\n", [below.as_str(); 9].join(", "))
        });
        let text = format!("a0: &a0 [x, x, x]\n{}", rows.collect::<String>());
        let error = Settings::parse(&text).unwrap_err().to_string();
        assert!(error.contains("it comes to more than"), "{error}");
    }

    #[test]
    fn the_chart_takes_every_setting() {
        let schema = include_str!("../../charts/trimtab/values.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let known = schema["properties"]["settings"]["properties"].as_object();
        let refused = Settings::parse("nonsense: 1").unwrap_err().to_string();
        let (_, fields) = refused.split_once("expected one of ").unwrap();
        let named = |field: &str| fields.contains(&format!("`{field}`"));
        for field in known.unwrap().keys() {
            assert!(named(field), "no setting {field}: {fields}");
        }
        let count = fields.split("`, `").count();
        assert_eq!(count, known.unwrap().len(), "{fields}");
    }

    #[test]
    fn a_whole_file_is_read() {
        let settings = Settings::parse(
            "pollInterval: 30s\nlimits: {webhookBodyMiB: 1, renderTimeout: 10s}\nreceivers:\n\
             - {name: github, provider: github, secretFiles: [/hooks/github]}\n\
             - {name: gitlab, provider: gitlab, signingTokenFiles: [/hooks/gitlab]}\n",
        )
        .unwrap();
        assert_eq!(settings.poll_interval, Duration::from_secs(30));
        assert_eq!(settings.limits.webhook_body, 1 << 20);
        assert_eq!(settings.receivers[1].provider, Provider::GitLab);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("pollIntervall: 3m", "unknown field"),
            ("pollInterval: soon", "pollInterval"),
            ("pollInterval: 1ms", "pollInterval"),
            ("verifyInterval: often", "verifyInterval"),
            ("sandbox: maybe", "sandbox"),
            ("limits: {renderMiB: 8}", "renderMiB"),
            ("limits: {mirrorsMiB: 7}", "mirrorsMiB"),
            ("limits: {webhookBodyMiB: 26}", "webhookBodyMiB"),
            (
                "receivers: [{name: a, provider: github}]",
                "needs secretFiles",
            ),
            (
                "receivers: [{name: a/b, provider: github, secretFiles: [x]}]",
                "must be named",
            ),
            (
                "receivers: [{name: a, provider: gitea, secretFiles: [x]}]",
                "receivers[0].provider",
            ),
            (
                "receivers: [{name: a, provider: github, signingTokenFiles: [x]}]",
                "only GitLab",
            ),
            (
                "receivers: [{name: a, provider: github, secretFiles: [x]}, \
                 {name: a, provider: github, secretFiles: [x]}]",
                "twice",
            ),
            ("receivers: [", "does not parse"),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
