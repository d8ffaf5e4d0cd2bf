//! The provider's public keys (RFC 7517), and what they can check.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;

/// Keys of one provider.
const MOST: usize = 64;

/// The algorithms that are taken (RFC 7518, RFC 8037). `none` and those with a shared secret are
/// not: a public key would do as the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) id: String,
    /// What the provider made it for, where it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Deserialize)]
struct SetFile {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct KeyFile {
    kty: String,
    #[serde(default)]
    kid: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that can check signatures; others are left out, as the RFC says.
pub(super) fn read(text: &[u8]) -> Result<Vec<Key>, &'static str> {
    let set: SetFile = serde_json::from_slice(text).map_err(|_| "its keys do not parse")?;
    let keys = set.keys.into_iter().take(MOST);
    Ok(keys
        .filter_map(|key| serde_json::from_value(key).ok())
        .filter_map(key)
        .collect())
}

fn key(file: KeyFile) -> Option<Key> {
    if file.usage.is_some_and(|usage| usage != "sig") {
        return None;
    }
    let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
    // An uncompressed point (SEC 1, 2.3.3) of coordinates of this length.
    let point = |length: usize| {
        let (x, y) = (bytes(&file.x)?, bytes(&file.y)?);
        let fits = x.len() == length && y.len() == length;
        fits.then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    };
    let material = match (file.kty.as_str(), file.crv.as_deref()) {
        ("RSA", _) => Material::Rsa {
            n: bytes(&file.n)?,
            e: bytes(&file.e)?,
        },
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&file.x)?),
        _ => return None,
    };
    Some(Key {
        id: file.kid,
        algorithm: file.alg,
        material,
    })
}

impl Key {
    /// Whether it made this signature. A key made for another algorithm did not.
    pub(super) fn checks(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let named = format!("{algorithm:?}");
        if self
            .algorithm
            .as_ref()
            .is_some_and(|made_for| *made_for != named)
        {
            return false;
        }
        let rsa = |parameters: &'static RsaParameters| match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(parameters, message, signature)
                .is_ok(),
            _ => false,
        };
        match (algorithm, &self.material) {
            (Algorithm::RS256, _) => rsa(&RSA_PKCS1_2048_8192_SHA256),
            (Algorithm::RS384, _) => rsa(&RSA_PKCS1_2048_8192_SHA384),
            (Algorithm::RS512, _) => rsa(&RSA_PKCS1_2048_8192_SHA512),
            (Algorithm::PS256, _) => rsa(&RSA_PSS_2048_8192_SHA256),
            (Algorithm::PS384, _) => rsa(&RSA_PSS_2048_8192_SHA384),
            (Algorithm::PS512, _) => rsa(&RSA_PSS_2048_8192_SHA512),
            (Algorithm::ES256, Material::P256(point)) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
                key.verify(message, signature).is_ok()
            }
            (Algorithm::ES384, Material::P384(point)) => {
                let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
                key.verify(message, signature).is_ok()
            }
            (Algorithm::EdDSA, Material::Ed25519(point)) => {
                let key = UnparsedPublicKey::new(&ED25519, point);
                key.verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}
