//! Argo CD's build environment: what stands for the application in parameters and paths of values.

use super::Error;
use crate::crd::{Application, ApplicationSource};

/// How the names of what is substituted begin.
const OURS: [&str; 2] = ["ARGOCD_", "KUBE_"];

/// The application's source with `$ARGOCD_APP_NAME` and the like replaced where Argo CD does it: in
/// Helm's parameters and paths of value files. What is not known is refused by name; other text
/// after a `$` stays as it is.
pub(crate) fn source_of(application: &Application) -> Result<ApplicationSource, Error> {
    let mut source = application.spec.source.clone().unwrap_or_default();
    let Some(mut helm) = source.helm.take() else {
        return Ok(source);
    };
    let project = match application.spec.project.as_str() {
        "" => "default",
        project => project,
    };
    let known = |name: &str| -> Option<String> {
        let value = match name {
            "ARGOCD_APP_NAME" => &application.key.name,
            "ARGOCD_APP_NAMESPACE" => &application.spec.destination.namespace,
            "ARGOCD_APP_PROJECT_NAME" => project,
            "ARGOCD_APP_SOURCE_PATH" => &source.path,
            "ARGOCD_APP_SOURCE_REPO_URL" => &source.repo_url,
            "ARGOCD_APP_SOURCE_TARGET_REVISION" => &source.target_revision,
            _ => return None,
        };
        Some(value.to_owned())
    };
    let substitute = |field: &str, text: &mut String| match substituted(text, known) {
        Ok(new) => {
            *text = new;
            Ok(())
        }
        Err(name) => Err(Error::Refused {
            path: format!("spec.source.helm.{field}"),
            problem: format!("${name} is not supported"),
        }),
    };
    for file in &mut helm.value_files {
        substitute("valueFiles", file)?;
    }
    for parameter in &mut helm.parameters {
        let field = format!("parameters: {}", parameter.name);
        substitute(&field, &mut parameter.value)?;
    }
    source.helm = Some(helm);
    Ok(source)
}

/// The text with each `$NAME` and `${NAME}` of ours replaced, or the name that is not known.
fn substituted(text: &str, known: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        done.push_str(&rest[..at]);
        rest = &rest[at..];
        let (name, length) = name(&rest[1..]);
        if OURS.iter().any(|ours| name.starts_with(ours)) {
            done.push_str(&known(name).ok_or_else(|| name.to_owned())?);
            rest = &rest[1 + length..];
        } else {
            done.push('$');
            rest = &rest[1..];
        }
    }
    done.push_str(rest);
    Ok(done)
}

/// The name behind a `$`, and how long it is as it is written.
fn name(text: &str) -> (&str, usize) {
    if let Some(braced) = text.strip_prefix('{')
        && let Some(end) = braced.find('}')
    {
        return (&braced[..end], end + 2);
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    (&text[..end], end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_other_text_stays() {
        let known = |name: &str| (name == "ARGOCD_APP_NAME").then(|| "shop".to_owned());
        for (text, expected) in [
            ("$ARGOCD_APP_NAME", Ok("shop")),
            ("${ARGOCD_APP_NAME}.example.com", Ok("shop.example.com")),
            ("a-$ARGOCD_APP_NAME-$ARGOCD_APP_NAME", Ok("a-shop-shop")),
            ("pa$word $$ ${x} $", Ok("pa$word $$ ${x} $")),
            ("${ARGOCD_APP_NAME", Ok("${ARGOCD_APP_NAME")),
            ("$ARGOCD_APP_REVISION", Err("ARGOCD_APP_REVISION")),
            (
                "${ARGOCD_APP_REVISION_SHORT}",
                Err("ARGOCD_APP_REVISION_SHORT"),
            ),
            ("$KUBE_VERSION", Err("KUBE_VERSION")),
            ("$ARGOCD_APP_NAMES", Err("ARGOCD_APP_NAMES")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(substituted(text, known), expected, "{text}");
        }
    }
}
