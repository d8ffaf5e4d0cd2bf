//! `trimtab webhook`.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::ValueEnum;
use hmac::{Hmac, Mac as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::json;
use sha2::Sha256;

use super::output::print;
use super::{Outcome, manifests};
use crate::connect;

/// The longest wait for an answer.
/// Bytes of a secret.
const LONGEST_SECRET: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer that are shown.
const ANSWER: usize = 4 << 10;

/// Send a receiver of the agent a push as a forge would
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows whether the address is reached, the secret is right and the repository is known. The agent
looks at the repository as after any push; nothing that the delivery says is acted on.

Examples:
  trimtab webhook https://hooks.example.com/hooks/github --provider github \\
      --secret-file secret --repository https://github.com/org/shop --branch main
  kubectl -n trimtab port-forward deploy/trimtab 8081 &
  trimtab webhook http://localhost:8081/hooks/gitlab --provider gitlab \\
      --secret-file secret --repository https://gitlab.com/org/shop")]
pub(super) struct Args {
    /// The receiver's address
    url: String,
    /// Which forge to be
    #[arg(long, value_enum)]
    provider: Forge,
    /// A file with the receiver's secret, or - for standard input
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// The address of the repository that was pushed to
    #[arg(long, value_name = "URL")]
    repository: String,
    /// The branch that was pushed
    #[arg(long, value_name = "NAME", default_value = "main")]
    branch: String,
    /// The commit that it is at now
    #[arg(
        long,
        value_name = "ID",
        default_value = "0000000000000000000000000000000000000001"
    )]
    commit: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Forge {
    #[value(name = "github")]
    GitHub,
    #[value(name = "gitlab")]
    GitLab,
}

pub(super) async fn run(args: Args) -> Result<Outcome> {
    let secret = secret(&args.secret_file)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let id = format!("trimtab-{}", now.as_millis());
    let (headers, body) = delivery(&args, &secret, &id)?;
    let mut request = Request::post(&args.url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .with_context(|| format!("{} is no address", args.url))?;
    let client = connect::client(None, false).map_err(anyhow::Error::msg)?;
    let asked = async {
        let answer = client.request(request).await;
        let answer = answer.with_context(|| format!("could not reach {}", args.url))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        anyhow::Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
    };
    let answered = tokio::time::timeout(PATIENCE, asked).await;
    let late = || {
        format!(
            "{} did not answer within {} s",
            args.url,
            PATIENCE.as_secs()
        )
    };
    let (status, text) = answered.with_context(late)??;
    if !status.is_success() {
        bail!("{status}: {text}{}", advice(status));
    }
    print(&format!("{status}: {text}\ndelivery {id}\n"))?;
    Ok(Outcome::Done)
}

/// What helps against an answer.
fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => " (the secret is not the receiver's)",
        StatusCode::NOT_FOUND => " (there is no such receiver in the settings)",
        _ => "",
    }
}

fn secret(file: &Path) -> Result<String> {
    let text = manifests::text(file, LONGEST_SECRET + 1)?.trim().to_owned();
    if text.is_empty() {
        bail!("{} holds no secret", file.display());
    }
    if u64::try_from(text.len())? > LONGEST_SECRET {
        bail!("{} is too long for a secret", file.display());
    }
    Ok(text)
}

type Headers = Vec<(&'static str, String)>;

/// Headers and body of a push, as the forge's own documentation has them.
fn delivery(args: &Args, secret: &str, id: &str) -> Result<(Headers, String)> {
    let url = args.repository.trim_end_matches(".git");
    let reference = format!("refs/heads/{}", args.branch);
    Ok(match args.provider {
        Forge::GitHub => {
            let body = json!({
                "ref": reference, "after": args.commit, "deleted": false,
                "repository": {"html_url": url, "clone_url": format!("{url}.git")},
            });
            let body = body.to_string();
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
            mac.update(body.as_bytes());
            let signature = hex::encode(mac.finalize().into_bytes());
            let headers = vec![
                ("x-github-event", "push".to_owned()),
                ("x-github-delivery", id.to_owned()),
                ("x-hub-signature-256", format!("sha256={signature}")),
            ];
            (headers, body)
        }
        Forge::GitLab => {
            let body = json!({
                "object_kind": "push", "ref": reference, "after": args.commit,
                "checkout_sha": args.commit,
                "project": {"web_url": url, "git_http_url": format!("{url}.git")},
            });
            let headers = vec![
                ("x-gitlab-event", "Push Hook".to_owned()),
                ("x-gitlab-event-uuid", id.to_owned()),
                ("x-gitlab-token", secret.to_owned()),
            ];
            (headers, body.to_string())
        }
    })
}
