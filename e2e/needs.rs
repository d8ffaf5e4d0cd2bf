//! What one commit brings together: an object is not refused for what comes with it, and what can
//! never work still stops all of it.

use anyhow::Result;
use serde_json::{Value, json};

use crate::given::{SOON, Story, config_map, story};
use crate::lab::{Expectation, eventually};

/// A definition of the kind `Sail`, with these fields of its spec.
fn sails(group: &str, fields: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: sails.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Sail, plural: sails, singular: sail, listKind: SailList}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, properties: \
         {fields}}}}}}}}}
"
    )
}

fn sail(group: &str, spec: &str) -> String {
    format!("apiVersion: {group}/v1\nkind: Sail\nmetadata: {{name: main}}\nspec: {spec}\n")
}

/// Waits until the Application is Synced at a commit, whatever its health.
async fn in_sync(app: &Story, commit_id: &str) -> Result<Value> {
    app.becomes("Synced", |status| {
        status["sync"]["status"] == "Synced" && status["sync"]["revision"] == commit_id
    })
    .await
}

#[test]
fn a_definition_gains_a_field_with_the_object_that_has_it() {
    story(|lab| async move {
        let app = lab.given("gains").await?;
        let group = "gains.example.com";
        let first = app.commit(&[
            ("crd.yaml", Some(&sails(group, "{area: {type: integer}}"))),
            ("sail.yaml", Some(&sail(group, "{area: 3}"))),
            ("a.yaml", Some(&config_map("a", "1"))),
        ])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        // A field that nothing brings still stops all of it.
        let more = sail(group, "{area: 4, colour: red}");
        let files = [
            ("a.yaml", Some(config_map("a", "2"))),
            ("sail.yaml", Some(more.clone())),
        ];
        let files: Vec<_> = files
            .iter()
            .map(|(path, it)| (*path, it.as_deref()))
            .collect();
        app.push(&lab.agent, &files).await?;
        app.condition("SyncError", "field not declared in schema")
            .await?;
        app.value("a", Some("1")).await?;
        let grown = sails(group, "{area: {type: integer}, colour: {type: string}}");
        let third = app.push(&lab.agent, &[("crd.yaml", Some(&grown))]).await?;
        app.in_one_sync(&third).await?;
        let path = format!("/apis/{group}/v1/namespaces/gains/sails/main");
        let live = app.cluster.get(&path).await?;
        assert_eq!(live["spec"], json!({"area": 4, "colour": "red"}));
        app.value("a", Some("2")).await
    });
}

#[test]
fn a_hook_has_a_field_that_its_definition_gains_with_it() {
    story(|lab| async move {
        let app = lab.given("gains-hook").await?;
        let group = "gains-hook.example.com";
        let first = app.commit(&[
            ("crd.yaml", Some(&sails(group, "{area: {type: integer}}"))),
            ("a.yaml", Some(&config_map("a", "1"))),
        ])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let grown = sails(group, "{area: {type: integer}, colour: {type: string}}");
        let hook = sail(group, "{area: 4, colour: red}").replace(
            "{name: main}",
            "{name: main, annotations: {argocd.argoproj.io/hook: PostSync}}",
        );
        let files = [("crd.yaml", Some(&*grown)), ("hook.yaml", Some(&*hook))];
        let second = app.push(&lab.agent, &files).await?;
        app.in_one_sync(&second).await?;
        let path = format!("/apis/{group}/v1/namespaces/gains-hook/sails/main");
        let live = app.cluster.get(&path).await?;
        assert_eq!(live["spec"], json!({"area": 4, "colour": "red"}));
        Ok(())
    });
}

#[test]
fn a_pod_comes_with_its_account_and_its_classes() {
    story(|lab| async move {
        let app = lab.given("classes").await?;
        app.create(&app.application()).await?;
        let class = |group: &str, kind: &str, more: &str| {
            format!(
                "---\napiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: classes-own}}\n{more}\n"
            )
        };
        let account = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: tool}\n";
        let pod = |name: &str, more: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {more}\n  \
                 containers: [{{name: tool, image: tool}}]\n"
            )
        };
        let all = [
            pod("by-account", "serviceAccountName: tool"),
            pod("by-priority", "priorityClassName: classes-own"),
            pod("by-runtime", "runtimeClassName: classes-own"),
            account.to_owned(),
            class("scheduling.k8s.io", "PriorityClass", "value: 1000"),
            class("node.k8s.io", "RuntimeClass", "handler: fast"),
        ];
        let first = app
            .push(&lab.agent, &[("all.yaml", Some(&all.concat()))])
            .await?;
        app.in_one_sync(&first).await?;
        for name in ["by-account", "by-priority", "by-runtime"] {
            let pod = format!("/api/v1/namespaces/classes/pods/{name}");
            app.cluster.get(&pod).await?;
        }
        Ok(())
    });
}

#[test]
fn a_limited_account_binds_the_role_that_comes_with_it() {
    story(|lab| async move {
        let app = lab.given("binding").await?;
        let root = "/apis/rbac.authorization.k8s.io/v1/namespaces/binding";
        let role = json!({
            "metadata": {"name": "deployer"},
            "rules": [
                {"apiGroups": ["rbac.authorization.k8s.io"],
                 "resources": ["roles", "rolebindings"],
                 // Not to bind or to escalate: it gives only what it has itself.
                 "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},
            ],
        });
        app.cluster.create(&format!("{root}/roles"), &role).await?;
        let binding = json!({
            "metadata": {"name": "deployer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                        "name": "deployer"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "trimtab",
                          "name": "binding-deployer"}],
        });
        app.cluster
            .create(&format!("{root}/rolebindings"), &binding)
            .await?;
        let mut application = app.application();
        application["spec"]["serviceAccountName"] = json!("binding-deployer");
        let both = "apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: Group, name: dev, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]
";
        let first = app.commit(&[
            ("both.yaml", Some(both)),
            ("a.yaml", Some(&config_map("a", "1"))),
        ])?;
        app.create(&application).await?;
        app.in_one_sync(&first).await?;
        app.cluster
            .get(&format!("{root}/rolebindings/reader"))
            .await?;
        Ok(())
    });
}

#[test]
fn what_limits_an_object_changes_with_it() {
    story(|lab| async move {
        let app = lab.given("limited").await?;
        let limits = |cpu: u8, pods: u8, level: &str| {
            format!(
                "apiVersion: v1
kind: LimitRange
metadata: {{name: range}}
spec: {{limits: [{{type: Container, max: {{cpu: {cpu}}}}}]}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {{name: few}}
spec: {{hard: {{pods: {pods}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: limited, labels: {{pod-security.kubernetes.io/enforce: {level}}}}}
"
            )
        };
        let first = app.commit(&[("limits.yaml", Some(&limits(1, 0, "restricted")))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let quota = "/api/v1/namespaces/limited/resourcequotas/few";
        eventually("the quota is counted", SOON, || async {
            let quota = app.cluster.get(quota).await?;
            Ok(match quota["status"]["hard"]["pods"] == "0" {
                true => Expectation::Met(()),
                false => Expectation::Pending(quota["status"].to_string()),
            })
        })
        .await?;
        let pod = "apiVersion: v1
kind: Pod
metadata: {name: tool}
spec: {hostNetwork: true, containers: [{name: tool, image: tool, resources: {limits: {cpu: 2}}}]}
";
        // Each of the three says no by itself.
        app.push(&lab.agent, &[("pod.yaml", Some(pod))]).await?;
        app.condition("SyncError", "403").await?;
        let third = app
            .push(
                &lab.agent,
                &[("limits.yaml", Some(&limits(2, 5, "privileged")))],
            )
            .await?;
        app.in_one_sync(&third).await?;
        app.cluster
            .get("/api/v1/namespaces/limited/pods/tool")
            .await?;
        Ok(())
    });
}

/// Waits until a change of a ConfigMap is refused: what decides learns of its rules with some delay.
async fn is_refused(app: &Story, name: &str) -> Result<()> {
    let path = format!("{}?dryRun=All", app.map(name));
    eventually("a change is refused", SOON, || async {
        let change = json!({"data": {"value": "9"}});
        Ok(match app.cluster.patch(&path, &change).await {
            Err(_) => Expectation::Met(()),
            Ok(_) => Expectation::Pending("it is taken".to_owned()),
        })
    })
    .await
}

/// A policy for ConfigMaps named `ruled` in one namespace, with the highest value as its parameter.
fn policy(app: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {app}}}
spec:
  failurePolicy: Fail
  paramKind: {{apiVersion: v1, kind: ConfigMap}}
  matchConstraints:
    resourceRules:
    - {{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}}
  matchConditions: [{{name: ruled, expression: \"object.metadata.name == 'ruled'\"}}]
  validations:
  - {{expression: 'int(object.data.value) <= int(params.data.value)', message: too much}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {app}}}
spec:
  policyName: {app}
  validationActions: [Deny]
  paramRef: {{name: highest, namespace: {app}, parameterNotFoundAction: Deny}}
  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {app}}}}}}}
"
    )
}

#[test]
fn a_policy_changes_with_what_it_forbids() {
    story(|lab| async move {
        let app = lab.given("ruled").await?;
        let first = app.commit(&[
            ("policy.yaml", Some(&policy("ruled"))),
            ("highest.yaml", Some(&config_map("highest", "1"))),
            ("ruled.yaml", Some(&config_map("ruled", "1"))),
        ])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        is_refused(&app, "ruled").await?;
        app.push(
            &lab.agent,
            &[("ruled.yaml", Some(&config_map("ruled", "5")))],
        )
        .await?;
        app.condition("SyncError", "too much").await?;
        let third = app
            .push(
                &lab.agent,
                &[("highest.yaml", Some(&config_map("highest", "7")))],
            )
            .await?;
        app.in_one_sync(&third).await?;
        app.value("ruled", Some("5")).await?;
        for kind in ["policybindings", "policies"] {
            let root = "/apis/admissionregistration.k8s.io/v1/validatingadmission";
            app.cluster.delete(&format!("{root}{kind}/ruled")).await?;
        }
        Ok(())
    });
}

/// Waits until a Namespace that is only asked about gets this label, or none.
async fn is_labelled(app: &Story, name: &str, label: &str) -> Result<()> {
    eventually("the policy labels a namespace", SOON, || async {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let asked = app
            .cluster
            .create("/api/v1/namespaces?dryRun=All", &namespace)
            .await?;
        let labels = &asked["metadata"]["labels"];
        Ok(match labels["team"] == label {
            true => Expectation::Met(()),
            false => Expectation::Pending(labels.to_string()),
        })
    })
    .await
}

/// One policy labels the namespace, another wants the label of the namespace that its objects are in:
/// the objects are asked about before there is either.
#[test]
fn a_namespace_comes_with_the_label_that_a_policy_gives_it() {
    story(|lab| async move {
        let app = lab.given("labelling-policy").await?;
        let patch = "[JSONPatch{op: \"add\", path: \"/metadata/labels/team\", value: \"a\"}]";
        let rules = |resource: &str| {
            json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": [resource]}])
        };
        let group = "admissionregistration.k8s.io/v1";
        let of_team =
            json!([{"name": "it", "expression": "object.metadata.name == 'labelling-team'"}]);
        let in_team = json!([{"name": "it", "expression":
            "object.metadata.namespace == 'labelling-team' && object.metadata.name == 'a'"}]);
        let policies = [
            json!({"apiVersion": group, "kind": "MutatingAdmissionPolicy",
                "metadata": {"name": "labelling"},
                "spec": {"matchConstraints": {"resourceRules": rules("namespaces")},
                    "matchConditions": of_team, "failurePolicy": "Fail",
                    "reinvocationPolicy": "Never",
                    "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}]}}),
            json!({"apiVersion": group, "kind": "MutatingAdmissionPolicyBinding",
                "metadata": {"name": "labelling"}, "spec": {"policyName": "labelling"}}),
            json!({"apiVersion": group, "kind": "ValidatingAdmissionPolicy",
                "metadata": {"name": "labelling"},
                "spec": {"matchConstraints": {"resourceRules": rules("configmaps")},
                    "matchConditions": in_team, "failurePolicy": "Fail",
                    "validations": [{"message": "its namespace has no team", "expression":
                        "has(namespaceObject.metadata.labels) && 'team' in namespaceObject.metadata.labels"}]}}),
            json!({"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": {"name": "labelling"},
                "spec": {"policyName": "labelling", "validationActions": ["Deny"]}}),
        ];
        let policies = policies.map(|it| it.to_string()).join("\n---\n");
        let first = app.commit(&[("policies.yaml", Some(&policies))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        is_labelled(&app, "labelling-team", "a").await?;
        let team = "apiVersion: v1\nkind: Namespace\nmetadata: {name: labelling-team}\n";
        let a = config_map("a", "1").replace("{name: a}", "{name: a, namespace: labelling-team}");
        let own = config_map("own", "1");
        let files = [
            ("team.yaml", Some(team)),
            ("a.yaml", Some(&*a)),
            ("own.yaml", Some(&*own)),
        ];
        let second = app.push(&lab.agent, &files).await?;
        app.in_one_sync(&second).await?;
        let namespace = app.cluster.get("/api/v1/namespaces/labelling-team").await?;
        assert_eq!(namespace["metadata"]["labels"]["team"], "a");
        let map = "/api/v1/namespaces/labelling-team/configmaps/a";
        assert_eq!(app.cluster.get(map).await?["data"]["value"], "1");
        let root = "/apis/admissionregistration.k8s.io/v1";
        for kind in ["mutatingadmissionpolicies", "validatingadmissionpolicies"] {
            app.cluster
                .delete(&format!("{root}/{kind}/labelling"))
                .await?;
        }
        Ok(())
    });
}

#[test]
fn a_webhook_that_nobody_answers_goes_with_what_it_holds_up() {
    story(|lab| async move {
        let app = lab.given("hooked").await?;
        let webhook = |policy: &str| {
            format!(
                "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: hooked}}
webhooks:
- name: hooked.example.com
  failurePolicy: {policy}
  sideEffects: None
  timeoutSeconds: 1
  admissionReviewVersions: [v1]
  clientConfig: {{url: 'https://127.0.0.1:1/'}}
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: hooked}}}}
  rules: [{{apiGroups: [''], apiVersions: [v1], operations: ['*'], resources: [configmaps]}}]
"
            )
        };
        let first = app.commit(&[("a.yaml", Some(&config_map("a", "1")))])?;
        app.create(&app.application()).await?;
        in_sync(&app, &first).await?;
        let second = app
            .push(&lab.agent, &[("webhook.yaml", Some(&webhook("Fail")))])
            .await?;
        in_sync(&app, &second).await?;
        is_refused(&app, "a").await?;
        app.push(&lab.agent, &[("a.yaml", Some(&config_map("a", "2")))])
            .await?;
        app.condition("SyncError", "failed calling webhook").await?;
        let fourth = app
            .push(&lab.agent, &[("webhook.yaml", Some(&webhook("Ignore")))])
            .await?;
        app.in_one_sync(&fourth).await?;
        app.value("a", Some("2")).await?;
        let root = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        app.cluster.delete(&format!("{root}/hooked")).await?;
        Ok(())
    });
}

#[test]
fn what_comes_before_a_served_group_is_applied() {
    story(|lab| async move {
        let app = lab.given("served").await?;
        let group = "served.example.com";
        let service = format!(
            "apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1.{group}}}
spec:
  group: {group}
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {{namespace: served, name: nobody}}
"
        );
        app.commit(&[
            ("service.yaml", Some(&service)),
            ("sail.yaml", Some(&sail(group, "{}"))),
            ("a.yaml", Some(&config_map("a", "1"))),
        ])?;
        app.create(&app.application()).await?;
        app.value("a", Some("1")).await?;
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/v1.{group}");
        eventually("the group is registered", SOON, || async {
            Ok(match app.cluster.find(&path).await? {
                Some(_) => Expectation::Met(()),
                None => Expectation::Pending("not there".to_owned()),
            })
        })
        .await?;
        app.condition("SyncError", group).await?;
        // A group that nobody serves slows the discovery of others.
        app.cluster.delete(&app.path()).await?;
        app.cluster.delete(&path).await?;
        Ok(())
    });
}
