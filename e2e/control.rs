//! What people hold up and let go, by the command line.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::cli::trimtab_ends;
use crate::given::{SOON, Story, config_map, story};
use crate::hooks::told;
use crate::lab::{Expectation, eventually};

#[test]
fn paused_nothing_happens_by_itself_and_a_person_still_may() {
    story(|lab| async move {
        let app = lab.given("paused").await?;
        let first = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        trimtab_ends(
            lab,
            &["pause", "paused", "--for", "1h", "--reason", "a move"],
            0,
            &["until"],
        );
        // By whom: the name of the kubeconfig.
        let status = app.condition("Paused", "a move").await?;
        let paused = status["conditions"][0]["message"].as_str();
        ensure!(
            paused.is_some_and(|it| it.starts_with("by admin until")),
            "{paused:?}"
        );
        app.push(&lab.agent, &[("map.yaml", Some(&config_map("map", "2")))])
            .await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        app.value("map", Some("1")).await?;
        trimtab_ends(lab, &["sync", "paused", "--wait"], 0, &["configured"]);
        app.value("map", Some("2")).await?;
        let third = app
            .push(&lab.agent, &[("map.yaml", Some(&config_map("map", "3")))])
            .await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        trimtab_ends(lab, &["resume", "paused"], 0, &["resumed"]);
        app.value("map", Some("3")).await?;
        app.synced(&third).await?;
        // A pause that is over ends by itself.
        trimtab_ends(lab, &["pause", "paused", "--for", "2s"], 0, &[]);
        app.condition("Paused", "until").await?;
        let edit = json!({"data": {"value": "hand"}});
        app.cluster.patch(&app.map("map"), &edit).await?;
        app.value("map", Some("3")).await?;
        Ok(())
    });
}

/// An Application of another directory of the same repository.
async fn sibling(app: &Story, directory: &str, needs: &[&str]) -> Result<Story> {
    let name = format!("{}-{directory}", app.name);
    let mut application = app.application();
    application["metadata"]["name"] = json!(name);
    application["spec"]["source"]["path"] = json!(directory);
    let needs: Vec<_> = needs.iter().map(|need| json!({"name": need})).collect();
    application["spec"]["dependsOn"] = Value::Array(needs);
    app.create(&application).await?;
    Ok(Story {
        name,
        home: app.home.clone(),
        repository: app.repository.clone(),
        url: app.url.clone(),
        cluster: app.cluster.clone(),
    })
}

#[test]
fn one_begins_when_what_it_depends_on_is_ready() {
    story(|lab| async move {
        let app = lab.given("chain").await?;
        let slow = "apiVersion: v1\nkind: Pod\nmetadata: {name: slow}\nspec:\n  \
                    schedulerName: nobody\n  containers: [{name: run, image: run}]\n";
        let last = config_map("last", "1");
        app.repository.commit(
            "main",
            &[
                ("first/slow.yaml", Some(slow)),
                ("last/map.yaml", Some(&last)),
            ],
            "a change",
        )?;
        let last = sibling(&app, "last", &["chain-first"]).await?;
        last.condition("WaitingForDependency", "does not exist")
            .await?;
        sibling(&app, "first", &[]).await?;
        last.condition("WaitingForDependency", "not synced and healthy")
            .await?;
        assert_eq!(app.cluster.find(&app.map("last")).await?, None);
        let ready =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let pod = "/api/v1/namespaces/chain/pods/slow";
        eventually("the first is applied", SOON, || async {
            Ok(match app.cluster.find(pod).await? {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending("not yet".to_owned()),
            })
        })
        .await?;
        app.cluster
            .patch(&format!("{pod}/status"), &json!({"status": ready}))
            .await?;
        app.value("last", Some("1")).await?;
        last.becomes("no condition", |status| status["conditions"] == Value::Null)
            .await?;
        // A commit that concerns both: the last one waits until the first is well at that commit.
        app.repository.commit(
            "main",
            &[
                ("first/more.yaml", Some(&slow.replace("slow", "more"))),
                ("last/map.yaml", Some(&config_map("last", "2"))),
            ],
            "a change of both",
        )?;
        last.refresh().await?;
        last.condition("WaitingForDependency", "not synced and healthy")
            .await?;
        let more = "/api/v1/namespaces/chain/pods/more";
        eventually("the first is applied again", SOON, || async {
            Ok(match app.cluster.find(more).await? {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending("not yet".to_owned()),
            })
        })
        .await?;
        app.value("last", Some("1")).await?;
        app.cluster
            .patch(&format!("{more}/status"), &json!({"status": ready}))
            .await?;
        app.value("last", Some("2")).await?;
        // A circle is refused with its way.
        let needs = json!({"spec": {"dependsOn": [{"name": "chain-last"}]}});
        let path = app.path().replace("/chain", "/chain-first");
        app.cluster.patch(&path, &needs).await?;
        last.condition("WaitingForDependency", "circle").await?;
        Ok(())
    });
}

#[test]
fn a_sync_of_chosen_objects_leaves_the_others() {
    told(|lab, told| async move {
        let name = told.name("chosen");
        let app = lab.given(&name).await?;
        let mut application = app.application();
        application["spec"]["syncPolicy"] = json!({});
        let before = told.hook("before", "argocd.argoproj.io/hook: PreSync");
        app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("b.yaml", Some(&config_map("b", "1"))),
            ("before.yaml", Some(&before)),
        ])?;
        app.create(&application).await?;
        app.becomes("OutOfSync", |status| {
            status["sync"]["status"] == "OutOfSync"
        })
        .await?;
        let sync = ["sync", &name, "--resource", ":ConfigMap:a", "--wait"];
        trimtab_ends(lab, &sync, 1, &["1 of 2"]);
        app.value("a", Some("1")).await?;
        app.value("b", None).await?;
        let hook = told.path(&app, "before");
        ensure!(app.cluster.find(&hook).await?.is_none(), "a hook ran");
        ensure!(
            app.status().await?["history"].is_null(),
            "it counts as deployment"
        );
        Ok(())
    });
}

#[test]
fn the_verbs_that_hold_and_let_go() {
    story(|lab| async move {
        let app = lab.given("verbs").await?;
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        app.create(&app.application()).await?;
        trimtab_ends(
            lab,
            &["wait", "verbs", "--revision", &first[..7]],
            0,
            &["Synced", "Healthy"],
        );
        trimtab_ends(
            lab,
            &["wait", "verbs", "--revision", "fffffff", "--timeout", "1s"],
            2,
            &["gave up"],
        );
        let second = app
            .push(&lab.agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        app.synced(&second).await?;
        trimtab_ends(
            lab,
            &["rollback", "verbs", "--wait"],
            0,
            &["configured", "Synced"],
        );
        app.value("a", Some("1")).await?;
        trimtab_ends(
            lab,
            &["rollback", "verbs", "99", "--wait"],
            2,
            &["no such deployment"],
        );
        trimtab_ends(
            lab,
            &["rollback", "verbs", "--undo", "--wait"],
            0,
            &["Synced"],
        );
        app.value("a", Some("2")).await?;
        let one = [
            "sync",
            "verbs",
            "--replace",
            "--resource",
            ":ConfigMap:a",
            "--wait",
        ];
        trimtab_ends(lab, &one, 0, &["Synced"]);
        trimtab_ends(
            lab,
            &["sync", "verbs", "--resource", "nonsense"],
            2,
            &["GROUP:KIND:NAME"],
        );
        Ok(())
    });
}

#[test]
fn what_waits_for_a_person_is_approved_and_an_application_deleted() {
    story(|lab| async move {
        let app = lab.given("approved").await?;
        let (a, b) = (config_map("a", "1"), config_map("b", "1"));
        let first = app.commit(&[("a.yaml", Some(&a)), ("b.yaml", Some(&b))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        // An empty source waits for a person.
        app.push(
            &lab.agent,
            &[
                ("a.yaml", None),
                ("b.yaml", None),
                ("keep.txt", Some("no manifest\n")),
            ],
        )
        .await?;
        app.condition("PruneHeld", "renders nothing").await?;
        trimtab_ends(lab, &["approve", "approved"], 1, &["ConfigMap", "--yes"]);
        trimtab_ends(lab, &["approve", "approved", "--yes"], 0, &["approved the"]);
        app.value("a", None).await?;
        app.value("b", None).await?;
        app.becomes("nothing held", |status| status["conditions"] == Value::Null)
            .await?;
        trimtab_ends(lab, &["approve", "approved"], 2, &["nothing"]);
        trimtab_ends(lab, &["terminate", "approved"], 0, &["requested"]);
        trimtab_ends(lab, &["delete", "approved"], 2, &["--yes"]);
        let delete = [
            "delete",
            "approved",
            "--cascade",
            "background",
            "--yes",
            "--wait",
        ];
        trimtab_ends(lab, &delete, 0, &["is gone"]);
        trimtab_ends(lab, &["get", "approved"], 2, &["approved"]);
        Ok(())
    });
}
