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
            .checkout(&self.commit, &all, &[], &self.destination(), limits)
    }

    /// The paths that reading these comes to.
    fn reach(&self, paths: &[&str]) -> Result<Vec<String>, String> {
        let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
        let mut ids = self.given.mirror.tree_ids(&self.commit).unwrap();
        let reach = ids.reach(&paths, &CheckoutLimits::default());
        let reach = reach.map_err(|error| error.to_string())?;
        Ok(reach.into_iter().map(|(path, _)| path).collect())
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
    let place = ids.place("apps").unwrap();
    assert!(place.unwrap().is_directory);
    let place = ids.place("README").unwrap();
    assert!(!place.unwrap().is_directory);
}

#[tokio::test]
async fn files_are_read_up_to_a_limit() {
    let given = Given::new();
    given.commit("main").await.unwrap();
    let mut ids = given.mirror.tree_ids(&given.first).unwrap();
    let mut read = |path, limit| ids.read(path, limit);
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
        .checkout(&given.first, &paths, &[], &destination, &limits)
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
        .checkout(
            &given.first,
            &["gone".to_owned()],
            &[],
            &destination,
            &limits,
        )
        .unwrap_err();
    assert_eq!(
        absent.to_string(),
        "path \"gone\" does not exist at this commit"
    );
}

#[tokio::test]
async fn programs_links_and_what_is_left_out_are_told_apart() {
    let submodule = "1".repeat(40);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let made = Made::new(&[
        ("120000", b"again", "model"),
        ("120000", b"circle", "round"),
        ("120000", b"gone", "nowhere"),
        ("120000", b"into", "module/x"),
        ("120000", b"link", "script"),
        ("100644", b"model", pointer),
        ("160000", b"module", &submodule),
        ("120000", b"round", "circle"),
        ("100755", b"script", "#!"),
    ])
    .await;
    let summary = made.checkout(&CheckoutLimits::default()).unwrap();
    let left_out: Vec<_> = summary
        .left_out
        .iter()
        .map(|entry| format!("{} {} {}", entry.path, entry.problem, entry.is_file))
        .collect();
    assert_eq!(
        left_out,
        [
            "again is stored in Git LFS, which is not supported true",
            "circle is a link that leads round in a circle false",
            "gone is a link to nowhere, which does not exist false",
            "into is a link to module, which is a submodule, which is not supported false",
            "model is stored in Git LFS, which is not supported true",
            "module is a submodule, which is not supported false",
            "round is a link that leads round in a circle false",
        ]
    );
    let mode = |name: &str| {
        let file = std::fs::symlink_metadata(made.destination().join(name)).unwrap();
        assert!(file.is_file(), "{name}");
        file.permissions().mode() & 0o777
    };
    assert_eq!((mode("script"), mode("link")), (0o700, 0o700));
    assert_eq!(std::fs::read_dir(made.destination()).unwrap().count(), 2);
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
    assert!(made.refused().contains("a in the repository: exists twice"));
}

#[tokio::test]
async fn links_that_leave_are_refused_by_name() {
    for target in [
        "/proc/self/environ",
        "..",
        "../x",
        "dir/../../x",
        "dir/../../../etc/passwd",
        ".git/config",
    ] {
        let mut made = Made::new(&[]).await;
        let file = [("100644", b"x".as_slice(), "x")];
        let inner = made.given.repository.raw_tree(&file).unwrap();
        let entries: [(&str, &[u8], &str); 2] =
            [("40000", b"dir", &inner), ("120000", b"link", target)];
        made.commit = made.given.repository.commit_raw("raw", &entries).unwrap();
        made.given.commit("raw").await.unwrap();
        let reached = made.reach(&[""]).unwrap_err();
        let error = made.refused();
        assert_eq!(reached, error);
        assert!(
            error.starts_with("link in the repository: a link"),
            "{error}"
        );
        assert!(std::fs::symlink_metadata(made.destination().join("link")).is_err());
    }
}

/// A commit with links from `app` into `lib`, and from there to `far`.
async fn linked() -> Made {
    let mut made = Made::new(&[]).await;
    let tree = |entries: &[(&str, &[u8], &str)]| made.given.repository.raw_tree(entries).unwrap();
    let leaf = tree(&[("100644", b"x.yaml", "x")]);
    let deep = tree(&[
        ("120000", b"onwards", "../../far"),
        ("40000", b"sub", &leaf),
    ]);
    let lib = tree(&[("40000", b"deep", &deep)]);
    let app = tree(&[
        ("120000", b"all", "./../lib/deep/sub/.."),
        ("120000", b"chain", "../one"),
        ("100644", b"own.yaml", "own"),
    ]);
    let commit = made.given.repository.commit_raw(
        "raw",
        &[
            ("40000", b"app", &app),
            ("120000", b"current", "app"),
            ("40000", b"far", &leaf),
            ("40000", b"lib", &lib),
            ("120000", b"one", "two"),
            ("100644", b"other", "other"),
            ("120000", b"two", "lib/deep/sub/x.yaml"),
        ],
    );
    made.commit = commit.unwrap();
    made.given.commit("raw").await.unwrap();
    made
}

#[tokio::test]
async fn links_are_followed_as_far_as_they_lead() {
    let made = linked().await;
    let everything = ["app", "far", "lib/deep", "one", "two"];
    assert_eq!(made.reach(&["app"]).unwrap(), everything);
    let through = ["app", "current", "far", "lib/deep", "one", "two"];
    assert_eq!(made.reach(&["current"]).unwrap(), through);
    assert_eq!(
        made.reach(&["current/all/onwards/x.yaml", "app/gone"])
            .unwrap(),
        [
            "app/all",
            "app/gone",
            "current",
            "far/x.yaml",
            "lib/deep/onwards"
        ]
    );
    let mut ids = made.given.mirror.tree_ids(&made.commit).unwrap();
    let mut place = |path: &str| ids.place(path).unwrap();
    assert_eq!(place("current/all/sub").unwrap().path, "lib/deep/sub");
    assert!(place("current/all/sub").unwrap().is_directory);
    assert_eq!(place("current/gone"), None);

    let paths = through.map(str::to_owned);
    let limits = CheckoutLimits::default();
    let destination = made.destination();
    let mirror = &made.given.mirror;
    mirror
        .checkout(&made.commit, &paths, &[], &destination, &limits)
        .unwrap();
    for (path, text) in [
        ("current/own.yaml", "own"),
        ("app/chain", "x"),
        ("app/all/sub/x.yaml", "x"),
        ("current/all/onwards/x.yaml", "x"),
    ] {
        let read = std::fs::read_to_string(destination.join(path)).unwrap();
        assert_eq!(read, text, "{path}");
    }
    // A file is no link to one: a tool that judges where links lead has nothing to judge.
    let chain = std::fs::symlink_metadata(destination.join("app/chain")).unwrap();
    assert!(chain.is_file());
}

#[tokio::test]
async fn what_is_to_be_found_without_a_link_is() {
    let made = linked().await;
    let (mirror, limits) = (&made.given.mirror, CheckoutLimits::default());
    let paths = made.reach(&["app"]).unwrap();
    // What is to be found without a link is there, and the rest behind that link is not.
    let destination = made.given.directory.path().join("through");
    let through = ["app/all/onwards/x.yaml", "app/all/sub"].map(str::to_owned);
    mirror
        .checkout(&made.commit, &paths, &through, &destination, &limits)
        .unwrap();
    let kind = |path: &str| {
        let kind = std::fs::symlink_metadata(destination.join(path)).unwrap();
        (kind.is_dir(), kind.is_file())
    };
    assert_eq!(kind("app/all"), (true, false));
    assert_eq!(kind("app/all/onwards/x.yaml"), (false, true));
    assert_eq!(kind("app/all/sub"), (false, false));
    assert!(destination.join("app/all/sub/x.yaml").is_file());
    // Limits hold for what links lead to.
    let few = CheckoutLimits {
        entries: 6,
        ..limits
    };
    let mut ids = mirror.tree_ids(&made.commit).unwrap();
    let error = ids.reach(&paths, &few).unwrap_err();
    assert!(error.to_string().contains("limit of 6 entries"), "{error}");
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
