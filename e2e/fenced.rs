//! What a hostile repository can take from the agent and from others: nothing.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::given::{Lab, Story, binary, config_map, story};
use crate::lab::{Agent, AgentOptions};

#[test]
fn every_way_out_of_the_sandbox_is_closed_on_this_machine() {
    story(|lab| async move {
        let holds = lab.agent.metric("trimtab_sandbox_holds", &[]).await?;
        ensure!(
            holds > 0.5,
            "the self-test failed: {}",
            lab.agent.process.tail(40)
        );
        Ok(())
    });
}

/// A chart that takes what it can get.
fn chart(template: &str) -> [(&'static str, String); 2] {
    [
        (
            "Chart.yaml",
            "apiVersion: v2\nname: greedy\nversion: 0.1.0\n".to_owned(),
        ),
        ("templates/all.yaml", template.to_owned()),
    ]
}

/// An agent with little patience and little memory for renders.
async fn strict_agent(lab: &'static Lab, home: &str) -> Result<Agent> {
    let options = AgentOptions {
        name: format!("agent-{home}"),
        namespace: home.to_owned(),
        settings: json!({"limits": {"renderTimeout": "2s", "renderMiB": 128}}),
        arguments: vec!["--no-install-crd".to_owned()],
        ..AgentOptions::new(binary())
    };
    Agent::start(&lab.guardian, &lab.control_plane, &options).await
}

#[test]
fn charts_without_an_end_fail_by_name_and_others_go_on() {
    story(|lab| async move {
        let home = "fenced-home";
        let greedy = lab.given_in("greedy-chart", home).await?;
        let agent = strict_agent(lab, home).await?;
        let other = |app: Story| Story {
            home: home.to_owned(),
            ..app
        };
        let endless = other(lab.given("endless-chart").await?);
        let second = other(lab.given("endless-chart-2").await?);
        let good = other(lab.given("beside-endless").await?);
        // It doubles what it holds until there is no more.
        let doubling = "{{- $x := \"0123456789\" }}{{- range until 40 }}{{- $x = print $x $x }}\
                        {{- end }}\nx: {{ len $x }}\n";
        let spinning = "{{- range until 100000 }}{{- range until 100000 }}{{- end }}{{- end }}\n";
        for (app, template) in [
            (&greedy, doubling),
            (&endless, spinning),
            (&second, spinning),
        ] {
            let files = chart(template);
            let files: Vec<_> = files
                .iter()
                .map(|(path, text)| (*path, Some(text.as_str())))
                .collect();
            app.commit(&files)?;
            app.create(&app.application()).await?;
        }
        let files = [
            ("kustomization.yaml", Some("resources: [map.yaml]\n")),
            ("map.yaml", Some(&*config_map("map", "1"))),
        ];
        let first = good.commit(&files)?;
        good.create(&good.application()).await?;
        good.synced(&first).await?;
        greedy
            .condition("ComparisonError", "needed more than 128 MiB of memory")
            .await?;
        endless
            .condition("ComparisonError", "was not done after 2 s")
            .await?;
        second
            .condition("ComparisonError", "was not done after 2 s")
            .await?;
        for n in 2..5 {
            let value = n.to_string();
            let map = config_map("map", &value);
            good.push(&agent, &[("map.yaml", Some(&*map))]).await?;
            good.value("map", Some(&value)).await?;
        }
        Ok(())
    });
}

#[test]
fn where_the_sandbox_is_required_and_does_not_hold_no_tool_runs() {
    story(|lab| async move {
        let home = "unfenced-home";
        let app = lab.given_in("unfenced", home).await?;
        let plain = Story {
            home: home.to_owned(),
            ..lab.given("unfenced-plain").await?
        };
        let start = async |mode: &str| {
            // A secret among the libraries of the system, which a child may read.
            let receiver = json!({
                "name": "open", "provider": "github", "secretFiles": ["/usr/lib/os-release"],
            });
            let options = AgentOptions {
                name: format!("agent-{home}-{mode}"),
                namespace: home.to_owned(),
                settings: json!({"sandbox": mode, "receivers": [receiver]}),
                arguments: vec!["--no-install-crd".to_owned()],
                ..AgentOptions::new(binary())
            };
            Agent::start(&lab.guardian, &lab.control_plane, &options).await
        };
        let agent = start("required").await?;
        ensure!(agent.metric("trimtab_sandbox_holds", &[]).await? < 0.5);
        let files = [
            ("kustomization.yaml", Some("resources: [map.yaml]\n")),
            ("map.yaml", Some(&*config_map("map", "1"))),
        ];
        let first = app.commit(&files)?;
        app.create(&app.application()).await?;
        let only = plain.commit(&files[1..])?;
        plain.create(&plain.application()).await?;
        plain.synced(&only).await?;
        let text = "a child's attempt to read /usr/lib/os-release went wrong";
        app.condition("ComparisonError", text).await?;
        drop(agent);
        let agent = start("preferred").await?;
        app.synced(&first).await?;
        ensure!(agent.metric("trimtab_sandbox_holds", &[]).await? < 0.5);
        Ok(())
    });
}
