//! Many applications in one repository.

use serde_json::json;

use crate::given::{SOON, config_map, story};
use crate::lab::{Expectation, eventually};

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn a_push_to_one_of_fifty_renders_one_and_applies_one_object() {
    story(|lab| async move {
        let app = lab.given_in("fifty", "fifty-home").await?;
        let agent = lab.agent_for("fifty-home", &[]).await?;
        let kustomization = "resources: [a.yaml, b.yaml]\n".to_owned();
        let mut files = Vec::new();
        for n in 0..50 {
            files.push((
                format!("apps/{n}/kustomization.yaml"),
                kustomization.clone(),
            ));
            for name in ["a", "b"] {
                files.push((
                    format!("apps/{n}/{name}.yaml"),
                    config_map(&format!("{name}-{n}"), "1"),
                ));
            }
        }
        let files: Vec<_> = files
            .iter()
            .map(|(p, c)| (p.as_str(), Some(c.as_str())))
            .collect();
        app.repository
            .commit("main", &files, "fifty applications")?;
        for n in 0..50 {
            let mut application = app.application();
            application["metadata"]["name"] = json!(format!("fifty-{n}"));
            application["spec"]["source"]["path"] = json!(format!("apps/{n}"));
            app.create(&application).await?;
        }
        let list = "/apis/trimtab.dev/v1alpha1/namespaces/fifty-home/applications";
        eventually("fifty applications are Synced", SOON * 4, || async {
            let items = app.cluster.get(list).await?["items"].take();
            let synced = items.as_array().into_iter().flatten().filter(|item| {
                item["status"]["sync"]["status"] == "Synced"
                    && item["status"]["health"]["status"] == "Healthy"
            });
            let synced = synced.count();
            Ok(if synced == 50 {
                Expectation::Met(())
            } else {
                Expectation::Pending(format!("{synced} are"))
            })
        })
        .await?;
        let measure = || async {
            let renders = agent
                .metric("trimtab_renders_total", &["result=\"rendered\""])
                .await?;
            let applies = agent
                .metric("trimtab_kube_requests_total", &["verb=\"apply\""])
                .await?;
            anyhow::Ok((renders, applies))
        };
        let (renders, applies) = measure().await?;
        let listed = lab.git.count("fifty", "ls-refs");
        let changed = config_map("a-7", "2");
        let commit_id =
            app.repository
                .commit("main", &[("apps/7/a.yaml", Some(&changed))], "one")?;
        agent.push_github(&app.url, "main", &commit_id).await?;
        app.value_eventually("a-7", "2").await?;
        let path = format!("{list}/fifty-7");
        eventually("the status follows", SOON, || async {
            let found = app.cluster.get(&path).await?;
            let done = found["status"]["sync"]["revision"] == commit_id
                && found["status"]["sync"]["status"] == "Synced";
            Ok(if done {
                Expectation::Met(())
            } else {
                Expectation::Pending(found["status"]["sync"].to_string())
            })
        })
        .await?;
        let (renders_after, applies_after) = measure().await?;
        assert_eq!(renders_after - renders, 1.0, "renders");
        assert_eq!(applies_after - applies, 1.0, "applies");
        assert_eq!(
            lab.git.count("fifty", "ls-refs") - listed,
            1,
            "ls-refs for fifty applications"
        );
        Ok(())
    });
}

impl crate::given::Story {
    /// Waits for a value without looking at an Application of the story's name.
    pub(crate) async fn value_eventually(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let path = self.map(name);
        eventually(&format!("{name} = {value}"), SOON, || async {
            let now = self
                .cluster
                .find(&path)
                .await?
                .map(|map| map["data"]["value"].clone());
            Ok(if now == Some(json!(value)) {
                Expectation::Met(())
            } else {
                Expectation::Pending(format!("{now:?}"))
            })
        })
        .await
    }
}
