//! What all pages have in common.

use maud::{DOCTYPE, Markup, html};

use super::assets;
use crate::cluster::AsOf;

/// A page for somebody who is logged in. `live` names what its stream is about: one application,
/// or all with an empty text.
pub(super) fn page(title: &str, user: &str, live: Option<&str>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body data-live=[live] {
                a .skip href="#content" { "Skip to content" }
                header .top {
                    a .brand href="/" { "Trimtab" }
                    nav aria-label="Main" {
                        a href="/" { "Applications" }
                        a href="/repositories" { "Repositories" }
                        a href="/webhooks" { "Webhooks" }
                        a href="/about" { "About" }
                    }
                    span .state #state role="status" aria-live="polite" {}
                    form method="post" action="/logout" .who {
                        span { (user) }
                        button .quiet type="submit" { "Log out" }
                    }
                }
                main #content tabindex="-1" { (content) }
                div #notice .notice role="alert" hidden {}
            }
        }
    }
}

/// What stands above what is known of a cluster that does not answer.
pub(super) fn as_of(as_of: Option<&AsOf>) -> Markup {
    html! {
        @if let Some(AsOf { at, why }) = as_of {
            p .as-of role="status" {
                "What is shown is as of " time datetime=(at) { (at) } ": " (why)
            }
        }
    }
}

/// A page for anybody.
pub(super) fn bare(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body {
                header .top { a .brand href="/" { "Trimtab" } }
                main #content .narrow { (content) }
            }
        }
    }
}

/// A page that leads on at once, by itself or by a click.
pub(super) fn onward(to: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content={ "0; url=" (to) };
                title { "Logged in · Trimtab" }
                link rel="stylesheet" href=(assets::address("trimtab.css"));
            }
            body { main #content .narrow { p { "You are logged in. " a href=(to) { "Go on" } } } }
        }
    }
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · Trimtab" }
            link rel="icon" href=(assets::address("icon.svg"));
            link rel="stylesheet" href=(assets::address("trimtab.css"));
            script src=(assets::address("trimtab.js")) defer {}
        }
    }
}

/// A dialog with a form that the script sends as JSON to `action`, and the button that opens it.
pub(super) fn dialog(id: &str, button: &str, action: &Send<'_>, fields: &Markup) -> Markup {
    html! {
        button .scripted type="button" data-open=(id) { (button) }
        dialog id=(id) aria-labelledby={ (id) "-title" } {
            form method="dialog" data-method=(action.method) data-send=(action.to) {
                h2 id={ (id) "-title" } { (action.title) }
                (fields)
                p .error role="alert" hidden {}
                div .buttons {
                    button type="button" data-close { "Cancel" }
                    button .go type="submit" { (action.go) }
                }
            }
        }
    }
}

/// What a dialog does.
pub(super) struct Send<'a> {
    pub(super) title: &'a str,
    pub(super) go: &'a str,
    pub(super) method: &'a str,
    pub(super) to: &'a str,
}

/// A button that sends a fixed JSON body at once.
pub(super) fn button(text: &str, to: &str, body: &str) -> Markup {
    html! {
        button .scripted type="button" data-post=(to) data-body=(body) { (text) }
    }
}
