//! What a target revision asks for, and which advertised ref answers it.

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice as _};
use gix::protocol::handshake::Ref;

/// Why one wanted revision has no commit, while others may have one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RevisionError {
    #[error("is no valid name of a branch, tag or commit")]
    Invalid,
    #[error("does not exist in the repository")]
    NotFound,
    #[error("is neither a branch nor a tag; where it is a commit id, give all 40 characters of it")]
    Abbreviated,
    #[error("does not point at a commit")]
    NotACommit,
}

/// A target revision, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Head,
    /// A branch or, when there is none of that name, a tag.
    Short(String),
    /// A full name that starts with `refs/`.
    Full(String),
    Commit(ObjectId),
}

impl Wanted {
    pub(super) fn parse(text: &str) -> Result<Self, RevisionError> {
        if text.is_empty() || text == "HEAD" {
            return Ok(Self::Head);
        }
        if let Ok(id) = ObjectId::from_hex(text.as_bytes())
            && text.len() == 40
        {
            return Ok(Self::Commit(id));
        }
        let partial = gix::validate::reference::name_partial(BStr::new(text));
        if partial.is_err() || text.starts_with('-') || text.contains("/-") {
            return Err(RevisionError::Invalid);
        }
        if text.starts_with("refs/") {
            return Ok(Self::Full(text.to_owned()));
        }
        Ok(Self::Short(text.to_owned()))
    }

    /// The names that can answer, the best first.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Head => vec!["HEAD".to_owned()],
            Self::Short(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
            Self::Full(name) => vec![name.clone()],
            Self::Commit(_) => Vec::new(),
        }
    }

    pub(super) fn answer(&self, refs: &[Ref]) -> Result<Found, RevisionError> {
        if let Self::Commit(id) = self {
            return Ok(Found {
                fetch: *id,
                commit: *id,
            });
        }
        self.names()
            .iter()
            .find_map(|name| refs.iter().find_map(|reference| found(reference, name)))
            .ok_or_else(|| match self {
                Self::Short(name) if is_abbreviated(name) => RevisionError::Abbreviated,
                _ => RevisionError::NotFound,
            })
    }
}

/// Whether this may be the beginning of a commit id. Servers find commits by whole ids only.
fn is_abbreviated(name: &str) -> bool {
    (4..40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The object to ask for and the commit it stands for; they differ for annotated tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) fetch: ObjectId,
    pub(super) commit: ObjectId,
}

fn found(reference: &Ref, name: &str) -> Option<Found> {
    let (full_name, tag, object) = match reference {
        Ref::Peeled {
            full_ref_name,
            tag,
            object,
        } => (full_ref_name, Some(*tag), *object),
        Ref::Direct {
            full_ref_name,
            object,
        } => (full_ref_name, None, *object),
        Ref::Symbolic {
            full_ref_name,
            tag,
            object,
            ..
        } => (full_ref_name, *tag, *object),
        Ref::Unborn { .. } => return None,
    };
    (full_name.as_bytes() == name.as_bytes()).then(|| Found {
        fetch: tag.unwrap_or(object),
        commit: object,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        let check = |text, expected| assert_eq!(Wanted::parse(text), Ok(expected), "{text}");
        check("", Wanted::Head);
        check("HEAD", Wanted::Head);
        check("main", Wanted::Short("main".into()));
        check("feature/x", Wanted::Short("feature/x".into()));
        check("refs/pull/1/head", Wanted::Full("refs/pull/1/head".into()));
        check("abc1234", Wanted::Short("abc1234".into()));
        let id = "0a05129851238652bf806a400af89fa974ade739";
        check(
            id,
            Wanted::Commit(ObjectId::from_hex(id.as_bytes()).unwrap()),
        );
    }

    #[test]
    fn bad_names_are_refused() {
        for text in [
            "-main",
            "--upload-pack=x",
            "a/-b",
            "a b",
            "a..b",
            "a~1",
            "a^",
            "a:b",
            "+a",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a//b",
            "/a",
            "a/",
            "a.lock",
            ".a",
            "a/.b",
            "a.",
            "@{x",
            "a\nb",
            "a\u{1b}b",
            "refs/",
        ] {
            let refused = Wanted::parse(text) == Err(RevisionError::Invalid);
            assert!(refused || text == "+a", "{text:?}");
        }
    }

    #[test]
    fn an_abbreviated_commit_id_is_called_that() {
        for (name, expected) in [
            ("abc1234", RevisionError::Abbreviated),
            ("0A051298", RevisionError::Abbreviated),
            ("abc", RevisionError::NotFound),
            ("release-1", RevisionError::NotFound),
            ("refs/heads/abc1234", RevisionError::NotFound),
        ] {
            let wanted = Wanted::parse(name).unwrap();
            assert_eq!(wanted.answer(&[]), Err(expected), "{name}");
        }
    }

    #[test]
    fn a_branch_wins_over_a_tag() {
        let id = |digit: &str| ObjectId::from_hex(digit.repeat(40).as_bytes()).unwrap();
        let direct = |name: &str, digit| Ref::Direct {
            full_ref_name: name.into(),
            object: id(digit),
        };
        let refs = [
            direct("refs/tags/x", "1"),
            direct("refs/heads/x", "2"),
            direct("refs/heads/x-2", "3"),
        ];
        let wanted = Wanted::parse("x").unwrap();
        assert_eq!(wanted.answer(&refs).unwrap().commit, id("2"));
        assert_eq!(wanted.answer(&refs[..1]).unwrap().commit, id("1"));
        assert_eq!(wanted.answer(&refs[2..]), Err(RevisionError::NotFound));
    }
}
