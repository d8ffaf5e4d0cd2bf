//! Applications in the shapes that public examples have: each becomes Synced and Healthy, and a
//! hard refresh after that writes nothing.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::given::{Lab, SOON, Story, story};
use crate::lab::{Expectation, eventually};

/// The group of the definitions.
const GROUP: &str = "shapes.example.com";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: guestbook-ui
spec:
  replicas: 1
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      app: guestbook-ui
  template:
    metadata:
      labels:
        app: guestbook-ui
    spec:
      containers:
      - image: example.com/guestbook:0.2
        name: guestbook-ui
        ports:
        - containerPort: 80
        resources: {requests: {cpu: 0.1, memory: 64Mi}, limits: {cpu: 1000m}}
";
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: guestbook-ui
spec:
  ports:
  - port: 80
    targetPort: 80
  selector:
    app: guestbook-ui
";
/// What a chart of `helm create` consists of, with a helper, a test hook and notes.
const CHART: &[(&str, &str)] = &[
    (
        "Chart.yaml",
        "apiVersion: v2\nname: guestbook\nversion: 0.1.0\nappVersion: \"1.0\"\n",
    ),
    (
        "values.yaml",
        "replicaCount: 1\nimage: {repository: example.com/guestbook, tag: \"0.1\"}\n\
         service: {type: ClusterIP, port: 80}\nresources: {}\nnodeSelector: {}\n",
    ),
    (
        "templates/_helpers.tpl",
        "{{- define \"guestbook.fullname\" -}}\n{{- printf \"%s-%s\" .Release.Name .Chart.Name | trunc 63 \
         | trimSuffix \"-\" -}}\n{{- end -}}\n",
    ),
    (
        "templates/deployment.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ template \"guestbook.fullname\" . }}\n  \
         labels:\n    chart: {{ .Chart.Name }}-{{ .Chart.Version | replace \"+\" \"_\" }}\n    heritage: \
         {{ .Release.Service }}\nspec:\n  replicas: {{ .Values.replicaCount }}\n  selector:\n    \
         matchLabels: {release: {{ .Release.Name }}}\n  template:\n    metadata:\n      labels: \
         {release: {{ .Release.Name }}}\n    spec:\n      containers:\n        - name: \
         {{ .Chart.Name }}\n          image: \"{{ .Values.image.repository }}:{{ .Values.image.tag }}\"\n          \
         ports:\n            - {name: http, containerPort: 80, protocol: TCP}\n          resources:\n\
         {{ toYaml .Values.resources | indent 12 }}\n",
    ),
    (
        "templates/service.yaml",
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ template \"guestbook.fullname\" . }}\nspec:\n  \
         type: {{ .Values.service.type }}\n  ports:\n    - {port: {{ .Values.service.port }}, targetPort: \
         http, protocol: TCP, name: http}\n  selector: {release: {{ .Release.Name }}}\n",
    ),
    (
        "templates/tests/test.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: test\n  annotations: {helm.sh/hook: test}\n\
         spec: {containers: [{name: t, image: t}]}\n",
    ),
    ("templates/NOTES.txt", "Have a nice day.\n"),
];

/// Files below `app/` of each shape.
fn shapes() -> Vec<(&'static str, Vec<(String, String)>)> {
    let own = |files: &[(&str, &str)]| -> Vec<(String, String)> {
        let files = files.iter();
        files
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect()
    };
    let wave = |kind: &str, name: &str, wave: &str| {
        format!(
            "apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {name}\n  annotations: \
             {{argocd.argoproj.io/sync-wave: \"{wave}\"}}\n"
        )
    };
    let many: Vec<_> = ["carts", "catalogue", "front", "orders", "payment", "user"]
        .iter()
        .map(|name| {
            let text = format!("{DEPLOYMENT}---\n{SERVICE}").replace("guestbook-ui", name);
            (format!("{name}.yaml"), text)
        })
        .collect();
    vec![
        (
            "shape-plain",
            own(&[("deployment.yaml", DEPLOYMENT), ("svc.yaml", SERVICE)]),
        ),
        (
            "shape-kustomize",
            own(&[
                (
                    "kustomization.yaml",
                    "namePrefix: kustomize-\nresources: [deployment.yaml, svc.yaml]\n\
                     apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
                     images: [{name: example.com/guestbook, newTag: \"0.3\"}]\n\
                     configMapGenerator: [{name: settings, literals: [a=1]}]\n",
                ),
                ("deployment.yaml", DEPLOYMENT),
                ("svc.yaml", SERVICE),
            ]),
        ),
        ("shape-helm", own(CHART)),
        ("shape-many", many),
        (
            "shape-waves",
            own(&[
                (
                    "all.yaml",
                    &[
                        wave("ServiceAccount", "first", "-1"),
                        wave("ConfigMap", "second", "1"),
                        format!("{}stringData: {{a: b}}\n", wave("Secret", "third", "2")),
                    ]
                    .join("---\n"),
                ),
                ("deployment.yaml", DEPLOYMENT),
            ]),
        ),
        (
            "shape-rights",
            own(&[(
                "all.yaml",
                "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: bot}\n---\n\
                 apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: bot}\n\
                 rules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]\n---\n\
                 apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: bot}\n\
                 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: bot}\n\
                 subjects: [{kind: ServiceAccount, name: bot}]\n---\n\
                 apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\n\
                 spec: {podSelector: {}, policyTypes: [Ingress]}\n---\n\
                 apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: one}\n\
                 spec: {maxUnavailable: 1, selector: {matchLabels: {app: x}}}\n---\n\
                 apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\n\
                 spec: {schedule: \"0 3 * * *\", jobTemplate: {spec: {template: {spec: {restartPolicy: \
                 Never, containers: [{name: c, image: c}]}}}}}\n",
            )]),
        ),
    ]
}

fn definition(kind: &str, description: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: \
         {plural}.shapes.example.com\nspec:\n  group: shapes.example.com\n  names: {{kind: {kind}, plural: \
         {plural}}}\n  scope: Namespaced\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    \
         schema:\n      openAPIV3Schema:\n        type: object\n        description: \"{description}\"\n        \
         properties:\n          spec: {{type: object, properties: {{size: {{type: integer}}}}}}\n"
    )
}

/// What shows a write in the objects of a namespace and in the definitions that it brought: their
/// versions, where nobody writes a status, else when our fields were written and which generation it is.
async fn written(app: &Story, definitions: &[&str]) -> Result<Vec<String>> {
    let of = |group: &str, kind: &str| format!("/apis/{group}/namespaces/{}/{kind}", app.name);
    let core = |kind: &str| format!("/api/v1/namespaces/{}/{kind}", app.name);
    let lists = [
        (core("services"), true),
        (core("configmaps"), true),
        (core("secrets"), true),
        (core("serviceaccounts"), true),
        (of("rbac.authorization.k8s.io/v1", "roles"), true),
        (of("rbac.authorization.k8s.io/v1", "rolebindings"), true),
        (of("networking.k8s.io/v1", "networkpolicies"), true),
        (of("apps/v1", "deployments"), false),
        (of("batch/v1", "cronjobs"), false),
        (of("policy/v1", "poddisruptionbudgets"), false),
    ];
    let kinds = definitions.iter().map(|plural| {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let definition = format!("{path}?fieldSelector=metadata.name={plural}.{GROUP}");
        [
            (definition, false),
            (of(&format!("{GROUP}/v1"), plural), true),
        ]
    });
    let mut written = Vec::new();
    for (path, by_version) in lists.into_iter().chain(kinds.flatten()) {
        let found = app.cluster.get(&path).await?;
        let expected = path.contains(GROUP);
        ensure!(
            !expected || found["items"][0].is_object(),
            "nothing at {path}"
        );
        for object in found["items"].as_array().into_iter().flatten() {
            let metadata = &object["metadata"];
            let fields = metadata["managedFields"].as_array();
            let ours = fields.into_iter().flatten();
            let ours = ours.filter(|entry| entry["manager"] == "trimtab");
            let times: Vec<_> = ours.map(|entry| entry["time"].to_string()).collect();
            let version = match by_version {
                true => &metadata["resourceVersion"],
                false => &metadata["generation"],
            };
            written.push(format!("{path}/{}: {version} {times:?}", metadata["name"]));
        }
    }
    Ok(written)
}

/// Asks for everything to be rendered and compared anew, and waits for the answer.
async fn hard_refresh(app: &Story) -> Result<()> {
    let wish = json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard"}}});
    app.cluster.patch(&app.path(), &wish).await?;
    let path = app.path();
    eventually("the refresh is answered", SOON, || async {
        let annotations = app.cluster.get(&path).await?["metadata"]["annotations"].take();
        Ok(match annotations["argocd.argoproj.io/refresh"].is_null() {
            true => Expectation::Met(()),
            false => Expectation::Pending(annotations.to_string()),
        })
    })
    .await
}

/// Lets each application sync, refreshes all, and asks that nothing was written.
async fn sync_and_stay(
    lab: &'static Lab,
    home: &str,
    given: Vec<(&'static str, Vec<(String, String)>)>,
    definitions: &[&str],
) -> Result<()> {
    let mut apps: Vec<(Story, String)> = Vec::new();
    // Kept until all is seen.
    let mut agent = None;
    for (name, files) in given {
        let app = if apps.is_empty() {
            let app = lab.given_in(name, home).await?;
            agent = Some(lab.agent_for(home, &["--no-install-crd"]).await?);
            app
        } else {
            Story {
                home: home.to_owned(),
                ..lab.given(name).await?
            }
        };
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), Some(text.as_str())))
            .collect();
        let commit_id = app.commit(&files)?;
        app.create(&app.application()).await?;
        apps.push((app, commit_id));
    }
    ensure!(agent.is_some(), "no shape was given");
    for (app, commit_id) in &apps {
        app.synced(commit_id).await?;
    }
    for (place, (app, commit_id)) in apps.iter().enumerate() {
        // Each application brings one of them, where there are any.
        let definitions = definitions.get(place..=place).unwrap_or_default();
        let before = written(app, definitions).await?;
        ensure!(!before.is_empty(), "nothing is there");
        hard_refresh(app).await?;
        app.synced(commit_id).await?;
        let after = written(app, definitions).await?;
        ensure!(after == before, "{before:#?}\nbecame\n{after:#?}");
    }
    Ok(())
}

#[test]
fn well_known_shapes_sync_and_a_hard_refresh_writes_nothing() {
    story(|lab| async move { sync_and_stay(lab, "shapes", shapes(), &[]).await });
}

#[test]
fn definitions_beyond_what_an_annotation_holds_sync_and_stay() {
    story(|lab| async move {
        // More than the 256 KiB that client-side apply can remember in its annotation.
        let text = "a schema with many words ".repeat(14 << 10);
        let chart = vec![
            (
                "Chart.yaml".to_owned(),
                "apiVersion: v2\nname: large\nversion: 0.1.0\n".to_owned(),
            ),
            ("crds/crd.yaml".to_owned(), definition("Wide", &text)),
            (
                "templates/cr.yaml".to_owned(),
                "apiVersion: shapes.example.com/v1\nkind: Wide\nmetadata: {name: one}\nspec: {size: 1}\n"
                    .to_owned(),
            ),
        ];
        let kustomization = vec![
            (
                "kustomization.yaml".to_owned(),
                "resources: [crd.yaml, cr.yaml]\n".to_owned(),
            ),
            ("crd.yaml".to_owned(), definition("Deep", &text)),
            (
                "cr.yaml".to_owned(),
                "apiVersion: shapes.example.com/v1\nkind: Deep\nmetadata: {name: one}\nspec: {size: 1}\n"
                    .to_owned(),
            ),
        ];
        sync_and_stay(
            lab,
            "large-shapes",
            vec![
                ("shape-large-chart", chart),
                ("shape-large-kustomization", kustomization),
            ],
            &["wides", "deeps"],
        )
        .await
    });
}

/// The operator's manifests of one release: its definition, its Deployment, and an object of it.
fn operator(release: u32) -> Vec<(&'static str, String)> {
    let definition = definition("Cluster", "of an operator");
    let (definition, object) = if release == 1 {
        let object = "apiVersion: shapes.example.com/v1\nkind: Cluster\nmetadata: {name: main}\nspec: {size: 1}\n";
        (definition, object)
    } else {
        // A field, a version and its default come with the release; the object uses all three.
        let second = "  - name: v2\n    served: true\n    storage: true\n    schema:\n      \
                      openAPIV3Schema:\n        type: object\n        properties:\n          spec:\n            \
                      type: object\n            properties:\n              size: {type: integer}\n              \
                      storage: {type: string, default: fast}\n              backup: {type: object, \
                      properties: {schedule: {type: string}}}\n";
        let definition = definition.replace("storage: true", "storage: false") + second;
        let object = "apiVersion: shapes.example.com/v2\nkind: Cluster\nmetadata: {name: main}\n\
                      spec: {size: 3, backup: {schedule: daily}}\n";
        (definition, object)
    };
    let deployment = DEPLOYMENT
        .replace("guestbook-ui", "operator")
        .replace("0.2", &format!("{release}.0"));
    vec![
        ("crd.yaml", definition),
        ("operator.yaml", deployment),
        ("cluster.yaml", object.to_owned()),
    ]
}

#[test]
fn an_operator_is_upgraded_in_one_commit() {
    story(|lab| async move {
        let app = lab.given("operator-upgrade").await?;
        let files = |release| -> Vec<(&'static str, String)> { operator(release) };
        let push = |release: u32| {
            let files = files(release);
            let app = &app;
            async move {
                let files: Vec<_> = files
                    .iter()
                    .map(|(path, text)| (*path, Some(text.as_str())))
                    .collect();
                app.push(&lab.agent, &files).await
            }
        };
        let first = push(1).await?;
        app.create(&app.application()).await?;
        app.synced(&first).await?;
        let second = push(2).await?;
        app.in_one_sync(&second).await?;
        let path = format!(
            "/apis/shapes.example.com/v2/namespaces/{}/clusters/main",
            app.name
        );
        let spec = app.cluster.get(&path).await?["spec"].take();
        ensure!(
            spec == json!({"size": 3, "storage": "fast", "backup": {"schedule": "daily"}}),
            "{spec}"
        );
        Ok(())
    });
}
