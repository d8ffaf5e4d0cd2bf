//! Stories against the real `git http-backend`.

mod faults;
mod fetching;
mod trees;

#[expect(clippy::disallowed_methods, reason = "it runs the real git")]
#[path = "../../../e2e/lab/git_server.rs"]
pub(crate) mod git_server;
#[expect(
    dead_code,
    clippy::disallowed_methods,
    reason = "shared with the lab; no one user needs all of it, and it runs git"
)]
#[path = "../../../e2e/lab/repository.rs"]
pub(crate) mod repository;

use std::collections::BTreeSet;
use std::time::Duration;

use tempfile::TempDir;

use super::revision::RevisionError;
use super::{Credential, Error, Fetched, Limits, Mirror, RepositoryUrl, Transport};
use git_server::{Fault, GitServer};
use repository::Repository;

const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(20),
    bytes: 64 << 20,
};

/// A server with one repository that has one commit on `main`, and a mirror of it.
struct Given {
    server: GitServer,
    repository: Repository,
    first: String,
    mirror: Mirror,
    directory: TempDir,
}

impl Given {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let served = directory.path().join("served");
        let server = GitServer::start(&served).unwrap();
        let repository = Repository::create(&served, "team/app").unwrap();
        let files = [
            ("README", Some("hello")),
            ("apps/web/a.yaml", Some("a: 1")),
            ("apps/web/b.yaml", Some("b: 1")),
            ("apps/db/c.yaml", Some("c: 1")),
        ];
        let first = repository.commit("main", &files, "first").unwrap();
        let mirror = mirror(&directory, &server, LIMITS);
        Self {
            server,
            repository,
            first,
            mirror,
            directory,
        }
    }

    fn limited(limits: Limits) -> Self {
        let mut given = Self::new();
        given.mirror = mirror(&given.directory, &given.server, limits);
        given
    }

    fn change(&self, content: &str) -> String {
        let files = [("apps/web/a.yaml", Some(content))];
        self.repository.commit("main", &files, "change").unwrap()
    }

    async fn fetch(&self, wanted: &[&str]) -> Result<Fetched, Error> {
        self.mirror.fetch(&names(wanted), None).await
    }

    async fn commit(&self, wanted: &str) -> Result<String, RevisionError> {
        let fetched = self.fetch(&[wanted]).await.unwrap();
        fetched.commits[wanted].clone()
    }

    /// Requests so far: info/refs, ls-refs, fetch.
    fn counts(&self) -> (usize, usize, usize) {
        let count = |kind| self.server.count("team/app", kind);
        (count("info/refs"), count("ls-refs"), count("fetch"))
    }
}

fn mirror(directory: &TempDir, server: &GitServer, limits: Limits) -> Mirror {
    let url = RepositoryUrl::parse(&server.url("team/app")).unwrap();
    let root = directory.path().join("mirrors");
    Mirror::new(&root, url, Transport::new(), limits)
}

fn names(wanted: &[&str]) -> BTreeSet<String> {
    wanted.iter().map(|name| (*name).to_owned()).collect()
}
