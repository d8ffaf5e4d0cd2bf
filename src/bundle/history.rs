//! Rendered bundles in Secrets: what a rollback applies, and what drift is repaired from when Git,
//! registry and disk are gone.
//!
//! A bundle is the desired objects as JSON lines, compressed with zstd (RFC 8878) and cut into
//! parts that fit a Secret (1 MiB, and etcd's 1.5 MiB for a request). The Secrets are owned by the
//! Application: Kubernetes deletes them with it.

use std::io::{Read, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ruzstd::{decoding::StreamingDecoder, encoding};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::crd::names::tracking_label;
use crate::crd::{Application, names};
use crate::object::Object;

/// Type of the Secrets that hold bundles; nothing else is deleted as one.
pub(crate) const SECRET_TYPE: &str = "trimtab.dev/bundle";
/// Label of the Secrets that hold bundles: whose they are.
const LABEL: &str = "trimtab.dev/bundle";
const DIGEST: &str = "trimtab.dev/bundle-digest";
const PARTS: &str = "trimtab.dev/bundle-parts";
const SUM: &str = "trimtab.dev/bundle-sha256";

/// Bytes of one part: base64 makes it a third longer.
const PART: usize = 700 << 10;
/// Bytes that a bundle may have when it is unpacked.
const MAX_UNPACKED: u64 = 128 << 20;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error("the rendered bundle {0} is not complete: {1} of {2} parts are there")]
    Incomplete(String, usize, usize),
    #[error("the rendered bundle {0} was changed after it was written")]
    Changed(String),
    #[error("a rendered bundle does not unpack: {0}")]
    Unreadable(String),
}

/// The Secrets that hold these objects.
pub(crate) fn secrets(application: &Application, digest: &str, objects: &[Object]) -> Vec<Object> {
    let packed = pack(objects);
    let sum = hex::encode(Sha256::digest(&packed));
    let parts: Vec<_> = packed.chunks(PART).collect();
    let (namespace, name) = (&application.key.namespace, &application.key.name);
    let short: String = name.chars().take(40).collect();
    let short = short.trim_end_matches(['-', '.']);
    let whose = &hex::encode(Sha256::digest(&application.uid))[..6];
    let secret = |(n, part): (usize, &&[u8])| {
        Object::new(json!({
            "apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE,
            "metadata": {
                "namespace": namespace,
                "name": format!("trimtab-bundle-{short}-{whose}-{digest}-{n}"),
                "labels": {LABEL: tracking_label(namespace, name), DIGEST: digest},
                "annotations": {PARTS: parts.len().to_string(), SUM: sum},
                "ownerReferences": [{
                    "apiVersion": format!("{}/{}", application.object.group(), names::VERSION),
                    "kind": names::KIND, "name": name, "uid": application.uid,
                }],
            },
            "immutable": true,
            "data": {"bundle": STANDARD.encode(part)},
        }))
        .ok()
    };
    parts.iter().enumerate().filter_map(secret).collect()
}

/// The label selector of an application's bundles, or of one of them.
pub(crate) fn selector(application: &Application, digest: Option<&str>) -> String {
    let (namespace, name) = (&application.key.namespace, &application.key.name);
    let whose = format!("{LABEL}={}", tracking_label(namespace, name));
    match digest {
        None => whose,
        Some(digest) => format!("{whose},{DIGEST}={digest}"),
    }
}

/// The digest that names the bundle which a Secret is a part of.
pub(crate) fn digest_of(secret: &Object) -> Option<&str> {
    secret.label(DIGEST)
}

/// Whether every part of a bundle is there, by the names alone.
pub(crate) fn is_whole(secrets: &[Object], digest: &str) -> bool {
    let mut parts = secrets
        .iter()
        .filter(|secret| digest_of(secret) == Some(digest))
        .peekable();
    let wanted = parts.peek().and_then(|part| part.annotation(PARTS));
    let wanted = wanted.and_then(|text| text.parse().ok());
    wanted == Some(parts.count())
}

/// Puts the parts of a bundle together. None when no part of it is there.
pub(crate) fn unite(secrets: &[Object], digest: &str) -> Result<Option<Vec<Object>>, Error> {
    let mut parts: Vec<_> = secrets
        .iter()
        .filter(|secret| digest_of(secret) == Some(digest))
        .filter_map(|secret| {
            let number: usize = secret.name().rsplit_once('-')?.1.parse().ok()?;
            Some((number, secret))
        })
        .collect();
    parts.sort_by_key(|(number, _)| *number);
    let Some((_, first)) = parts.first() else {
        return Ok(None);
    };
    let wanted = first.annotation(PARTS).and_then(|text| text.parse().ok());
    let wanted: usize = wanted.unwrap_or_default();
    let complete = parts
        .iter()
        .enumerate()
        .all(|(n, (number, _))| n == *number);
    if parts.len() != wanted || !complete {
        let digest = digest.to_owned();
        return Err(Error::Incomplete(digest, parts.len(), wanted));
    }
    let mut packed = Vec::new();
    for (_, secret) in &parts {
        let data = secret.get("/data/bundle").and_then(Value::as_str);
        let part = data.and_then(|data| STANDARD.decode(data).ok());
        packed.extend(part.ok_or_else(|| Error::Changed(digest.to_owned()))?);
    }
    let sum = hex::encode(Sha256::digest(&packed));
    if first.annotation(SUM) != Some(&sum) {
        return Err(Error::Changed(digest.to_owned()));
    }
    unpack(&packed).map(Some)
}

fn pack(objects: &[Object]) -> Vec<u8> {
    let mut lines = Vec::new();
    for object in objects {
        // Writing JSON values to memory does not fail.
        if serde_json::to_writer(&mut lines, object).is_ok() {
            let _ = lines.write_all(b"\n");
        }
    }
    encoding::compress_to_vec(lines.as_slice(), encoding::CompressionLevel::Fastest)
}

fn unpack(packed: &[u8]) -> Result<Vec<Object>, Error> {
    let unreadable = |why: String| Error::Unreadable(why);
    let decoder = StreamingDecoder::new(packed).map_err(|error| unreadable(error.to_string()))?;
    let mut lines = Vec::new();
    let read = decoder.take(MAX_UNPACKED + 1).read_to_end(&mut lines);
    read.map_err(|error| unreadable(error.to_string()))?;
    if lines.len() as u64 > MAX_UNPACKED {
        return Err(unreadable(format!("more than {MAX_UNPACKED} bytes")));
    }
    let lines = lines.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let value = serde_json::from_slice(line);
            let value = value.map_err(|_| unreadable("a line is no JSON".to_owned()))?;
            Object::new(value).map_err(|error| unreadable(error.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::read;

    fn application() -> Application {
        read(
            Object::new(json!({
                "apiVersion": "trimtab.dev/v1alpha1", "kind": "Application",
                "metadata": {"namespace": "trimtab", "name": "shop", "uid": "u-1"},
            }))
            .unwrap(),
        )
    }

    /// Objects whose text does not compress.
    fn objects(bytes: usize) -> Vec<Object> {
        let mut noise = String::new();
        let mut seed = [0; 32];
        while noise.len() < bytes {
            seed = Sha256::digest(seed).into();
            noise.push_str(&hex::encode(seed));
        }
        vec![
            Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": noise}}))
                .unwrap(),
            Object::new(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}),
            )
            .unwrap(),
        ]
    }

    #[test]
    fn a_bundle_comes_back_as_it_was() {
        for bytes in [0, 10, 3 << 20] {
            let objects = objects(bytes);
            let mut kept = secrets(&application(), "abc", &objects);
            assert_eq!(kept.len() > 1, bytes > 1 << 20, "{bytes}");
            kept.reverse();
            assert_eq!(unite(&kept, "abc").unwrap(), Some(objects), "{bytes}");
            assert_eq!(unite(&kept, "other"), Ok(None));
            assert!(is_whole(&kept, "abc") && !is_whole(&kept, "other"));
        }
        assert_eq!(
            unite(&secrets(&application(), "none", &[]), "none"),
            Ok(Some(vec![]))
        );
    }

    #[test]
    fn what_is_not_whole_is_not_used() {
        let kept = secrets(&application(), "abc", &objects(3 << 20));
        assert!(!is_whole(&kept[1..], "abc"));
        let error = unite(&kept[1..], "abc").unwrap_err();
        assert!(matches!(error, Error::Incomplete(..)), "{error}");
        let mut changed = kept.clone();
        changed[0].fields_mut()["data"]["bundle"] = json!(STANDARD.encode("something else"));
        let error = unite(&changed, "abc").unwrap_err();
        assert_eq!(error, Error::Changed("abc".into()));
        for nonsense in [&b"nonsense"[..], b"", &[0x28, 0xb5, 0x2f, 0xfd, 0xff]] {
            assert!(matches!(unpack(nonsense), Err(Error::Unreadable(_))));
        }
    }

    #[test]
    fn a_bomb_does_not_unpack() {
        let zeros = std::io::repeat(b'0').take(MAX_UNPACKED + (1 << 20));
        let bomb = encoding::compress_to_vec(zeros, encoding::CompressionLevel::Fastest);
        assert!(bomb.len() < PART);
        let error = unpack(&bomb).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }
}
