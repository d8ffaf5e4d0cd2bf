//! trial
#![allow(dead_code)]
mod lab;
use lab::*;
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let guardian = process::Guardian::start()?;
    let t = std::time::Instant::now();
    let cp = ControlPlane::start(&guardian, &tools()?).await?;
    println!("up in {:?} {}", t.elapsed(), cp.kubeconfig.display());
    let ready = |kind: &'static str, path: &'static str, ok: fn(&serde_json::Value)->bool| { let c = cp.cluster.clone(); async move { eventually(kind, std::time::Duration::from_secs(30), || async { let v = c.get(path).await?; Ok(if ok(&v) {Expectation::Met(())} else {Expectation::Pending(v["status"].to_string())}) }).await } };
    cp.cluster.create("/apis/apps/v1/namespaces/default/deployments", &serde_json::json!({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}})).await?;
    ready("deployment", "/apis/apps/v1/namespaces/default/deployments/web", |v| v["status"]["availableReplicas"]==2).await?;
    println!("deployment {:?}", t.elapsed());
    cp.cluster.create("/apis/batch/v1/namespaces/default/jobs", &serde_json::json!({"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"job"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"x"}]}}}})).await?;
    ready("job", "/apis/batch/v1/namespaces/default/jobs/job", |v| v["status"]["succeeded"]==1).await?;
    println!("job {:?}", t.elapsed());
    Ok(())
}
