//! `kustomize build` of a staged directory.

use super::{Error, Request, Tools, run};
use crate::object::Rendered;

/// Builds with the load restrictor in force and without Helm, plugins and functions: no flag is
/// ever given that would widen that.
pub(super) async fn render(tools: &Tools, request: &Request<'_>) -> Result<Rendered, Error> {
    let program = tools
        .kustomize
        .clone()
        .ok_or(Error::MissingTool("kustomize"))?;
    let directory = request.stage.join(&request.source.path);
    let command = (program, vec!["build".into(), ".".into()], directory);
    let explain = |text: &str| explain(request, text);
    let mut rendered = run(tools, request, command, explain).await?;
    // Of keys that the kustomizations have twice kustomize takes the last without a word.
    let repeated = request.repeated_keys.iter().cloned();
    rendered.notes.repeated_keys.splice(0..0, repeated);
    Ok(rendered)
}

/// What is not on the stage is missed by kustomize when it is needed, and only then.
fn explain(request: &Request<'_>, text: &str) -> Option<Error> {
    let mut left_out: Vec<_> = request.left_out.iter().collect();
    left_out.sort_by_key(|entry| std::cmp::Reverse(entry.path.len()));
    let entry = left_out.iter().find(|entry| text.contains(&entry.path))?;
    Some(Error::LeftOut {
        path: entry.path.clone(),
        problem: entry.problem.clone(),
    })
}
