//! What the kernel keeps a child from, how that is asked for, and whether it holds on this node.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use super::probe::Check;
use super::{Command, Error, Priority, confine, failed, probe, run};

/// This program, as the kernel knows it: also after its file was replaced.
const LAUNCHER: &str = "/proc/self/exe";
/// Bytes of the largest file that a child may write.
const FILE_SIZE: u64 = 64 << 20;
/// How long the self-test may take.
const SELF_TEST: Duration = Duration::from_secs(20);

/// How renderers are confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// Bytes of private memory that one child may have.
    pub(crate) memory: u64,
    /// It runs also where the kernel has no Landlock, with what the kernel has.
    pub(crate) lenient: bool,
}

/// What one child may reach.
#[derive(Clone, Debug)]
pub(crate) struct Confinement {
    pub(crate) sandbox: Sandbox,
    /// Directories that it may read.
    pub(crate) read: Vec<PathBuf>,
    /// Directories that it may write.
    pub(crate) write: Vec<PathBuf>,
    /// Processor time.
    pub(crate) processor: Duration,
}

impl Confinement {
    /// The command that confines itself and becomes the given one.
    pub(super) fn wrap(&self, program: &Path, arguments: &[OsString]) -> (PathBuf, Vec<OsString>) {
        let rights = confine::Rights {
            parent: std::process::id(),
            read: self.read.clone(),
            write: self.write.clone(),
            memory: self.sandbox.memory,
            processor: self.processor.as_secs().max(1),
            file_size: FILE_SIZE,
            lenient: self.sandbox.lenient,
        };
        let arguments = rights.to_arguments(program.as_os_str(), arguments);
        (LAUNCHER.into(), arguments)
    }

    /// Why a child failed, in words for what the sandbox did to it.
    ///
    /// All that it said is judged: a program without memory names the reason first, and then prints
    /// pages about its threads.
    pub(super) fn explain(&self, program: String, status: ExitStatus, said: &[u8]) -> Error {
        use std::os::unix::process::ExitStatusExt;
        const XCPU: i32 = nix::sys::signal::Signal::SIGXCPU as i32;
        // What programs in Go and Rust say when the kernel gives them no more.
        const NO_MEMORY: [&str; 3] = [
            "out of memory",
            "cannot allocate memory",
            "memory allocation of",
        ];
        let message = String::from_utf8_lossy(said);
        if status.code() == Some(confine::UNCONFINED)
            && let Some(message) = message.strip_prefix("sandbox: ")
        {
            return Error::Sandbox {
                program,
                message: message.trim().to_owned(),
            };
        }
        if NO_MEMORY.iter().any(|words| message.contains(words)) {
            return Error::OutOfMemory {
                program,
                limit: self.sandbox.memory,
            };
        }
        if status.signal() == Some(XCPU) {
            return Error::OutOfTime {
                program,
                limit: self.processor,
            };
        }
        failed(program, status, said)
    }
}

impl Sandbox {
    /// Starts a child that tries to break out, and says what it could do. `directory` is where
    /// stages are made; `secrets` are files that no child may read, where they exist.
    pub(crate) async fn self_test(
        &self,
        directory: &Path,
        secrets: &[PathBuf],
    ) -> Result<Vec<Check>, Error> {
        let io = |source| Error::Start {
            program: "the self-test of the sandbox".to_owned(),
            source,
        };
        let scene = tempfile::Builder::new()
            .prefix("self-test-")
            .tempdir_in(directory)
            .map_err(io)?;
        let place = |name: &str| scene.path().join(name);
        for name in ["stage", "scratch", "sibling"] {
            std::fs::create_dir(place(name)).map_err(io)?;
            std::fs::write(place(name).join("marker"), "marker").map_err(io)?;
        }
        std::fs::write(place("marker"), "marker").map_err(io)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
        let port = listener.local_addr().map_err(io)?.port();
        let program = std::env::current_exe().map_err(io)?;
        let mut arguments: Vec<OsString> = vec![probe::WORD.into(), port.to_string().into()];
        arguments.push(self.memory.to_string().into());
        arguments.push(scene.path().into());
        arguments.extend(secrets.iter().map(OsString::from));
        let output = run(Command {
            program,
            arguments,
            environment: Vec::new(),
            directory: place("stage"),
            timeout: SELF_TEST,
            output_limit: 64 << 10,
            confinement: Some(Confinement {
                sandbox: self.clone(),
                read: vec![place("stage")],
                write: vec![place("scratch")],
                processor: SELF_TEST,
            }),
            priority: Priority::Usual,
        })
        .await?;
        Ok(probe::read(&String::from_utf8_lossy(&output)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn what_the_sandbox_did_to_a_child_is_said_in_its_words() {
        let confinement = Confinement {
            sandbox: Sandbox {
                memory: 160 << 20,
                lenient: false,
            },
            read: Vec::new(),
            write: Vec::new(),
            processor: Duration::from_secs(20),
        };
        let ended = |code: u8| ExitStatus::from_raw(i32::from(code) << 8);
        let killed = |signal: nix::sys::signal::Signal| ExitStatus::from_raw(signal as i32);
        let unconfined = u8::try_from(confine::UNCONFINED).unwrap();
        use nix::sys::signal::Signal::{SIGABRT, SIGKILL, SIGXCPU};
        for (status, said, expected) in [
            (
                killed(SIGXCPU),
                "",
                "needed more than 20 s of processor time",
            ),
            // Go prints its threads then.
            (
                ended(2),
                "runtime: out of memory\ngoroutine 1",
                "needed more than 160 MiB of memory",
            ),
            (
                killed(SIGABRT),
                "memory allocation of 8 bytes failed",
                "needed more than 160 MiB of memory",
            ),
            (
                ended(unconfined),
                "sandbox: no Landlock\n",
                "its sandbox could not be set up: no Landlock",
            ),
            (killed(SIGKILL), "", "failed (signal 9)"),
            (ended(1), "bad chart", "bad chart"),
        ] {
            let error = confinement.explain("helm".to_owned(), status, said.as_bytes());
            let error = error.to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
