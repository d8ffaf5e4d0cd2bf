//! `kustomize build` of a staged directory.

use super::{Error, Request, Tools, run};
use crate::object::Object;

/// Builds with the load restrictor in force and without Helm, plugins and functions: no flag is
/// ever given that would widen that.
pub(super) async fn render(tools: &Tools, request: &Request<'_>) -> Result<Vec<Object>, Error> {
    let program = tools
        .kustomize
        .clone()
        .ok_or(Error::MissingTool("kustomize"))?;
    run(request, program, vec!["build".into(), ".".into()]).await
}
