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
        // Put back by hand, it is in sync again without any apply.
        app.cluster
            .patch(&app.map("map"), &json!({"data": {"value": "git"}}))
            .await?;
        app.becomes("Synced", |status| status["sync"]["status"] == "Synced")
            .await?;
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
