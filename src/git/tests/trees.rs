//! Reading and checking out, with repositories that mean well and others.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;
use crate::git::CheckoutLimits;
use crate::git::checkout::CheckoutSummary;

/// A mirror that has one hand-made commit.
struct Made {
    given: Given,
    commit: String,
}

impl Made {
    async fn new(entries: &[(&str, &[u8], &str)]) -> Self {
        let given = Given::new();
        let commit = given.repository.commit_raw("raw", entries).unwrap();
        given.commit("raw").await.unwrap();
        Self { given, commit }
    }

    fn destination(&self) -> PathBuf {
        self.given.directory.path().join("out")
    }

    fn checkout(&self, limits: &CheckoutLimits) -> Result<CheckoutSummary, Error> {
        let all = [String::new()];
        self.given
            .mirror
            .checkout(&self.commit, &all, &self.destination(), limits)
    }

    fn refused(&self) -> String {
        self.checkout(&CheckoutLimits::default())
            .unwrap_err()
            .to_string()
    }
}

#[tokio::test]
async fn ids_are_those_of_git() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    for path in ["", "apps", "apps/web", "apps/web/a.yaml", "README"] {
        let expected = given.repository.resolve(&format!("main:{path}")).unwrap();
        let found = given.mirror.tree_id(&given.first, path).unwrap();
        assert_eq!(found, Some(expected), "{path:?}");
    }
    // Asked one after the other, each directory is read once and the answers are the same.
    let mut ids = given.mirror.tree_ids(&given.first).unwrap();
    for path in [
        "apps/web/a.yaml",
        "apps",
        "",
        "README/x",
        "apps/nowhere",
        "apps/web",
    ] {
        let alone = given.mirror.tree_id(&given.first, path).unwrap();
        assert_eq!(ids.id(path).unwrap(), alone, "{path:?}");
    }
    for path in [".", "./", "/"] {
        let root = given.mirror.tree_id(&given.first, "").unwrap();
        assert_eq!(given.mirror.tree_id(&given.first, path).unwrap(), root);
    }
    for path in ["nowhere", "apps/nowhere", "README/x"] {
        assert_eq!(given.mirror.tree_id(&given.first, path).unwrap(), None);
    }
    assert!(given.mirror.tree_id(&given.first, "../x").is_err());
    assert!(given.mirror.tree_id(&"1".repeat(40), "").is_err());
    assert!(given.mirror.is_directory(&given.first, "apps").unwrap());
    assert!(!given.mirror.is_directory(&given.first, "README").unwrap());
}

#[tokio::test]
async fn files_are_read_up_to_a_limit() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    let read = |path, limit| given.mirror.read(&given.first, path, limit);
    assert_eq!(read("README", 5).unwrap().unwrap(), b"hello");
    assert_eq!(read("apps", 5).unwrap(), None);
    assert_eq!(read("gone", 5).unwrap(), None);
    assert!(matches!(read("README", 4), Err(Error::Limit { .. })));
}

#[tokio::test]
async fn a_commit_says_who_and_what() {
    let given = Given::new();
    let message = format!("title\n\n\u{1b}[31mred \u{202e}{}", "x".repeat(5000));
    let commit = given
        .repository
        .commit("main", &[("a", Some("b"))], &message)
        .unwrap();
    given.commit("main").await.unwrap();
    let info = given.mirror.commit_info(&commit).unwrap();
    assert_eq!(info.author, "Ada Author <ada@example.com>");
    assert_eq!(info.time, 1_700_000_000);
    assert!(info.message.starts_with("title\n\n[31mred xxx"));
    assert!(info.message.len() <= 2048);
}

#[tokio::test]
async fn only_the_asked_paths_are_written() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    let destination = given.directory.path().join("out");
    let paths = ["apps/web", "apps/web/a.yaml", "./README"].map(str::to_owned);
    let limits = CheckoutLimits::default();
    let summary = given
        .mirror
        .checkout(&given.first, &paths, &destination, &limits)
        .unwrap();
    assert_eq!((summary.files, summary.bytes), (3, 13));
    let text = |path: &str| std::fs::read_to_string(destination.join(path));
    assert_eq!(text("apps/web/b.yaml").unwrap(), "b: 1");
    assert_eq!(text("README").unwrap(), "hello");
    assert!(text("apps/db/c.yaml").is_err());
    let mode = |path: &str| {
        std::fs::metadata(destination.join(path))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("README") & 0o777, 0o600);
    assert_eq!(mode("apps/web") & 0o777, 0o700);
    let absent = given
        .mirror
        .checkout(&given.first, &["gone".to_owned()], &destination, &limits)
        .unwrap_err();
    assert_eq!(
        absent.to_string(),
        "path \"gone\" does not exist at this commit"
    );
}

#[tokio::test]
async fn programs_links_and_submodules_are_told_apart() {
    let submodule = "1".repeat(40);
    let made = Made::new(&[
        ("120000", b"link", "script"),
        ("160000", b"module", &submodule),
        ("100755", b"script", "#!"),
    ])
    .await;
    let summary = made.checkout(&CheckoutLimits::default()).unwrap();
    assert_eq!(summary.submodules, ["module"]);
    assert_eq!(summary.files, 2);
    let script = std::fs::metadata(made.destination().join("script")).unwrap();
    assert_eq!(script.permissions().mode() & 0o777, 0o700);
    let link = std::fs::read_link(made.destination().join("link")).unwrap();
    assert_eq!(link, PathBuf::from("script"));
}

#[tokio::test]
async fn names_that_could_do_harm_are_refused() {
    let long = [b'a'; 256];
    for name in [
        b"..".as_slice(),
        b".",
        b".git",
        b".GIT",
        b".git ",
        b".git.",
        b"git~1",
        ".g\u{200c}it".as_bytes(),
        b"a/b",
        b"../x",
        b"a\\b",
        b"a\nb",
        b"a\x1bb",
        b"\xff",
        &long,
    ] {
        let made = Made::new(&[("100644", name, "x")]).await;
        let error = made.refused();
        assert!(error.contains("in the repository: a name"), "{error}");
        assert_eq!(std::fs::read_dir(made.destination()).unwrap().count(), 0);
        assert!(!error.contains(char::is_control));
    }
}

#[tokio::test]
async fn odd_modes_and_names_twice_are_refused() {
    let made = Made::new(&[("104755", b"suid", "x")]).await;
    assert!(made.refused().contains("suid in the repository: a mode"));
    let made = Made::new(&[("120000", b"a", "b"), ("100644", b"a", "x")]).await;
    assert!(
        made.refused()
            .contains("a in the repository: exists already")
    );
}

#[tokio::test]
async fn links_that_leave_are_refused_by_name() {
    for target in [
        "/proc/self/environ",
        "..",
        "../x",
        "a/../../x",
        "a/../b",
        ".git/config",
    ] {
        let made = Made::new(&[("120000", b"link", target)]).await;
        let error = made.refused();
        assert!(
            error.starts_with("link in the repository: a link"),
            "{error}"
        );
        assert!(std::fs::symlink_metadata(made.destination().join("link")).is_err());
    }
}

#[tokio::test]
async fn links_upwards_are_fine_inside() {
    let made = Made::new(&[]).await;
    let repository = &made.given.repository;
    let inner = repository
        .raw_tree(&[("120000", b"up", "../README")])
        .unwrap();
    let commit = repository
        .commit_raw(
            "raw",
            &[("100644", b"README", "hi"), ("40000", b"dir", &inner)],
        )
        .unwrap();
    made.given.commit("raw").await.unwrap();
    let made = Made { commit, ..made };
    made.checkout(&CheckoutLimits::default()).unwrap();
    let text = std::fs::read_to_string(made.destination().join("dir/up")).unwrap();
    assert_eq!(text, "hi");
}

#[tokio::test]
async fn every_limit_names_the_path_that_passes_it() {
    let made = Made::new(&[
        ("100644", b"a", "12345"),
        ("100644", b"b", "12345678"),
        ("100644", b"c", "1"),
    ])
    .await;
    let check = |limits: CheckoutLimits, expected: &str| {
        let error = made.checkout(&limits).unwrap_err().to_string();
        assert_eq!(error, expected);
        std::fs::remove_dir_all(made.destination()).unwrap();
    };
    let none = CheckoutLimits::default();
    check(
        CheckoutLimits { bytes: 12, ..none },
        "b in the repository passes the limit of 12 bytes",
    );
    check(
        CheckoutLimits {
            file_bytes: 7,
            ..none
        },
        "b in the repository passes the limit of 7 bytes in one file",
    );
    check(
        CheckoutLimits { entries: 3, ..none },
        "c in the repository passes the limit of 3 entries",
    );
}

#[tokio::test]
async fn trees_inside_each_other_end_somewhere() {
    let made = Made::new(&[]).await;
    let repository = &made.given.repository;
    let mut tree = repository.raw_tree(&[("100644", b"x", "x")]).unwrap();
    for _ in 0..70 {
        tree = repository.raw_tree(&[("40000", b"d", &tree)]).unwrap();
    }
    let commit = repository
        .commit_raw("raw", &[("40000", b"d", &tree)])
        .unwrap();
    made.given.commit("raw").await.unwrap();
    let made = Made { commit, ..made };
    assert!(made.refused().contains("64 nested directories"));
}
