//! What is no longer in Git goes, and what must not go stays.

use serde_json::json;

use crate::given::{config_map, story};

#[test]
fn what_left_git_is_deleted() {
    story(|lab| async move {
        let app = lab.given("prune").await?;
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        // Somebody else's object of the same namespace is none of our business.
        let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}, "data": {"value": "x"}});
        app.cluster
            .apply(&app.map("other"), "story", &other)
            .await?;
        let second = app.push(&lab.agent, &[("b.yaml", None)]).await?;
        app.value("b", None).await?;
        app.synced(&second).await?;
        app.becomes("one entry", |status| {
            status["inventory"]["entries"]
                .as_array()
                .is_some_and(|entries| entries.len() == 1)
        })
        .await?;
        app.value("a", Some("1")).await?;
        app.value("other", Some("x")).await?;
        Ok(())
    });
}

#[test]
fn without_prune_what_left_git_stays_and_is_shown() {
    story(|lab| async move {
        let app = lab.given("no-prune").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["automated"]["prune"] = json!(false);
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        app.push(&lab.agent, &[("b.yaml", None)]).await?;
        let status = app
            .becomes("OutOfSync", |status| {
                status["sync"]["status"] == "OutOfSync"
            })
            .await?;
        let stale: Vec<_> = status["resources"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|resource| resource["requiresPruning"] == true)
            .collect();
        assert_eq!(stale.len(), 1);
        app.value("b", Some("1")).await?;
        app.cluster
            .patch(
                &app.path(),
                &json!({"operation": {"sync": {"prune": true}}}),
            )
            .await?;
        app.value("b", None).await?;
        app.becomes("Synced", |status| status["sync"]["status"] == "Synced")
            .await?;
        Ok(())
    });
}

#[test]
fn an_object_without_its_label_is_still_ours_to_delete() {
    story(|lab| async move {
        let app = lab.given("unlabelled").await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["automated"]["selfHeal"] = json!(false);
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        let unlabel = json!({"metadata": {"labels": {"trimtab.dev/application": null}}});
        app.cluster.patch(&app.map("b"), &unlabel).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let second = app.push(&lab.agent, &[("b.yaml", None)]).await?;
        app.value("b", None).await?;
        app.synced(&second).await?;
        Ok(())
    });
}

#[test]
fn an_empty_render_deletes_nothing() {
    story(|lab| async move {
        let app = lab.given("empty").await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        app.push(&lab.agent, &[("a.yaml", Some("# nothing\n"))])
            .await?;
        let status = app.condition("PruneHeld", "renders nothing").await?;
        app.value("a", Some("1")).await?;
        // A person may say that it is meant.
        let message = status["conditions"][0]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        let token = message.rsplit('=').next().unwrap().to_owned();
        let approve = json!({"metadata": {"annotations": {"trimtab.dev/prune-approved": token}}});
        app.cluster.patch(&app.path(), &approve).await?;
        app.value("a", None).await?;
        Ok(())
    });
}

#[test]
fn an_application_sets_its_own_limits_of_pruning() {
    story(|lab| async move {
        let app = lab.given("limits").await?;
        let mut application = app.application();
        application["spec"]["guard"] = json!({"pruneShare": 0, "pruneObjects": 0});
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        app.create(&application).await?;
        app.synced(&first).await?;
        app.push(&lab.agent, &[("b.yaml", None)]).await?;
        app.condition("PruneHeld", "1 of 2 objects would be deleted")
            .await?;
        app.value("b", Some("1")).await?;
        let wider = json!({"spec": {"guard": {"pruneObjects": 1}}});
        app.cluster.patch(&app.path(), &wider).await?;
        app.value("b", None).await?;
        Ok(())
    });
}

#[test]
fn what_was_taken_over_by_another_is_not_deleted() {
    story(|lab| async move {
        let app = lab.given("taken").await?;
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        let mut application = app.application();
        application["spec"]["syncPolicy"]["automated"]["selfHeal"] = json!(false);
        app.create(&application).await?;
        app.synced(&first).await?;
        let foreign = json!({"metadata": {"annotations": {"trimtab.dev/tracking-id": "trimtab_other:/ConfigMap:taken/b"}}});
        app.cluster.patch(&app.map("b"), &foreign).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let second = app.push(&lab.agent, &[("b.yaml", None)]).await?;
        app.synced(&second).await?;
        app.value("b", Some("1")).await?;
        Ok(())
    });
}
