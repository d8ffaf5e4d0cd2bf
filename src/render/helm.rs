//! `helm template` of a staged chart.

use std::{ffi::OsString, fs};

use super::chart::write_private;
use super::inputs::value_file;
use super::{Error, LFS, Request, Tools, chart, run, schema};
use crate::crd::HelmParameter;
use crate::object::{Object, Rendered, to_flow_yaml};
use crate::text::is_lfs_pointer;

/// The annotation by which a chart marks its hooks.
const HOOK: &str = "helm.sh/hook";

/// Renders without a cluster: no lookup, no release. Values win in Argo CD's order: `parameters`
/// over `valuesObject` over `values` over `valueFiles` (a later file over an earlier one).
///
/// Test hooks are left out, as in Argo CD: they are for `helm test`.
pub(super) async fn render(tools: &Tools, request: &Request<'_>) -> Result<Rendered, Error> {
    let program = tools.helm.clone().ok_or(Error::MissingTool("helm"))?;
    let (files, absent) = chart::check(request)?;
    schema::check(&request.source.path, &files)?;
    let mut directory = request.stage.join(&request.source.path);
    if !absent.is_empty() {
        directory = request.scratch.join("chart");
        chart::stand_in(&directory, &files, &absent)?;
    }
    let explain = |text: &str| chart::explain(request, &absent, text);
    let command = (program, arguments(request)?, directory);
    let mut rendered = run(tools, request, command, explain).await?;
    rendered.objects.retain(|object| !is_test(object));
    Ok(rendered)
}

fn is_test(object: &Object) -> bool {
    let hooks = object.annotation(HOOK).unwrap_or_default();
    !hooks.is_empty() && hooks.split(',').all(|hook| hook.trim().starts_with("test"))
}

fn arguments(request: &Request<'_>) -> Result<Vec<OsString>, Error> {
    let helm = request.source.helm.clone().unwrap_or_default();
    let release = if helm.release_name.is_empty() {
        request.name
    } else {
        &helm.release_name
    };
    let namespace = if helm.namespace.is_empty() {
        request.namespace
    } else {
        &helm.namespace
    };
    let mut arguments: Vec<OsString> = vec![
        "template".into(),
        "--include-crds".into(),
        "--kube-version".into(),
    ];
    arguments.push(request.kube_version.into());
    for versions in request.api_versions.chunks(64) {
        arguments.extend(["--api-versions".into(), versions.join(",").into()]);
    }
    if !namespace.is_empty() {
        arguments.extend(["--namespace".into(), namespace.into()]);
    }
    for file in &helm.value_files {
        let path = value_file(&request.source.path, file)?;
        let staged = request.stage.join(&path);
        if !staged.is_file() {
            return Err(request.missing(path));
        }
        if fs::read(&staged).is_ok_and(|bytes| is_lfs_pointer(&bytes)) {
            let problem = LFS.to_owned();
            return Err(Error::LeftOut { path, problem });
        }
        arguments.extend(["--values".into(), staged.into()]);
    }
    if !helm.values.is_empty() {
        let file = request.scratch.join("values.yaml");
        write_private(&file, &helm.values)?;
        arguments.extend(["--values".into(), file.into()]);
    }
    if let Some(values) = &helm.values_object {
        // As JSON: what is not quoted is read in several ways.
        let text = to_flow_yaml(&serde_json::json!(values));
        let file = request.scratch.join("values-object.yaml");
        write_private(&file, &text)?;
        arguments.extend(["--values".into(), file.into()]);
    }
    for parameter in &helm.parameters {
        let flag = if parameter.force_string {
            "--set-string"
        } else {
            "--set"
        };
        arguments.extend([flag.into(), setting(parameter).into()]);
    }
    // What follows is no flag, whatever it looks like.
    arguments.extend(["--".into(), release.into(), ".".into()]);
    Ok(arguments)
}

/// `name=value`, with the commas of the value escaped unless it is a list `{a,b}`: helm would
/// take them for the start of the next setting.
fn setting(parameter: &HelmParameter) -> String {
    let value = &parameter.value;
    let is_list = value.starts_with('{') && value.ends_with('}');
    let mut escaped = String::new();
    let mut previous = ' ';
    for c in value.chars() {
        if c == ',' && previous != '\\' && !is_list {
            escaped.push('\\');
        }
        escaped.push(c);
        previous = c;
    }
    format!("{}={escaped}", parameter.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commas_are_part_of_the_value() {
        let check = |value: &str, expected: &str| {
            let parameter = HelmParameter {
                name: "a".into(),
                value: value.into(),
                force_string: false,
            };
            assert_eq!(setting(&parameter), expected);
        };
        check("x", "a=x");
        check("x,y", "a=x\\,y");
        check("x\\,y", "a=x\\,y");
        check("{x,y}", "a={x,y}");
        check(",", "a=\\,");
    }

    #[test]
    fn only_pure_test_hooks_are_left_out() {
        let check = |hook: Option<&str>, expected| {
            let mut object = Object::new(json!({"apiVersion": "v1", "kind": "Pod"})).unwrap();
            if let Some(hook) = hook {
                object.set_annotation(HOOK, hook);
            }
            assert_eq!(is_test(&object), expected, "{hook:?}");
        };
        check(None, false);
        check(Some("test"), true);
        check(Some("test-success, test-failure"), true);
        check(Some("pre-install"), false);
        check(Some("test,pre-install"), false);
    }
}
