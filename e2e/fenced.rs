//! What a hostile repository can take from the agent and from others: nothing.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::given::{Lab, SOON, Story, binary, config_map, story};
use crate::lab::git_server::Fault;
use crate::lab::memory_group::MemoryGroup;
use crate::lab::pod;
use crate::lab::{Agent, AgentOptions, Expectation, eventually};

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

/// A template that has no end worth waiting for.
const SPINNING: &str = "{{- range until 100000 }}{{- range until 100000 }}{{- end }}{{- end }}\n";

/// An agent with little patience and little memory for renders.
async fn strict_agent(lab: &'static Lab, home: &str, timeout: &str) -> Result<Agent> {
    let options = AgentOptions {
        name: format!("agent-{home}"),
        namespace: home.to_owned(),
        settings: json!({"limits": {"renderTimeout": timeout, "renderMiB": 128}}),
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
        let agent = strict_agent(lab, home, "5s").await?;
        let other = |app: Story| Story {
            home: home.to_owned(),
            ..app
        };
        let endless = other(lab.given("endless-chart").await?);
        let second = other(lab.given("endless-chart-2").await?);
        let good = other(lab.given("beside-endless").await?);
        for (app, template) in [
            (&greedy, DOUBLING),
            (&endless, SPINNING),
            (&second, SPINNING),
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
            .condition("ComparisonError", "was not done after 5 s")
            .await?;
        second
            .condition("ComparisonError", "was not done after 5 s")
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

/// How many renders of charts an agent runs just now.
fn running_charts(agent: &Agent) -> usize {
    let parent = agent.process.id().to_string();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((program, rest)) = stat.split_once(") ") else {
            return false;
        };
        program.ends_with("(helm") && rest.split(' ').nth(1) == Some(&*parent)
    })
    .count()
}

#[test]
fn what_rendered_well_before_does_not_wait_for_charts_without_an_end() {
    story(|lab| async move {
        let home = "proven-home";
        let good = lab.given_in("proven", home).await?;
        let agent = strict_agent(lab, home, "10s").await?;
        let files = [
            ("kustomization.yaml", Some("resources: [map.yaml]\n")),
            ("map.yaml", Some(&*config_map("map", "1"))),
        ];
        let first = good.commit(&files)?;
        good.create(&good.application()).await?;
        good.synced(&first).await?;
        let mut endless = Vec::new();
        for name in ["proven-endless-1", "proven-endless-2"] {
            let app = lab.given(name).await?;
            let app = Story {
                home: home.to_owned(),
                ..app
            };
            let files = chart(SPINNING);
            let files = files
                .each_ref()
                .map(|(path, text)| (*path, Some(text.as_str())));
            app.commit(&files)?;
            app.create(&app.application()).await?;
            endless.push(app);
        }
        let all_places = async || {
            Ok(match running_charts(&agent) {
                2 => Expectation::Met(()),
                other => Expectation::Pending(format!("{other} charts are rendered")),
            })
        };
        eventually("every place is taken", SOON, all_places).await?;
        let map = config_map("map", "2");
        good.push(&agent, &[("map.yaml", Some(&*map))]).await?;
        good.value("map", Some("2")).await?;
        ensure!(
            running_charts(&agent) > 0,
            "one of the places may be kept, and the other comes back"
        );
        for app in &endless {
            let status = app.status().await?;
            ensure!(
                !status.to_string().contains("was not done after"),
                "the push waited for a chart: {status}"
            );
        }
        for app in &endless {
            app.condition("ComparisonError", "was not done after 10 s")
                .await?;
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

#[test]
fn in_a_restricted_pod_the_sandbox_holds_and_everything_is_rendered() {
    story(|lab| async move {
        let home = "podlike-home";
        let app = lab.given_in("podlike", home).await?;
        let charted = Story {
            home: home.to_owned(),
            ..lab.given("podlike-chart").await?
        };
        let options = AgentOptions {
            name: format!("agent-{home}"),
            namespace: home.to_owned(),
            arguments: vec!["--stage-dir".to_owned(), pod::STAGE.to_owned()],
            pod: true,
            ..AgentOptions::new(binary())
        };
        let agent = Agent::start(&lab.guardian, &lab.control_plane, &options).await?;
        let processes = pod::processes(home)?;
        ensure!(!processes.is_empty(), "it runs as somebody else");
        for status in processes {
            let restricted = [
                "NoNewPrivs:\t1",
                "CapEff:\t0000000000000000",
                "CapBnd:\t0000000000000000",
            ];
            ensure!(
                restricted.iter().all(|line| status.contains(line)),
                "{status}"
            );
        }
        ensure!(agent.metric("trimtab_sandbox_holds", &[]).await? > 0.5);
        let files = [
            ("kustomization.yaml", Some("resources: [map.yaml]\n")),
            ("map.yaml", Some(&*config_map("map", "1"))),
        ];
        let first = app.commit(&files)?;
        app.create(&app.application()).await?;
        let template = config_map("{{ .Release.Name }}", "{{ .Values.value }}");
        let chart = chart(&template);
        let mut files: Vec<_> = chart
            .iter()
            .map(|(path, text)| (*path, Some(text.as_str())))
            .collect();
        files.push(("values.yaml", Some("value: charted\n")));
        let second = charted.commit(&files)?;
        charted.create(&charted.application()).await?;
        app.synced(&first).await?;
        charted.synced(&second).await?;
        charted.value("podlike-chart", Some("charted")).await
    });
}

/// An agent and all its children in so many MiB, as a pod's limit says.
async fn bounded_agent(
    lab: &'static Lab,
    home: &str,
    mib: u64,
) -> Result<(Agent, Arc<MemoryGroup>)> {
    let group = Arc::new(MemoryGroup::new(home, mib << 20)?);
    let options = AgentOptions {
        name: format!("agent-{home}"),
        namespace: home.to_owned(),
        arguments: vec!["--no-install-crd".to_owned()],
        group: Some(Arc::clone(&group)),
        ..AgentOptions::new(binary())
    };
    let agent = Agent::start(&lab.guardian, &lab.control_plane, &options).await?;
    Ok((agent, group))
}

/// A few hundred bytes that come to billions of values.
fn unfolding() -> String {
    let rows = (1..12).map(|n| {
        let below = format!("*a{}", n - 1);
        format!("a{n}: &a{n} [{}]\n", [below.as_str(); 9].join(", "))
    });
    format!("a0: &a0 [x, x, x]\n{}", rows.collect::<String>())
}

/// Files whose reading would take as much memory as there is, and what is said of each.
fn unreadable() -> Vec<(&'static str, &'static str, String, &'static str)> {
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n";
    let few = "it comes to more than";
    vec![
        ("unfolds", "kustomization.yaml", unfolding(), few),
        (
            "unfolds-plain",
            "m.yaml",
            format!("{object}{}", unfolding()),
            few,
        ),
        (
            "dense-json",
            "m.json",
            format!("{{\"a\": [{}1]}}", "1,".repeat(1_500_000)),
            few,
        ),
        (
            "dense-yaml",
            "m.yaml",
            format!("{object}a: [{}a]\n", "a,".repeat(1_500_000)),
            few,
        ),
        (
            "large-yaml",
            "m.yaml",
            format!("{object}data: {{a: {}}}\n", "abcdefg ".repeat(2_200_000)),
            "passes the limit of",
        ),
    ]
}

/// Charts whose own files unfold: the values, what says what it is, and that of a chart in it.
fn unfolding_charts() -> [(&'static str, Vec<(&'static str, String)>); 3] {
    let begun = "apiVersion: v2\nname: greedy\nversion: 0.1.0\n";
    let of = |path: &'static str, begun: &str| {
        let mut files = chart(&config_map("m", "1")).to_vec();
        files.retain(|(known, _)| *known != path);
        files.push((path, format!("{begun}{}", unfolding())));
        files
    };
    [
        ("unfolds-values", of("values.yaml", "")),
        ("unfolds-chart", of("Chart.yaml", begun)),
        ("unfolds-subchart", of("charts/greedy/Chart.yaml", begun)),
    ]
}

/// Two applications each of every file that cannot be read, of a server whose greeting never
/// ends, and one that is as it should be: the agent lives, says who is at fault, and goes on.
async fn survives(lab: &'static Lab, home: &str, mib: u64, charts: &[(&str, &str)]) -> Result<()> {
    let good = lab.given_in(&format!("{home}-good"), home).await?;
    let (mut agent, group) = bounded_agent(lab, home, mib).await?;
    let first = good.commit(&[("map.yaml", Some(&*config_map("map", "1")))])?;
    good.create(&good.application()).await?;
    good.synced(&first).await?;
    let mut guilty = Vec::new();
    let other = async |name: &str| -> Result<Story> {
        let app = lab.given(&format!("{home}-{name}")).await?;
        let home = home.to_owned();
        Ok(Story { home, ..app })
    };
    for (name, path, text, said) in unreadable() {
        let app = other(name).await?;
        app.commit(&[(path, Some(&*text))])?;
        guilty.push((app, said));
    }
    for (name, template) in charts {
        let app = other(name).await?;
        let files = chart(template);
        let files = files
            .each_ref()
            .map(|(path, text)| (*path, Some(text.as_str())));
        app.commit(&files)?;
        guilty.push((app, "needed more than"));
    }
    // Where there is no room for a child, none reads them.
    let unfolding = unfolding_charts();
    for (name, files) in unfolding.iter().filter(|_| !charts.is_empty()) {
        let app = other(name).await?;
        let files = files.iter().map(|(path, text)| (*path, Some(&**text)));
        app.commit(&files.collect::<Vec<_>>())?;
        guilty.push((app, "excessive aliasing"));
    }
    let greeting = other("greeting").await?;
    greeting.commit(&[("map.yaml", Some(&*config_map("map", "1")))])?;
    lab.git.fail(&greeting.name, Fault::Endless("info/refs"));
    guilty.push((greeting, "sent more than 4194304 bytes"));
    for (app, _) in &guilty {
        let mut again = app.application();
        again["metadata"]["name"] = json!(format!("{}-again", app.name));
        app.create(&again).await?;
        app.create(&app.application()).await?;
    }
    for n in 2..6 {
        let value = n.to_string();
        let map = config_map("map", &value);
        good.push(&agent, &[("map.yaml", Some(&*map))]).await?;
        good.value("map", Some(&value)).await?;
    }
    for (app, said) in &guilty {
        let of_source = said.starts_with("sent");
        let type_ = if of_source {
            "SourceError"
        } else {
            "ComparisonError"
        };
        app.condition(type_, said).await?;
    }
    ensure!(agent.process.ended().is_none(), "the agent died");
    ensure!(group.kills()? == 0, "the kernel killed a process");
    good.value("map", Some("5")).await
}

/// A template that doubles what it holds until there is no more.
const DOUBLING: &str = "{{- $x := \"0123456789\" }}{{- range until 40 }}{{- $x = print $x $x }}\
                        {{- end }}\nx: {{ len $x }}\n";

#[test]
fn in_the_memory_of_the_chart_nothing_that_is_read_or_rendered_ends_the_agent() {
    const CHARTS: &[(&str, &str)] = &[("greedy", DOUBLING), ("second-greedy", DOUBLING)];
    story(|lab| survives(lab, "in-512", 512, CHARTS));
}

#[test]
fn in_a_quarter_of_it_nothing_that_is_read_ends_the_agent() {
    story(|lab| survives(lab, "in-128", 128, &[]));
}

#[test]
fn large_objects_of_others_are_listed_in_small_pages() {
    story(|lab| async move {
        let home = "large-lists";
        let app = lab.given_in("large-lists-app", home).await?;
        // Together more than one answer may have, under the label that the agent lists by.
        for n in 0..90 {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("large-{n}"), "labels": {"trimtab.dev/application": "x"}},
                "data": {"text": "x".repeat(900 << 10)},
            });
            let path = "/api/v1/namespaces/large-lists-app/configmaps";
            app.cluster.create(path, &map).await?;
        }
        let (mut agent, group) = bounded_agent(lab, home, 128).await?;
        let first = app.commit(&[("map.yaml", Some(&*config_map("map", "1")))])?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let hand = json!({"data": {"value": "hand"}});
        app.cluster.patch(&app.map("map"), &hand).await?;
        app.value("map", Some("1")).await?;
        ensure!(agent.process.ended().is_none(), "the agent died");
        ensure!(group.kills()? == 0, "the kernel killed a process");
        Ok(())
    });
}
