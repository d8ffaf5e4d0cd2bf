//! States, times and commits as pages show them.

use std::time::Duration;

use jiff::Timestamp;
use maud::{Markup, html};

use crate::crd::{Health, HealthCode, OperationPhase, SyncCode};
use crate::text::is_unseen;

/// Characters of a line that are shown.
const LINE: usize = 2000;

/// A page whose every character can be seen: what turns texts round, hides in them or moves a
/// cursor is written as a number. All pages pass here, so that no text is forgotten.
pub(super) fn visible(page: String) -> String {
    let hidden = |c: char| is_unseen(c) && !matches!(c, '\n' | '\t' | '\r');
    if !page.contains(hidden) {
        return page;
    }
    let mut seen = String::with_capacity(page.len());
    for c in page.chars() {
        match hidden(c) {
            true => seen.push_str(&format!("[U+{:04X}]", u32::from(c))),
            false => seen.push(c),
        }
    }
    seen
}

/// A line without what would make it endless.
pub(super) fn line(text: &str) -> String {
    match text.char_indices().nth(LINE) {
        None => text.to_owned(),
        Some((end, _)) => {
            let more = text.get(end..).unwrap_or_default().chars().count();
            format!(
                "{}… ({more} more characters)",
                text.get(..end).unwrap_or_default()
            )
        }
    }
}

/// A manifest or the like.
pub(super) fn code(text: &str) -> Markup {
    let lines: Vec<_> = text.lines().map(line).collect();
    html! { pre .code tabindex="0" { (lines.join("\n")) } }
}

/// A state with a sign of its own, so that it is told apart without colours as well.
fn badge(tone: &str, sign: &str, text: &str) -> Markup {
    html! { span class={ "badge " (tone) } { span .sign aria-hidden="true" { (sign) } (text) } }
}

pub(super) fn sync(code: SyncCode) -> Markup {
    match code {
        SyncCode::Synced => badge("good", "✓", "Synced"),
        SyncCode::OutOfSync => badge("busy", "≠", "OutOfSync"),
        SyncCode::Unknown => badge("dim", "?", "Unknown"),
    }
}

pub(super) fn health(code: Option<HealthCode>) -> Markup {
    let Some(code) = code else {
        return badge("dim", "–", "Not assessed");
    };
    let (tone, sign) = health_sign(code);
    badge(tone, sign, &code.to_string())
}

/// How a health looks.
pub(super) fn health_sign(code: HealthCode) -> (&'static str, &'static str) {
    match code {
        HealthCode::Healthy => ("good", "♥"),
        HealthCode::Progressing => ("busy", "◌"),
        HealthCode::Suspended => ("dim", "‖"),
        HealthCode::Missing => ("busy", "∅"),
        HealthCode::Degraded => ("bad", "✗"),
        HealthCode::Unknown => ("dim", "?"),
    }
}

pub(super) fn health_of(health: Option<&Health>) -> Markup {
    self::health(health.map(|health| health.status))
}

pub(super) fn phase(phase: OperationPhase) -> Markup {
    match phase {
        OperationPhase::Running => badge("busy", "◌", "Running"),
        OperationPhase::Succeeded => badge("good", "✓", "Succeeded"),
        OperationPhase::Failed => badge("bad", "✗", "Failed"),
        OperationPhase::Error => badge("bad", "✗", "Error"),
    }
}

/// The first 12 characters of a commit, which leads to the forge where its address is known.
pub(super) fn commit(revision: &str, repository: &str) -> Markup {
    let short: String = revision.chars().take(12).collect();
    html! {
        @if let Some(url) = commit_address(revision, repository) {
            a href=(url) rel="noreferrer" { code { (short) } }
        } @else {
            code { (short) }
        }
    }
}

/// Where the forges of the world show a commit. Only https: nothing else is a link.
fn commit_address(revision: &str, repository: &str) -> Option<String> {
    let hexadecimal = revision.len() >= 40 && revision.chars().all(|c| c.is_ascii_hexdigit());
    let base = repository
        .strip_prefix("https://")?
        .trim_end_matches(".git");
    let (host, path) = base.split_once('/')?;
    if !hexadecimal || path.is_empty() {
        return None;
    }
    let part = match host {
        "gitlab.com" => "-/commit",
        "bitbucket.org" => "commits",
        host if host.starts_with("gitlab.") => "-/commit",
        _ => "commit",
    };
    Some(format!("https://{host}/{path}/{part}/{revision}"))
}

/// How long ago, with the time itself as a title.
pub(super) fn ago(time: &str) -> Markup {
    let Ok(parsed) = time.parse::<Timestamp>() else {
        return html! { (time) };
    };
    let span = Timestamp::now().duration_since(parsed);
    let span = Duration::try_from(span).unwrap_or_default();
    html! { time datetime=(time) title=(time) { (spoken(span)) " ago" } }
}

fn spoken(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_as_a_number() {
        let page = "<p>a\u{202e}b\u{1b}[31m\0\n\tc</p>";
        assert_eq!(
            visible(page.to_owned()),
            "<p>a[U+202E]b[U+001B][31m[U+0000]\n\tc</p>"
        );
        assert_eq!(visible("<p>grüße ✓</p>".to_owned()), "<p>grüße ✓</p>");
        assert_eq!(
            line(&"é".repeat(2001)),
            format!("{}… (1 more characters)", "é".repeat(2000))
        );
        assert_eq!(line("short"), "short");
    }

    #[test]
    fn a_commit_leads_to_its_forge_and_nowhere_else() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        for (repository, revision, expected) in [
            (
                "https://github.com/a/b.git",
                id,
                Some("https://github.com/a/b/commit/"),
            ),
            (
                "https://gitlab.example.com/a/b",
                id,
                Some("https://gitlab.example.com/a/b/-/commit/"),
            ),
            ("http://forge/a/b", id, None),
            ("javascript:alert(1)//a", id, None),
            ("https://github.com/a/b", "main\"><script>", None),
        ] {
            let found = commit_address(revision, repository);
            assert_eq!(
                found,
                expected.map(|url| format!("{url}{id}")),
                "{repository}"
            );
        }
    }
}
