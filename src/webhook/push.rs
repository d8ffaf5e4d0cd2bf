//! A moved branch or tag, in the words of no provider.

/// Bytes of a URL or reference; longer ones are no reason to keep a payload in memory.
const MAX_TEXT: usize = 2048;

/// A branch or tag that was created, moved or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Push {
    /// Every spelling of the repository's address that the payload gives, at least one. Only for
    /// comparing with configured sources; never to be called.
    pub(crate) urls: Vec<String>,
    /// The full reference, such as `refs/heads/main`.
    pub(crate) reference: String,
    /// The commit it was at; none when it was created or the payload does not say.
    pub(crate) before: Option<String>,
    /// The commit it is at now; none when it was deleted or the payload does not say.
    pub(crate) after: Option<String>,
}

impl Push {
    /// None without a full reference and an address, or when they are nothing of the kind.
    pub(super) fn new(
        urls: impl IntoIterator<Item = Option<String>>,
        reference: Option<String>,
        before: Option<String>,
        after: Option<String>,
    ) -> Option<Self> {
        let mut push = Self {
            urls: Vec::new(),
            reference: reference
                .filter(|reference| reference.starts_with("refs/") && is_plain(reference))?,
            before: before.filter(|id| is_commit_id(id)),
            after: after.filter(|id| is_commit_id(id)),
        };
        for url in urls.into_iter().flatten().filter(|url| is_plain(url)) {
            if !push.urls.contains(&url) {
                push.urls.push(url);
            }
        }
        (!push.urls.is_empty()).then_some(push)
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

/// All zeros is how providers write "none".
fn is_commit_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0')
}
