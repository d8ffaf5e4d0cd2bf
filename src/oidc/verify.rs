//! Whether an ID token counts (OpenID Connect Core 1.0, 3.1.3.7).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Error;
use super::keys::{Algorithm, Key};

/// Bytes of a token: one with hundreds of groups fits.
const LONGEST: usize = 64 << 10;
/// Seconds that the provider's clock may differ from ours.
const SKEW: i64 = 60;

/// What a token must say to be for us, now, and for this very log-in.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// Seconds since 1970.
    pub(super) now: i64,
}

/// A token that was read and not yet believed.
pub(super) struct Read<'a> {
    algorithm: Algorithm,
    /// Names the key, empty when the token does not say.
    pub(super) key_id: String,
    message: &'a str,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    crit: Option<Value>,
}

fn refused<T>(why: &'static str) -> Result<T, Error> {
    Err(Error::Token(why))
}

/// Takes a token apart. Keys that it brings itself (`jwk`, `jku`, `x5c`, `x5u`) are not looked at.
pub(super) fn read(token: &str) -> Result<Read<'_>, Error> {
    if token.len() > LONGEST {
        return refused("it is too long");
    }
    let malformed = || Error::Token("it is no signed token");
    let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, payload) = message.split_once('.').ok_or_else(malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
    if header.crit.is_some() {
        return refused("it demands an extension that is not known");
    }
    let Ok(algorithm) = serde_json::from_value(Value::String(header.alg)) else {
        return refused("its algorithm is not one that is taken");
    };
    Ok(Read {
        algorithm,
        key_id: header.kid,
        message,
        signature: decode(signature)?,
        payload: decode(payload)?,
    })
}

impl Read<'_> {
    /// The keys that may have signed it: the one it names, or all when it names none.
    pub(super) fn candidates<'k>(&self, keys: &'k [Key]) -> Vec<&'k Key> {
        let named = |key: &&Key| self.key_id.is_empty() || key.id == self.key_id;
        keys.iter().filter(named).collect()
    }

    /// The claims, if the signature is the provider's and all of it is for us.
    pub(super) fn verify(
        &self,
        keys: &[Key],
        expected: &Expected<'_>,
    ) -> Result<Map<String, Value>, Error> {
        let candidates = self.candidates(keys);
        if candidates.is_empty() {
            return refused("its key is not one of the provider's");
        }
        let message = self.message.as_bytes();
        let signed = |key: &&Key| key.checks(self.algorithm, message, &self.signature);
        if !candidates.iter().any(signed) {
            return refused("its signature is wrong");
        }
        match serde_json::from_slice(&self.payload) {
            Ok(Value::Object(claims)) => {
                check(&claims, expected)?;
                Ok(claims)
            }
            _ => refused("it is no signed token"),
        }
    }
}

fn check(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), Error> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return refused("it is of another issuer");
    }
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.contains(&expected.client_id) {
        return refused("it is for somebody else");
    }
    let party = claims.get("azp");
    if (audiences.len() > 1 || party.is_some()) && text("azp") != Some(expected.client_id) {
        return refused("it was given to somebody else");
    }
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "seconds; it saturates")]
            Some(seconds) => Ok(Some(seconds as i64)),
            None => refused("one of its times is no number"),
        },
    };
    match time("exp")? {
        Some(end) if end > expected.now - SKEW => {}
        Some(_) => return refused("it has ended"),
        None => return refused("it does not say when it ends"),
    }
    let latest = expected.now + SKEW;
    if time("iat")?.is_none_or(|at| at > latest) || time("nbf")?.is_some_and(|at| at > latest) {
        return refused("it is not valid yet");
    }
    if text("nonce") != Some(expected.nonce) {
        return refused("it is of another log-in");
    }
    if text("sub").is_none_or(str::is_empty) {
        return refused("it is about nobody");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };
    use serde_json::json;

    use super::super::keys;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            Self(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
        }

        fn keys(&self, id: &str) -> Vec<Key> {
            let point = self.0.public_key().as_ref();
            let set = json!({"keys": [{
                "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256",
                "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
            }, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"}]});
            keys::read(set.to_string().as_bytes()).unwrap()
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let message = format!("{}.{}", part(header), part(claims));
            let signature = self
                .0
                .sign(&SystemRandom::new(), message.as_bytes())
                .unwrap();
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
        }
    }

    fn claims() -> Value {
        json!({"iss": "https://id.example.com", "aud": "trimtab", "sub": "1", "nonce": "n",
            "exp": NOW + 300, "iat": NOW, "email": "ann@example.com"})
    }

    fn verify(token: &str, keys: &[Key]) -> Result<Map<String, Value>, Error> {
        let expected = Expected {
            issuer: "https://id.example.com",
            client_id: "trimtab",
            nonce: "n",
            now: NOW,
        };
        read(token)?.verify(keys, &expected)
    }

    #[test]
    fn every_claim_is_checked() {
        let signer = Signer::new();
        let (keys, header) = (signer.keys("k"), json!({"alg": "ES256", "kid": "k"}));
        assert_eq!(keys.len(), 1, "only keys that sign");
        for (claim, value, expected) in [
            ("sub", json!("1"), ""),
            ("aud", json!(["trimtab"]), ""),
            ("azp", json!("trimtab"), ""),
            ("exp", json!(NOW - 59), ""),
            ("iat", json!(NOW + 60), ""),
            ("iss", json!("https://id.example.com/"), "another issuer"),
            ("iss", json!("https://evil.example.com"), "another issuer"),
            ("iss", Value::Null, "another issuer"),
            ("aud", json!("other"), "somebody else"),
            ("aud", json!("trimtab2"), "somebody else"),
            ("aud", json!(["trimtab", "other"]), "given to"),
            ("aud", json!(7), "somebody else"),
            ("azp", json!("other"), "given to"),
            ("azp", json!(7), "given to"),
            ("exp", json!(NOW - 60), "has ended"),
            ("exp", json!("never"), "no number"),
            ("exp", Value::Null, "no number"),
            ("iat", json!(NOW + 61), "not valid yet"),
            ("nbf", json!(NOW + 61), "not valid yet"),
            ("nonce", json!("m"), "another log-in"),
            ("nonce", json!(""), "another log-in"),
            ("nonce", Value::Null, "another log-in"),
            ("sub", json!(""), "about nobody"),
        ] {
            let mut claims = claims();
            claims[claim] = value.clone();
            let found = verify(&signer.sign(&header, &claims), &keys);
            match (found, expected) {
                (Ok(_), "") => {}
                (Err(error), why) if !why.is_empty() => {
                    assert!(error.to_string().contains(why), "{claim} {value}: {error}");
                }
                (found, _) => panic!("{claim} {value}: {found:?}"),
            }
        }
        for missing in ["iss", "aud", "exp", "iat", "nonce", "sub"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(missing);
            verify(&signer.sign(&header, &claims), &keys).unwrap_err();
        }
    }

    #[test]
    fn only_the_provider_s_own_keys_and_good_algorithms_count() {
        let (signer, stranger) = (Signer::new(), Signer::new());
        let keys = signer.keys("k");
        let by = |signer: &Signer, header: Value| signer.sign(&header, &claims());
        let good = by(&signer, json!({"alg": "ES256", "kid": "k"}));
        verify(&good, &keys).unwrap();
        verify(&by(&signer, json!({"alg": "ES256"})), &keys).unwrap();
        let point = signer.0.public_key().as_ref();
        let shared = |secret: &[u8]| {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let message = format!(
                "{}.{}",
                part(&json!({"alg": "HS256", "kid": "k"})),
                part(&claims())
            );
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
            let tag = ring::hmac::sign(&key, message.as_bytes());
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
        };
        let none = |alg: &str| {
            let unsigned = by(&signer, json!({"alg": alg, "kid": "k"}));
            format!("{}.", unsigned.rsplit_once('.').unwrap().0)
        };
        let mut bent = good.clone().into_bytes();
        bent[good.rfind('.').unwrap() - 5] ^= 1;
        let own = json!({"alg": "ES256", "kid": "k", "jwk": {"kty": "EC"}, "jku": "https://evil"});
        for (token, why) in [
            (
                by(&stranger, json!({"alg": "ES256", "kid": "k"})),
                "signature",
            ),
            (by(&stranger, json!({"alg": "ES256"})), "signature"),
            (by(&stranger, own), "signature"),
            (
                by(&signer, json!({"alg": "ES256", "kid": "../k"})),
                "its key",
            ),
            (
                by(&signer, json!({"alg": "ES384", "kid": "k"})),
                "signature",
            ),
            (
                by(&signer, json!({"alg": "RS256", "kid": "k"})),
                "signature",
            ),
            (
                by(&signer, json!({"alg": "es256", "kid": "k"})),
                "algorithm",
            ),
            (
                by(&signer, json!({"alg": "ES256", "kid": "k", "crit": ["x"]})),
                "extension",
            ),
            (none("none"), "algorithm"),
            (none("None"), "algorithm"),
            (none("ES256"), "signature"),
            (shared(point), "algorithm"),
            (shared(&point[1..]), "algorithm"),
            (String::from_utf8(bent).unwrap(), ""),
            ("a.b.c".to_owned(), "no signed token"),
            ("a.b".to_owned(), "no signed token"),
            (String::new(), "no signed token"),
            ("a".repeat(LONGEST + 1), "too long"),
        ] {
            let error = verify(&token, &keys).unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
