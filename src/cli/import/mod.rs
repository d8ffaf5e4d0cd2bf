//! `trimtab import`.

mod argo;
mod flux;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::output::{Format, complain, data, print};
use super::text::one_line;
use super::{Outcome, manifests};
use crate::config::Settings;
use crate::crd::options::remark;
use crate::crd::{names, read};
use crate::diff::IgnoreRules;
use crate::object::Object;

/// Turn Applications of Argo CD or Kustomizations of Flux into ours
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads Argo CD's Application and AppProject, and Flux's Kustomization with its GitRepository, and
prints Applications of Trimtab; projects are printed as the part of trimtab.yaml that they become.
What does not carry over is named on standard error, and the exit code is 1; an application that
would deploy something else than before is printed with a pause. Asks no cluster and
changes nothing: look at what is printed, take the old controller away from the application (in
Argo CD without its finalizer, in Flux with `flux suspend` and prune: false), then apply it.
Objects that are there are adopted, not made anew.

Examples:
  kubectl -n argocd get applications,appprojects -o yaml | trimtab import > applications.yaml
  kubectl -n flux-system get kustomizations,gitrepositories -o yaml | trimtab import
  trimtab import application.yaml --into apps")]
pub(super) struct Args {
    /// A file of what is there, or - for standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Namespace of the new Applications
    #[arg(long, value_name = "NAME", default_value = "trimtab")]
    into: String,
}

/// What was made of what was read.
#[derive(Debug, Default, PartialEq)]
struct Imported {
    applications: Vec<Value>,
    projects: Vec<Value>,
    /// What does not carry over, each with the object that it is about.
    warnings: Vec<String>,
}

impl Imported {
    fn warn(&mut self, object: &Object, what: &str) {
        self.warnings
            .push(format!("{} {}: {what}", object.kind(), object.name()));
    }
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    let objects = manifests::read(&args.file)?;
    let imported = import(&objects, &args.into);
    for warning in &imported.warnings {
        complain(&one_line(warning));
    }
    let mut documents = Vec::new();
    if !imported.projects.is_empty() {
        let projects = data(&json!({"projects": imported.projects}), Format::Yaml)?;
        documents.push(format!(
            "# Not a manifest: this belongs into trimtab.yaml.\n{projects}"
        ));
    }
    for application in &imported.applications {
        documents.push(data(application, Format::Yaml)?);
    }
    if documents.is_empty() {
        bail!(
            "there is nothing in it to import: Application, AppProject, or Kustomization with GitRepository"
        );
    }
    print(&documents.join("---\n"))?;
    Ok(match imported.warnings.is_empty() {
        true => Outcome::Done,
        false => Outcome::Differs,
    })
}

fn import(objects: &[Object], into: &str) -> Imported {
    let mut imported = Imported::default();
    for object in objects {
        match (object.group(), object.kind()) {
            ("argoproj.io", "Application") => argo::application(object, into, &mut imported),
            ("argoproj.io", "AppProject") => argo::project(object, &mut imported),
            ("kustomize.toolkit.fluxcd.io", "Kustomization") => {
                flux::kustomization(object, objects, into, &mut imported);
            }
            // Else it is a part of those that name it.
            ("source.toolkit.fluxcd.io", "GitRepository") => {
                flux::repository(object, &mut imported);
            }
            ("helm.toolkit.fluxcd.io", "HelmRelease") => {
                let what = "is left out: write an Application with the chart's directory in Git as \
                            spec.source.path, and its values as spec.source.helm.valuesObject";
                imported.warn(object, what);
            }
            (group, _) if group.ends_with(".fluxcd.io") => {
                imported.warn(object, "is left out: it has no counterpart here");
            }
            _ => imported.warn(object, "is not known here and left out"),
        }
    }
    check(&mut imported);
    imported
}

/// What our own agent would say of what was made.
fn check(imported: &mut Imported) {
    let mut names = BTreeSet::new();
    for application in &imported.applications {
        let name = application["metadata"]["name"].as_str().unwrap_or_default();
        if !names.insert(name) {
            let what = format!("Application {name}: there are several of this name; rename them");
            imported.warnings.push(what);
        }
    }
    let made: Vec<_> = imported
        .applications
        .iter()
        .filter_map(|made| Object::new(made.clone()).ok())
        .collect();
    for object in made {
        let application = read(object.clone());
        for fault in &application.faults {
            imported.warn(&object, fault);
        }
        for remark in application
            .spec
            .sync_options()
            .iter()
            .filter_map(|it| remark(it))
        {
            imported.warn(&object, &remark);
        }
        let rules = IgnoreRules::compile(&[], &application.spec.ignore_differences);
        for fault in rules.err().into_iter().flatten() {
            imported.warn(&object, &fault);
        }
    }
    let settings = json!({"projects": imported.projects}).to_string();
    if let Err(error) = Settings::parse(&settings) {
        imported.warnings.push(error.to_string());
    }
}

/// An Application of ours.
fn made(name: &str, into: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{}/{}", names::GROUP, names::VERSION), "kind": names::KIND,
        "metadata": {"name": name, "namespace": into}, "spec": spec,
    })
}

/// Takes labels and annotations along whose names are wanted.
fn carried_metadata(object: &Object, made: &mut Value, wanted: impl Fn(&str) -> bool) {
    for field in ["labels", "annotations"] {
        let found = object.get(&format!("/metadata/{field}"));
        let found = found.and_then(Value::as_object).into_iter().flatten();
        let kept: Map<String, Value> = found
            .filter(|(name, _)| !name.starts_with("kubectl.kubernetes.io/") && wanted(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !kept.is_empty() {
            made["metadata"][field] = kept.into();
        }
    }
}

/// The names of the fields below a pointer that say something: not null, false or empty.
fn given(object: &Object, pointer: &str) -> Vec<String> {
    let fields = object.get(pointer).and_then(Value::as_object);
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    };
    let given = fields.into_iter().flatten().filter(|(_, it)| says(it));
    given.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests;
