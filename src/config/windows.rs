//! Sync windows of a project, in Argo CD's words: when its applications may be synced.

use std::{fmt, time::Duration};

use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::Deserialize;

use super::destination::{CLUSTER_NAME, CLUSTER_SERVER};
use super::globs::Glob;
use super::schedule::Schedule;
use crate::object::duration;
use crate::text::short;

/// The longest window: a year.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Characters of a description, as it is repeated in messages.
const DESCRIPTION: usize = 200;

/// Whether a window lets syncs through or holds them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WindowKind {
    Allow,
    Deny,
}

/// A window that opens by a schedule and closes after a while.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SyncWindow {
    pub(crate) kind: WindowKind,
    pub(crate) schedule: Schedule,
    pub(crate) duration: Duration,
    /// A person may sync while this window holds automation up.
    pub(crate) manual_sync: bool,
    applications: Vec<Glob>,
    namespaces: Vec<Glob>,
    /// Whether this cluster is meant; none when no cluster is named.
    cluster: Option<bool>,
    /// Everything that is named must match, not only one of them.
    all: bool,
    /// The duration as it was written.
    length: String,
    description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WindowFile {
    kind: WindowKind,
    schedule: String,
    duration: String,
    #[serde(default)]
    time_zone: String,
    #[serde(default)]
    applications: Vec<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    clusters: Vec<String>,
    #[serde(default)]
    and_operator: bool,
    #[serde(default)]
    manual_sync: bool,
    #[serde(default)]
    description: String,
}

impl WindowFile {
    /// How many globs it has.
    pub(super) fn globs(&self) -> usize {
        self.applications.len() + self.namespaces.len() + self.clusters.len()
    }

    pub(super) fn check(self) -> Result<SyncWindow, String> {
        let zone = zone(&self.time_zone)?;
        let schedule = Schedule::parse(&self.schedule, zone)
            .map_err(|problem| format!("schedule: \"{}\" {problem}", short(&self.schedule)))?;
        let length = duration(&self.duration)
            .filter(|length| *length >= Duration::from_secs(1) && *length <= LONGEST)
            .ok_or_else(|| {
                let text = short(&self.duration);
                format!("duration: \"{text}\" is no duration such as 90m or 8h, of up to 8784h")
            })?;
        if self.globs() == 0 {
            let problem = "names no applications, namespaces or clusters and so matches nothing; \
                           add applications: [\"*\"]";
            return Err(problem.to_owned());
        }
        if self.description.chars().count() > DESCRIPTION {
            return Err(format!(
                "description: has more than {DESCRIPTION} characters"
            ));
        }
        let clusters = globs("clusters", &self.clusters)?;
        let this = |glob: &Glob| glob.matches(CLUSTER_NAME) || glob.matches(CLUSTER_SERVER);
        Ok(SyncWindow {
            kind: self.kind,
            schedule,
            duration: length,
            manual_sync: self.manual_sync,
            applications: globs("applications", &self.applications)?,
            namespaces: globs("namespaces", &self.namespaces)?,
            cluster: (!clusters.is_empty()).then(|| clusters.iter().any(this)),
            all: self.and_operator,
            length: self.duration,
            description: self.description,
        })
    }
}

impl SyncWindow {
    /// Whether it is meant for an application of this name that goes to this namespace.
    pub(crate) fn matches(&self, application: &str, namespace: &str) -> bool {
        let among = |globs: &[Glob], text: &str| {
            (!globs.is_empty()).then(|| globs.iter().any(|glob| glob.matches(text)))
        };
        let named = [
            among(&self.applications, application),
            among(&self.namespaces, namespace),
            self.cluster,
        ];
        let mut named = named.into_iter().flatten();
        if self.all {
            named.all(|matches| matches)
        } else {
            named.any(|matches| matches)
        }
    }
}

/// `the deny window "0 22 * * *" for 8h (Europe/Berlin): the description`.
impl fmt::Display for SyncWindow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            WindowKind::Allow => "allow",
            WindowKind::Deny => "deny",
        };
        let schedule = &self.schedule;
        let (text, zone) = (schedule.text(), schedule.zone());
        write!(
            formatter,
            "the {kind} window \"{text}\" for {} ({zone})",
            self.length
        )?;
        if !self.description.is_empty() {
            write!(formatter, ": {}", self.description)?;
        }
        Ok(())
    }
}

/// A time zone by its name in the database that is linked in, so that a name means the same
/// wherever the agent runs.
fn zone(name: &str) -> Result<TimeZone, String> {
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    TimeZoneDatabase::bundled().get(name).map_err(|_| {
        let name = short(name);
        format!("timeZone: there is no time zone \"{name}\", use a name such as Europe/Berlin")
    })
}

fn globs(field: &str, texts: &[String]) -> Result<Vec<Glob>, String> {
    let read =
        |text: &String| Glob::positive(text).map_err(|problem| format!("{field}: {problem}"));
    texts.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<SyncWindow, String> {
        serde_json::from_value::<WindowFile>(value)
            .map_err(|error| error.to_string())?
            .check()
    }

    fn window(more: Value) -> Value {
        let mut window = json!({"kind": "deny", "schedule": "0 22 * * *", "duration": "8h"});
        let fields = window.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        window
    }

    #[test]
    fn a_window_says_what_it_is() {
        let read = read(window(json!({
            "applications": ["*"], "timeZone": "Europe/Berlin", "description": "backups",
        })));
        assert_eq!(
            read.unwrap().to_string(),
            "the deny window \"0 22 * * *\" for 8h (Europe/Berlin): backups"
        );
    }

    #[test]
    fn any_of_what_is_named_or_all_of_it() {
        for (more, expected) in [
            (json!({"applications": ["shop-*"]}), true),
            (json!({"applications": ["blog"]}), false),
            (
                json!({"applications": ["blog"], "namespaces": ["sh?p"]}),
                true,
            ),
            (
                json!({"applications": ["blog"], "clusters": ["in-*"]}),
                true,
            ),
            (
                json!({"clusters": ["https://kubernetes.default.svc"]}),
                true,
            ),
            (json!({"clusters": ["https://other"]}), false),
            (
                json!({"applications": ["blog"], "namespaces": ["*"], "andOperator": true}),
                false,
            ),
            (
                json!({"applications": ["*"], "namespaces": ["shop"], "andOperator": true}),
                true,
            ),
            (json!({"applications": ["*"], "andOperator": true}), true),
            (
                json!({"applications": ["*"], "clusters": ["other"], "andOperator": true}),
                false,
            ),
        ] {
            let window = read(window(more.clone())).unwrap();
            assert_eq!(window.matches("shop-eu", "shop"), expected, "{more}");
        }
    }

    #[test]
    fn mistakes_name_their_field() {
        for (more, expected) in [
            (json!({}), "matches nothing"),
            (json!({"applications": []}), "matches nothing"),
            (json!({"kind": "maybe"}), "unknown variant `maybe`"),
            (json!({"syncOverrun": true}), "unknown field `syncOverrun`"),
            (
                json!({"schedule": "@daily"}),
                "schedule: \"@daily\" has no five",
            ),
            (json!({"schedule": "x".repeat(9_999)}), "schedule: \"xxx"),
            (json!({"duration": "0s"}), "duration: \"0s\""),
            (json!({"duration": "8785h"}), "duration: \"8785h\""),
            (json!({"duration": "soon"}), "duration: \"soon\""),
            (json!({"timeZone": "Mars/Base"}), "time zone \"Mars/Base\""),
            (json!({"timeZone": "../../etc/passwd"}), "timeZone"),
            (
                json!({"applications": ["!a"]}),
                "applications: \"!a\" cannot",
            ),
            (
                json!({"namespaces": ["[a"]}),
                "namespaces: \"[a\" is no glob",
            ),
            (
                json!({"applications": ["*"], "description": "x".repeat(201)}),
                "description",
            ),
        ] {
            let error = read(window(more.clone())).unwrap_err();
            assert!(error.contains(expected), "{more}: {error}");
            assert!(error.len() < 400, "{error}");
        }
    }
}
