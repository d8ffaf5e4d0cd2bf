//! What is wanted, what moved, and what that costs.

use super::*;

#[tokio::test]
async fn every_kind_of_revision_finds_its_commit() {
    let given = Given::new();
    let second = given.change("a: 2");
    given.repository.tag("v1", &given.first).unwrap();
    given.repository.annotated_tag("v2", &given.first).unwrap();
    let other = [("x", Some("y"))];
    let topic = given.repository.commit("topic/x", &other, "topic").unwrap();
    let wanted = [
        "",
        "HEAD",
        "main",
        "topic/x",
        "v1",
        "v2",
        "refs/heads/main",
        "refs/tags/v2",
        &given.first,
    ];
    let fetched = given.fetch(&wanted).await.unwrap();
    for (name, expected) in [
        ("", &second),
        ("HEAD", &second),
        ("main", &second),
        ("topic/x", &topic),
        ("v1", &given.first),
        ("v2", &given.first),
        ("refs/heads/main", &second),
        ("refs/tags/v2", &given.first),
        (given.first.as_str(), &given.first),
    ] {
        assert_eq!(fetched.commits[name].as_ref(), Ok(expected), "{name:?}");
        assert!(given.mirror.tree_id(expected, "").unwrap().is_some());
    }
    assert!(fetched.fetched);
    assert_eq!(given.counts(), (1, 1, 1));
}

#[tokio::test]
async fn a_missing_revision_leaves_the_others_alone() {
    let given = Given::new();
    let nowhere = "1".repeat(40);
    let wanted = ["main", "gone", "mai", &nowhere, "a..b", "-x"];
    let fetched = given.fetch(&wanted).await.unwrap();
    assert_eq!(fetched.commits["main"], Ok(given.first.clone()));
    assert_eq!(fetched.commits["gone"], Err(RevisionError::NotFound));
    assert_eq!(fetched.commits["mai"], Err(RevisionError::NotFound));
    assert_eq!(fetched.commits[&nowhere], Err(RevisionError::NotFound));
    assert_eq!(fetched.commits["a..b"], Err(RevisionError::Invalid));
    assert_eq!(fetched.commits["-x"], Err(RevisionError::Invalid));
}

#[tokio::test]
async fn a_branch_wins_over_a_tag_of_its_name() {
    let given = Given::new();
    let second = given.change("a: 2");
    given.repository.tag("both", &given.first).unwrap();
    given.repository.set_branch("both", &second).unwrap();
    assert_eq!(given.commit("both").await, Ok(second));
    given.repository.delete_branch("both").unwrap();
    assert_eq!(given.commit("both").await, Ok(given.first.clone()));
}

#[tokio::test]
async fn an_empty_repository_has_no_head() {
    let given = Given::new();
    given.repository.delete_branch("main").unwrap();
    assert_eq!(given.commit("HEAD").await, Err(RevisionError::NotFound));
}

#[tokio::test]
async fn a_tag_of_a_tree_is_no_commit() {
    let given = Given::new();
    let tree = given.repository.resolve("main^{tree}").unwrap();
    given.repository.tag("tree", &tree).unwrap();
    assert_eq!(given.commit("tree").await, Err(RevisionError::NotACommit));
}

#[tokio::test]
async fn nothing_moved_costs_one_request() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    assert_eq!(given.counts(), (1, 1, 1));
    let fetched = given.fetch(&["main"]).await.unwrap();
    assert!(!fetched.fetched);
    assert_eq!(fetched.requests, 1);
    assert_eq!(given.counts(), (1, 2, 1));
    let second = given.change("a: 2");
    let fetched = given.fetch(&["main", "HEAD"]).await.unwrap();
    assert_eq!((fetched.fetched, fetched.requests), (true, 2));
    assert_eq!(fetched.commits["HEAD"], Ok(second));
    assert_eq!(given.counts(), (1, 3, 2));
}

#[tokio::test]
async fn a_commit_that_is_here_needs_no_network() {
    let given = Given::new();
    given.change("a: 2");
    let pinned = given.first.as_str();
    assert_eq!(given.commit(pinned).await, Ok(given.first.clone()));
    let before = given.server.requests();
    given.server.fail("team/app", Fault::Status(500));
    let fetched = given.fetch(&[pinned]).await.unwrap();
    assert_eq!(fetched.commits[pinned], Ok(given.first.clone()));
    assert_eq!(given.server.requests(), before);
}

#[tokio::test]
async fn force_pushes_are_followed() {
    let given = Given::new();
    let second = given.change("a: 2");
    assert_eq!(given.commit("main").await, Ok(second));
    given.repository.set_branch("main", &given.first).unwrap();
    assert_eq!(given.commit("main").await, Ok(given.first.clone()));
    let unrelated = given
        .repository
        .commit("new", &[("z", Some("z"))], "z")
        .unwrap();
    given.repository.set_branch("main", &unrelated).unwrap();
    assert_eq!(given.commit("main").await, Ok(unrelated));
}

#[tokio::test]
async fn only_changed_objects_are_sent() {
    let given = Given::new();
    let noise: String = (0..200_000_u32)
        .map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 90))
        .collect();
    given
        .repository
        .commit("main", &[("big", Some(&noise))], "big")
        .unwrap();
    given.commit("main").await.unwrap();
    let small = Limits {
        bytes: 4096,
        ..LIMITS
    };
    let again = mirror(&given.directory, &given.server, small);
    let second = given.change("a: 2");
    let fetched = again.fetch(&names(&["main"]), None).await.unwrap();
    assert_eq!(fetched.commits["main"], Ok(second.clone()));
    assert!(again.read(&second, "big", 1 << 20).unwrap().is_some());
}

#[tokio::test]
async fn many_fetches_are_tidied_into_a_new_directory() {
    let given = Given::new();
    let old = given.commit("main").await.unwrap();
    assert!(!given.mirror.is_crowded());
    for round in 0..64 {
        given.change(&format!("a: {round}"));
        given.commit("main").await.unwrap();
    }
    assert!(given.mirror.is_crowded());
    let wanted = names(&["main"]);
    let fetched = given.mirror.tidy(&wanted, None).await.unwrap();
    let newest = fetched.commits["main"].clone().unwrap();
    assert!(fetched.fetched && !given.mirror.is_crowded());
    let text = |commit: &str| given.mirror.read(commit, "apps/web/a.yaml", 99).unwrap();
    assert_eq!(text(&newest).unwrap(), b"a: 63");
    assert_eq!(text(&old).unwrap(), b"a: 1", "readers keep the old one");
    given.mirror.tidy(&wanted, None).await.unwrap();
    let gone = given.mirror.read(&old, "apps/web/a.yaml", 99);
    assert!(matches!(gone, Err(Error::MissingCommit { .. })), "{gone:?}");
    let mirrors = given.directory.path().join("mirrors");
    let mirror = std::fs::read_dir(mirrors).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read_dir(mirror.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn the_shallow_file_does_not_grow_for_ever() {
    let given = Given::new();
    for round in 0..70 {
        given.change(&format!("a: {round}"));
        given.commit("main").await.unwrap();
    }
    let mirrors = given.directory.path().join("mirrors");
    let mirror = std::fs::read_dir(mirrors).unwrap().next().unwrap().unwrap();
    let shallow = std::fs::read_to_string(mirror.path().join("1/shallow")).unwrap();
    assert!(shallow.lines().count() <= 65, "{}", shallow.lines().count());
}

#[tokio::test]
async fn a_restart_finds_what_is_here() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    let again = mirror(&given.directory, &given.server, LIMITS);
    assert!(again.tree_id(&given.first, "apps").unwrap().is_some());
    let fetched = again.fetch(&names(&["main"]), None).await.unwrap();
    assert!(!fetched.fetched);
}

#[tokio::test]
async fn waiting_fetches_take_turns() {
    let given = Given::new();
    let wanted = names(&["main"]);
    let many = (0..8).map(|_| given.mirror.fetch(&wanted, None));
    for fetched in futures::future::join_all(many).await {
        assert_eq!(fetched.unwrap().commits["main"], Ok(given.first.clone()));
    }
    assert_eq!(given.counts(), (1, 8, 1));
}

#[tokio::test]
async fn a_push_is_fetched_while_the_mirror_is_tidied() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    let wanted = names(&["main"]);
    let tidied = async {
        let result = given.mirror.tidy(&wanted, None).await;
        result.unwrap()
    };
    let pushed = async {
        let second = given.change("a: 2");
        assert_eq!(given.commit("main").await, Ok(second.clone()));
        second
    };
    let (_, second) = futures::join!(tidied, pushed);
    let third = given.change("a: 3");
    assert_eq!(given.commit("main").await, Ok(third.clone()));
    for commit in [&given.first, &second, &third] {
        assert!(given.mirror.tree_id(commit, "apps").unwrap().is_some());
    }
}

#[tokio::test]
async fn a_repository_with_other_ids_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let served = directory.path().join("served");
    let server = GitServer::start(&served).unwrap();
    let repository = Repository::create_with(&served, "team/app", "sha256").unwrap();
    let mirror = mirror(&directory, &server, LIMITS);
    let refused = async || {
        let fetched = mirror.fetch(&names(&["main"]), None).await;
        fetched.unwrap_err().to_string()
    };
    let expected = format!(
        "{}: SHA-256 repositories are not supported",
        server.url("team/app")
    );
    // Empty, with a commit, and by the protocol of before 2018.
    assert_eq!(refused().await, expected);
    repository
        .commit("main", &[("a", Some("b"))], "first")
        .unwrap();
    assert_eq!(refused().await, expected);
    server.fail("team/app", Fault::OldProtocol);
    assert_eq!(refused().await, expected);
}

#[tokio::test]
async fn an_abbreviated_commit_id_is_no_revision() {
    let given = Given::new();
    let short = &given.first[..8];
    let error = given.commit(short).await.unwrap_err();
    assert_eq!(error, RevisionError::Abbreviated);
    assert!(error.to_string().contains("give all 40 characters"));
    // A branch of that name is one.
    given.repository.set_branch(short, &given.first).unwrap();
    assert_eq!(given.commit(short).await.unwrap(), given.first);
}

#[tokio::test]
async fn an_emptied_mirror_keeps_its_readers_and_is_filled_again() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    let reader = given.mirror.tree_ids(&given.first).unwrap();
    assert!(given.mirror.empty().await);
    let gone = given.mirror.read(&given.first, "README", 99);
    assert!(matches!(gone, Err(Error::MissingCommit { .. })), "{gone:?}");
    let mirror = given
        .directory
        .path()
        .join("mirrors")
        .join(given.mirror.name());
    assert!(mirror.exists(), "somebody reads it");
    drop(reader);
    assert_eq!(std::fs::read_dir(&mirror).unwrap().count(), 0);
    assert_eq!(given.commit("main").await, Ok(given.first.clone()));
    let text = given.mirror.read(&given.first, "README", 99).unwrap();
    assert_eq!(text.unwrap(), b"hello");
    // What an earlier process left goes as well.
    let again = super::mirror(&given.directory, &given.server, LIMITS);
    assert!(again.empty().await && !mirror.exists());
}
