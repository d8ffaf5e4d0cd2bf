//! The script, the style sheet and the icon, linked into the binary. Their addresses change with
//! their content, so that browsers keep them for ever.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

const FILES: [(&str, &str, &str); 3] = [
    (
        "trimtab.css",
        "text/css; charset=utf-8",
        include_str!("assets/trimtab.css"),
    ),
    (
        "trimtab.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/trimtab.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// Name with digest, type and content.
static SERVED: LazyLock<Vec<(String, &str, &str)>> = LazyLock::new(|| {
    let files = FILES.iter();
    files
        .map(|(name, kind, content)| {
            let digest = Sha256::digest(content.as_bytes());
            let digest: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
            (format!("{digest}-{name}"), *kind, *content)
        })
        .collect()
});

/// Where a file is served.
pub(super) fn address(name: &str) -> String {
    let mut files = SERVED.iter();
    let found = files.find(|(served, ..)| served.ends_with(name));
    let served = found.map_or(name, |(served, ..)| served);
    format!("/assets/{served}")
}

pub(super) async fn get(Path(name): Path<String>) -> Response {
    let Some((_, kind, content)) = SERVED.iter().find(|(served, ..)| *served == name) else {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    };
    let head = [
        (CONTENT_TYPE, *kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (head, *content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_they_are_small_and_ask_no_other_host() {
        let size: usize = FILES.iter().map(|(.., content)| content.len()).sum();
        assert!(size < 150 << 10, "{size} bytes");
        for (name, _, content) in FILES {
            let content = content.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !content.contains("http:") && !content.contains("https:"),
                "{name}"
            );
        }
    }
}
