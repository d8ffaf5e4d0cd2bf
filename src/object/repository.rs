//! Which repository a URL means, whatever way it is written. Used to match, never to connect.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Host and path of a repository, both in lower case.
///
/// Guarantees: the spellings of one repository (https, ssh, scp-like, with user, port, `.git`, in
/// any case) have one key; another host never has the key of this one.
/// Caveats: it tells fewer repositories apart than there are, as port, scheme and case are dropped.
/// Good for "may have moved, ask it"; no proof of identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RepositoryKey {
    host: String,
    path: String,
}

impl RepositoryKey {
    /// None for what is no address of a repository on a host.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let url = url.trim();
        if url.contains('\\') {
            return None;
        }
        let (authority, path) = match url.split_once("://") {
            Some((scheme, rest)) => {
                let scheme = scheme.to_ascii_lowercase();
                if !["https", "http", "ssh", "git", "git+ssh"].contains(&scheme.as_str()) {
                    return None;
                }
                let end = rest.find(['/', '?', '#'])?;
                let path = rest[end..].split(['?', '#']).next().unwrap_or_default();
                (&rest[..end], path)
            }
            None => scp_like(url)?,
        };
        let host = host(authority)?;
        let segments = segments(path)?;
        let (host, segments) = without_aliases(host, segments)?;
        (!segments.is_empty()).then(|| Self {
            host,
            path: segments.join("/"),
        })
    }
}

impl fmt::Display for RepositoryKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.host, self.path)
    }
}

/// `user@host:path`: the colon comes before any slash and no port follows it.
fn scp_like(url: &str) -> Option<(&str, &str)> {
    let (authority, path) = url.split_once(':')?;
    let number = path.split('/').next().unwrap_or_default();
    let is_port = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if authority.is_empty() || authority.contains('/') || path.starts_with(':') {
        return None;
    }
    (!(is_port && path.contains('/'))).then_some((authority, path))
}

/// The host without user, port and trailing dot. Non-ASCII names are not taken: without IDNA they
/// would be a second spelling of another name.
fn host(authority: &str) -> Option<String> {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(address) => {
            let (address, port) = address.split_once(']')?;
            is_port(port.strip_prefix(':').unwrap_or(port)).then_some(address)?
        }
        None => match host.split_once(':') {
            Some((host, port)) => is_port(port).then_some(host)?,
            None => host,
        },
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    (!host.is_empty() && host.chars().all(allowed)).then_some(host)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The parts of a path, decoded once, in lower case, without a final `.git`.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return None;
    }
    let path = path.trim_matches('/').to_lowercase();
    let path = path.strip_suffix(".git").unwrap_or(&path);
    let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    let sound = |segment: &String| !segment.is_empty() && segment != "." && segment != "..";
    segments.iter().all(sound).then_some(segments)
}

/// Hosts and paths that forges use for the same repository.
fn without_aliases(host: String, mut path: Vec<String>) -> Option<(String, Vec<String>)> {
    let (host, organisation) = match host.as_str() {
        "ssh.github.com" => ("github.com".to_owned(), None),
        "altssh.gitlab.com" => ("gitlab.com".to_owned(), None),
        "altssh.bitbucket.org" => ("bitbucket.org".to_owned(), None),
        "ssh.dev.azure.com" | "vs-ssh.visualstudio.com" => {
            if path.first().is_some_and(|segment| segment == "v3") {
                path.remove(0);
            }
            ("dev.azure.com".to_owned(), None)
        }
        _ => match host.strip_suffix(".visualstudio.com") {
            Some(organisation) if !organisation.contains('.') => {
                ("dev.azure.com".to_owned(), Some(organisation.to_owned()))
            }
            _ => (host, None),
        },
    };
    if host == "dev.azure.com" {
        return azure(organisation, path).map(|path| (host, path));
    }
    let forge = ["github.com", "gitlab.com", "bitbucket.org"].contains(&host.as_str());
    Some((host, if forge { path } else { data_centre(path) }))
}

/// `organisation/project/repository`; a project of the same name as its repository may be left out.
fn azure(organisation: Option<String>, mut path: Vec<String>) -> Option<Vec<String>> {
    if let Some(organisation) = organisation {
        if path.first()? == "defaultcollection" {
            path.remove(0);
        }
        path.insert(0, organisation);
    }
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let full = match names.as_slice() {
        [organisation, "_git", repository] => [organisation, repository, repository],
        [organisation, project, "_git", repository] => [organisation, project, repository],
        [organisation, project, repository] => [organisation, project, repository],
        _ => return None,
    };
    Some(full.into_iter().map(|name| (*name).to_owned()).collect())
}

/// Bitbucket Data Center: `scm/K/s`, `projects/K/repos/s` and `users/u/repos/s` are `K/s`, below
/// whatever context path the server has.
fn data_centre(path: Vec<String>) -> Vec<String> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let found = names.iter().enumerate().find_map(|(at, _)| {
        let (before, rest) = names.split_at(at);
        match rest {
            ["scm", key, slug] => Some((before, (*key).to_owned(), *slug)),
            ["projects", key, "repos", slug] | ["projects", key, "repos", slug, "browse"] => {
                Some((before, (*key).to_owned(), *slug))
            }
            ["users", user, "repos", slug] | ["users", user, "repos", slug, "browse"] => {
                Some((before, format!("~{user}"), *slug))
            }
            _ => None,
        }
    });
    match found {
        Some((before, key, slug)) => {
            let mut whole: Vec<String> = before.iter().map(|name| (*name).to_owned()).collect();
            whole.push(key);
            whole.push(slug.to_owned());
            whole
        }
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, spellings: &[&str]) {
        for url in spellings {
            let parsed = RepositoryKey::parse(url).map(|key| key.to_string());
            assert_eq!(parsed.as_deref(), Some(key), "{url}");
        }
    }

    #[test]
    fn every_spelling_of_a_repository_has_one_key() {
        check(
            "github.com/o/r",
            &[
                "https://github.com/o/r",
                "http://github.com/o/r",
                "https://github.com/o/r.git",
                "https://github.com/o/r.git/",
                "https://github.com/o/r/",
                "HTTPS://GitHub.COM/O/R.GIT",
                "https://github.com./o/r",
                "https://github.com:443/o/r",
                "https://user:token@github.com/o/r",
                "https://github.com/o/r?x=y#z",
                "https://github.com/%6f/r",
                "ssh://git@github.com/o/r.git",
                "ssh://git@github.com:22/o/r.git",
                "ssh://git@ssh.github.com:443/o/r.git",
                "git+ssh://git@github.com/o/r",
                "git://github.com/o/r.git",
                "git@github.com:o/r.git",
                "git@github.com:/o/r.git",
                "github.com:o/r",
            ],
        );
        check(
            "gitlab.com/group/sub/r",
            &[
                "https://gitlab.com/group/sub/r.git",
                "ssh://git@altssh.gitlab.com:443/group/sub/r.git",
            ],
        );
        check(
            "bitbucket.org/o/r",
            &["git@bitbucket.org:o/r", "git@altssh.bitbucket.org:o/r.git"],
        );
        check("::1/o/r", &["http://[::1]:3000/o/r"]);
    }

    #[test]
    fn azure_and_bitbucket_have_more_spellings() {
        check(
            "dev.azure.com/o/p/r",
            &[
                "https://dev.azure.com/o/p/_git/r",
                "https://o@dev.azure.com/o/p/_git/r",
                "git@ssh.dev.azure.com:v3/o/p/r",
                "ssh://o@vs-ssh.visualstudio.com:22/v3/o/p/r",
                "https://o.visualstudio.com/p/_git/r",
                "https://o.visualstudio.com/DefaultCollection/p/_git/r",
            ],
        );
        check(
            "dev.azure.com/o/r/r",
            &[
                "https://dev.azure.com/o/_git/r",
                "https://o.visualstudio.com/_git/r",
            ],
        );
        check(
            "git.example.com/k/s",
            &[
                "https://git.example.com/scm/K/s.git",
                "https://git.example.com/projects/K/repos/s/browse",
                "ssh://git@git.example.com:7999/k/s.git",
            ],
        );
        check(
            "git.example.com/ctx/~ada/s",
            &[
                "https://git.example.com/ctx/users/ada/repos/s",
                "https://git.example.com/ctx/scm/~ada/s.git",
            ],
        );
    }

    #[test]
    fn another_host_never_has_the_key() {
        let wanted = RepositoryKey::parse("https://github.com/o/r").unwrap();
        for url in [
            "https://evil.com/github.com/o/r",
            "https://github.com.evil.com/o/r",
            "https://github.com@evil.com/o/r",
            "https://github.com:o@evil.com/o/r",
            "https://github.com%2f@evil.com/o/r",
            "https://evil.com/https://github.com/o/r",
            "https://evil.com#@github.com/o/r",
            "https://evil.com?@github.com/o/r",
            "https://evil.com\\@github.com/o/r",
            "git@evil.com:github.com/o/r",
            "https://github.com/o/r/x",
            "https://github.com/x/o/r",
            "https://github.com/o/../o/r",
            "https://github.com/o//r",
            "https://github.com/o%2f..%2fr",
            "https://g\u{131}thub.com/o/r",
            "file:///github.com/o/r",
            "ext::github.com/o/r",
            "github.com/o/r",
            "",
        ] {
            let key = RepositoryKey::parse(url);
            assert_ne!(key.as_ref(), Some(&wanted), "{url}");
        }
    }

    #[test]
    fn what_names_no_repository_has_no_key() {
        for url in [
            "https://github.com",
            "https://github.com/",
            "https:///o/r",
            "https://host:port/o/r",
            "https://host/o/r%00",
            "host:443/o",
            "::",
            "https://host/.git",
        ] {
            assert_eq!(RepositoryKey::parse(url), None, "{url}");
        }
    }
}
