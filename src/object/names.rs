//! The rules that Kubernetes has for names.

/// RFC 1123 label, the rule for namespaces.
pub(crate) fn is_dns_label(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// RFC 1123 subdomain, the rule for the names of most objects.
pub(crate) fn is_dns_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_nonsense() {
        for (name, label, subdomain) in [
            ("shop", true, true),
            ("7", true, true),
            ("shop-2", true, true),
            ("shop.eu", false, true),
            ("", false, false),
            (".", false, false),
            ("a..b", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("Shop", false, false),
            ("a_b", false, false),
            ("a/b", false, false),
            ("a\n", false, false),
        ] {
            assert_eq!(is_dns_label(name), label, "{name:?}");
            assert_eq!(is_dns_name(name), subdomain, "{name:?}");
        }
        assert!(is_dns_label(&"a".repeat(63)) && !is_dns_label(&"a".repeat(64)));
        assert!(!is_dns_name(&"a.".repeat(127)) && !is_dns_name(&["a"; 128].join(".")));
    }
}
