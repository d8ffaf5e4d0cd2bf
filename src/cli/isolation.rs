//! What renders run with: their places, their share of the memory, and their sandbox, which is tried
//! once, at the start.

use std::path::{Path, PathBuf};

use super::agent_arguments::Args;
use crate::config::{SandboxMode, Settings};
use crate::exec::{Budget, Check, Sandbox, Shares, Slots, memory_limit, size_in_memory};
use crate::object::YamlLimits;
use crate::render::{Isolation, Tools};

/// What renders run with.
pub(super) struct Renders {
    pub(super) tools: Tools,
    /// Where sources are staged.
    pub(super) stages: PathBuf,
    /// Bytes that may be staged for one render.
    pub(super) stage_bytes: u64,
    /// Places for the tools, ...
    pub(super) slots: Slots,
    /// ... and for directories of plain manifests.
    pub(super) directories: Slots,
    /// Places to look through what a revision reads, before it is rendered or found rendered.
    pub(super) reading: Slots,
    /// What is taken as manifests of one application.
    pub(super) limits: YamlLimits,
}

/// Of what is looked through before a render. One that does not take its time holds no other up.
const READING: Shares = Shares {
    all: 4,
    unproven: 4,
    each: 2,
    slow: 2,
};

/// What the start-up self-test came to.
pub(super) struct Verdict {
    pub(super) isolation: Isolation,
    /// In a sentence, for people.
    pub(super) summary: String,
    /// Whether all that was tried was refused.
    pub(super) holds: bool,
    /// What was tried, and whether the sandbox held.
    pub(super) checks: Vec<Check>,
}

/// Finds the tools, divides the memory that there is, and tries the sandbox.
pub(super) async fn renders(args: &Args, settings: &Settings) -> (Renders, Verdict) {
    let stages = stages(args);
    let on_stage = size_in_memory(&stages);
    let budget = Budget::new(memory_limit(), on_stage, settings.limits.render_bytes);
    let secrets = secret_files(args, settings);
    let verdict = isolate(settings.sandbox, budget, &stages, &secrets).await;
    let tools = Tools::find(args.tools_dir.as_deref());
    let shares = Shares {
        all: budget.slots,
        // One is for what rendered well before, where there is more than one, ...
        unproven: budget.slots.saturating_sub(1).max(1),
        // ... and one repository never has all.
        each: budget.slots.saturating_sub(1).max(1),
        slow: 1,
    };
    let renders = Renders {
        tools: tools.confined(verdict.isolation.clone()),
        stages,
        stage_bytes: budget.staged,
        slots: Slots::new(shares),
        directories: Slots::new(shares),
        reading: Slots::new(READING),
        limits: YamlLimits::of_bytes(budget.manifests),
    };
    (renders, verdict)
}

/// Where sources are staged, without what an earlier run left behind when it was killed.
fn stages(args: &Args) -> PathBuf {
    let stages = args
        .stage_dir
        .clone()
        .unwrap_or_else(|| args.work_dir.join("stages"));
    if let Err(error) = std::fs::remove_dir_all(&stages)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "could not empty the stage directory");
    }
    if let Err(error) = std::fs::create_dir_all(&stages) {
        tracing::debug!(%error, "could not make the stage directory");
    }
    stages
}

/// Files of the agent that no render may read.
fn secret_files(args: &Args, settings: &Settings) -> Vec<PathBuf> {
    let receivers = settings.receivers.iter();
    let secrets = receivers.flat_map(|it| it.secret_files.iter().chain(&it.signing_token_files));
    let mut files: Vec<PathBuf> = secrets.cloned().collect();
    files.push("/var/run/secrets/kubernetes.io/serviceaccount/token".into());
    files.extend(args.kubeconfig.clone());
    files.extend(args.config.clone());
    files
}

/// Tries the sandbox in the directory where stages are made.
///
/// Where it does not hold and is required, kustomize and helm are not run: plain manifests go on,
/// and every application that needs a renderer says why it does not.
async fn isolate(mode: SandboxMode, budget: Budget, stages: &Path, secrets: &[PathBuf]) -> Verdict {
    let sandbox = Sandbox {
        memory: budget.memory,
        lenient: mode == SandboxMode::Preferred,
    };
    let tried = match std::fs::create_dir_all(stages) {
        Ok(()) => sandbox.self_test(stages, secrets).await,
        Err(source) => Err(crate::exec::Error::Start {
            program: "the self-test of the sandbox".to_owned(),
            source,
        }),
    };
    let (checks, fault) = match tried {
        Ok(checks) => {
            let open: Vec<_> = checks.iter().filter(|check| !check.holds).collect();
            let fault = match open.as_slice() {
                [] if checks.is_empty() => Some("its self-test said nothing".to_owned()),
                [] => None,
                open => {
                    let what: Vec<_> = open.iter().map(|check| check.what.as_str()).collect();
                    Some(format!(
                        "a child's attempt to {} went wrong",
                        what.join(", to ")
                    ))
                }
            };
            (checks, fault)
        }
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    verdict(mode, sandbox, checks, fault.as_deref())
}

fn verdict(
    mode: SandboxMode,
    sandbox: Sandbox,
    checks: Vec<Check>,
    fault: Option<&str>,
) -> Verdict {
    let mib = sandbox.memory >> 20;
    let (isolation, summary) = match (fault, mode) {
        (None, _) => (
            Isolation::Sandbox(sandbox),
            format!(
                "Landlock, seccomp and {mib} MiB of memory each; every attempt of the start-up self-test was refused"
            ),
        ),
        (Some(fault), SandboxMode::Preferred) => (
            Isolation::Sandbox(sandbox),
            format!("incomplete on this node: {fault}"),
        ),
        (Some(fault), SandboxMode::Required) => {
            let why = format!(
                "kustomize and helm are not run, because their sandbox does not hold on this node: \
                 {fault}; use a node with Linux 6.7 or newer and Landlock, or set sandbox: preferred"
            );
            (Isolation::Refused(why.clone()), why)
        }
    };
    match fault {
        None => tracing::info!(
            tried = checks.len(),
            memory_mib = mib,
            "the sandbox of renderers holds"
        ),
        Some(_) => tracing::error!(summary, "the sandbox of renderers does not hold"),
    }
    Verdict {
        isolation,
        summary,
        holds: fault.is_none(),
        checks,
    }
}
