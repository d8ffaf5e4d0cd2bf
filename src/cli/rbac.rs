//! `trimtab rbac`.

use anyhow::Result;
use serde_json::{Value, json};

use super::output::print_documents;
use super::{Outcome, target};
use crate::crd::names;

/// Print the ClusterRoles of people: viewer, operator and admin
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The same as the chart installs. Bind them to people of your own; whether somebody may do something
is asked of Kubernetes itself.

Examples:
  trimtab rbac | kubectl apply --server-side -f -
  kubectl create clusterrolebinding ann --clusterrole trimtab-operator --user oidc:ann@example.com
  kubectl auth can-i sync applications.trimtab.dev/shop -n trimtab --as oidc:ann@example.com")]
pub(super) struct Args {
    /// API group of the Applications
    #[arg(long, value_name = "GROUP", default_value = names::GROUP, value_parser = target::group)]
    group: String,
    /// What the names of the roles begin with
    #[arg(long, value_name = "NAME", default_value = "trimtab")]
    prefix: String,
}

/// Each role may what the one before it may, and more.
const ROLES: [(&str, &[&str]); 3] = [
    ("viewer", &["get", "list", "watch"]),
    ("operator", &["sync", "rollback", "refresh", "pause"]),
    ("admin", &["create", "update", "patch", "delete"]),
];

pub(super) fn run(args: &Args) -> Result<Outcome> {
    print_documents(&roles(&args.group, &args.prefix))?;
    Ok(Outcome::Done)
}

fn roles(group: &str, prefix: &str) -> Vec<Value> {
    let mut verbs: Vec<&str> = Vec::new();
    let role = |(name, more): &(&str, &[&'static str])| {
        verbs.extend(*more);
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": format!("{prefix}-{name}")},
            "rules": [{"apiGroups": [group], "resources": [names::PLURAL], "verbs": verbs.clone()}],
        })
    };
    ROLES.iter().map(role).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_the_one_before_it_may() {
        let roles = roles("trimtab.dev", "t");
        let verbs = |at: usize| roles[at]["rules"][0]["verbs"].as_array().unwrap().clone();
        assert_eq!(roles[0]["metadata"]["name"], "t-viewer");
        for at in 1..3 {
            assert!(verbs(at).len() > verbs(at - 1).len());
            assert!(verbs(at - 1).iter().all(|verb| verbs(at).contains(verb)));
        }
        assert!(!verbs(1).contains(&json!("delete")) && verbs(2).contains(&json!("delete")));
    }

    /// The chart's own, read as text: the two must not grow apart.
    #[test]
    fn the_chart_has_the_same_verbs() {
        let chart = include_str!("../../charts/trimtab/templates/people.yaml");
        for (role, verbs) in ROLES {
            let line = chart
                .lines()
                .find(|line| line.contains(&format!("${role} :=")));
            let line = line.unwrap();
            let listed: Vec<_> = line.split('"').skip(1).step_by(2).collect();
            assert_eq!(listed, verbs, "{role}");
        }
    }
}
