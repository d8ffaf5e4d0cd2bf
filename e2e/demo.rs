//! The demo: a Git push goes live in a real Kubernetes API, before your eyes.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::lab::process::Guardian;
use crate::lab::{
    Agent, AgentOptions, Cluster, ControlPlane, Expectation, GitServer, Repository, eventually,
    tools, visitor,
};

const SOON: Duration = Duration::from_secs(60);
const USAGE: &str = "\
Usage: hack/demo [--once]

Starts a control plane, a Git server and the agent on loopback, deploys a kustomize and a Helm
application, pushes, changes a live object by hand, and stays up until Ctrl-C.

  --once   tell the same story and end
";

/// Runs the demo.
pub(crate) async fn run(arguments: &[&str]) -> Result<()> {
    let once = match arguments {
        [] => false,
        ["--once"] => true,
        ["-h" | "--help"] => {
            print!("{USAGE}");
            return Ok(());
        }
        other => bail!("unknown arguments {other:?}\n{USAGE}"),
    };
    let binary = PathBuf::from(std::env::var_os("TRIMTAB_BIN").context("start hack/demo")?);
    tokio::select! {
        result = tell(&binary, once) => result,
        _ = tokio::signal::ctrl_c() => {
            println!("\nstopping");
            Ok(())
        }
    }
}

async fn tell(binary: &PathBuf, once: bool) -> Result<()> {
    let guardian = Guardian::start()?;
    let control_plane = step(
        "starting etcd, kube-apiserver, controllers and a kwok node",
        async { ControlPlane::start(&guardian, &tools()?).await },
    )
    .await?;
    let cluster = control_plane.cluster.clone();
    let repositories = guardian.directory().join("repositories");
    std::fs::create_dir_all(&repositories)?;
    let git = GitServer::start(&repositories)?;
    cluster
        .create(
            "/api/v1/namespaces",
            &json!({"metadata": {"name": "trimtab"}}),
        )
        .await?;
    let agent = step("starting trimtab agent", async {
        Agent::start(&guardian, &control_plane, &AgentOptions::new(binary)).await
    })
    .await?;
    let repository = Repository::create(&repositories, "shop")?;
    let url = git.url("shop");
    let commit_id = repository.commit("main", &files(), "the shop, first version")?;
    println!("  a Git repository with a kustomization and a chart: {url}");
    for (name, path) in [("web", "web/overlays/prod"), ("cache", "cache")] {
        apply_application(&cluster, name, path, &url).await?;
    }
    step("two Applications: Synced and Healthy", async {
        for name in ["web", "cache"] {
            synced(&cluster, name, &commit_id).await?;
        }
        Ok(())
    })
    .await?;
    push(&cluster, &agent, &repository, &url).await?;
    repair(&cluster).await?;
    table(&cluster).await?;
    let (resident, anonymous) = agent.memory()?;
    println!(
        "\nThe agent uses {:.1} MiB ({:.1} MiB of its own).",
        mib(resident),
        mib(anonymous)
    );
    if once {
        println!("That was all. Without --once it stays up.");
        return Ok(());
    }
    visitor::create(&cluster, "trimtab-admin").await?;
    let directory = guardian.directory().display();
    println!(
        "\nIt stays up. In another terminal:\n\
         \n  export KUBECONFIG={}\n  \
         {}/kubectl -n trimtab get applications\n  \
         {} list\n  {} get web\n\
         \n  git clone {url}   (pushes go to {directory}/repositories/shop.git)\n  \
         {} ui --server http://{} --as admin   (prints the address of the pages)\n  \
         webhooks:   http://{}/hooks/github\n  \
         operations: http://{}/metrics\n\
         \nCtrl-C stops everything and leaves nothing behind.",
        control_plane.kubeconfig.display(),
        control_plane.tools.display(),
        binary.display(),
        binary.display(),
        binary.display(),
        agent.people,
        agent.webhooks,
        agent.operations,
    );
    std::future::pending::<Result<()>>().await
}

fn mib(kib: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let kib = kib as f64;
    kib / 1024.0
}

/// Says what is being done, and how long it took.
async fn step<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let started = Instant::now();
    print!("  {what} ...");
    std::io::stdout().flush()?;
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    loop {
        tokio::select! {
            result = &mut work => {
                match &result {
                    Ok(_) => println!(" {:.1} s", started.elapsed().as_secs_f64()),
                    Err(_) => println!(" failed"),
                }
                return result;
            }
            _ = ticks.tick() => {
                if std::io::stdout().is_terminal() {
                    print!(".");
                    std::io::stdout().flush()?;
                }
            }
        }
    }
}

fn files() -> [(&'static str, Option<&'static str>); 7] {
    [
        (
            "web/base/kustomization.yaml",
            Some("resources: [deployment.yaml, service.yaml]\n"),
        ),
        (
            "web/base/deployment.yaml",
            Some(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 2\n  \
             selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    \
             spec: {containers: [{name: web, image: \"example/web:1\"}]}\n",
            ),
        ),
        (
            "web/base/service.yaml",
            Some(
                "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n\
             spec: {selector: {app: web}, ports: [{port: 80}]}\n",
            ),
        ),
        (
            "web/overlays/prod/kustomization.yaml",
            Some(
                "resources: [../../base]\nconfigMapGenerator:\n\
             - {name: greeting, literals: [text=hello], options: {disableNameSuffixHash: true}}\n",
            ),
        ),
        (
            "cache/Chart.yaml",
            Some("apiVersion: v2\nname: cache\nversion: 1.0.0\n"),
        ),
        ("cache/values.yaml", Some("size: 64\n")),
        (
            "cache/templates/config.yaml",
            Some(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-config}\n\
             data: {size: \"{{ .Values.size }}\"}\n",
            ),
        ),
    ]
}

async fn apply_application(cluster: &Cluster, name: &str, path: &str, url: &str) -> Result<()> {
    let application = json!({
        "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
        "metadata": {"namespace": "trimtab", "name": name},
        "spec": {
            "project": "default",
            "source": {"repoURL": url, "path": path, "targetRevision": "main"},
            "destination": {"namespace": "shop"},
            "syncPolicy": {
                "automated": {"prune": true, "selfHeal": true},
                "syncOptions": ["CreateNamespace=true"],
            },
        },
    });
    let path = "/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications";
    cluster.create(path, &application).await.map(drop)
}

async fn synced(cluster: &Cluster, name: &str, commit_id: &str) -> Result<()> {
    let path = format!("/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications/{name}");
    eventually(&format!("{name} Synced and Healthy"), SOON, || async {
        let status = cluster.get(&path).await?["status"].take();
        let met = status["sync"]["status"] == "Synced"
            && status["health"]["status"] == "Healthy"
            && status["sync"]["revision"] == commit_id;
        Ok(if met {
            Expectation::Met(())
        } else {
            Expectation::Pending(status.to_string())
        })
    })
    .await
}

/// Waits until a value is live, looking as often as the API server answers.
async fn live(cluster: &Cluster, text: &str) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        let map = cluster
            .get("/api/v1/namespaces/shop/configmaps/greeting")
            .await?;
        if map["data"]["text"] == text {
            return Ok(());
        }
    }
    bail!("\"{text}\" did not go live within {SOON:?}")
}

async fn push(cluster: &Cluster, agent: &Agent, repository: &Repository, url: &str) -> Result<()> {
    let changed = "resources: [../../base]\nconfigMapGenerator:\n\
                   - {name: greeting, literals: [text=world], options: {disableNameSuffixHash: true}}\n";
    let files = [("web/overlays/prod/kustomization.yaml", Some(changed))];
    let commit_id = repository.commit("main", &files, "greet the world")?;
    let started = Instant::now();
    let status = agent.push_github(url, "main", &commit_id).await?;
    let accepted = started.elapsed();
    live(cluster, "world").await?;
    println!(
        "  pushed {}: signed delivery answered with {status} after {:.1} ms, live after {:.0} ms",
        &commit_id[..7],
        accepted.as_secs_f64() * 1000.0,
        started.elapsed().as_secs_f64() * 1000.0
    );
    if status != 202 {
        bail!("the delivery was answered with {status}");
    }
    synced(cluster, "web", &commit_id).await
}

async fn repair(cluster: &Cluster) -> Result<()> {
    let path = "/api/v1/namespaces/shop/configmaps/greeting";
    let started = Instant::now();
    cluster
        .patch(path, &json!({"data": {"text": "changed by hand"}}))
        .await?;
    live(cluster, "world").await?;
    println!(
        "  changed the live ConfigMap by hand: repaired after {:.0} ms",
        started.elapsed().as_secs_f64() * 1000.0
    );
    Ok(())
}

async fn table(cluster: &Cluster) -> Result<()> {
    let list = cluster
        .get("/apis/trimtab.dev/v1alpha1/namespaces/trimtab/applications")
        .await?;
    println!(
        "\n  {:<8} {:<10} {:<10} {:<9} RESOURCES",
        "NAME", "SYNC", "HEALTH", "REVISION"
    );
    for item in list["items"].as_array().into_iter().flatten() {
        let text = |pointer: &str| {
            item.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned()
        };
        let revision: String = text("/status/sync/revision").chars().take(7).collect();
        println!(
            "  {:<8} {:<10} {:<10} {:<9} {}",
            text("/metadata/name"),
            text("/status/sync/status"),
            text("/status/health/status"),
            revision,
            item["status"]["resources"].as_array().map_or(0, Vec::len),
        );
    }
    Ok(())
}
