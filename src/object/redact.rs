//! URL credentials masked before anything is shown.

/// A URL without user and password. Text that is no URL comes back as it is.
pub(crate) fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_loses_user_and_password() {
        let check = |url, expected| assert_eq!(redact_url(url), expected);
        check("https://u:p@host/a@b", "https://host/a@b");
        check("https://u:p@q@host?x", "https://host?x");
        check("https://host/a", "https://host/a");
        check("not a url", "not a url");
    }
}
