//! Which applications a verb is about: one by name, or all of the namespace with some labels.

use anyhow::{Result, bail};

use super::Outcome;
use super::target::Target;

/// Names one application or several.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Chosen {
    /// The application's name
    #[arg(required_unless_present = "selector")]
    application: Option<String>,
    /// All of the namespace with these labels, such as team=shop,stage!=test
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        conflicts_with = "application"
    )]
    selector: Option<String>,
}

impl Chosen {
    /// The names, in order; none is an error that says what was looked for.
    pub(super) async fn names(&self, target: &Target) -> Result<Vec<String>> {
        let Some(selector) = &self.selector else {
            return Ok(self.application.iter().cloned().collect());
        };
        let namespace = Some(target.namespace.as_str());
        let found = target
            .applications
            .list_objects(namespace, Some(selector))
            .await?;
        let mut names: Vec<_> = found.iter().map(|it| it.name().to_owned()).collect();
        names.sort();
        if names.is_empty() {
            bail!(
                "no application in namespace {} has the labels {selector}",
                target.namespace
            );
        }
        Ok(names)
    }
}

/// How a verb ends that was about several: as the worst of them.
pub(super) fn worst(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Done, Outcome::Done) => Outcome::Done,
        _ => Outcome::Differs,
    }
}
