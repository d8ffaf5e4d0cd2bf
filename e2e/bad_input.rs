//! What is wrong is named on its Application, deletes nothing and holds nobody else up.

use std::time::Duration;

use serde_json::json;

use crate::given::{config_map, story};
use crate::lab::agent::{GITHUB_SECRET, github_push, sign};
use crate::lab::git_server::Fault;

#[test]
fn a_broken_commit_changes_nothing_and_the_next_one_is_taken() {
    story(|lab| async move {
        let app = lab.given("broken").await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let bomb = {
            let mut text = String::from("x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
            for level in 1..10 {
                let items = [format!("*x{}", level - 1).as_str(); 10].join(", ");
                text.push_str(&format!("x{level}: &x{level} [{items}]\n"));
            }
            text
        };
        for (content, type_, expected) in [
            ("apiVersion: v1\nkind: [", "ComparisonError", "a.yaml"),
            (
                "apiVersion: v1\nkind: Secret\nstringData:\n  password: canary-1\n bad",
                "ComparisonError",
                "a.yaml",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: a, x: b}\n",
                "ComparisonError",
                "a.yaml",
            ),
            (bomb.as_str(), "ComparisonError", "a.yaml"),
            (
                "kind: ConfigMap\ndata: {a: b}\n",
                "ComparisonError",
                "a.yaml",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n",
                "ComparisonError",
                "name",
            ),
            (
                "apiVersion: example.com/v1\nkind: Unknown\nmetadata: {name: a}\n",
                "SyncError",
                "no kind",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nunknown: 1\n",
                "SyncError",
                "unknown",
            ),
            (
                "apiVersion: v1\nkind: Secret\nmetadata: {name: b}\ndata: {a: canary-2!}\n",
                "SyncError",
                "Secret",
            ),
        ] {
            app.push(&lab.agent, &[("a.yaml", Some(content))]).await?;
            let status = app.condition(type_, expected).await?;
            assert!(
                !status.to_string().contains("canary"),
                "a Secret is shown: {status}"
            );
            app.value("a", Some("1")).await?;
            // A good commit in between, so that each bad one stands for itself.
            let good = app
                .push(&lab.agent, &[("a.yaml", Some(&config_map("a", "1")))])
                .await?;
            let status = app.synced(&good).await?;
            assert!(
                status["conditions"].as_array().is_none_or(Vec::is_empty),
                "{status}"
            );
        }
        assert!(
            !lab.agent.process.log().contains("canary"),
            "a Secret is in the log"
        );
        Ok(())
    });
}

#[test]
fn what_the_renderers_say_is_in_the_condition() {
    story(|lab| async move {
        let app = lab.given("tools").await?;
        let first = app.commit(&[
            ("kustomization.yaml", Some("resources: [a.yaml]\n")),
            ("a.yaml", Some(&config_map("a", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        for (content, expected) in [
            ("resources: [missing.yaml]\n", "missing.yaml"),
            ("resources: [https://example.com/base]\n", "remote"),
            ("resources: [../../..]\n", ".."),
            ("resources: [a.yaml]\nunknownField: 1\n", "unknownField"),
        ] {
            app.push(&lab.agent, &[("kustomization.yaml", Some(content))])
                .await?;
            app.condition("ComparisonError", expected).await?;
            app.value("a", Some("1")).await?;
        }
        let second = app
            .push(
                &lab.agent,
                &[
                    ("kustomization.yaml", None),
                    (
                        "Chart.yaml",
                        Some("apiVersion: v2\nname: c\nversion: 1.0.0\n"),
                    ),
                    ("templates/a.yaml", Some("{{ fail \"the chart says no\" }}")),
                ],
            )
            .await?;
        app.condition("ComparisonError", "the chart says no")
            .await?;
        app.value("a", Some("1")).await?;
        let _ = second;
        Ok(())
    });
}

#[test]
fn a_source_that_cannot_be_read_leaves_all_as_it_is() {
    story(|lab| async move {
        let app = lab.given("unreadable").await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        for (fault, expected) in [
            (Fault::Status(401), ""),
            (Fault::Status(404), ""),
            (Fault::Status(500), "500"),
            (Fault::Html, "html"),
        ] {
            lab.git.fail("unreadable", fault);
            app.refresh().await?;
            let status = app.condition("SourceError", expected).await?;
            assert!(!status["source"]["staleSince"].is_null());
            app.value("a", Some("1")).await?;
            lab.git.heal("unreadable");
            app.refresh().await?;
            app.synced(&first).await?;
            app.becomes("no condition", |s| {
                s["conditions"].as_array().is_none_or(Vec::is_empty)
            })
            .await?;
        }
        app.repository.delete_branch("main")?;
        app.refresh().await?;
        app.condition("SourceError", "main").await?;
        app.value("a", Some("1")).await?;
        Ok(())
    });
}

#[test]
fn one_hanging_repository_holds_nobody_up() {
    story(|lab| async move {
        let hanging = lab.given("hanging").await?;
        hanging.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        lab.git.fail("hanging", Fault::Hang);
        hanging.create(&hanging.application()).await?;
        let other = lab.given("not-hanging").await?;
        let first = other.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        other.create(&other.application()).await?;
        other.synced(&first).await?;
        Ok(())
    });
}

#[test]
fn nonsense_in_a_spec_is_named() {
    story(|lab| async move {
        let app = lab.given("nonsense").await?;
        app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.value("a", Some("1")).await?;
        for (spec, expected) in [
            (json!({"project": "nope"}), "spec.project"),
            (json!({"source": {"path": "../.."}}), "spec.source.path"),
            (json!({"source": {"path": "missing"}}), "missing"),
            (
                json!({"source": {"repoURL": "file:///etc"}}),
                "repository URL",
            ),
            (
                json!({"source": {"repoURL": "--upload-pack=x"}}),
                "repository URL",
            ),
            (
                json!({"source": {"targetRevision": "--upload-pack=x"}}),
                "--upload-pack=x",
            ),
            (json!({"source": {"targetRevision": "a..b"}}), "a..b"),
            (
                json!({"destination": {"server": "https://elsewhere"}}),
                "spec.destination.server",
            ),
            (
                json!({"destination": {"namespace": "No Such"}}),
                "spec.destination.namespace",
            ),
            (
                json!({"syncPolicy": {"syncOptions": ["Sparkle=true"]}}),
                "Sparkle=true",
            ),
            (
                json!({"ignoreDifferences": [{"kind": "A"}]}),
                "spec.ignoreDifferences",
            ),
            (
                json!({"source": {"kustomize": {"images": ["a=b"]}}}),
                "spec.source.kustomize.images",
            ),
            (json!({"source": {"chart": "c"}}), "spec.source.chart"),
        ] {
            app.cluster
                .patch(&app.path(), &json!({"spec": spec}))
                .await?;
            app.becomes(expected, |status| {
                status["conditions"].to_string().contains(expected)
            })
            .await?;
            app.value_of("a", "1").await?;
            let mut good = app.cluster.get(&app.path()).await?;
            good["spec"] = app.application()["spec"].clone();
            good.as_object_mut().unwrap().remove("status");
            let current = app.cluster.get(&app.path()).await?;
            good["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
            app.cluster.replace(&app.path(), &good).await?;
            app.becomes("well again", |status| {
                status["conditions"].as_array().is_none_or(Vec::is_empty)
                    && status["sync"]["status"] == "Synced"
            })
            .await?;
        }
        Ok(())
    });
}

#[test]
fn deliveries_without_proof_do_nothing() {
    story(|lab| async move {
        let app = lab.given("unsigned").await?;
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let second = app.commit(&[("a.yaml", Some(&config_map("a", "2")))])?;
        let before = lab.git.count("unsigned", "info/refs");
        let body = github_push(&app.url, "main", &second);
        let good = format!("sha256={}", sign(GITHUB_SECRET, &body));
        let wrong = format!("sha256={}", sign("another secret", &body));
        let json = ("Content-Type", "application/json");
        let push = ("X-GitHub-Event", "push");
        let large = vec![b'x'; (5 << 20) + 1];
        let nonsense = b"{\"ref\": 7}".to_vec();
        let signed_nonsense = format!("sha256={}", sign(GITHUB_SECRET, &nonsense));
        for (receiver, headers, body, expected) in [
            ("github", vec![json, push], &body, 401),
            (
                "github",
                vec![json, push, ("X-Hub-Signature-256", wrong.as_str())],
                &body,
                401,
            ),
            (
                "github",
                vec![json, push, ("X-Hub-Signature-256", "sha256=")],
                &body,
                401,
            ),
            (
                "github",
                vec![json, push, ("X-Hub-Signature-256", good.as_str())],
                &large,
                413,
            ),
            (
                "github",
                vec![
                    json,
                    push,
                    ("X-Hub-Signature-256", signed_nonsense.as_str()),
                ],
                &nonsense,
                400,
            ),
            (
                "gitlab",
                vec![
                    json,
                    ("X-Gitlab-Event", "Push Hook"),
                    ("X-Gitlab-Token", "x"),
                ],
                &body,
                401,
            ),
            (
                "nobody",
                vec![json, push, ("X-Hub-Signature-256", good.as_str())],
                &body,
                404,
            ),
        ] {
            assert_eq!(
                lab.agent.deliver(receiver, &headers, body).await?,
                expected,
                "{receiver} {headers:?}"
            );
        }
        // The same push with the right signature is taken, and shows that the others were not.
        app.value_of("a", "1").await?;
        assert_eq!(
            lab.git.count("unsigned", "info/refs"),
            before,
            "an unsigned delivery made it ask"
        );
        lab.agent.push_github(&app.url, "main", &second).await?;
        app.value("a", Some("2")).await?;
        let idle = tokio::time::timeout(Duration::from_secs(5), lab.agent.metrics()).await??;
        assert!(idle.contains("unauthorized"), "refusals are counted");
        Ok(())
    });
}
