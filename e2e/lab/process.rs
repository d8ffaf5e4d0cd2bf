//! Children that are gone when the lab is, however it ends.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
};

use anyhow::{Context, Result};

/// A shell that waits for the end of its input, which comes with the end of this process in
/// whatever way, and then ends the children and removes the directory.
pub(crate) struct Guardian {
    shell: Child,
    input: Mutex<Option<ChildStdin>>,
    directory: PathBuf,
}

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=
while read -r line; do pids="$line $pids"; done
for pid in $pids; do kill "$pid" 2>/dev/null; done
n=0
while [ "$n" -lt 50 ]; do
  left=
  for pid in $pids; do kill -0 "$pid" 2>/dev/null && left=1; done
  [ -n "$left" ] || break
  sleep 0.05
  n=$((n + 1))
done
for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
rm -rf "$1"
"#;

impl Guardian {
    /// Starts with an empty directory of its own.
    pub(crate) fn start() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("trimtab-lab-")
            .tempdir()?
            .keep();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "guardian"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("could not start /bin/sh")?;
        let input = Mutex::new(shell.stdin.take());
        Ok(Self {
            shell,
            input,
            directory,
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a program whose output goes to `<name>.log` in the directory.
    pub(crate) fn spawn(&self, name: &str, command: &mut Command) -> Result<Process> {
        let log = self.directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("could not start {name}"))?;
        if let Some(input) = self.input.lock().expect("no panic while held").as_mut() {
            writeln!(input, "{}", child.id())?;
        }
        Ok(Process {
            name: name.to_owned(),
            child,
            log,
        })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.input.lock().expect("no panic while held").take());
        let _ = self.shell.wait();
    }
}

/// A running program.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines that it printed, under a heading.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<_> = log.lines().collect();
        let from = all.len().saturating_sub(lines);
        format!("--- {} ---\n{}", self.name, all[from..].join("\n"))
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by its number's name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        Command::new("/bin/sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()?;
        Ok(())
    }

    /// Its exit code when it has ended.
    pub(crate) fn ended(&mut self) -> Option<Option<i32>> {
        self.child
            .try_wait()
            .ok()
            .flatten()
            .map(|status| status.code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.tail(60));
        }
    }
}

/// A loopback port that is free now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
