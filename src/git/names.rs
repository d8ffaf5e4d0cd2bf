//! Which names of a repository may become names on disk, and what its links may say.

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

/// The steps of a link's target, or why there may be no such link. Where they lead is not judged.
pub(super) fn target(target: &[u8]) -> Result<Vec<String>, &'static str> {
    let Ok(target) = std::str::from_utf8(target) else {
        return Err("a link whose target is not UTF-8");
    };
    if target.is_empty() || target.chars().any(|c| c.is_control() || c == '\\') {
        return Err("a link whose target is empty or has a backslash or a control character");
    }
    if target.starts_with('/') {
        return Err("a link with an absolute target, which leads out of the repository");
    }
    let steps = target
        .split('/')
        .filter(|step| !step.is_empty() && *step != ".");
    let sound = |step: &str| step == ".." || unsafe_name(step.as_bytes()).is_none();
    if !steps.clone().all(sound) {
        return Err("a link with a target that may not be written");
    }
    Ok(steps.map(str::to_owned).collect())
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
    fn targets_are_steps_inside() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let found = target(text.as_bytes()).ok();
            let expected =
                expected.map(|steps| steps.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{text:?}");
        };
        check("a", Some(&["a"]));
        check("./a//b/", Some(&["a", "b"]));
        check("../../a", Some(&["..", "..", "a"]));
        check("a/../b", Some(&["a", "..", "b"]));
        check("/etc/passwd", None);
        check("", None);
        check("a\\b", None);
        check("a\nb", None);
        check(".git/config", None);
        check("../.GIT/config", None);
        assert!(target(b"\xff").is_err());
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
