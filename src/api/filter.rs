//! What is chosen of the list of applications, and in which order.

use std::{cmp::Reverse, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::controller::Summary;
use crate::crd::SyncCode;

/// What is chosen of the list.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Filter {
    /// Part of the name, repository, path or destination.
    pub(crate) q: String,
    /// Synced, OutOfSync or Unknown.
    pub(crate) sync: String,
    /// Healthy, Progressing, Suspended, Missing, Degraded or Unknown.
    pub(crate) health: String,
    /// The address of the repository.
    pub(crate) repository: String,
    /// The namespace of the Application.
    pub(crate) namespace: String,
    /// The namespace that it goes to.
    pub(crate) destination: String,
    pub(crate) project: String,
    /// `name=value`.
    pub(crate) label: String,
    pub(crate) paused: Option<bool>,
    /// By name when not given; `worst` health and sync first, or the most `recent` sync.
    pub(crate) sort: String,
    /// How many to pass over.
    pub(crate) offset: usize,
    /// How many to answer with, at most 5000.
    pub(crate) limit: Option<usize>,
}

/// The health of a list.
pub(super) fn health_name(summary: &Summary) -> String {
    summary
        .health
        .map_or_else(|| "Unknown".to_owned(), |health| health.to_string())
}

impl Filter {
    /// Brings applications, which come by name, into the order that is asked for.
    pub(super) fn order(&self, all: &mut [Arc<Summary>]) -> Result<(), Problem> {
        match self.sort.as_str() {
            "" | "name" => {}
            "worst" => all.sort_by_key(|it| Reverse((it.health, it.sync != SyncCode::Synced))),
            "recent" => all.sort_by(|a, b| b.operated_at.cmp(&a.operated_at)),
            other => {
                return Err(Problem::wrong(format!(
                    "sort is name, worst or recent, not \"{other}\""
                )));
            }
        }
        Ok(())
    }

    /// Whether an application is meant.
    pub(super) fn takes(&self, summary: &Summary) -> bool {
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let label = |pair: &str| match pair.split_once('=') {
            Some((name, value)) => summary.labels.get(name).is_some_and(|it| it == value),
            None => summary.labels.contains_key(pair),
        };
        let words = self.q.to_lowercase();
        let found = |text: &str| text.to_lowercase().contains(&words);
        is(&self.sync, &summary.sync.to_string())
            && is(&self.health, &health_name(summary))
            && is(&self.repository, &summary.repository)
            && is(&self.namespace, &summary.namespace)
            && is(&self.destination, &summary.destination)
            && is(&self.project, &summary.project)
            && (self.label.is_empty() || label(&self.label))
            && self.paused.is_none_or(|paused| paused == summary.paused)
            && (found(&summary.name)
                || found(&summary.repository)
                || found(&summary.path)
                || found(&summary.destination))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::{HealthCode, read};
    use crate::object::Object;

    #[test]
    fn an_order_that_nobody_knows_is_refused() {
        for (sort, known) in [
            ("", true),
            ("name", true),
            ("worst", true),
            ("recent", true),
            ("x", false),
        ] {
            let filter = Filter {
                sort: sort.to_owned(),
                ..Filter::default()
            };
            assert_eq!(filter.order(&mut []).is_ok(), known, "{sort}");
        }
    }

    fn summary() -> Summary {
        let object = json!({
            "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
            "metadata": {"namespace": "team", "name": "shop", "labels": {"stage": "test"}},
            "spec": {
                "project": "web", "pause": {"by": "ann"},
                "source": {"repoURL": "https://e.com/Repo", "path": "deploy"},
                "destination": {"namespace": "prod"},
            },
            "status": {"sync": {"status": "OutOfSync"}, "health": {"status": "Degraded"}},
        });
        Summary::of(&read(Object::new(object).unwrap()))
    }

    #[test]
    fn each_filter_takes_what_it_names() {
        let summary = summary();
        for (query, expected) in [
            ("", true),
            ("q=SHO", true),
            ("q=repo", true),
            ("q=deploy", true),
            ("q=prod", true),
            ("q=team", false),
            ("sync=OutOfSync", true),
            ("sync=Synced", false),
            ("health=Degraded", true),
            ("health=Healthy", false),
            ("repository=https://e.com/Repo", true),
            ("repository=https://e.com/repo", false),
            ("namespace=team", true),
            ("namespace=prod", false),
            ("destination=prod", true),
            ("destination=team", false),
            ("project=web", true),
            ("project=default", false),
            ("label=stage%3Dtest", true),
            ("label=stage", true),
            ("label=stage%3Dprod", false),
            ("label=team", false),
            ("paused=true", true),
            ("paused=false", false),
            ("q=shop&sync=OutOfSync&paused=true", true),
            ("q=shop&sync=Synced&paused=true", false),
        ] {
            let filter: Filter = serde_urlencoded::from_str(query).unwrap();
            assert_eq!(filter.takes(&summary), expected, "{query}");
        }
    }

    #[test]
    fn the_worst_come_first_or_the_most_recent() {
        let with = |name: &str, health, sync, at: &str| {
            Arc::new(Summary {
                name: name.to_owned(),
                health: Some(health),
                sync,
                operated_at: at.to_owned(),
                ..summary()
            })
        };
        let mut all = vec![
            with("a", HealthCode::Healthy, SyncCode::Synced, "2026-01-03"),
            with("b", HealthCode::Degraded, SyncCode::Synced, "2026-01-01"),
            with("c", HealthCode::Healthy, SyncCode::OutOfSync, "2026-01-02"),
        ];
        for (sort, expected) in [("worst", "bca"), ("recent", "acb")] {
            let filter = Filter {
                sort: sort.to_owned(),
                ..Filter::default()
            };
            filter.order(&mut all).unwrap();
            let names: String = all.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(names, expected, "{sort}");
        }
    }
}
