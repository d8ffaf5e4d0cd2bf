//! Bare Git repositories for tests: made, committed to, tagged and broken through the `git` program.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// One bare repository at `<root>/<name>.git`. A clone of this value is the same repository.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    directory: PathBuf,
    name: String,
}

impl Repository {
    /// Makes an empty repository whose HEAD is `main`.
    pub(crate) fn create(root: &Path, name: &str) -> Result<Self> {
        Self::create_with(root, name, "sha1")
    }

    /// The same with ids of another kind, such as `sha256`.
    pub(crate) fn create_with(root: &Path, name: &str, object_format: &str) -> Result<Self> {
        let directory = root.join(format!("{name}.git"));
        std::fs::create_dir_all(&directory)?;
        let repository = Self {
            directory,
            name: name.to_owned(),
        };
        let format = format!("--object-format={object_format}");
        let arguments = [
            "init",
            "--quiet",
            "--bare",
            "--initial-branch=main",
            &format,
        ];
        repository.git(&arguments)?;
        for setting in [
            "uploadpack.allowAnySHA1InWant",
            "uploadpack.allowReachableSHA1InWant",
            "uploadpack.allowFilter",
        ] {
            repository.git(&["config", setting, "true"])?;
        }
        repository.git(&["config", "gc.auto", "0"])?;
        repository.git(&["config", "core.fsync", "none"])?;
        Ok(repository)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Commits to a branch and answers the commit id. `None` as content deletes the file; a first
    /// commit creates the branch. One `git fast-import`, whatever the number of files.
    pub(crate) fn commit(
        &self,
        branch: &str,
        files: &[(&str, Option<&str>)],
        message: &str,
    ) -> Result<String> {
        let mut changes = String::new();
        for (path, content) in files {
            match content {
                Some(content) => changes.push_str(&format!(
                    "M 100644 inline {path}\ndata {}\n{content}\n",
                    content.len()
                )),
                None => changes.push_str(&format!("D {path}\n")),
            }
        }
        self.commit_script(branch, &changes, message)
    }

    /// The same with the changes as `git fast-import` takes them, which has links and submodules.
    pub(crate) fn commit_script(
        &self,
        branch: &str,
        changes: &str,
        message: &str,
    ) -> Result<String> {
        let branch = format!("refs/heads/{branch}");
        let parent = self
            .git(&["rev-parse", "--verify", "--quiet", &branch])
            .ok();
        let mut script = format!(
            "commit {branch}\nauthor Ada Author <ada@example.com> 1700000000 +0000\n\
             committer Ada Author <ada@example.com> 1700000000 +0000\ndata {}\n{message}\n",
            message.len()
        );
        if let Some(parent) = &parent {
            script.push_str(&format!("from {parent}\n"));
        }
        script.push_str(changes);
        self.git_with_input(&["fast-import", "--quiet", "--force"], script.as_bytes())?;
        self.resolve(&branch)
    }

    /// Points a branch somewhere else, as a force push does.
    pub(crate) fn set_branch(&self, branch: &str, commit: &str) -> Result<()> {
        self.git(&["update-ref", &format!("refs/heads/{branch}"), commit])
            .map(drop)
    }

    pub(crate) fn delete_branch(&self, branch: &str) -> Result<()> {
        self.git(&["update-ref", "-d", &format!("refs/heads/{branch}")])
            .map(drop)
    }

    /// A lightweight tag.
    pub(crate) fn tag(&self, tag: &str, commit: &str) -> Result<()> {
        self.git(&["tag", "--force", tag, commit]).map(drop)
    }

    /// An annotated tag: an object of its own that points at the commit.
    pub(crate) fn annotated_tag(&self, tag: &str, commit: &str) -> Result<()> {
        self.git(&[
            "tag",
            "--force",
            "--annotate",
            "--message",
            tag,
            tag,
            commit,
        ])
        .map(drop)
    }

    /// What `git rev-parse` says, such as a commit for `main` or a tree for `main:apps`.
    pub(crate) fn resolve(&self, revision: &str) -> Result<String> {
        self.git(&["rev-parse", "--verify", revision])
    }

    /// Writes a tree from raw entries `(mode, name, content)` without any check, commits it to
    /// `branch` and answers the commit id. A mode of `40000` takes a tree id as content, `160000`
    /// a commit id, anything else the bytes of a blob.
    pub(crate) fn commit_raw(
        &self,
        branch: &str,
        entries: &[(&str, &[u8], &str)],
    ) -> Result<String> {
        let tree = self.raw_tree(entries)?;
        let commit = self.git(&["commit-tree", "-m", "raw", &tree])?;
        self.set_branch(branch, &commit)?;
        Ok(commit)
    }

    /// The tree that [`Repository::commit_raw`] commits. Entries stay in the order given.
    pub(crate) fn raw_tree(&self, entries: &[(&str, &[u8], &str)]) -> Result<String> {
        let mut blobs = BTreeMap::new();
        let mut tree = Vec::new();
        for (mode, name, content) in entries {
            let id = match *mode {
                "40000" | "160000" => (*content).to_owned(),
                _ => match blobs.get(content) {
                    Some(id) => String::clone(id),
                    None => {
                        let id = self.git_with_input(
                            &["hash-object", "-w", "--stdin"],
                            content.as_bytes(),
                        )?;
                        blobs.insert(*content, id.clone());
                        id
                    }
                },
            };
            tree.extend_from_slice(mode.as_bytes());
            tree.push(b' ');
            tree.extend_from_slice(name);
            tree.push(0);
            for at in (0..id.len()).step_by(2) {
                tree.push(u8::from_str_radix(&id[at..at + 2], 16)?);
            }
        }
        self.git_with_input(
            &["hash-object", "-w", "--literally", "-t", "tree", "--stdin"],
            &tree,
        )
    }

    /// Runs `git` in this repository with none of the machine's settings; answers its output.
    pub(crate) fn git(&self, arguments: &[&str]) -> Result<String> {
        self.git_with_input(arguments, b"")
    }

    fn git_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let mut child = isolated("git")
            .arg("--git-dir")
            .arg(&self.directory)
            .args(arguments)
            .env("GIT_AUTHOR_NAME", "Ada Author")
            .env("GIT_AUTHOR_EMAIL", "ada@example.com")
            .env("GIT_AUTHOR_DATE", "1700000000 +0000")
            .env("GIT_COMMITTER_NAME", "Ada Author")
            .env("GIT_COMMITTER_EMAIL", "ada@example.com")
            .env("GIT_COMMITTER_DATE", "1700000000 +0000")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("git does not start")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "git {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }
}

/// A command that sees `PATH` and no configuration.
fn isolated(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    command
}
