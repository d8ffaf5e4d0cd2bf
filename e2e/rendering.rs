//! Directories, kustomize and helm.

use serde_json::json;

use crate::given::{config_map, story};

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  \
    replicas: 2\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    \
    spec: {containers: [{name: web, image: web, ports: [{containerPort: 80}]}]}\n";

#[test]
fn a_directory_with_recursion_and_globs() {
    story(|lab| async move {
        let app = lab.given("directory").await?;
        let commit_id = app.commit(&[
            ("a.yaml", Some(&config_map("a", "1"))),
            ("sub/b.yml", Some(&config_map("b", "1"))),
            ("sub/c.json", Some(r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"value": "1"}}"#)),
            ("sub/skipped.yaml", Some(&config_map("skipped", "1"))),
            ("README.md", Some("no manifest")),
        ])?;
        let mut application = app.application();
        application["spec"]["source"]["directory"] =
            json!({"recurse": true, "exclude": "**/skipped.yaml"});
        app.create(&application).await?;
        let status = app.synced(&commit_id).await?;
        assert_eq!(status["resources"].as_array().unwrap().len(), 3);
        app.value("skipped", None).await?;
        Ok(())
    });
}

#[test]
fn a_kustomization_with_a_base_outside_its_directory() {
    story(|lab| async move {
        let app = lab.given("kustomize").await?;
        let base = "resources: [deployment.yaml]\n";
        let overlay = "resources: [../base]\nnamePrefix: prod-\nconfigMapGenerator:\n\
                       - {name: map, literals: [value=1], options: {disableNameSuffixHash: true}}\n";
        let commit_id = app.repository.commit(
            "main",
            &[
                ("base/kustomization.yaml", Some(base)),
                ("base/deployment.yaml", Some(DEPLOYMENT)),
                ("app/kustomization.yaml", Some(overlay)),
            ],
            "overlay",
        )?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        app.value("prod-map", Some("1")).await?;
        // A change in the base alone reaches the application.
        let changed = DEPLOYMENT.replace("replicas: 2", "replicas: 3");
        let commit_id =
            app.repository
                .commit("main", &[("base/deployment.yaml", Some(&changed))], "scale")?;
        lab.agent.push_github(&app.url, "main", &commit_id).await?;
        app.synced(&commit_id).await?;
        let path = "/apis/apps/v1/namespaces/kustomize/deployments/prod-web";
        assert_eq!(app.cluster.get(path).await?["spec"]["replicas"], 3);
        Ok(())
    });
}

#[test]
fn a_chart_with_values() {
    story(|lab| async move {
        let app = lab.given("helm").await?;
        let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-map}\n\
                        data: {value: \"{{ .Values.a }}-{{ .Values.b }}-{{ .Values.c }}-{{ .Values.d }}\"}\n";
        let commit_id = app.commit(&[
            (
                "Chart.yaml",
                Some("apiVersion: v2\nname: chart\nversion: 1.0.0\n"),
            ),
            (
                "values.yaml",
                Some("a: chart\nb: chart\nc: chart\nd: chart\n"),
            ),
            ("values-prod.yaml", Some("b: file\nc: file\nd: file\n")),
            ("templates/map.yaml", Some(template)),
        ])?;
        let mut application = app.application();
        application["spec"]["source"]["helm"] = json!({
            "releaseName": "shop", "valueFiles": ["values-prod.yaml"],
            "valuesObject": {"c": "object", "d": "object"},
            "parameters": [{"name": "d", "value": "a,b"}],
        });
        app.create(&application).await?;
        app.synced(&commit_id).await?;
        app.value("shop-map", Some("chart-file-object-a,b")).await?;
        Ok(())
    });
}

#[test]
fn a_definition_and_its_objects_in_one_commit() {
    story(|lab| async move {
        let app = lab.given("definitions").await?;
        let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
            metadata: {name: widgets.definitions.example.com}\nspec:\n  group: definitions.example.com\n  \
            names: {kind: Widget, plural: widgets}\n  scope: Namespaced\n  versions:\n  - name: v1\n    \
            served: true\n    storage: true\n    schema: {openAPIV3Schema: {type: object, \
            x-kubernetes-preserve-unknown-fields: true}}\n";
        let widget =
            "apiVersion: definitions.example.com/v1\nkind: Widget\nmetadata: {name: w}\nsize: 3\n";
        let commit_id = app.commit(&[
            ("a-widget.yaml", Some(widget)),
            ("definition.yaml", Some(definition)),
        ])?;
        app.create(&app.application()).await?;
        app.synced(&commit_id).await?;
        let path = "/apis/definitions.example.com/v1/namespaces/definitions/widgets/w";
        assert_eq!(app.cluster.get(path).await?["size"], 3);
        Ok(())
    });
}

#[test]
fn the_namespace_is_created_when_asked_and_never_deleted() {
    story(|lab| async move {
        let app = lab.given("creates-namespace").await?;
        let commit_id = app.commit(&[("map.yaml", Some(&config_map("map", "1")))])?;
        let mut application = app.application();
        application["metadata"]["finalizers"] = json!(["resources-finalizer.argocd.argoproj.io"]);
        application["spec"]["destination"]["namespace"] = json!("created-namespace");
        application["spec"]["syncPolicy"]["syncOptions"] = json!(["CreateNamespace=true"]);
        app.create(&application).await?;
        app.synced(&commit_id).await?;
        let map = "/api/v1/namespaces/created-namespace/configmaps/map";
        assert!(app.cluster.find(map).await?.is_some());
        app.cluster.delete(&app.path()).await?;
        crate::deletion::gone(&app.cluster, map).await?;
        let namespace = app
            .cluster
            .get("/api/v1/namespaces/created-namespace")
            .await?;
        assert!(namespace["metadata"]["deletionTimestamp"].is_null());
        Ok(())
    });
}

#[test]
fn deployments_and_jobs_are_awaited() {
    story(|lab| async move {
        let app = lab.given("health").await?;
        let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec:\n  template:\n    \
                   spec: {restartPolicy: Never, containers: [{name: c, image: c}]}\n";
        let commit_id = app.commit(&[("web.yaml", Some(DEPLOYMENT)), ("job.yaml", Some(job))])?;
        app.create(&app.application()).await?;
        let status = app.synced(&commit_id).await?;
        for resource in status["resources"].as_array().unwrap() {
            assert_eq!(resource["health"]["status"], "Healthy", "{resource}");
        }
        let broken = DEPLOYMENT
            .replace("image: web", "image: web, command: [x]")
            .replace("replicas: 2", "paused: true\n  replicas: 2");
        app.push(&lab.agent, &[("web.yaml", Some(&broken))]).await?;
        app.becomes("Suspended", |status| {
            status["health"]["status"] == "Suspended"
        })
        .await?;
        Ok(())
    });
}
