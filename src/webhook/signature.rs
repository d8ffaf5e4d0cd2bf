//! Whether a sender knows a secret: HMAC-SHA256 over the raw bytes, or the secret itself.
//! Comparisons take the same time wherever two values differ.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::CtOutput;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::Secret;

/// Bytes of a SHA-256.
const LENGTH: usize = 32;

/// How far the clock of a sender may be off, either way; the tolerance of Standard Webhooks.
const TOLERANCE_SECONDS: u64 = 300;

/// Whether `header`, 64 lower-case hexadecimal digits, signs the body with one of the secrets.
///
/// Upper case is refused: nobody sends it, and one value then has one spelling.
pub(super) fn hex_signs(secrets: &[Secret], header: &[u8], body: &[u8]) -> bool {
    let mut given = [0; LENGTH];
    if header.iter().any(u8::is_ascii_uppercase)
        || hex::decode_to_slice(header, &mut given).is_err()
    {
        return false;
    }
    any(secrets, |secret| {
        hmac(secret.bytes(), &[body]).verify_slice(&given).is_ok()
    })
}

/// Whether `header` is one of the secrets. Digests are compared, so that not even the length of
/// a secret shows.
pub(super) fn is_token(secrets: &[Secret], header: &[u8]) -> bool {
    let digest = |bytes: &[u8]| CtOutput::<Sha256>::new(Sha256::digest(bytes));
    let given = digest(header);
    any(secrets, |secret| digest(secret.bytes()) == given)
}

/// The three headers of Standard Webhooks.
pub(super) struct Signed<'a> {
    pub(super) id: &'a [u8],
    /// Unix seconds; signed as it was received.
    pub(super) timestamp: &'a [u8],
    /// `v1,<base64>`, several of them separated by spaces. Other versions are passed over.
    pub(super) signatures: &'a [u8],
}

impl Signed<'_> {
    /// Whether one of the signatures is by one of the signing tokens.
    pub(super) fn signs(&self, tokens: &[Secret], body: &[u8]) -> bool {
        let given: Vec<_> = self
            .signatures
            .split(|byte| *byte == b' ')
            .filter_map(|entry| STANDARD.decode(entry.strip_prefix(b"v1,")?).ok())
            .filter(|bytes| bytes.len() == LENGTH)
            .collect();
        any(tokens, |token| {
            let Some(key) = signing_key(token) else {
                return false;
            };
            let expected = hmac(&key, &[self.id, b".", self.timestamp, b".", body]);
            any(&given, |bytes| expected.clone().verify_slice(bytes).is_ok())
        })
    }

    /// Whether it was sent about now, so that an old delivery cannot be sent again.
    pub(super) fn is_fresh(&self, now: u64) -> bool {
        self.timestamp.iter().all(u8::is_ascii_digit)
            && str::from_utf8(self.timestamp)
                .ok()
                .and_then(|seconds| seconds.parse::<u64>().ok())
                .is_some_and(|sent| sent.abs_diff(now) <= TOLERANCE_SECONDS)
    }
}

impl Secret {
    /// Whether it can stand among the signing tokens: `whsec_` and the key in base64.
    pub(crate) fn is_signing_token(&self) -> bool {
        signing_key(self).is_some()
    }
}

/// The key inside of a signing token.
fn signing_key(token: &Secret) -> Option<Vec<u8>> {
    let key = STANDARD
        .decode(token.bytes().strip_prefix(b"whsec_")?)
        .ok()?;
    (!key.is_empty()).then_some(key)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut hmac = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        hmac.update(part);
    }
    hmac
}

/// Like `Iterator::any`, but does not stop at the first: which one it was stays unknown.
fn any<T>(items: &[T], check: impl Fn(&T) -> bool) -> bool {
    items.iter().fold(false, |found, item| check(item) | found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &str =
        r#"{"ref":"refs/heads/main","after":"0a05129851238652bf806a400af89fa974ade739"}"#;

    fn secrets(contents: &[&str]) -> Vec<Secret> {
        contents
            .iter()
            .map(|content| Secret::new((*content).into()).unwrap())
            .collect()
    }

    #[test]
    fn published_vectors_of_hexadecimal_signatures_hold() {
        let check = |body: &str, signature: &str| {
            assert!(
                hex_signs(&secrets(&[SECRET]), signature.as_bytes(), body.as_bytes()),
                "{body}"
            );
        };
        // GitHub's documentation.
        check(
            "Hello, World!",
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        );
        // Bitbucket's documentation.
        check(
            "Hello World!",
            "a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9",
        );
        check(
            "",
            "66a0c074deaa0f489ead6537e0d32f9a344b90bbeda705b6ed45ecd3b413fb40",
        );
        check(
            "h\u{e9}llo \u{2603}",
            "362fd227f606e7b1cb1cde7b36f641634aaa6224d3d0f74be15cfab2d5e57086",
        );
        // Gitea sends the same without a prefix, and for forms as well.
        check(
            BODY,
            "f11debb6846795dab0ce389a3a383e373410862e183e74fa1b6a80326bb7beff",
        );
        check(
            "payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%2C%22after%22%3A%220a05129851238652bf\
             806a400af89fa974ade739%22%7D",
            "20828264cdfb5d0c1dec24247c72cc2df6013ef5ee8cdf58c517195348df0a7e",
        );
    }

    #[test]
    fn anything_else_signs_nothing() {
        const GOOD: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let check = |secret: &[&str], header: &str, body: &str| {
            assert!(!hex_signs(
                &secrets(secret),
                header.as_bytes(),
                body.as_bytes()
            ));
        };
        check(&[SECRET], GOOD, "Hello, World!\n");
        check(&[SECRET], GOOD, "");
        check(&["another"], GOOD, "Hello, World!");
        check(&[], GOOD, "Hello, World!");
        check(&[SECRET], &GOOD.to_uppercase(), "Hello, World!");
        check(&[SECRET], &GOOD[..63], "Hello, World!");
        check(&[SECRET], &GOOD[..62], "Hello, World!");
        check(&[SECRET], &format!("{GOOD}00"), "Hello, World!");
        check(&[SECRET], &format!(" {GOOD}"), "Hello, World!");
        check(&[SECRET], &"g".repeat(64), "Hello, World!");
        check(&[SECRET], "", "Hello, World!");
        // SHA-1 of the same.
        check(
            &[SECRET],
            "01dc10d0c83e72ed246219cdd91669667fe2ca59",
            "Hello, World!",
        );
    }

    #[test]
    fn every_secret_is_tried() {
        let header = b"757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        for list in [[SECRET, "old"], ["old", SECRET]] {
            assert!(hex_signs(&secrets(&list), header, b"Hello, World!"));
        }
    }

    #[test]
    fn a_token_is_the_whole_secret() {
        let list = secrets(&["old", "new"]);
        for good in ["old", "new"] {
            assert!(is_token(&list, good.as_bytes()));
        }
        for bad in ["", "ol", "oldd", "OLD", "old\n", "oldnew"] {
            assert!(!is_token(&list, bad.as_bytes()), "{bad}");
        }
        assert!(!is_token(&[], b""));
    }

    const SVIX: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const GITLAB: &str = "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=";

    fn svix(signatures: &str) -> Signed<'_> {
        Signed {
            id: b"msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: b"1614265330",
            signatures: signatures.as_bytes(),
        }
    }

    #[test]
    fn published_vectors_of_standard_webhooks_hold() {
        assert!(
            svix("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
                .signs(&secrets(&[SVIX]), br#"{"test": 2432232314}"#)
        );
        let gitlab = Signed {
            id: b"f5e5f430-f57b-4e6e-9fac-d9128cd7232f",
            timestamp: b"1760000000",
            signatures: b"v1,qwXfd/v034nEyg+yHi6xOn76QXOTl0tQNeXqp0mAl10=",
        };
        assert!(gitlab.signs(&secrets(&[GITLAB]), BODY.as_bytes()));
        assert!(gitlab.signs(&secrets(&[SVIX, GITLAB]), BODY.as_bytes()));
        assert!(!gitlab.signs(&secrets(&[SVIX]), BODY.as_bytes()));
        assert!(!gitlab.signs(&secrets(&[]), BODY.as_bytes()));
    }

    #[test]
    fn any_entry_of_the_known_version_may_sign() {
        const GOOD: &str = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let check = |signatures: &str, expected| {
            let signed = svix(signatures).signs(&secrets(&[SVIX]), br#"{"test": 2432232314}"#);
            assert_eq!(signed, expected, "{signatures}");
        };
        check(&format!("v1,AAAA v1a,xyz v1,{GOOD}"), true);
        check(&format!("  v1,{GOOD}  "), true);
        check(&format!("v1a,{GOOD}"), false);
        check(&format!("v2,{GOOD}"), false);
        check(&format!("V1,{GOOD}"), false);
        check(GOOD, false);
        check("v1,", false);
        check("v1", false);
        check("", false);
        check(&format!("v1,{}", &GOOD[..43]), false);
        check(&format!("v1,{}", GOOD.to_lowercase()), false);
    }

    #[test]
    fn id_timestamp_and_body_are_all_signed() {
        let good = || svix("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let body = br#"{"test": 2432232314}"#;
        let list = secrets(&[SVIX]);
        assert!(!Signed { id: b"x", ..good() }.signs(&list, body));
        let timestamp = b"01614265330";
        assert!(
            !Signed {
                timestamp,
                ..good()
            }
            .signs(&list, body)
        );
        assert!(!good().signs(&list, b"{}"));
    }

    #[test]
    fn a_delivery_is_fresh_for_five_minutes_either_way() {
        let check = |timestamp: &str, now, expected| {
            let timestamp = timestamp.as_bytes();
            let signed = Signed {
                timestamp,
                ..svix("")
            };
            assert_eq!(signed.is_fresh(now), expected, "{timestamp:?} {now}");
        };
        check("1000", 1000, true);
        check("1000", 1300, true);
        check("1000", 1301, false);
        check("1000", 700, true);
        check("1000", 699, false);
        check("", 0, false);
        check("+1000", 1000, false);
        check("-1000", 1000, false);
        check("1000.0", 1000, false);
        check("99999999999999999999999", 1000, false);
    }
}
