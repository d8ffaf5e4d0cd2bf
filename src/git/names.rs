//! Which names of a repository may become names on disk, and where its links may point.

/// The longest name that common file systems take.
const LONGEST_NAME: usize = 255;

/// Why a name from a tree is not written, none when it may be.
pub(super) fn unsafe_name(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() || name == b"." || name == b".." {
        return Some("a name that is no name");
    }
    if name.len() > LONGEST_NAME {
        return Some("a name of more than 255 bytes");
    }
    let Ok(name) = std::str::from_utf8(name) else {
        return Some("a name that is not UTF-8");
    };
    if name
        .chars()
        .any(|c| c.is_control() || c == '/' || c == '\\')
    {
        return Some("a name with a slash, a backslash or a control character");
    }
    let plain: String = name.chars().filter(|c| !is_ignored(*c)).collect();
    let plain = plain.to_lowercase();
    // Windows drops what follows a colon (a stream) and trailing dots and spaces.
    let plain = plain.split(':').next().unwrap_or_default();
    let plain = plain.trim_end_matches(['.', ' ']);
    if plain == ".git" || plain == "git~1" || plain.is_empty() {
        return Some("a name that some systems take for .git");
    }
    None
}

/// Code points that HFS+ leaves out when it compares names; git refuses the same ones.
fn is_ignored(c: char) -> bool {
    matches!(c,
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// Why a link in a directory at this depth is not written, none when it may be.
///
/// Steps up may come first only. A step up after a name could go up from wherever that name, a
/// link itself, leads to, and so leave the tree although the text does not.
pub(super) fn unsafe_target(target: &[u8], depth: usize) -> Option<&'static str> {
    let Ok(target) = std::str::from_utf8(target) else {
        return Some("a link whose target is not UTF-8");
    };
    if target.is_empty() || target.chars().any(|c| c.is_control() || c == '\\') {
        return Some("a link whose target is empty or has a backslash or a control character");
    }
    if target.starts_with('/') {
        return Some("a link with an absolute target");
    }
    let mut steps_up = 0;
    let mut went_down = false;
    for part in target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        if part == ".." {
            if went_down {
                return Some("a link that goes down and up again");
            }
            steps_up += 1;
        } else if unsafe_name(part.as_bytes()).is_some() {
            return Some("a link with a target that may not be written");
        } else {
            went_down = true;
        }
    }
    (steps_up > depth).then_some("a link that leaves the repository")
}

/// A path inside a repository as its parts. Empty, `.` and `/` are the root; `..` is refused.
pub(super) fn parts(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let sound = |part: &&str| unsafe_name(part.as_bytes()).is_none();
    parts.iter().all(sound).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        for name in [
            "a",
            ".gitignore",
            ".github",
            "git",
            ".git-x",
            "a b",
            "a.",
            "grüße",
            "...a",
            "a:b",
            "git~10",
        ] {
            assert_eq!(unsafe_name(name.as_bytes()), None, "{name}");
        }
        assert_eq!(unsafe_name(&[b'a'; 255]), None);
    }

    #[test]
    fn names_that_some_system_reads_otherwise_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "...",
            ".git",
            ".GIT",
            ".Git",
            ".git.",
            ".git ",
            ".git . .",
            "git~1",
            "GIT~1",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".git:x",
            ".git::$INDEX_ALLOCATION",
            "a/b",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{1b}[0m",
            "a\u{85}b",
        ] {
            assert!(unsafe_name(name.as_bytes()).is_some(), "{name:?}");
        }
        assert!(unsafe_name(&[b'a'; 256]).is_some());
        assert!(unsafe_name(b"\xff").is_some());
    }

    #[test]
    fn links_stay_inside() {
        let check = |target: &str, depth, safe| {
            let refused = unsafe_target(target.as_bytes(), depth);
            assert_eq!(refused.is_none(), safe, "{target:?} at {depth}");
        };
        check("a", 0, true);
        check("./a/b", 0, true);
        check("../a", 1, true);
        check("../../a", 2, true);
        check("..", 1, true);
        check("..", 0, false);
        check("../a", 0, false);
        check("../../../a", 2, false);
        check("a/../b", 2, false);
        check("../a/..", 2, false);
        check("/etc/passwd", 5, false);
        check("", 0, false);
        check("a\\b", 0, false);
        check(".git/config", 0, false);
        check("../.GIT/config", 1, false);
    }

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(parts(""), Some(vec![]));
        assert_eq!(parts("."), Some(vec![]));
        assert_eq!(parts("./a//b/"), Some(vec!["a", "b"]));
        assert_eq!(parts("a/../b"), None);
        assert_eq!(parts(".git"), None);
    }
}
