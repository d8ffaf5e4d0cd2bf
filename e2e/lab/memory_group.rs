//! A control group that bounds the memory of what is started in it and of all its children, as a
//! pod's limit does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// A control group, removed with this value. Needs the right to make one: root has it.
pub(crate) struct MemoryGroup {
    directory: PathBuf,
    is_unified: bool,
}

impl MemoryGroup {
    pub(crate) fn new(name: &str, bytes: u64) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let is_unified = root.join("cgroup.controllers").exists();
        let (parent, limit) = if is_unified {
            // The root may have processes beside groups.
            fs::write(root.join("cgroup.subtree_control"), "+memory").unwrap_or_default();
            (root.to_owned(), "memory.max")
        } else {
            let own = fs::read_to_string("/proc/self/cgroup")?;
            let own = own.lines().find_map(|line| line.split_once(":memory:"));
            let own = own.context("this system has no memory controller")?.1;
            let parent = root.join("memory").join(own.trim_start_matches('/'));
            (parent, "memory.limit_in_bytes")
        };
        let directory = parent.join(format!("trimtab-{name}-{}", std::process::id()));
        fs::create_dir(&directory).with_context(|| {
            format!(
                "could not make the control group {}: run as root",
                directory.display()
            )
        })?;
        let group = Self {
            directory,
            is_unified,
        };
        fs::write(group.directory.join(limit), bytes.to_string())?;
        Ok(group)
    }

    /// The command, started inside of the group.
    pub(crate) fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.directory.join("cgroup.procs"))
            .arg(program);
        command
    }

    /// How many processes of the group the kernel killed because there was no memory left.
    pub(crate) fn kills(&self) -> Result<u64> {
        let file = if self.is_unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let text = fs::read_to_string(self.directory.join(file))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.context("the kernel counts no kills")?.parse()?)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Its last processes may still be on their way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
