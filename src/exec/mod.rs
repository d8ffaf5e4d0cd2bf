//! Runs a program as a child that cannot outlive its welcome: empty environment, a deadline, caps
//! on what it prints, its whole process group killed at the end, and, where the caller asks for it,
//! inside a sandbox of the kernel.

mod budget;
mod confine;
mod filter;
mod places;
mod probe;
mod sandbox;
mod slots;

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) use budget::{Budget, memory_limit, size_in_memory};
pub(crate) use probe::Check;
pub(crate) use sandbox::{Confinement, Sandbox};
pub(crate) use slots::{Ending, Shares, Slots};

/// Becomes a confined child where that is what these arguments ask for, the program's name first.
/// None for an ordinary start.
pub(crate) fn enter(arguments: &[OsString]) -> Option<ExitCode> {
    let (word, rest) = arguments.get(1..)?.split_first()?;
    match word.to_str()? {
        confine::WORD => Some(confine::become_confined(rest.iter().cloned())),
        probe::WORD => Some(probe::run(rest)),
        _ => None,
    }
}

/// Keeps processes of the same user, renderers among them, out of the memory and the environment of
/// this one, and its memory out of core dumps. What it starts is as usual again.
pub(crate) fn close_to_others() {
    // The kernel refuses it to nobody; that it holds is tried by the self-test.
    nix::sys::prctl::set_dumpable(false).ok();
}

/// What to run and how far it may go.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// An absolute path; nothing is searched.
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// All of the child's environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) directory: PathBuf,
    /// Wall clock.
    pub(crate) timeout: Duration,
    /// Bytes of standard output.
    pub(crate) output_limit: usize,
    /// What the kernel keeps it from; none for a child that is trusted.
    pub(crate) confinement: Option<Confinement>,
    pub(crate) priority: Priority,
}

/// How much of the processor a child has beside this process and its other children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Priority {
    #[default]
    Usual,
    /// What nobody else wants.
    Low,
}

/// As `nice` counts: a tenth of the weight of an ordinary process.
const LOW: i32 = 10;

/// Why a child did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("could not start {program}: {source}")]
    Start {
        program: String,
        source: std::io::Error,
    },
    #[error("{program} was not done after {} s and was killed", after.as_secs())]
    TimedOut { program: String, after: Duration },
    #[error("{program} printed more than {limit} bytes and was killed")]
    TooLarge { program: String, limit: usize },
    #[error("{program} needed more than {} MiB of memory and was stopped; raise limits.renderMiB if \
             that is expected", limit >> 20)]
    OutOfMemory { program: String, limit: u64 },
    #[error("{program} needed more than {} s of processor time and was stopped", limit.as_secs())]
    OutOfTime { program: String, limit: Duration },
    #[error("{program} was not started: its sandbox could not be set up: {message}")]
    Sandbox { program: String, message: String },
    #[error("{program} failed ({status}): {message}")]
    Failed {
        program: String,
        status: String,
        message: String,
    },
    #[error("could not read what {program} prints: {source}")]
    Read {
        program: String,
        source: std::io::Error,
    },
}

/// Bytes of standard error that are read; what comes after is dropped, the child goes on.
const ERROR_LIMIT: usize = 64 << 10;

/// Kills the group when dropped, whatever way the run ended: done, failed or given up.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nothing to kill is what is hoped for.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Runs a program to its end and returns what it printed on standard output.
///
/// Guarantees: no process of its group is left when this returns or is dropped.
/// Caveats: a child that leaves its process group gets away; that takes the sandbox to prevent.
pub(crate) async fn run(command: Command) -> Result<Vec<u8>, Error> {
    let program = command
        .program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let (path, arguments) = match &command.confinement {
        None => (command.program.clone(), command.arguments.clone()),
        Some(confinement) => confinement.wrap(&command.program, &command.arguments),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts children"
    )]
    let mut child = tokio::process::Command::new(&path)
        .args(&arguments)
        .env_clear()
        .envs(command.environment)
        .current_dir(&command.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Start {
            program: program.clone(),
            source,
        })?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let _group = Group(id.map(Pid::from_raw));
    if command.priority == Priority::Low {
        let pid = id.and_then(rustix::process::Pid::from_raw);
        // To have less is refused to nobody; a child that ended meanwhile needs nothing.
        rustix::process::setpriority_process(pid, LOW).ok();
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let limit = command.output_limit;
    let work = async {
        let errors = tokio::spawn(read_some(stderr));
        // A full pipe would keep the child from ending: too much is a failure at once.
        let output = read_all(stdout, limit)
            .await
            .map_err(|source| Error::Read {
                program: program.clone(),
                source,
            })?
            .ok_or_else(|| Error::TooLarge {
                program: program.clone(),
                limit,
            })?;
        let status = child.wait().await.map_err(|source| Error::Read {
            program: program.clone(),
            source,
        })?;
        let message = errors.await.unwrap_or_default();
        Ok((output, status, message))
    };
    let (output, status, message) =
        tokio::time::timeout(command.timeout, work)
            .await
            .map_err(|_| Error::TimedOut {
                program: program.clone(),
                after: command.timeout,
            })??;
    if status.success() {
        return Ok(output);
    }
    Err(match &command.confinement {
        Some(confinement) => confinement.explain(program, status, &message),
        None => failed(program, status, &message),
    })
}

fn failed(program: String, status: ExitStatus, message: &[u8]) -> Error {
    Error::Failed {
        program,
        status: describe(status),
        message: readable(message),
    }
}

async fn read_all(
    stream: Option<impl AsyncRead + Unpin>,
    limit: usize,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut output = Vec::new();
    if let Some(stream) = stream {
        stream
            .take(limit as u64 + 1)
            .read_to_end(&mut output)
            .await?;
    }
    Ok((output.len() <= limit).then_some(output))
}

/// The first bytes of a stream; the rest is read and dropped.
async fn read_some(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else {
        return kept;
    };
    let _ = (&mut stream)
        .take(ERROR_LIMIT as u64)
        .read_to_end(&mut kept)
        .await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    kept
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

/// The last 2 KiB, without escape sequences and control characters.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\u{1b}' => {
                characters.by_ref().find(char::is_ascii_alphabetic);
            }
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    let plain = plain.trim();
    let from = plain
        .char_indices()
        .rev()
        .take(2048)
        .last()
        .map_or(0, |(at, _)| at);
    plain[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("GIVEN".into(), "1".into())],
            directory: "/".into(),
            timeout: Duration::from_secs(20),
            output_limit: 1 << 20,
            confinement: None,
            priority: Priority::Usual,
        }
    }

    async fn is_gone(pid: i32) -> bool {
        for _ in 0..500 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    #[tokio::test]
    async fn a_child_sees_only_what_it_is_given() {
        let output = run(shell("/usr/bin/env | /usr/bin/sort; pwd"))
            .await
            .unwrap();
        let text = String::from_utf8(output).unwrap();
        let own: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with("PWD=") && !line.starts_with("_="))
            .collect();
        assert_eq!(
            own,
            ["GIVEN=1", "/"]
                .map(str::to_owned)
                .as_slice()
                .iter()
                .collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn at_the_deadline_nothing_of_the_group_is_left() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = shell(&format!(
            "sleep 100 & echo $! > {}; sleep 100",
            file.path().display()
        ));
        command
            .environment
            .push(("PATH".into(), "/usr/bin:/bin".into()));
        command.timeout = Duration::from_millis(500);
        assert!(matches!(run(command).await, Err(Error::TimedOut { .. })));
        let pid = std::fs::read_to_string(file.path())
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert!(is_gone(pid).await);
    }

    #[tokio::test]
    async fn a_run_that_is_given_up_is_killed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = shell(&format!("echo $$ > {}; sleep 100", file.path().display()));
        command
            .environment
            .push(("PATH".into(), "/usr/bin:/bin".into()));
        let running = tokio::spawn(run(command));
        let pid = loop {
            let text = std::fs::read_to_string(file.path()).unwrap();
            if let Ok(pid) = text.trim().parse() {
                break pid;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        running.abort();
        assert!(is_gone(pid).await);
    }

    #[tokio::test]
    async fn too_much_output_ends_it_at_once() {
        let mut command = shell("while :; do echo yes; done");
        command.output_limit = 1000;
        assert!(matches!(
            run(command).await,
            Err(Error::TooLarge { limit: 1000, .. })
        ));
    }

    #[tokio::test]
    async fn a_failure_says_why_in_plain_text() {
        let error = run(shell(
            "printf '\\033[31mno\\033[0m such\\007 thing' >&2; exit 3",
        ))
        .await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "sh failed (exit code 3): no such thing"
        );
        let missing = Command {
            program: "/nonexistent/tool".into(),
            ..shell("")
        };
        assert!(
            run(missing)
                .await
                .unwrap_err()
                .to_string()
                .starts_with("could not start tool")
        );
    }
}
