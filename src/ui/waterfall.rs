//! How long the stages of a change took, as bars on one scale.

use maud::{Markup, html};

use super::words;
use crate::crd::Timing;

/// The change that an application made last.
pub(super) fn last(timing: Option<&Timing>) -> Markup {
    let Some(timing) = timing else {
        return Markup::default();
    };
    html! {
        h2 { "Last change" }
        p .dim { "By " (timing.trigger) ", received " (words::ago(&timing.received_at)) }
        (bars(timing))
    }
}

/// The stages of one change.
pub(super) fn bars(timing: &Timing) -> Markup {
    let stages = [
        ("fetched", Some(timing.fetched_ms)),
        ("rendered", Some(timing.rendered_ms)),
        ("applied", Some(timing.applied_ms).filter(|ms| *ms > 0)),
        ("healthy", timing.healthy_ms),
    ];
    let known: Vec<(&str, i64)> = stages
        .into_iter()
        .filter_map(|(stage, ms)| Some((stage, ms?)))
        .collect();
    let end = known.iter().map(|(_, ms)| *ms).max().unwrap_or(1).max(1);
    let begins = std::iter::once(0).chain(known.iter().map(|(_, ms)| *ms));
    html! {
        table .waterfall {
            @for ((stage, ms), from) in known.iter().zip(begins) {
                tr { th scope="row" { (stage) } td { (ms) " ms" }
                    td .bars { svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
                        rect x=(from * 100 / end) y="0" height="4"
                            width=(((ms - from).max(0) * 100 / end).max(1)) {} } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bar_begins_where_the_one_before_ends() {
        let timing = Timing {
            fetched_ms: 25,
            rendered_ms: 50,
            applied_ms: 100,
            ..Timing::default()
        };
        let text = bars(&timing).into_string();
        for bar in [
            r#"<rect x="0" y="0" height="4" width="25">"#,
            r#"<rect x="25" y="0" height="4" width="25">"#,
            r#"<rect x="50" y="0" height="4" width="50">"#,
        ] {
            assert!(text.contains(bar), "{bar}: {text}");
        }
        assert!(!text.contains("healthy"), "{text}");
    }
}
