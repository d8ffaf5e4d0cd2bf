//! Credentials, broken servers, broken disks.

use super::*;

use std::time::Instant;

const SHORT: Limits = Limits {
    timeout: Duration::from_millis(600),
    bytes: 64 << 20,
};

async fn error_of(given: &Given, fault: Fault) -> Error {
    given.server.fail("team/app", fault);
    given.fetch(&["main"]).await.unwrap_err()
}

#[tokio::test]
async fn a_credential_is_sent_at_once() {
    let given = Given::new();
    given.server.protect("team/app", "robot", "hunter2");
    let good = Credential::new("robot", "hunter2");
    let fetched = given
        .mirror
        .fetch(&names(&["main"]), Some(&good))
        .await
        .unwrap();
    assert_eq!(fetched.commits["main"], Ok(given.first.clone()));
    assert_eq!(given.counts(), (1, 1, 1));
    assert!(given.server.user_agent().contains("trimtab/"));
}

#[tokio::test]
async fn a_bad_or_missing_credential_is_told_apart_and_not_shown() {
    let given = Given::new();
    given.server.protect("team/app", "robot", "hunter2");
    let error = given.fetch(&["main"]).await.unwrap_err();
    assert!(
        error.to_string().contains("asks for a credential"),
        "{error}"
    );
    let bad = Credential::new("robot", "hunter3");
    let error = given
        .mirror
        .fetch(&names(&["main"]), Some(&bad))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Unauthorized {
            status: 401,
            with_credential: true,
            ..
        }
    ));
    let shown = format!("{error} {error:?}");
    assert!(
        !shown.contains("hunter3") && !shown.contains("robot"),
        "{shown}"
    );
    assert_eq!(given.server.requests(), 2);
}

#[tokio::test]
async fn a_credential_that_ends_is_noticed_by_a_known_mirror() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    given.server.protect("team/app", "robot", "hunter2");
    let error = given.fetch(&["main"]).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn answers_that_are_no_answer_are_named() {
    let given = Given::new();
    for warm in [false, true] {
        let error = error_of(&given, Fault::Status(500)).await;
        assert!(
            matches!(error, Error::Status { status: 500, .. }),
            "{error}"
        );
        let error = error_of(&given, Fault::Patience(90)).await;
        assert_eq!(
            error.retry_after(),
            Some(Duration::from_secs(90)),
            "{error}"
        );
        let error = error_of(&given, Fault::Status(404)).await;
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
        let error = error_of(&given, Fault::Status(403)).await;
        assert!(
            matches!(error, Error::Unauthorized { status: 403, .. }),
            "{error}"
        );
        let error = error_of(&given, Fault::Html).await;
        assert!(
            error
                .to_string()
                .ends_with("answered with text/html, not Git"),
            "{error}"
        );
        given.server.heal("team/app");
        assert!(given.commit("main").await.is_ok(), "warm: {warm}");
    }
}

#[tokio::test]
async fn a_repository_that_does_not_exist_is_not_found() {
    let given = Given::new();
    let url = RepositoryUrl::parse(&given.server.url("team/other")).unwrap();
    let mirror = Mirror::new(given.directory.path(), url, Transport::new(), LIMITS);
    let error = mirror.fetch(&names(&["main"]), None).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_a_connection_error() {
    let given = Given::new();
    let mirror = given.mirror.clone();
    drop(given.server);
    let error = mirror.fetch(&names(&["main"]), None).await.unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_left_at_the_deadline() {
    let given = Given::limited(SHORT);
    let start = Instant::now();
    let error = error_of(&given, Fault::Hang).await;
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    given.server.heal("team/app");
    assert!(given.commit("main").await.is_ok());
}

#[tokio::test]
async fn a_dripping_server_is_left_at_the_deadline() {
    let given = Given::limited(SHORT);
    let start = Instant::now();
    let error = error_of(&given, Fault::Drip(Duration::from_millis(20))).await;
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_dropped_fetch_lets_the_next_one_in() {
    let given = Given::new();
    given.server.fail("team/app", Fault::Hang);
    let wanted = names(&["main"]);
    let start = Instant::now();
    let hanging = given.mirror.fetch(&wanted, None);
    let given_up = tokio::time::timeout(Duration::from_millis(100), hanging).await;
    assert!(given_up.is_err());
    given.server.heal("team/app");
    assert!(given.commit("main").await.is_ok());
    assert!(start.elapsed() < LIMITS.timeout / 2);
}

#[tokio::test]
async fn more_bytes_than_allowed_end_the_fetch() {
    let given = Given::limited(Limits {
        bytes: 700,
        ..LIMITS
    });
    let error = given.fetch(&["main"]).await.unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: 700, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn answers_without_an_end_are_cut_off_at_a_few_mib() {
    for kind in ["info/refs", "ls-refs"] {
        let given = Given::new();
        let error = error_of(&given, Fault::Endless(kind)).await;
        assert!(
            matches!(error, Error::TooLarge { limit, .. } if limit <= 8 << 20),
            "{kind}: {error}"
        );
        given.server.heal("team/app");
        assert!(given.commit("main").await.is_ok(), "{kind}");
    }
}

#[tokio::test]
async fn a_pack_that_breaks_off_leaves_nothing_behind() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    let second = given.change("a: 2");
    let error = error_of(&given, Fault::Cut(150)).await;
    assert!(matches!(error, Error::Connection { .. }), "{error}");
    given.server.heal("team/app");
    assert_eq!(given.commit("main").await, Ok(second));
}

#[tokio::test]
async fn another_host_is_never_followed() {
    let given = Given::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let evil = GitServer::start(elsewhere.path()).unwrap();
    let target = format!("{}?token=hunter2", evil.url("team/app"));
    let error = error_of(&given, Fault::Redirect(target)).await;
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert!(
        error.to_string().contains("redirects to 127.0.0.1"),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert_eq!(evil.requests(), 0);
}

#[tokio::test]
async fn the_same_host_is_followed_when_asking_what_it_can_do() {
    let given = Given::new();
    let served = given.directory.path().join("served");
    let moved = Repository::create(&served, "team/new").unwrap();
    let commit = moved.commit("main", &[("a", Some("b"))], "moved").unwrap();
    let target = Fault::Redirect(given.server.url("team/new"));
    given.server.fail("team/app", target);
    assert_eq!(given.commit("main").await, Ok(commit.clone()));
    assert_eq!(given.commit("main").await, Ok(commit));
    assert_eq!(given.server.count("team/new", "fetch"), 1);
    let in_circles = Fault::Redirect(given.server.url("team/new"));
    given.server.fail("team/new", in_circles);
    let error = given.fetch(&["main"]).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
}

/// Every file below a directory, with its path.
fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn overwrite(path: &std::path::Path) {
    // Packs are read-only; replace the file, as mapped ones must not shrink.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, vec![7; 4096]).unwrap();
}

#[tokio::test]
async fn a_damaged_mirror_is_fetched_anew() {
    for end in ["pack", "idx", "tips", "shallow"] {
        let given = Given::new();
        let second = given.change("a: 2");
        given.commit("main").await.unwrap();
        let mirrors = given.directory.path().join("mirrors");
        let broken: Vec<_> = files(&mirrors)
            .into_iter()
            .filter(|path| path.to_str().unwrap().ends_with(end))
            .collect();
        assert!(!broken.is_empty(), "{end}");
        broken.iter().for_each(|path| overwrite(path));
        let again = mirror(&given.directory, &given.server, LIMITS);
        for _ in 0..2 {
            let fetched = again.fetch(&names(&["main"]), None).await.unwrap();
            assert_eq!(fetched.commits["main"], Ok(second.clone()), "{end}");
        }
        let third = given.change("a: 3");
        let fetched = again.fetch(&names(&["main"]), None).await.unwrap();
        assert_eq!(fetched.commits["main"], Ok(third.clone()), "{end}");
        let text = again.read(&third, "apps/web/b.yaml", 99).unwrap();
        assert_eq!(text.unwrap(), b"b: 1", "{end}");
    }
}

#[tokio::test]
async fn what_a_killed_process_left_is_cleared() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    let mirrors = given.directory.path().join("mirrors");
    let tips = files(&mirrors)
        .into_iter()
        .find(|path| path.ends_with("tips"));
    let directory = tips.unwrap().parent().unwrap().to_owned();
    std::fs::write(directory.join("shallow.lock"), "").unwrap();
    std::fs::write(directory.join("objects/pack/.tmpx"), "half").unwrap();
    let second = given.change("a: 2");
    let again = mirror(&given.directory, &given.server, LIMITS);
    let fetched = again.fetch(&names(&["main"]), None).await.unwrap();
    assert_eq!(fetched.commits["main"], Ok(second));
    assert!(!directory.join("objects/pack/.tmpx").exists());
}

#[tokio::test]
async fn a_mirror_whose_directory_vanished_is_fetched_anew() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    std::fs::remove_dir_all(given.directory.path().join("mirrors")).unwrap();
    let fetched = given.fetch(&["main"]).await.unwrap();
    assert!(fetched.fetched);
    let text = given.mirror.read(&given.first, "README", 99).unwrap();
    assert_eq!(text.unwrap(), b"hello");
}

#[tokio::test]
async fn a_server_of_before_protocol_two_is_understood() {
    let given = Given::new();
    given.server.fail("team/app", Fault::OldProtocol);
    given.repository.annotated_tag("v1", &given.first).unwrap();
    let second = given.change("a: 2");
    let fetched = given.fetch(&["main", "HEAD", "v1", "gone"]).await.unwrap();
    assert_eq!(fetched.commits["main"], Ok(second.clone()));
    assert_eq!(fetched.commits["HEAD"], Ok(second));
    assert_eq!(fetched.commits["v1"], Ok(given.first.clone()));
    assert_eq!(fetched.commits["gone"], Err(RevisionError::NotFound));
    let third = given.change("a: 3");
    assert_eq!(given.commit("main").await, Ok(third.clone()));
    let text = given.mirror.read(&third, "apps/web/b.yaml", 99).unwrap();
    assert_eq!(text.unwrap(), b"b: 1");
}

#[tokio::test]
async fn an_upgraded_or_downgraded_server_is_asked_again() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    given.server.fail("team/app", Fault::OldProtocol);
    let second = given.change("a: 2");
    assert_eq!(given.commit("main").await, Ok(second));
    given.server.heal("team/app");
    let third = given.change("a: 3");
    assert_eq!(given.commit("main").await, Ok(third));
}

#[tokio::test]
async fn a_certificate_authority_that_is_none_is_refused() {
    let given = Given::new();
    let url = RepositoryUrl::parse("https://127.0.0.1:1/team/app").unwrap();
    let mirror = Mirror::new(given.directory.path(), url, Transport::new(), LIMITS);
    let credential = Credential::anonymous().with_ca_pem(b"nothing".to_vec());
    let error = mirror
        .fetch(&names(&["main"]), Some(&credential))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::CertificateAuthority { .. }),
        "{error}"
    );
    let credential = Credential::anonymous().with_insecure_tls();
    let error = mirror
        .fetch(&names(&["main"]), Some(&credential))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error}");
}
