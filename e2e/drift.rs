//! What somebody changes by hand is repaired; what is not ours is left alone.

use serde_json::json;

use crate::given::{config_map, story};
use crate::lab::{Expectation, eventually};

#[test]
fn a_change_by_hand_is_repaired() {
    story(|lab| async move {
        let app = lab.given("drift").await?;
        let commit_id = app.commit(&[("map.yaml", Some(&config_map("map", "git")))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        for n in 0..5 {
            app.cluster
                .patch(
                    &app.map("map"),
                    &json!({"data": {"value": format!("hand {n}")}}),
                )
                .await?;
            app.value("map", Some("git")).await?;
        }
        app.cluster.delete(&app.map("map")).await?;
        app.value("map", Some("git")).await?;
        app.synced(&commit_id).await?;
        Ok(())
    });
}

#[test]
fn what_others_own_stays() {
    story(|lab| async move {
        let app = lab.given("foreign").await?;
        let commit_id = app.commit(&[("map.yaml", Some(&config_map("map", "git")))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let foreign = json!({"data": {"other": "x"}, "metadata": {"labels": {"by": "hand"}}});
        app.cluster.patch(&app.map("map"), &foreign).await?;
        // Something that is repaired comes after it, so the foreign change was seen by then.
        app.cluster
            .patch(&app.map("map"), &json!({"data": {"value": "hand"}}))
            .await?;
        app.value("map", Some("git")).await?;
        let map = app.cluster.get(&app.map("map")).await?;
        assert_eq!(map["data"]["other"], "x");
        assert_eq!(map["metadata"]["labels"]["by"], "hand");
        Ok(())
    });
}

#[test]
fn without_self_heal_drift_is_shown_and_left() {
    story(|lab| async move {
        let app = lab.given("shown").await?;
        let commit_id = app.commit(&[("map.yaml", Some(&config_map("map", "git")))])?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["automated"]["selfHeal"] = json!(false);
        app.create(&application).await?;
        app.synced(&commit_id).await?;
        app.cluster
            .patch(&app.map("map"), &json!({"data": {"value": "hand"}}))
            .await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        assert_eq!(
            app.cluster.get(&app.map("map")).await?["data"]["value"],
            "hand"
        );
        // Put back by hand, it is in sync again.
        app.cluster
            .patch(&app.map("map"), &json!({"data": {"value": "git"}}))
            .await?;
        app.becomes("Synced", |status| status["sync"]["status"] == "Synced")
            .await?;
        Ok(())
    });
}

/// Who owns the value of the map by an apply.
async fn owners(app: &crate::given::Story) -> anyhow::Result<Vec<String>> {
    let live = app.cluster.get(&app.map("map")).await?;
    let entries = live["metadata"]["managedFields"].as_array().cloned();
    let owns = |entry: &serde_json::Value| entry["fieldsV1"]["f:data"]["f:value"].is_object();
    let entries = entries.unwrap_or_default();
    let owning = entries.iter().filter(|entry| owns(entry));
    Ok(owning
        .map(|entry| entry["manager"].as_str().unwrap_or_default().to_owned())
        .collect())
}

#[test]
fn ownership_that_is_lost_comes_back_without_self_heal() {
    story(|lab| async move {
        let app = lab.given("lost").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["automated"]["selfHeal"] = json!(false);
        let two = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {value: git, extra: x}\n";
        let first = app.commit(&[("map.yaml", Some(two))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        // As a restore from a backup does it: all values stay, nobody owns them.
        let cleared = json!({"metadata": {"managedFields": [{}]}});
        app.cluster.patch(&app.map("map"), &cleared).await?;
        eventually("it is ours again", crate::given::SOON, || async {
            let owners = owners(&app).await?;
            Ok(match owners.as_slice() {
                [only] if only == "trimtab" => Expectation::Met(()),
                other => Expectation::Pending(format!("{other:?}")),
            })
        })
        .await?;
        let second = app
            .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "git")))])
            .await?;
        app.synced(&second).await?;
        let live = app.cluster.get(&app.map("map")).await?;
        assert_eq!(live["data"]["extra"], json!(null), "what left Git stays");
        Ok(())
    });
}

#[test]
fn what_people_add_by_kubectl_stays_or_goes_as_the_application_says() {
    story(|lab| async move {
        let app = lab.given("added").await?;
        let mut application = app.application();
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "git")))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let label = |value: &str| {
            let mut kubectl = lab.control_plane.kubectl();
            kubectl.args([
                "-n",
                &app.name,
                "label",
                "--overwrite",
                "configmap",
                "map",
                value,
            ]);
            anyhow::ensure!(kubectl.status()?.success(), "kubectl label");
            anyhow::Ok(())
        };
        label("by=hand")?;
        // Seen by the agent before the option is there.
        app.cluster
            .patch(&app.map("map"), &json!({"data": {"value": "hand"}}))
            .await?;
        app.value("map", Some("git")).await?;
        let live = app.cluster.get(&app.map("map")).await?;
        assert_eq!(live["metadata"]["labels"]["by"], "hand");
        application["spec"]["syncPolicy"]["syncOptions"] = json!(["RevertKubectlFields=true"]);
        app.cluster
            .patch(&app.path(), &json!({"spec": application["spec"]}))
            .await?;
        for value in ["by=hand", "by=again"] {
            eventually("the label goes", crate::given::SOON, || async {
                let live = app.cluster.get(&app.map("map")).await?;
                Ok(match live["metadata"]["labels"]["by"].as_str() {
                    None => Expectation::Met(()),
                    Some(by) => Expectation::Pending(by.to_owned()),
                })
            })
            .await?;
            label(value)?;
        }
        Ok(())
    });
}

#[test]
fn at_rest_nothing_is_written_and_nothing_is_asked() {
    story(|lab| async move {
        let app = lab.given_in("rest", "rest-home").await?;
        let agent = lab.agent_for("rest-home", &[]).await?;
        let files = (0..10).map(|n| (format!("m{n}.yaml"), config_map(&format!("m{n}"), "1")));
        let files: Vec<_> = files.collect();
        let files: Vec<_> = files
            .iter()
            .map(|(p, c)| (p.as_str(), Some(c.as_str())))
            .collect();
        let commit_id = app.commit(&files)?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let count = || async {
            let mut total = 0.0;
            for verb in [
                "apply", "dry_run", "delete", "get", "list", "status", "event",
            ] {
                let label = format!("verb=\"{verb}\"");
                total += agent
                    .metric("trimtab_kube_requests_total", &[&label])
                    .await?;
            }
            anyhow::Ok(total)
        };
        // The Events of the sync may still be on their way: at rest is when nothing moved for 5 s.
        let mut last = count().await?;
        eventually("rest", crate::given::SOON, || async {
            Ok(Expectation::Met(()))
        })
        .await?;
        for _ in 0..10 {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            let now = count().await?;
            if now == last {
                break;
            }
            last = now;
        }
        let git = agent.metric("trimtab_git_requests_total", &[]).await?;
        let version = app.cluster.get(&app.path()).await?["metadata"]["resourceVersion"].clone();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(count().await?, last, "requests at rest");
        assert_eq!(
            agent.metric("trimtab_git_requests_total", &[]).await?,
            git,
            "Git at rest"
        );
        let now = app.cluster.get(&app.path()).await?["metadata"]["resourceVersion"].clone();
        assert_eq!(now, version, "the Application was written at rest");
        Ok(())
    });
}
