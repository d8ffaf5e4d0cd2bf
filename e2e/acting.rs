//! What people do in a real browser: every action, by mouse and by keyboard.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::given::{SOON, Story, config_map, story};
use crate::lab::browser::{Browser, Look};
use crate::lab::{Expectation, eventually};
use crate::pages::logged_in;

/// Nothing was refused by the policy of the pages, and nothing failed.
pub(crate) async fn quiet(browser: Browser) -> Result<()> {
    let complaints = browser.complaints().await?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    browser.close().await
}

/// An object of a story's namespace is as wanted.
async fn live(
    app: &Story,
    path: &str,
    what: &str,
    wanted: impl Fn(Option<&Value>) -> bool,
) -> Result<()> {
    eventually(what, SOON, || async {
        let found = app.cluster.find(path).await?;
        Ok(match wanted(found.as_ref()) {
            true => Expectation::Met(()),
            false => Expectation::Pending(format!("{found:?}")),
        })
    })
    .await
}

/// Without automation, so that what happens was asked for.
fn by_hand(app: &Story) -> Value {
    let mut manifest = app.application();
    manifest["spec"]["syncPolicy"] = json!({});
    manifest
}

#[test]
fn a_new_application_is_previewed_created_and_deleted_by_name() {
    story(|lab| async move {
        let app = lab.given("made-by-form").await?;
        app.commit(&[("a.yaml", Some(&config_map("a", "of the preview")))])?;
        let (browser, base) = logged_in(lab, "trimtab-admin", Look::default()).await?;
        browser.visit(&format!("{base}/new")).await?;
        let url = app.application()["spec"]["source"]["repoURL"].clone();
        let url = url.as_str().context("an address")?.to_owned();
        for (field, text) in [
            ("name", app.name.as_str()),
            ("repoURL", &format!("{url}-not-there")),
            ("destination", &app.name),
        ] {
            browser.write(&format!("input[name={field}]"), text).await?;
        }
        let path = app.application()["spec"]["source"]["path"].clone();
        browser
            .write("input[name=path]", path.as_str().unwrap_or_default())
            .await?;
        browser.press("Preview").await?;
        browser.shows("does not exist").await?;
        let right = format!("document.querySelector('[name=repoURL]').value = '{url}'");
        browser.run(&right).await?;
        browser.press("Preview").await?;
        browser.shows("would be created").await?;
        browser.shows("kind: Application").await?;
        browser.shows("value: of the preview").await?;
        ensure!(app.cluster.find(&app.path()).await?.is_none(), "too early");
        ensure!(
            app.cluster.find(&app.map("a")).await?.is_none(),
            "too early"
        );
        browser.press("Create").await?;
        browser.shows("In sync, 1 objects").await?;
        app.value("a", Some("of the preview")).await?;
        // The name is asked for, and what was made goes too.
        browser.press("Delete…").await?;
        browser
            .write("dialog[open] [name=confirm]", "not-it")
            .await?;
        browser.click("dialog[open] button.go").await?;
        ensure!(app.cluster.find(&app.path()).await?.is_some(), "deleted");
        browser
            .run("document.querySelector('dialog[open] [name=confirm]').value = ''")
            .await?;
        browser
            .write("dialog[open] [name=confirm]", &app.name)
            .await?;
        browser.click("dialog[open] button.go").await?;
        live(&app, &app.path(), "no application", |it| it.is_none()).await?;
        live(&app, &app.map("a"), "no object", |it| it.is_none()).await?;
        // A refused preview is the one complaint: the answer of a request that failed.
        let complaints = browser.complaints().await?;
        ensure!(
            complaints.iter().all(|it| it.contains("/new/preview")),
            "{complaints:?}"
        );
        browser.close().await
    });
}

#[test]
fn an_object_is_seen_as_desired_and_live_and_what_is_deleted_comes_back() {
    story(|lab| async move {
        let app = lab.given("beside").await?;
        let secret =
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: s3cr3t}\n";
        app.commit(&[
            ("a.yaml", Some(&config_map("a", "as desired"))),
            ("s.yaml", Some(secret)),
        ])?;
        app.create(&by_hand(&app)).await?;
        let (browser, base) = logged_in(lab, "trimtab-admin", Look::default()).await?;
        let page = format!("{base}/applications/trimtab/{}", app.name);
        browser.visit(&page).await?;
        // A dry run tells what a sync would do, object by object, and does nothing.
        browser.press("Sync").await?;
        browser.click("dialog[open] [name=dryRun]").await?;
        browser.click("dialog[open] button.go").await?;
        browser.shows("2 of 2 objects would be changed").await?;
        browser.shows(&format!("Secret/{}/s", app.name)).await?;
        ensure!(
            app.cluster.find(&app.map("a")).await?.is_none(),
            "too early"
        );
        browser.press("Sync").await?;
        browser.click("dialog[open] button.go").await?;
        browser.shows("In sync, 2 objects").await?;
        app.cluster
            .patch(&app.map("a"), &json!({"data": {"value": "by hand"}}))
            .await?;
        let place = format!("version=v1&resourceNamespace={}", app.name);
        browser
            .visit(&format!(
                "{page}/resource?kind=ConfigMap&resource=a&{place}"
            ))
            .await?;
        browser.shows("value: as desired").await?;
        browser.shows("value: by hand").await?;
        browser.press("Delete object…").await?;
        browser.click("dialog[open] button.go").await?;
        live(&app, &app.map("a"), "no object", |it| it.is_none()).await?;
        browser.shows("It is not there.").await?;
        browser.visit(&page).await?;
        browser.shows("Out of sync: 1 of 2").await?;
        browser.press("Hard refresh").await?;
        browser.press("Sync").await?;
        browser.click("dialog[open] button.go").await?;
        app.value("a", Some("as desired")).await?;
        browser
            .visit(&format!("{page}/resource?kind=Secret&resource=s&{place}"))
            .await?;
        browser.shows("Desired").await?;
        let text = browser.run("return document.body.innerText").await?;
        let text = text.as_str().context("a text")?.to_owned();
        ensure!(
            !text.contains("s3cr3t") && !text.contains("czNjcjN0"),
            "{text}"
        );
        quiet(browser).await
    });
}

#[test]
fn a_revision_a_rollback_and_a_held_prune_go_by_click() {
    story(|lab| async move {
        let app = lab.given("clicked").await?;
        let first = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("b.yaml", Some(&config_map("b", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let (a, c) = (config_map("a", "2"), config_map("c", "2"));
        let second = app
            .push(&lab.agent, &[("a.yaml", Some(&a)), ("c.yaml", Some(&c))])
            .await?;
        app.synced(&second).await?;
        let (browser, base) = logged_in(lab, "trimtab-admin", Look::default()).await?;
        let page = format!("{base}/applications/trimtab/{}", app.name);
        browser.visit(&page).await?;
        browser.press("Sync").await?;
        browser
            .write("dialog[open] [name=revision]", &first)
            .await?;
        browser.click("dialog[open] button.go").await?;
        app.value("a", Some("1")).await?;
        browser.shows("RolledBack").await?;
        browser.press("End rollback").await?;
        app.value("a", Some("2")).await?;
        app.synced(&second).await?;
        // The difference is seen before it is made.
        browser.visit(&format!("{page}/history")).await?;
        browser.click("a[href*='deployment=0']").await?;
        browser
            .shows("What a rollback to deployment 0 would change")
            .await?;
        browser.shows("data.value").await?;
        // What it did not have is listed, and goes when the person leaves that as it is.
        browser
            .shows(&format!("{}/c would be deleted", app.name))
            .await?;
        browser.press("Roll back…").await?;
        browser
            .shows("Delete the 1 objects that it did not have")
            .await?;
        browser.click("dialog[open] button.go").await?;
        app.value("a", Some("1")).await?;
        app.value("c", None).await?;
        app.synced(&first).await?;
        // A commit that renders nothing waits for somebody who saw what would go.
        app.push(
            &lab.agent,
            &[
                ("a.yaml", None),
                ("b.yaml", None),
                ("c.yaml", None),
                ("keep.txt", Some("no manifest\n")),
            ],
        )
        .await?;
        app.condition("PruneHeld", "renders nothing").await?;
        browser.visit(&page).await?;
        browser.press("Approve").await?;
        browser.shows(&format!("ConfigMap/{}/a", app.name)).await?;
        browser.click("dialog[open] button.go").await?;
        app.value("a", None).await?;
        app.value("b", None).await?;
        quiet(browser).await
    });
}

#[test]
fn a_sync_is_ended_and_a_workload_restarted() {
    story(|lab| async move {
        let app = lab.given("ended").await?;
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: slow}\nspec: {schedulerName: nobody, \
                   containers: [{name: run, image: run}]}\n";
        let late = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, annotations: \
                    {trimtab.dev/sync-wave: \"-1\"}}\nspec:\n  selector: {matchLabels: {app: web}}\n  \
                    template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: a, \
                    image: registry.example/a}]}\n";
        app.commit(&[
            ("pod.yaml", Some(pod)),
            ("web.yaml", Some(late)),
            (
                "z.yaml",
                Some(&config_map("z", "1").replace(
                    "{name: z}",
                    "{name: z, annotations: {trimtab.dev/sync-wave: \"1\"}}",
                )),
            ),
        ])?;
        app.create(&by_hand(&app)).await?;
        let (browser, base) = logged_in(lab, "trimtab-admin", Look::default()).await?;
        let page = format!("{base}/applications/trimtab/{}", app.name);
        browser.visit(&page).await?;
        browser.press("Sync").await?;
        browser.click("dialog[open] button.go").await?;
        browser.shows("Pod/").await?;
        browser.press("Terminate").await?;
        app.becomes("ended", |status| {
            let phase = &status["operationState"]["phase"];
            *phase == "Failed" || *phase == "Error"
        })
        .await?;
        ensure!(app.cluster.find(&app.map("z")).await?.is_none(), "went on");
        let object = "group=apps&version=v1&kind=Deployment&resource=web";
        browser
            .visit(&format!(
                "{page}/resource?{object}&resourceNamespace={}",
                app.name
            ))
            .await?;
        browser.press("Restart").await?;
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", app.name);
        live(&app, &path, "a restart", |it| {
            let at = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
            it.is_some_and(|it| it.pointer(at).is_some())
        })
        .await?;
        quiet(browser).await
    });
}

#[test]
fn keys_alone_are_enough() {
    story(|lab| async move {
        let app = lab.given("by-keys").await?;
        let commit_id = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&by_hand(&app)).await?;
        let (browser, base) = logged_in(lab, "trimtab-operator", Look::default()).await?;
        browser
            .visit(&format!("{base}/applications/trimtab/{}", app.name))
            .await?;
        browser.shows("Out of sync").await?;
        // The first stop leads past what every page begins with.
        browser.keys("\u{E004}").await?;
        ensure!(browser.focused().await? == "Skip to content");
        browser.keys("\u{E007}").await?;
        browser.tab_to("Sync").await?;
        browser.keys("\u{E007}").await?;
        browser.shows("Prune: delete what is not desired").await?;
        // What is behind a dialog cannot be reached, and Escape leaves it.
        browser.keys("\u{E00C}").await?;
        let open = "return document.querySelectorAll('dialog[open]').length";
        ensure!(browser.run(open).await? == 0, "the dialog stays");
        ensure!(browser.focused().await? == "Sync", "the focus is lost");
        browser.keys("\u{E007}").await?;
        browser.tab_to("Cancel").await?;
        browser.tab_to("Sync").await?;
        let inside = "return Boolean(document.activeElement.closest('dialog'))";
        ensure!(browser.run(inside).await? == true, "outside the dialog");
        browser.keys("\u{E007}").await?;
        app.synced(&commit_id).await?;
        browser.shows("In sync, 1 objects").await?;
        quiet(browser).await
    });
}
