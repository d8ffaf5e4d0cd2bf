//! Moving here from Flux, Argo CD and Helm: their words on objects count as before, and what does
//! not carry over is named.

use serde_json::{Value, json};

use crate::cli::trimtab_reads;
use crate::deletion::gone;
use crate::given::{config_map, story};

/// A ConfigMap with one annotation or label.
fn with(name: &str, value: &str, field: &str, word: &str) -> String {
    let (word, said) = word.split_once('=').unwrap();
    let prefix = match word {
        "resource-policy" => "helm.sh",
        _ => "kustomize.toolkit.fluxcd.io",
    };
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  {field}: \
         {{{prefix}/{word}: {said}}}\ndata: {{value: \"{value}\"}}\n"
    )
}

/// What is taken off the source is kept where Flux or Helm would keep it, and with the Application as
/// well; it does not count as a difference, as there.
#[test]
fn what_flux_and_helm_keep_is_kept() {
    story(|lab| async move {
        let app = lab.given("moving-kept").await?;
        let kept = [
            ("a", with("a", "1", "annotations", "prune=disabled")),
            ("b", with("b", "1", "labels", "prune=Disabled")),
            ("c", with("c", "1", "annotations", "resource-policy=keep")),
        ];
        let stays = config_map("stays", "1");
        let goes = config_map("goes", "1");
        let mut files = vec![
            ("stays.yaml", Some(stays.as_str())),
            ("goes.yaml", Some(&goes)),
        ];
        let names = kept.each_ref().map(|(name, _)| format!("{name}.yaml"));
        for (file, (_, text)) in names.iter().zip(&kept) {
            files.push((file, Some(text)));
        }
        let first = app.commit(&files)?;
        let mut application = app.application();
        application["metadata"]["finalizers"] = json!(["trimtab.dev/resources-finalizer"]);
        app.create(&application).await?;
        app.synced(&first).await?;
        let mut files: Vec<_> = names.iter().map(|file| (file.as_str(), None)).collect();
        files.push(("goes.yaml", None));
        let second = app.push(&lab.agent, &files).await?;
        app.value("goes", None).await?;
        app.synced(&second).await?;
        app.cluster.delete(&app.path()).await?;
        gone(&app.cluster, &app.path()).await?;
        gone(&app.cluster, &app.map("stays")).await?;
        for (name, _) in &kept {
            app.value_of(name, "1").await?;
        }
        Ok(())
    });
}

/// Each way in which Flux is asked to apply an object, or not to.
#[test]
fn what_flux_leaves_alone_is_left_alone() {
    story(|lab| async move {
        let app = lab.given("moving-left").await?;
        let once = |value| with("once", value, "annotations", "ssa=IfNotPresent");
        let never = with("never", "1", "annotations", "ssa=Ignore");
        let paused = with("paused", "1", "labels", "reconcile=disabled");
        let first = app.commit(&[
            ("once.yaml", Some(&once("1"))),
            ("never.yaml", Some(&never)),
            ("paused.yaml", Some(&paused)),
            ("hot.yaml", Some(&config_map("hot", "1"))),
            ("plain.yaml", Some(&config_map("plain", "1"))),
        ])?;
        app.create(&app.application()).await?;
        let status = app.synced(&first).await?;
        assert_eq!(status["conditions"], Value::Null);
        assert!(app.cluster.find(&app.map("never")).await?.is_none());
        assert!(app.cluster.find(&app.map("paused")).await?.is_none());
        let word = json!({"kustomize.toolkit.fluxcd.io/reconcile": "disabled"});
        let edit = json!({"metadata": {"annotations": word}, "data": {"value": "hand"}});
        app.cluster.patch(&app.map("hot"), &edit).await?;
        let edit = json!({"data": {"value": "hand"}});
        for name in ["once", "plain"] {
            app.cluster.patch(&app.map(name), &edit).await?;
        }
        app.value("plain", Some("1")).await?;
        let hard = json!({"metadata": {"annotations": {"trimtab.dev/refresh": "hard"}}});
        app.cluster.patch(&app.path(), &hard).await?;
        app.refreshed().await?;
        let second = app
            .push(
                &lab.agent,
                &[
                    ("once.yaml", Some(&once("2"))),
                    ("hot.yaml", Some(&config_map("hot", "2"))),
                    ("plain.yaml", Some(&config_map("plain", "2"))),
                ],
            )
            .await?;
        app.value("plain", Some("2")).await?;
        app.synced(&second).await?;
        app.value_of("once", "hand").await?;
        app.value_of("hot", "hand").await?;
        assert!(app.cluster.find(&app.map("never")).await?.is_none());
        // What was said in the cluster ends there.
        let word = json!({"kustomize.toolkit.fluxcd.io/reconcile": null});
        let taken_off = json!({"metadata": {"annotations": word}});
        app.cluster.patch(&app.map("hot"), &taken_off).await?;
        app.value("hot", Some("2")).await?;
        app.synced(&second).await.map(drop)
    });
}

/// What Flux was asked to leave in the cluster alone is not written over when it is taken over.
#[test]
fn what_was_patched_under_flux_is_not_written_over() {
    story(|lab| async move {
        let app = lab.given("moving-hot").await?;
        let hot = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "hot", "annotations": {"kustomize.toolkit.fluxcd.io/ssa": "Ignore"}},
            "data": {"value": "hand"},
        });
        let maps = "/api/v1/namespaces/moving-hot/configmaps";
        app.cluster.create(maps, &hot).await?;
        app.commit(&[
            ("hot.yaml", Some(&config_map("hot", "1"))),
            ("plain.yaml", Some(&config_map("plain", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.condition("SyncError", "asks Flux not to touch it")
            .await?;
        app.value_of("hot", "hand").await?;
        let taken_off =
            json!({"metadata": {"annotations": {"kustomize.toolkit.fluxcd.io/ssa": null}}});
        app.cluster.patch(&app.map("hot"), &taken_off).await?;
        app.value("hot", Some("1")).await
    });
}

/// What people set by kubectl stays with Merge and goes with Override; what can never change is
/// created again with force.
#[test]
fn what_flux_merges_overrides_and_forces_is_treated_so() {
    story(|lab| async move {
        let app = lab.given("moving-ssa").await?;
        let maps =
            "/api/v1/namespaces/moving-ssa/configmaps?fieldManager=kubectl-client-side-apply";
        for name in ["merged", "usual"] {
            let theirs = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                "data": {"value": "0", "theirs": "x"},
            });
            app.cluster.create(maps, &theirs).await?;
        }
        let forced = |value| {
            let map = with("forced", value, "annotations", "force=enabled");
            format!("{map}immutable: true\n")
        };
        let over = with("over", "1", "annotations", "ssa=Override");
        let first = app.commit(&[
            (
                "merged.yaml",
                Some(&with("merged", "1", "annotations", "ssa=Merge")),
            ),
            ("usual.yaml", Some(&config_map("usual", "1"))),
            ("over.yaml", Some(&over)),
            ("forced.yaml", Some(&forced("1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let theirs = |name: &'static str| async move {
            let app = lab.control_plane.cluster.clone();
            let path = format!("/api/v1/namespaces/moving-ssa/configmaps/{name}");
            anyhow::Ok(app.get(&path).await?["data"]["theirs"].take())
        };
        assert_eq!(theirs("merged").await?, "x");
        assert_eq!(theirs("usual").await?, Value::Null);
        let edit = json!({"data": {"theirs": "x"}});
        for name in ["over", "merged"] {
            let path = format!("{}?fieldManager=kubectl-edit", app.map(name));
            app.cluster.patch(&path, &edit).await?;
        }
        let second = app
            .push(&lab.agent, &[("forced.yaml", Some(&forced("2")))])
            .await?;
        app.value("forced", Some("2")).await?;
        app.synced(&second).await?;
        assert_eq!(theirs("over").await?, Value::Null);
        assert_eq!(theirs("merged").await?, "x");
        Ok(())
    });
}

/// What is printed for a Kustomization of Flux deploys what Flux does, without a kustomization.yaml
/// and, once there is one, with it.
#[test]
fn what_is_imported_from_flux_deploys_the_same() {
    story(|lab| async move {
        let app = lab.given("moving-flux").await?;
        let flux = format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: all, \
             namespace: flux-system}}\nspec: {{interval: 1m, url: {url}, ref: {{branch: main}}}}\n---\n\
             apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: \
             moving-flux, namespace: moving-flux}}\nspec: {{interval: 10m, path: ./app, prune: true, \
             sourceRef: {{kind: GitRepository, name: all, namespace: flux-system}}}}\n",
            url = app.url
        );
        let output = trimtab_reads(&["import"], &flux);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let made: Value = serde_yaml::from_str(&String::from_utf8(output.stdout)?)?;
        let below = config_map("below", "1");
        let first = app.commit(&[
            ("top.yaml", Some(&config_map("top", "1"))),
            ("team/below.yaml", Some(&below)),
        ])?;
        app.create(&made).await?;
        app.synced(&first).await?;
        app.value_of("below", "1").await?;
        let nested = "resources: [below.yaml]\nnamePrefix: a-\n";
        app.push(&lab.agent, &[("team/kustomization.yaml", Some(nested))])
            .await?;
        app.condition("ComparisonError", "app/team/kustomization.yaml")
            .await?;
        let top = "resources: [top.yaml, team]\n";
        let third = app
            .push(&lab.agent, &[("kustomization.yaml", Some(top))])
            .await?;
        app.synced(&third).await?;
        app.value("below", None).await?;
        app.value("a-below", Some("1")).await
    });
}
