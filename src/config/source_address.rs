//! One spelling for every way to write a repository's address, so that a glob on addresses can
//! be neither missed nor met by writing it differently.

use percent_encoding::percent_decode_str;

/// The address in lower case, without `ssh://`, a final `.git`, a default port, doubled slashes
/// and escapes, as Argo CD compares them. None for what could mean another place than it says.
pub(super) fn canonical(url: &str) -> Option<String> {
    let url = url.trim();
    let odd = |c: char| c.is_control() || c.is_whitespace() || "\\?#".contains(c);
    if url.chars().any(odd) {
        return None;
    }
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest.to_owned()),
        None => (String::new(), without_scheme(url)),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((&rest, ""));
    let authority = canonical_authority(&scheme, authority)?;
    let mut text = match scheme.as_str() {
        "ssh" | "" => authority,
        _ => format!("{scheme}://{authority}"),
    };
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let path = path.trim_end_matches('/').to_ascii_lowercase();
    let path = path.strip_suffix(".git").unwrap_or(&path);
    if path.chars().any(odd) {
        return None;
    }
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if matches!(segment, "." | "..") {
            return None;
        }
        text.push('/');
        text.push_str(segment);
    }
    Some(text)
}

/// A glob on addresses, spelled as [`canonical`] spells them.
pub(super) fn canonical_glob(glob: &str) -> String {
    let glob = glob.trim().to_ascii_lowercase();
    let glob = glob.trim_end_matches('/');
    let glob = glob.strip_suffix(".git").unwrap_or(glob);
    match glob.split_once("://") {
        Some(("ssh", rest)) => rest.to_owned(),
        Some(_) => glob.to_owned(),
        None => without_scheme(glob),
    }
}

/// `git@host:path` is `git@host/path`; a port stays one.
fn without_scheme(text: &str) -> String {
    match text.split_once(':') {
        Some((before, path)) if before.contains('@') && !before.contains('/') => {
            format!("{before}/{}", path.trim_start_matches('/'))
        }
        _ => text.to_owned(),
    }
}

fn canonical_authority(scheme: &str, authority: &str) -> Option<String> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    // A user in a web address is how one host is made to look like another.
    if user.is_some() && !matches!(scheme, "ssh" | "") {
        return None;
    }
    let host = host.to_ascii_lowercase();
    let port = match scheme {
        "https" | "oci" => ":443",
        "http" => ":80",
        "ssh" => ":22",
        _ => "",
    };
    let host = host.strip_suffix(port).unwrap_or(&host);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let name = name.trim_end_matches('.');
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let mut text = String::new();
    if let Some(user) = user {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if user.is_empty() || !user.chars().all(plain) {
            return None;
        }
        text = format!("{}@", user.to_ascii_lowercase());
    }
    text.push_str(name);
    if let Some(port) = port {
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.push(':');
        text.push_str(port);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_is_one() {
        for (expected, spellings) in [
            (
                "https://forge.example/team/shop",
                &[
                    "https://forge.example/team/shop",
                    "HTTPS://Forge.Example:443/Team/Shop.git",
                    "https://forge.example.//team//shop.git/",
                    "https://forge.example/t%65am/shop%2egit",
                    "https://forge.example/team%2Fshop",
                    " https://forge.example/team/shop\n",
                ][..],
            ),
            ("http://h:8080/a", &["http://h:8080/a", "http://H:8080/a/"]),
            ("http://h/a", &["http://h:80/a"]),
            ("https://h:80/a", &["https://h:80/a"]),
            (
                "git@h/team/a",
                &[
                    "git@h:team/a.git",
                    "ssh://git@h/team/a",
                    "ssh://git@h:22/team/a",
                ],
            ),
            ("git@h:2222/a", &["ssh://git@h:2222/a"]),
            ("https://[::1]/a", &["https://[::1]:443/a"]),
            ("https://charts.example", &["https://charts.example/"]),
            ("registry.example/charts", &["registry.example/charts"]),
        ] {
            for url in spellings {
                assert_eq!(canonical(url).as_deref(), Some(expected), "{url}");
            }
        }
    }

    #[test]
    fn what_may_mean_another_place_has_no_spelling() {
        for url in [
            "",
            "https://",
            "https:///a",
            "https://forge.example@evil.example/a",
            "https://u:p@forge.example/a",
            "https://forge.example%2fteam%2f.evil.example/a",
            "https://forge.example/team/../other/a",
            "https://forge.example/team/%2e%2e/other",
            "https://forge.example/team/.%2e/other",
            "https://forge.example/team/./a",
            "https://forge.example/team\\a",
            "https://forge.example/team%5ca",
            "https://forge.example/team?x=/a",
            "https://forge.example/team%3fx",
            "https://forge.example/team#a",
            "https://forge.example/a b",
            "https://forge.example/a%0ab",
            "https://forge.example/a%ff",
            "https://forge.example:port/a",
            "https://forge.example:/a",
            "https://ex\u{e4}mple/a",
            "a:b@h:team/a",
        ] {
            assert_eq!(canonical(url), None, "{url}");
        }
    }

    #[test]
    fn globs_are_spelled_the_same_way() {
        for (glob, expected) in [
            (
                "https://Forge.example/Team/*.git",
                "https://forge.example/team/*",
            ),
            ("https://forge.example/team/", "https://forge.example/team"),
            ("ssh://git@h/team/*", "git@h/team/*"),
            ("git@h:team/*", "git@h/team/*"),
            ("git@*:{a,b}/**", "git@*/{a,b}/**"),
            ("*", "*"),
        ] {
            assert_eq!(canonical_glob(glob), expected);
        }
    }
}
