//! Pictures of the main pages, made of a running agent: `hack/screenshots`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::lab::browser::{Browser, Look};
use crate::lab::process::Guardian;
use crate::lab::{
    Agent, AgentOptions, Cluster, ControlPlane, Expectation, GitServer, Repository, eventually,
    tools, visitor,
};

const USAGE: &str = "\
Usage: hack/screenshots [DIRECTORY]

Starts a control plane, a Git server and the agent on loopback, deploys a few applications and
writes pictures of the main pages into the directory (default: docs/screenshots).
";
const SOON: std::time::Duration = std::time::Duration::from_secs(60);

pub(crate) async fn run(arguments: &[&str]) -> Result<()> {
    let directory = match arguments {
        [] => PathBuf::from("docs/screenshots"),
        ["-h" | "--help"] => {
            print!("{USAGE}");
            return Ok(());
        }
        [directory] => PathBuf::from(directory),
        other => bail!("unknown arguments {other:?}\n{USAGE}"),
    };
    std::fs::create_dir_all(&directory)?;
    let binary = PathBuf::from(std::env::var_os("TRIMTAB_BIN").context("start hack/screenshots")?);
    let guardian = Guardian::start()?;
    let control_plane = ControlPlane::start(&guardian, &tools()?).await?;
    let cluster = control_plane.cluster.clone();
    let repositories = guardian.directory().join("repositories");
    std::fs::create_dir_all(&repositories)?;
    let git = GitServer::start(&repositories)?;
    let namespace = json!({"metadata": {"name": "trimtab"}});
    cluster.create("/api/v1/namespaces", &namespace).await?;
    let agent = Agent::start(&guardian, &control_plane, &AgentOptions::new(binary)).await?;
    let repository = Repository::create(&repositories, "shop")?;
    let files = files();
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text.as_str())))
        .collect();
    repository.commit("main", &files, "the shop")?;
    for (name, automated) in [("shop", true), ("search", true), ("billing", false)] {
        create(&cluster, name, automated, &git.url("shop")).await?;
    }
    for name in ["shop", "search"] {
        becomes(&cluster, name, "Synced").await?;
    }
    becomes(&cluster, "billing", "OutOfSync").await?;
    visitor::create(&cluster, "visitor").await?;
    let token = visitor::token(&cluster, "visitor", "trimtab").await?;
    let looks = [
        ("", Look::default()),
        (
            "-dark",
            Look {
                dark: true,
                ..Look::default()
            },
        ),
        (
            "-phone",
            Look {
                size: Some((390, 844)),
                ..Look::default()
            },
        ),
    ];
    let base = format!("http://localhost:{}", agent.people.port());
    for (suffix, look) in looks {
        let browser = Browser::open(&guardian, look).await?;
        browser.visit(&base).await?;
        browser.write("input[name=token]", &token).await?;
        browser.click("button.go").await?;
        browser.shows("billing").await?;
        for (page, path, text) in PAGES {
            browser.visit(&format!("{base}{path}")).await?;
            browser.shows(text).await?;
            save(&browser, &directory, &format!("{page}{suffix}.png")).await?;
        }
        browser.close().await?;
    }
    Ok(())
}

/// Name of the picture, address, and what the page must say.
const PAGES: [(&str, &str, &str); 7] = [
    ("list", "/", "billing"),
    ("tree", "/applications/trimtab/shop", "In sync"),
    (
        "diff",
        "/applications/trimtab/billing/diff",
        "would be created",
    ),
    (
        "object",
        "/applications/trimtab/shop/resource?group=apps&version=v1&kind=Deployment&resourceNamespace=shop&resource=web",
        "Desired",
    ),
    ("new", "/new", "Preview"),
    ("about", "/about", "Limits"),
    (
        "history",
        "/applications/trimtab/shop/history",
        "Deployments",
    ),
];

async fn save(browser: &Browser, directory: &Path, name: &str) -> Result<()> {
    let file = directory.join(name);
    std::fs::write(&file, browser.picture().await?)?;
    println!("{}", file.display());
    Ok(())
}

fn files() -> Vec<(String, String)> {
    let deployment = |name: &str, replicas: u32| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  \
             replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
             metadata: {{labels: {{app: {name}}}}}\n    \
             spec: {{containers: [{{name: {name}, image: \"example/{name}:1\"}}]}}\n"
        )
    };
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n"
        )
    };
    let config =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: blue}\n";
    vec![
        ("app/web.yaml".into(), deployment("web", 3)),
        ("app/worker.yaml".into(), deployment("worker", 2)),
        ("app/service.yaml".into(), service("web")),
        ("app/settings.yaml".into(), config.into()),
    ]
}

async fn create(cluster: &Cluster, name: &str, automated: bool, url: &str) -> Result<()> {
    let mut policy = json!({"syncOptions": ["CreateNamespace=true"]});
    if automated {
        policy["automated"] = json!({"prune": true, "selfHeal": true});
    }
    let application = json!({
        "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
        "metadata": {"namespace": "trimtab", "name": name, "labels": {"team": "shop"}},
        "spec": {
            "source": {"repoURL": url, "path": "app", "targetRevision": "main"},
            "destination": {"name": "in-cluster", "namespace": name},
            "syncPolicy": policy,
        },
    });
    let path = "/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications";
    cluster.create(path, &application).await.map(drop)
}

async fn becomes(cluster: &Cluster, name: &str, sync: &str) -> Result<()> {
    let path = format!("/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications/{name}");
    eventually(&format!("{name}: {sync}"), SOON, || async {
        let status = cluster.get(&path).await?["status"].take();
        let well = sync != "Synced" || status["health"]["status"] == "Healthy";
        Ok(if status["sync"]["status"] == sync && well {
            Expectation::Met(())
        } else {
            Expectation::Pending(status["sync"].to_string())
        })
    })
    .await
}
