//! Real mirrors come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::crd::ApplicationKey;
use crate::git::Limits;
use crate::git::tests::{git_server::GitServer, repository::Repository};
use crate::source::{Credentials, Options};
use crate::telemetry::Metrics;
use crate::trigger::{Cause, Following, Journal, Listener, News, Sources};

/// Passes on which commits were told.
struct Heard(UnboundedSender<String>);

impl Listener for Heard {
    fn hear(&self, _: &ApplicationKey, news: News) {
        if let News::Revision(revision) = news {
            drop(self.0.send(revision.commit_id));
        }
    }
}

struct Given {
    sources: SourceLoop,
    metrics: Arc<Metrics>,
    heard: UnboundedReceiver<String>,
    server: GitServer,
    commits: BTreeMap<&'static str, String>,
    place: tempfile::TempDir,
}

impl Given {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let served = place.path().join("served");
        let server = GitServer::start(&served).unwrap();
        let commits = ["a", "b"].map(|name| {
            let repository = Repository::create(&served, name).unwrap();
            let files = [("file", Some(name))];
            (name, repository.commit("main", &files, "first").unwrap())
        });
        let (told, heard) = unbounded_channel();
        let metrics = Arc::new(Metrics::new("1"));
        let limits = Limits {
            timeout: Duration::from_secs(20),
            bytes: 64 << 20,
        };
        let options = Options {
            mirrors: place.path().join("mirrors"),
            poll_interval: Duration::from_secs(3600),
            limits,
            mirror_bytes: 64 << 20,
        };
        let sources = SourceLoop::new(
            options,
            Arc::default(),
            Arc::new(Heard(told)),
            Arc::clone(&metrics),
            Arc::new(Journal::default()),
        );
        let _: &Credentials = &sources.shared.credentials;
        Self {
            sources,
            metrics,
            heard,
            server,
            commits: commits.into(),
            place,
        }
    }

    /// An application of the same name follows a repository; returns when it is fetched.
    async fn follow(&mut self, name: &'static str) {
        let following = Following {
            repo_url: self.server.url(name),
            target_revision: "main".to_owned(),
        };
        self.sources.follow(&key(name), following);
        assert_eq!(self.heard.recv().await.as_ref(), self.commits.get(name));
    }

    fn on_disk(&self) -> usize {
        let mirrors = std::fs::read_dir(self.place.path().join("mirrors"));
        mirrors.unwrap().count()
    }

    fn has(&self, name: &str) -> bool {
        let mirror = self.sources.mirror(&key(name)).unwrap();
        mirror.read(&self.commits[name], "file", 99).is_ok()
    }
}

fn key(name: &str) -> ApplicationKey {
    ApplicationKey {
        namespace: "trimtab".into(),
        name: name.into(),
    }
}

#[tokio::test]
async fn a_mirror_goes_when_nobody_followed_it_for_long() {
    let mut given = Given::new();
    given.follow("a").await;
    given.follow("b").await;
    let (mut left, begin) = (Left::new(), Instant::now());
    let round = async |given: &Given, left: &mut Left, seconds: u64| {
        let now = begin + Duration::from_secs(seconds);
        let due = given.sources.tidy_up(left, now, PATIENCE).await;
        due.map(|due| due.duration_since(begin).as_secs())
    };
    assert_eq!(round(&given, &mut left, 0).await, None);
    given.sources.forget(&key("a"));
    assert_eq!(round(&given, &mut left, 10).await, Some(610));
    // Who comes back in time finds it as it was.
    given.follow("a").await;
    assert_eq!(given.server.count("a", "fetch"), 1);
    assert_eq!(round(&given, &mut left, 20).await, None);
    given.sources.forget(&key("a"));
    assert_eq!(round(&given, &mut left, 30).await, Some(630));
    assert_eq!(round(&given, &mut left, 629).await, Some(630));
    assert_eq!(given.on_disk(), 2);
    assert_eq!(round(&given, &mut left, 630).await, None);
    assert_eq!(given.on_disk(), 1);
    assert!(given.has("b"));
    let text = given.metrics.encode();
    let line = "trimtab_mirrors_removed_total{reason=\"unfollowed\"} 1";
    assert!(text.lines().any(|it| it == line), "{text}");
    // It is fetched again for the next.
    given.follow("a").await;
    assert!(given.has("a"));
}

#[tokio::test]
async fn above_the_budget_even_one_that_is_followed_goes_and_comes_back() {
    let mut given = Given::new();
    given.sources.options.mirror_bytes = 1;
    given.follow("a").await;
    let mut left = Left::new();
    let now = Instant::now();
    given.sources.tidy_up(&mut left, now, PATIENCE).await;
    assert!(given.has("a"), "it was used just now");
    let hasty = Patience {
        used: Duration::ZERO,
        ..PATIENCE
    };
    given.sources.tidy_up(&mut left, now, hasty).await;
    assert!(!given.has("a"));
    assert_eq!(given.on_disk(), 0);
    assert!(given.sources.refresh(&key("a"), Cause::Manual));
    assert!(given.heard.recv().await.is_some());
    assert!(given.has("a"));
}

/// `a 5 used 300` or `b 5 left 20`: name, bytes, and the seconds since then.
fn known(text: &str) -> Vec<Known> {
    let mirrors = text.split(", ").map(|it| {
        let words: Vec<_> = it.split(' ').collect();
        let since = Duration::from_secs(words[3].parse().unwrap());
        let followed = words[2] == "used";
        Known {
            name: words[0].to_owned(),
            bytes: words[1].parse().unwrap(),
            unused: if followed { since } else { Duration::MAX },
            left: (!followed).then_some(since),
        }
    });
    mirrors.collect()
}

#[test]
fn what_nobody_follows_goes_first_then_what_was_not_used_for_longest() {
    for (mirrors, budget, expected) in [
        ("a 5 used 300, b 5 used 400", 10, ""),
        ("a 5 used 300, b 5 used 400", 9, "b"),
        ("a 5 used 300, b 5 used 400", 4, "b a"),
        ("a 5 used 300, b 5 left 1", 9, "b"),
        ("a 5 used 300, b 5 left 599", 10, ""),
        ("a 5 used 300, b 5 left 600", 10, "b"),
        ("a 5 left 700, b 5 left 1, c 5 left 9", 5, "a c"),
        // What a render may be reading stays, however large.
        ("a 50 used 100, b 5 used 400", 4, "b"),
        ("a 50 used 100", 4, ""),
    ] {
        let chosen = choose(&known(mirrors), budget, PATIENCE);
        let names: Vec<_> = chosen.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.join(" "), expected, "{mirrors} of {budget}");
        for (name, why) in chosen {
            let over = mirrors.contains(&format!("{name} 5 left 600"))
                || mirrors.contains(&format!("{name} 5 left 700"));
            assert_eq!(why == Removal::Unfollowed, over, "{name} in {mirrors}");
        }
    }
}
