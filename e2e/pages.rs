//! The pages in a real browser.

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::given::{Lab, SOON, config_map, story};
use crate::lab::browser::{Browser, Look};
use crate::lab::{Expectation, eventually};
use crate::people::token;

/// A window in which one of the chart's accounts is logged in.
pub(crate) async fn logged_in(lab: &Lab, account: &str, look: Look) -> Result<(Browser, String)> {
    let browser = Browser::open(&lab.guardian, look).await?;
    // Cookies that only https may set are taken from localhost as well.
    let base = format!("http://localhost:{}", lab.agent.people.port());
    let token = token(lab, account, "trimtab").await?;
    browser.visit(&base).await?;
    browser.shows("Token of the cluster").await?;
    browser.write("input[name=token]", &token).await?;
    browser.click("button.go").await?;
    browser.shows("Applications").await?;
    Ok((browser, base))
}

/// A script in every text that a repository or a person decides.
const EVIL: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>";

#[test]
fn an_operator_sees_and_acts_without_a_reload() {
    story(|lab| async move {
        let app = lab.given("by-browser").await?;
        let (browser, base) = logged_in(lab, "trimtab-operator", Look::default()).await?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({});
        let first = app.commit(&[("a.yaml", Some(&config_map("a", EVIL)))])?;
        app.create(&manifest).await?;
        browser.visit(&format!("{base}/?q={}", app.name)).await?;
        browser.shows("OutOfSync").await?;
        browser.run("window.marked = true").await?;
        browser
            .visit(&format!("{base}/applications/trimtab/{}", app.name))
            .await?;
        browser.shows("Out of sync: 1 of 1 objects differ").await?;
        browser.run("window.marked = true").await?;
        browser.press("Sync").await?;
        browser.click("dialog[open] button.go").await?;
        app.synced(&first).await?;
        browser.shows("In sync, 1 objects").await?;
        browser.shows("a change").await?;
        browser.press("Pause").await?;
        browser
            .write("dialog[open] input[name=reason]", EVIL)
            .await?;
        browser.click("dialog[open] button.go").await?;
        browser.shows("Paused").await?;
        browser.press("Resume").await?;
        browser
            .becomes("no pause", |page| !page.contains("Paused"))
            .await?;
        ensure!(
            browser.run("return window.marked").await? == true,
            "the page was reloaded"
        );
        let page = browser
            .run("return document.body.innerHTML")
            .await?
            .to_string();
        ensure!(!page.contains("Delete…"), "an operator may not delete");
        for tab in ["diff", "events", "history", "manifest"] {
            browser
                .visit(&format!("{base}/applications/trimtab/{}/{tab}", app.name))
                .await?;
            browser.shows("In sync").await?;
        }
        let complaints = browser.complaints().await?;
        ensure!(complaints.is_empty(), "{complaints:?}");
        browser.close().await
    });
}

#[test]
fn a_viewer_is_offered_nothing_that_a_viewer_may_not() {
    story(|lab| async move {
        let app = lab.given("viewed").await?;
        let commit_id = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let (browser, base) = logged_in(lab, "trimtab-viewer", Look::default()).await?;
        browser
            .visit(&format!("{base}/applications/trimtab/{}", app.name))
            .await?;
        browser.shows("In sync").await?;
        let buttons = browser
            .run("return document.querySelectorAll('.actions button').length")
            .await?;
        ensure!(buttons == 0, "{buttons} actions are offered");
        browser
            .visit(&format!("{base}/applications/trimtab/none"))
            .await?;
        browser.shows("there is no such application").await?;
        browser.visit(&base).await?;
        browser.press("Log out").await?;
        browser.shows("Token of the cluster").await?;
        browser.visit(&format!("{base}/about")).await?;
        browser.shows("Token of the cluster").await?;
        browser.close().await
    });
}

#[test]
fn pages_are_read_on_a_phone_in_the_dark_and_without_script() {
    story(|lab| async move {
        let app = lab.given("read-anywhere").await?;
        let commit_id = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let look = Look {
            dark: true,
            size: Some((390, 844)),
            ..Look::default()
        };
        let (phone, base) = logged_in(lab, "trimtab-viewer", look).await?;
        for path in ["/", "/about", "/applications/trimtab/read-anywhere"] {
            phone.visit(&format!("{base}{path}")).await?;
            let wide = "return document.documentElement.scrollWidth <= innerWidth";
            ensure!(
                phone.run(wide).await? == true,
                "{path} is wider than a phone"
            );
        }
        let back = "return getComputedStyle(document.body).backgroundColor";
        let back = phone.run(back).await?;
        ensure!(back == "rgb(16, 20, 27)", "not dark: {back}");
        phone.close().await?;
        let look = Look {
            without_script: true,
            ..Look::default()
        };
        let (plain, base) = logged_in(lab, "trimtab-viewer", look).await?;
        plain
            .visit(&format!(
                "{base}/applications/trimtab/read-anywhere?view=list"
            ))
            .await?;
        plain.shows("ConfigMap").await?;
        plain.close().await
    });
}

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: registry.example/web}, {name: side, image: registry.example/side}]}
";

#[test]
fn trees_fold_lists_become_tiles_and_workloads_are_scaled() {
    story(|lab| async move {
        let app = lab.given("folded").await?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({"automated": {}});
        let commit_id = app.commit(&[("web.yaml", Some(DEPLOYMENT))])?;
        app.create(&manifest).await?;
        app.synced(&commit_id).await?;
        let (browser, base) = logged_in(lab, "trimtab-admin", Look::default()).await?;
        let page = format!("{base}/applications/trimtab/{}", app.name);
        browser.visit(&page).await?;
        browser.shows("ReplicaSet").await?;
        browser.click("a.fold").await?;
        browser
            .becomes("a folded tree", |page| !page.contains("ReplicaSet"))
            .await?;
        browser.shows("+2").await?;
        browser.click("a.fold").await?;
        browser.shows("ReplicaSet").await?;
        browser
            .visit(&format!("{base}/tiles?q={}&sort=worst", app.name))
            .await?;
        let tiles = "return document.querySelectorAll('.tiles li').length";
        ensure!(browser.run(tiles).await? == 1, "not one tile");
        let object = "group=apps&version=v1&kind=Deployment&resource=web";
        browser
            .visit(&format!(
                "{page}/resource?{object}&resourceNamespace={}",
                app.name
            ))
            .await?;
        browser.press("Scale…").await?;
        let field = "document.querySelector('dialog[open] input[name=replicas]').value = '3'";
        browser.run(field).await?;
        browser.click("dialog[open] button.go").await?;
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", app.name);
        eventually("three replicas", SOON, || async {
            let replicas = app.cluster.get(&path).await?["spec"]["replicas"].clone();
            Ok(if replicas == 3 {
                Expectation::Met(())
            } else {
                Expectation::Pending(replicas.to_string())
            })
        })
        .await?;
        let complaints = browser.complaints().await?;
        ensure!(complaints.is_empty(), "{complaints:?}");
        browser.close().await
    });
}

/// Serves one page, to whoever asks, from an origin that is not ours.
async fn elsewhere(page: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{page}",
                page.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(format!("http://{address}/"))
}

/// Clickjacking: a page of somebody else that shows ours in a frame shows nothing.
#[test]
fn a_frame_of_another_page_stays_empty() {
    story(|lab| async move {
        let (browser, base) = logged_in(lab, "trimtab-viewer", Look::default()).await?;
        let other = elsewhere("<p>of somebody else</p>".to_owned()).await?;
        for (address, shown) in [
            (other, true),
            (format!("{base}/"), false),
            (format!("{base}/login"), false),
            (format!("{base}/api/v1/about"), false),
        ] {
            let page = format!("<p>before</p><iframe src=\"{address}\"></iframe>");
            browser.visit(&elsewhere(page).await?).await?;
            browser.shows("before").await?;
            browser.client.enter_frame(0).await?;
            eventually("a frame", SOON, || async {
                let found = browser.run("return document.location.href").await?;
                let found = found.as_str().unwrap_or_default();
                let refused = found.starts_with("chrome-error:");
                Ok(match refused != shown && found != "about:blank" {
                    true => Expectation::Met(()),
                    false => Expectation::Pending(found.to_owned()),
                })
            })
            .await?;
            browser.client.enter_parent_frame().await?;
        }
        browser.close().await
    });
}

/// What is made beside the agent, such as pods, shows by itself while somebody looks.
#[test]
fn children_and_events_appear_without_a_reload() {
    story(|lab| async move {
        let app = lab.given("watched-live").await?;
        let web = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 1\n  \
                   selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: \
                   web}}\n    spec: {containers: [{name: web, image: registry.example/web}]}\n";
        let first = app.commit(&[("web.yaml", Some(web))])?;
        let mut manifest = app.application();
        manifest["spec"]["syncPolicy"] = json!({"automated": {}});
        app.create(&manifest).await?;
        app.synced(&first).await?;
        let (browser, base) = logged_in(lab, "trimtab-viewer", Look::default()).await?;
        let page = format!("{base}/applications/trimtab/{}", app.name);
        browser
            .visit(&format!("{page}?view=list&q=pod+web"))
            .await?;
        let pods = |page: &str| page.matches("web-").count();
        browser.becomes("one pod", |page| pods(page) == 1).await?;
        browser.run("window.marked = true").await?;
        // A controller's work: nothing that the agent remembers changes with it.
        let set = format!(
            "/apis/apps/v1/namespaces/{}/deployments/web/scale",
            app.name
        );
        let scale = json!({"spec": {"replicas": 2}});
        app.cluster.patch(&set, &scale).await?;
        browser.becomes("two pods", |page| pods(page) == 2).await?;
        ensure!(
            browser.run("return window.marked").await? == true,
            "it was loaded anew"
        );
        let complaints = browser.complaints().await?;
        ensure!(complaints.is_empty(), "{complaints:?}");
        browser.close().await
    });
}

#[test]
fn a_script_that_is_put_into_a_page_does_not_run() {
    story(|lab| async move {
        let (browser, _) = logged_in(lab, "trimtab-viewer", Look::default()).await?;
        let tries = [
            "const it = document.createElement('script'); it.text = 'window.hit = 1'; \
             document.body.append(it)",
            "const it = document.createElement('script'); it.src = 'data:text/javascript,window.hit=1'; \
             document.body.append(it)",
            "document.body.innerHTML = '<img src=x onerror=\"window.hit = 1\">'",
            "const it = document.createElement('b'); it.setAttribute('onclick', 'window.hit = 1'); \
             document.body.append(it); it.click()",
        ];
        for script in tries {
            // Some are refused with an exception, some in silence. What the driver itself evaluates
            // is not held to the policy, but what it puts into the page is.
            let tried = format!("try {{ {script} }} catch {{}}; return true");
            browser.run(&tried).await?;
        }
        let settled = "await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50))); \
                       return window.hit ?? null";
        let hit = browser.run(settled).await?;
        ensure!(hit.is_null(), "a script ran");
        let complaints = browser.complaints().await?.join("\n");
        ensure!(complaints.contains("has been blocked"), "{complaints}");
        browser.close().await
    });
}
