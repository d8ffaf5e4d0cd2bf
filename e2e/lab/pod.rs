//! What a restricted pod is to a program: a user without rights, a root that cannot be written, files
//! of nobody else, a work directory, a stage in memory, and a number of its own as the first process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// The user of the chart's pod.
const USER: u32 = 65532;
/// Where the stage is, inside.
pub(crate) const STAGE: &str = "/stage";
/// What a program that is not static needs, and what starts it.
const SYSTEM: [&str; 7] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/bin/setpriv",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
];

const SCRIPT: &str = r#"set -eu
root=$0
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
bind() {
  if [ -d "$1" ]; then
    mkdir -p "$root$1"
  elif [ ! -e "$root$1" ]; then
    mkdir -p "$root$(dirname "$1")"
    : > "$root$1"
  fi
  mount --bind "$1" "$root$1"
}
while [ "$1" != -- ]; do
  bind "$1"
  mount -o remount,ro,bind "$root$1"
  shift
done
shift
bind "$1"
shift
mkdir "$root/proc" "$root/stage"
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$root/stage"
mount -o remount,ro "$root"
exec chroot "$root" /usr/bin/setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all "$@"
"#;

/// A place that looks like the inside of a pod. Needs root.
pub(crate) struct Pod {
    /// Where its root is mounted, for itself alone.
    root: PathBuf,
}

impl Pod {
    pub(crate) fn new(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    /// The command, started inside: it sees these paths under their own names, and writes below `work`
    /// and the stage alone.
    pub(crate) fn inside(&self, program: &Path, read: &[&Path], work: &Path) -> Result<Command> {
        fs::create_dir_all(work)?;
        std::os::unix::fs::chown(work, Some(USER), Some(USER)).context("run as root")?;
        let mut command = Command::new("/usr/bin/unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .args(["/bin/sh", "-c", SCRIPT])
            .arg(&self.root)
            .args(SYSTEM)
            .arg(program)
            .args(read)
            .arg("--")
            .arg(work)
            .arg(program);
        Ok(command)
    }
}

/// The processes of a user of a pod whose command line has these words: what the kernel says of each.
pub(crate) fn processes(words: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let directory = entry?.path();
        let line = fs::read(directory.join("cmdline")).unwrap_or_default();
        let status = fs::read_to_string(directory.join("status")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(words) && status.contains(&format!("Uid:\t{USER}\t{USER}")) {
            found.push(status);
        }
    }
    Ok(found)
}
