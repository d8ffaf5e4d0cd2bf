//! What a server said it can do, kept so that the next fetch need not ask again.

use bytes::Bytes;

/// The answer to `GET info/refs` of a server that speaks protocol 2. It lists abilities and no
/// refs, so it stays true until the server is upgraded; the fetch that fails over it asks anew.
#[derive(Clone, Debug)]
pub(super) struct Advertisement {
    /// The address that answered, after a redirect on the same host.
    pub(super) base: String,
    pub(super) body: Bytes,
}

impl Advertisement {
    /// Small and of protocol 2, else it is not worth keeping or not safe to.
    pub(super) fn new(base: &str, body: &Bytes) -> Option<Self> {
        const LARGEST: usize = 4096;
        let marker = b"version 2\n";
        let speaks_two = body.windows(marker.len()).any(|window| window == marker);
        (speaks_two && body.len() <= LARGEST).then(|| Self {
            base: base.to_owned(),
            body: body.clone(),
        })
    }
}

/// How the ids of a repository are made, as its server says in its greeting; SHA-1 when it says
/// nothing.
pub(super) fn object_format(greeting: &[u8]) -> String {
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    let mut rest = greeting;
    while let Some((length, after)) = rest.split_at_checked(4) {
        let length = std::str::from_utf8(length).ok();
        let length = length.and_then(|it| usize::from_str_radix(it, 16).ok());
        let Some(length) = length else { break };
        // The lengths of packets count themselves; smaller ones separate.
        let Some((line, after)) = after.split_at_checked(length.saturating_sub(4)) else {
            break;
        };
        rest = after;
        // Protocol 2: a line each. Before: words behind the first ref.
        let behind = line.splitn(2, |byte| *byte == 0).nth(1).unwrap_or(line);
        let mut words = behind.split(|byte| byte.is_ascii_whitespace());
        if let Some(format) = words.find_map(|word| word.strip_prefix(b"object-format=")) {
            return text(format);
        }
    }
    "sha1".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_format_is_read_from_either_greeting() {
        let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
        let service = format!("{}0000", line("# service=git-upload-pack\n"));
        let two = |lines: &[&str]| {
            let lines: String = lines.iter().map(|text| line(text)).collect();
            format!("{service}{}{lines}0000", line("version 2\n"))
        };
        let check = |greeting: &str, expected: &str| {
            assert_eq!(object_format(greeting.as_bytes()), expected, "{greeting:?}");
        };
        check(&two(&["agent=git/2\n", "object-format=sha256\n"]), "sha256");
        check(&two(&["object-format=sha1\n"]), "sha1");
        check(&two(&["agent=git/2\n"]), "sha1");
        let id = "0".repeat(64);
        let one = line(&format!(
            "{id} HEAD\0thin-pack object-format=sha256 agent=x\n"
        ));
        check(&format!("{service}{one}0000"), "sha256");
        let one = line(&format!("{id} refs/heads/object-format=x\0thin-pack\n"));
        check(&format!("{service}{one}0000"), "sha1");
        for broken in ["", "00", "zzzz", "fffflong", "0004"] {
            check(broken, "sha1");
        }
    }
}
