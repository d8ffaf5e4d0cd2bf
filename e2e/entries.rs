//! Nothing in a source is left out without a word: links, submodules, Git LFS, charts inside
//! charts.

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::given::{Lab, Story, config_map, story};
use crate::lab::Repository;

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:\
    4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

/// What one commit changes, with paths from the root of the repository.
enum Entry<'a> {
    File(&'a str, &'a str),
    /// A file that may be run.
    Program(&'a str, &'a str),
    Link(&'a str, &'a str),
    Submodule(&'a str),
    Gone(&'a str),
}
use Entry::{File, Gone, Link, Program, Submodule};

/// Commits, and tells the agent.
async fn push(lab: &Lab, app: &Story, entries: &[Entry<'_>]) -> Result<String> {
    let commit = "0123456789012345678901234567890123456789".to_owned();
    let mut script = String::new();
    for entry in entries {
        script.push_str(&match entry {
            File(path, text) => {
                format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len())
            }
            Program(path, text) => {
                format!("M 100755 inline {path}\ndata {}\n{text}\n", text.len())
            }
            Link(path, target) => {
                format!("M 120000 inline {path}\ndata {}\n{target}\n", target.len())
            }
            Submodule(path) => format!("M 160000 {commit} {path}\n"),
            Gone(path) => format!("D {path}\n"),
        });
    }
    let commit_id = app.repository.commit_script("main", &script, "entries")?;
    lab.agent.push_github(&app.url, "main", &commit_id).await?;
    Ok(commit_id)
}

/// What becomes of an entry of a tree.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Its ConfigMap is applied.
    Read,
    /// The commit is refused, with the path of the entry in the condition.
    Refused,
    /// The tool passes such over by its own rules, and the rest is applied.
    Ignored,
}
use Fate::{Ignored, Read, Refused};

/// How a story's application is rendered: with what beside the entry, and where the entry is.
struct Reader {
    name: &'static str,
    beside: &'static [(&'static str, &'static str)],
    directory: &'static str,
    /// What names an entry, where it has to be named.
    names: Option<fn(&str) -> String>,
}

/// Each kind of entry by its file name, with its fate for a directory, kustomize and Helm.
const FATES: [(&str, [Fate; 3]); 12] = [
    ("plain.yaml", [Read, Read, Read]),
    ("program.yaml", [Read, Read, Read]),
    ("inside.yaml", [Read, Read, Read]),
    // As `.helmignore` says by default: not below templates.
    (".hidden.yaml", [Read, Read, Ignored]),
    ("linked", [Read, Read, Read]),
    ("out.yaml", [Refused, Refused, Refused]),
    ("nowhere.yaml", [Refused, Refused, Refused]),
    ("module", [Refused, Refused, Refused]),
    ("pointer.yaml", [Refused, Refused, Refused]),
    ("README.md", [Ignored, Refused, Refused]),
    ("code.jsonnet", [Refused, Refused, Refused]),
    ("broken.yaml", [Refused, Refused, Refused]),
];

/// For every kind of entry in a real tree: it is read, refused by name, or passed over by a rule of
/// the tool that is known.
async fn every_entry(lab: &Lab, reader: &Reader, of: usize) -> Result<()> {
    let app = lab.given(reader.name).await?;
    let mut application = app.application();
    if reader.names.is_none() && of == 0 {
        application["spec"]["source"]["directory"] = json!({"recurse": true});
    }
    let own = config_map("own", "1");
    let found = config_map("found", "1");
    let mut first: Vec<_> = reader
        .beside
        .iter()
        .map(|(path, text)| File(path, text))
        .collect();
    let own_path = format!("app/{}own.yaml", reader.directory);
    first.extend([File(&own_path, &own), File("lib/found.yaml", &found)]);
    if reader.names.is_some() {
        first.push(File("lib/kustomization.yaml", "resources: [found.yaml]\n"));
    }
    let commit_id = push(lab, &app, &first).await?;
    app.create(&application).await?;
    app.synced(&commit_id).await?;
    for (name, fates) in FATES {
        let path = format!("app/{}{name}", reader.directory);
        let up = if reader.directory.is_empty() {
            "../lib"
        } else {
            "../../lib"
        };
        let to_file = format!("{up}/found.yaml");
        let entry = match name {
            "inside.yaml" => Link(&path, &to_file),
            "linked" => Link(&path, up),
            "out.yaml" => Link(&path, "../../../elsewhere/found.yaml"),
            "nowhere.yaml" => Link(&path, "gone.yaml"),
            "module" => Submodule(&path),
            "program.yaml" => Program(&path, &found),
            "pointer.yaml" => File(&path, POINTER),
            "README.md" => File(&path, "Words: not: a manifest\n"),
            "code.jsonnet" => File(&path, "{a: 1 + 1}\n"),
            "broken.yaml" => File(&path, "apiVersion: v1\nkind: [\n"),
            _ => File(&path, &found),
        };
        let named = reader.names.map(|names| names(name));
        let mut entries = vec![entry];
        entries.extend(
            named
                .iter()
                .map(|text| File("app/kustomization.yaml", text)),
        );
        let commit_id = push(lab, &app, &entries).await?;
        let what = format!("{}: {name}", reader.name);
        match fates[of] {
            Read => {
                app.synced(&commit_id).await.context(what.clone())?;
                app.value("found", Some("1")).await.context(what)?;
            }
            Ignored => {
                app.synced(&commit_id).await.context(what.clone())?;
                app.value("found", None).await.context(what)?;
            }
            Refused => {
                app.condition("ComparisonError", name).await.context(what)?;
            }
        }
        let plain = reader.names.map(|_| "resources: [own.yaml]\n");
        let mut entries = vec![Gone(&path)];
        entries.extend(
            plain
                .iter()
                .map(|text| File("app/kustomization.yaml", text)),
        );
        push(lab, &app, &entries).await?;
        app.value("found", None).await?;
        app.becomes("as before", |status| status["conditions"].is_null())
            .await?;
    }
    Ok(())
}

#[test]
fn every_entry_of_a_tree_is_read_refused_or_known_to_be_ignored() {
    story(|lab| async move {
        let directory = Reader {
            name: "entries-plain",
            beside: &[],
            directory: "",
            names: None,
        };
        let kustomize = Reader {
            name: "entries-kustomize",
            beside: &[("app/kustomization.yaml", "resources: [own.yaml]\n")],
            directory: "",
            names: Some(|name| format!("resources: [own.yaml, {name}]\n")),
        };
        let helm = Reader {
            name: "entries-helm",
            beside: &[(
                "app/Chart.yaml",
                "apiVersion: v2\nname: c\nversion: 1.0.0\n",
            )],
            directory: "templates/",
            names: None,
        };
        let (plain, named, chart) = futures::join!(
            every_entry(lab, &directory, 0),
            every_entry(lab, &kustomize, 1),
            every_entry(lab, &helm, 2)
        );
        plain.and(named).and(chart)
    });
}

/// A map under a name of its own.
fn template(name: &str, value: &str) -> String {
    config_map(name, "VALUE").replace("\"VALUE\"", &format!("{{{{ {value} | quote }}}}"))
}

#[test]
fn a_link_to_a_manifest_elsewhere_is_followed() {
    story(|lab| async move {
        let app = lab.given("link-to-file").await?;
        let map = config_map("shared", "1");
        let first = [
            File("app/own.yaml", &config_map("own", "1")),
            File("app/shared.yaml", &map),
            File("shared/map.yaml", &map),
        ];
        let commit_id = push(lab, &app, &first).await?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let uid = app.cluster.get(&app.map("shared")).await?["metadata"]["uid"].take();
        // The file becomes a link, through another one, to where it is said once.
        let links = [
            Gone("app/shared.yaml"),
            Link("app/shared.yaml", "../links/shared"),
            Link("links/shared", "../shared/map.yaml"),
        ];
        let commit_id = push(lab, &app, &links).await?;
        app.synced(&commit_id).await?;
        let again = app.cluster.get(&app.map("shared")).await?["metadata"]["uid"].take();
        assert_eq!(again, uid, "the object was deleted and made again");
        // What it leads to, outside the application's path, is input.
        let changed = config_map("shared", "2");
        push(lab, &app, &[File("shared/map.yaml", &changed)]).await?;
        app.value("shared", Some("2")).await?;
        // And so is where it leads.
        let other = [
            Gone("links/shared"),
            File("shared/other.yaml", &config_map("shared", "3")),
            Link("links/shared", "../shared/other.yaml"),
        ];
        push(lab, &app, &other).await?;
        app.value("shared", Some("3")).await
    });
}

#[test]
fn links_to_directories_are_followed() {
    story(|lab| async move {
        let app = lab.given("link-to-directory").await?;
        let entries = [
            File("releases/v1/map.yaml", &config_map("map", "1")),
            Link("releases/v1/more", "../../common/all"),
            File("common/all/more.yaml", &config_map("more", "1")),
            Link("app", "releases/v1"),
        ];
        let commit_id = push(lab, &app, &entries).await?;
        let mut application = app.application();
        application["spec"]["source"]["directory"] = json!({"recurse": true});
        app.create(&application).await?;
        app.synced(&commit_id).await?;
        app.value("map", Some("1")).await?;
        let changed = config_map("more", "2");
        push(lab, &app, &[File("common/all/more.yaml", &changed)]).await?;
        app.value("more", Some("2")).await?;
        // A directory that is in itself has no end.
        push(lab, &app, &[Link("common/all/round", "..")]).await?;
        let problem = "app/more/round/all leads back to a directory that it is in";
        app.condition("ComparisonError", problem).await?;
        Ok(())
    });
}

#[test]
fn links_that_cannot_be_followed_are_refused_by_name() {
    story(|lab| async move {
        let app = lab.given("links-refused").await?;
        let own = [File("app/own.yaml", &config_map("own", "1"))];
        let commit_id = push(lab, &app, &own).await?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        for (target, problem) in [
            (
                "/etc/passwd",
                "app/own.yaml in the repository: a link with an absolute target",
            ),
            (
                "../../x.yaml",
                "app/own.yaml in the repository: a link that leads out",
            ),
            (
                "gone.yaml",
                "app/own.yaml is a link to app/gone.yaml, which does not exist",
            ),
            (
                "own.yaml",
                "app/own.yaml is a link that leads round in a circle",
            ),
        ] {
            push(
                lab,
                &app,
                &[Gone("app/own.yaml"), Link("app/own.yaml", target)],
            )
            .await?;
            app.condition("ComparisonError", problem).await?;
        }
        // Nothing was deleted over it.
        app.value("own", Some("1")).await
    });
}

#[test]
fn links_of_kustomizations_are_followed() {
    story(|lab| async move {
        let app = lab.given("links-kustomize").await?;
        let overlay = "resources: [base, map.yaml, all/behind.yaml]\ncomponents: [component]\n\
            configMapGenerator:\n- {name: files, files: [value], options: {disableNameSuffixHash: true}}\n";
        let entries = [
            File("app/kustomization.yaml", overlay),
            Link("app/base", "../deep/er/base"),
            Link("app/map.yaml", "../shared/map.yaml"),
            Link("app/component", "../shared/component"),
            Link("app/value", "../shared/value"),
            Link("app/all", "../shared"),
            File("shared/behind.yaml", &config_map("behind", "1")),
            // Its own paths begin where it really is.
            File(
                "deep/er/base/kustomization.yaml",
                "resources: [../common]\n",
            ),
            File(
                "deep/er/common/kustomization.yaml",
                "resources: [map.yaml]\n",
            ),
            File("deep/er/common/map.yaml", &config_map("common", "1")),
            File("shared/map.yaml", &config_map("map", "1")),
            File(
                "shared/component/kustomization.yaml",
                "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -x\n",
            ),
            File("shared/value", "one"),
        ];
        let commit_id = push(lab, &app, &entries).await?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        app.value("files-x", Some("one")).await?;
        let changes = [
            File("deep/er/common/map.yaml", &config_map("common", "2")),
            File("shared/value", "two"),
            File("shared/map.yaml", &config_map("map", "2")),
            File("shared/behind.yaml", &config_map("behind", "2")),
        ];
        for change in changes {
            push(lab, &app, &[change]).await?;
        }
        app.value("common-x", Some("2")).await?;
        app.value("files-x", Some("two")).await?;
        app.value("map-x", Some("2")).await?;
        app.value("behind-x", Some("2")).await
    });
}

#[test]
fn links_of_charts_are_followed() {
    story(|lab| async move {
        let app = lab.given("links-chart").await?;
        let chart = |name: &str| format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n");
        let entries = [
            File("app/Chart.yaml", &chart("app")),
            Link("app/templates", "../lib/templates"),
            Link("app/charts/sub", "../../lib/sub"),
            Link("app/values-prod.yaml", "../values/prod.yaml"),
            File("values/prod.yaml", "a: one\nsub: {b: one}\n"),
            File("lib/templates/map.yaml", &template("map", ".Values.a")),
            File("lib/sub/Chart.yaml", &chart("sub")),
            File("lib/sub/templates/map.yaml", &template("sub", ".Values.b")),
        ];
        let commit_id = push(lab, &app, &entries).await?;
        let mut application = app.application();
        application["spec"]["source"]["helm"] = json!({"valueFiles": ["values-prod.yaml"]});
        app.create(&application).await?;
        app.synced(&commit_id).await?;
        app.value("map", Some("one")).await?;
        let changed = template("sub", "printf \"%s!\" .Values.b");
        push(lab, &app, &[File("lib/sub/templates/map.yaml", &changed)]).await?;
        app.value("sub", Some("one!")).await?;
        push(
            lab,
            &app,
            &[File("values/prod.yaml", "a: two\nsub: {b: two}\n")],
        )
        .await?;
        app.value("sub", Some("two!")).await?;
        app.value("map", Some("two")).await
    });
}

#[test]
fn git_lfs_and_submodules_are_refused_where_they_are_needed() {
    story(|lab| async move {
        let app = lab.given("lfs").await?;
        let lfs = |path: &str| format!("{path} is stored in Git LFS, which is not supported");
        // What nobody asks for is in nobody's way.
        let directory = [
            File("app/own.yaml", &config_map("own", "1")),
            File("app/picture.png", POINTER),
            Submodule("app/tools"),
        ];
        let commit_id = push(lab, &app, &directory).await?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        push(lab, &app, &[File("app/map.yaml", POINTER)]).await?;
        app.condition("ComparisonError", &lfs("app/map.yaml"))
            .await?;
        let generated =
            "resources: [own.yaml]\nconfigMapGenerator: [{name: m, files: [model.bin]}]\n";
        let kustomization = [
            Gone("app/map.yaml"),
            File("app/kustomization.yaml", generated),
            File("app/model.bin", POINTER),
        ];
        push(lab, &app, &kustomization).await?;
        app.condition("ComparisonError", &lfs("app/model.bin"))
            .await?;
        let kustomization = [File(
            "app/kustomization.yaml",
            "resources: [own.yaml, tools/base]\n",
        )];
        push(lab, &app, &kustomization).await?;
        let submodule = "app/tools is a submodule, which is not supported";
        app.condition("ComparisonError", submodule).await?;
        let chart = [
            Gone("app/kustomization.yaml"),
            Gone("app/own.yaml"),
            File(
                "app/Chart.yaml",
                "apiVersion: v2\nname: app\nversion: 1.0.0\n",
            ),
            File("app/templates/own.yaml", &config_map("own", "2")),
        ];
        let commit_id = push(lab, &app, &chart).await?;
        app.synced(&commit_id).await?;
        let reads = template("own", ".Files.Get \"model.bin\"");
        push(lab, &app, &[File("app/templates/own.yaml", &reads)]).await?;
        app.condition("ComparisonError", &lfs("app/model.bin"))
            .await?;
        app.value("own", Some("2")).await
    });
}

#[test]
fn a_chart_that_a_subchart_needs_is_missed() {
    story(|lab| async move {
        let app = lab.given("nested-charts").await?;
        let needs = |dependency: &str| {
            format!("apiVersion: v2\nname: sub\nversion: 1.0.0\ndependencies: [{dependency}]\n")
        };
        let always = needs("{name: cache, version: ~1.2, repository: \"https://example.com\"}");
        let asked = needs(
            "{name: cache, alias: store, version: ~1.2, condition: store.enabled, \
             repository: \"https://example.com\"}",
        );
        let entries = [
            File(
                "app/Chart.yaml",
                "apiVersion: v2\nname: app\nversion: 1.0.0\n\
                 dependencies: [{name: sub, version: 1.0.0}]\n",
            ),
            File("app/templates/map.yaml", &config_map("map", "1")),
            File("app/charts/sub/Chart.yaml", &always),
            File("app/charts/sub/templates/map.yaml", &config_map("sub", "1")),
        ];
        push(lab, &app, &entries).await?;
        app.create(&app.application()).await?;
        let problem = "app/charts/sub needs the chart cache, which is not in its directory charts";
        app.condition("ComparisonError", problem).await?;
        // One that its condition switches off is not needed.
        let off = [
            File("app/charts/sub/Chart.yaml", &asked),
            File("app/charts/sub/values.yaml", "store: {enabled: false}\n"),
        ];
        let commit_id = push(lab, &app, &off).await?;
        app.synced(&commit_id).await?;
        app.value("sub", Some("1")).await?;
        push(
            lab,
            &app,
            &[File("app/values.yaml", "sub: {store: {enabled: true}}\n")],
        )
        .await?;
        app.condition("ComparisonError", problem).await?;
        // One that is there is taken.
        let there = [
            File(
                "app/charts/sub/charts/cache/Chart.yaml",
                "apiVersion: v2\nname: cache\nversion: 1.2.3\n",
            ),
            File(
                "app/charts/sub/charts/cache/templates/m.yaml",
                &config_map("cache", "1"),
            ),
        ];
        push(lab, &app, &there).await?;
        app.value("cache", Some("1")).await
    });
}

#[test]
fn what_only_argo_cd_reads_is_refused_by_name() {
    story(|lab| async move {
        let app = lab.given("passed-over").await?;
        let own = config_map("own", "1");
        let jsonnet = [File("app/own.yaml", &own), File("app/more.jsonnet", "{}")];
        push(lab, &app, &jsonnet).await?;
        let mut application = app.application();
        app.create(&application).await?;
        app.condition("ComparisonError", "app/more.jsonnet is Jsonnet")
            .await?;
        let source = [
            Gone("app/more.jsonnet"),
            File("app/.argocd-source-passed-over.yaml", "{}"),
        ];
        push(lab, &app, &source).await?;
        let problem = "app/.argocd-source-passed-over.yaml changes the Application";
        app.condition("ComparisonError", problem).await?;
        // A star goes through directories.
        let secret = config_map("secret", "1");
        let secrets = [
            Gone("app/.argocd-source-passed-over.yaml"),
            File("app/sub/secret.yaml", &secret),
            File("app/sub/map.yaml", &config_map("map", "1")),
        ];
        application["spec"]["source"]["directory"] =
            json!({"recurse": true, "exclude": "*secret*"});
        app.cluster
            .patch(&app.path(), &json!({"spec": application["spec"]}))
            .await?;
        let commit_id = push(lab, &app, &secrets).await?;
        app.synced(&commit_id).await?;
        app.value("map", Some("1")).await?;
        app.value("secret", None).await
    });
}

#[test]
fn revisions_and_repositories_that_cannot_be_read_say_so() {
    story(|lab| async move {
        let app = lab.given("unreadable-source").await?;
        let commit_id = push(lab, &app, &[File("app/own.yaml", &config_map("own", "1"))]).await?;
        let mut application = app.application();
        application["spec"]["source"]["targetRevision"] = json!(commit_id[..8]);
        app.create(&application).await?;
        let problem = "is neither a branch nor a tag; where it is a commit id, give all 40";
        app.condition("SourceError", problem).await?;
        let root = lab.guardian.directory().join("repositories");
        let other = Repository::create_with(&root, "unreadable-ids", "sha256")?;
        let files = [("app/own.yaml", Some("a: b"))];
        other.commit("main", &files, "first")?;
        let source = json!({"repoURL": lab.git.url("unreadable-ids"), "targetRevision": "main"});
        let patch = json!({"spec": {"source": source}});
        app.cluster.patch(&app.path(), &patch).await?;
        app.condition("SourceError", "SHA-256 repositories are not supported")
            .await?;
        Ok(())
    });
}

#[test]
fn the_build_environment_is_substituted_or_refused() {
    story(|lab| async move {
        let app = lab.given("environment").await?;
        let chart = [
            File(
                "app/Chart.yaml",
                "apiVersion: v2\nname: app\nversion: 1.0.0\n",
            ),
            File("app/templates/map.yaml", &template("map", ".Values.host")),
        ];
        let commit_id = push(lab, &app, &chart).await?;
        let parameters = |value: &str| json!([{"name": "host", "value": value}]);
        let mut application = app.application();
        application["spec"]["source"]["helm"] =
            json!({"parameters": parameters("${ARGOCD_APP_NAME}.$ARGOCD_APP_NAMESPACE")});
        app.create(&application).await?;
        app.synced(&commit_id).await?;
        app.value("map", Some("environment.environment")).await?;
        let helm = json!({"parameters": parameters("$ARGOCD_APP_REVISION")});
        let patch = json!({"spec": {"source": {"helm": helm}}});
        app.cluster.patch(&app.path(), &patch).await?;
        let problem = "spec.source.helm.parameters: host: $ARGOCD_APP_REVISION is not supported";
        app.condition("ComparisonError", problem).await?;
        Ok(())
    });
}
