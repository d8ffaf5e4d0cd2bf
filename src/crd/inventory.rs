//! The inventory in the status: what pruning and deletion go by, so it is complete or not written.
//!
//! A small one is written entry by entry. A large one is one entry with the id `packed`, whose `h` is
//! the base64 of the zstd-compressed entries, one JSON text a line: every definition of Application
//! that was ever installed stores that, as all its fields are known. Its wave is a number that no
//! wave can have, so that an agent that cannot unpack it cannot read the status either, says so and
//! touches nothing, instead of taking the inventory for empty.

use std::io::Read;
use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ruzstd::{decoding::StreamingDecoder, encoding};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::object::json_size;

/// How something ended that runs once.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub(crate) enum Ended {
    Complete,
    Failed,
}

/// Bytes of entries as JSON up to which they are written as they are.
const PLAIN: usize = 256 << 10;
/// Bytes that a packed inventory may have, in the 1.5 MiB of an object in etcd.
const MOST_PACKED: usize = 704 << 10;
/// Bytes and entries that a packed inventory may unpack to: it is text from outside.
const MOST_UNPACKED: usize = 24 << 20;
const MOST_ENTRIES: usize = 100_000;
/// The id of the entry that holds the others, and how they are packed.
const PACKED: &str = "packed";
const FORMAT: &str = "1";
/// One more than any wave can be.
const NO_WAVE: i64 = 1 << 32;

/// Why an inventory can be neither written nor read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    #[error(
        "the inventory of {entries} objects does not fit into a status, so that nothing could be \
         created that is known to be ours: make several applications of it"
    )]
    TooLarge { entries: usize },
    #[error("the packed inventory does not unpack: {0}")]
    Unreadable(String),
}

/// What the agent may have created and has not seen deleted: a superset of what is live.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(default)]
pub(crate) struct Inventory {
    /// A large inventory is one entry with the id `packed`.
    pub(crate) entries: Arc<Vec<InventoryEntry>>,
}

/// One object of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub(crate) struct InventoryEntry {
    /// `group/Kind:namespace/name`.
    pub(crate) id: String,
    /// The API version it was applied with.
    pub(crate) v: String,
    /// Digests of the last apply (base64), by which a restarted agent knows what is unchanged;
    /// empty before the first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) h: String,
    /// The wave it was applied in: a deletion goes the other way.
    #[serde(default, skip_serializing_if = "is_zero_wave")]
    pub(crate) w: i32,
    /// It is deleted only when all that was applied is healthy.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) last: bool,
    /// It is a hook: not compared and not pruned, but deleted with the Application.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) hook: bool,
    /// It ran to its end as it was applied last: when it is gone it does not run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Ended>,
    /// It is not desired any more, and the guard let it go: it does not count again beside what
    /// leaves with later commits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) counted: bool,
}

impl InventoryEntry {
    /// Whether it says the same, however it counts for the guard.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let as_counted = |entry: &Self| Self {
            counted: true,
            ..entry.clone()
        };
        self == other || as_counted(self) == as_counted(other)
    }
}

fn is_zero_wave(value: &i32) -> bool {
    *value == 0
}

impl Inventory {
    pub(crate) fn new(entries: Vec<InventoryEntry>) -> Self {
        Self {
            entries: Arc::new(entries),
        }
    }

    /// The entries alone, for what packs them in another way.
    pub(crate) fn into_entries(self) -> Vec<InventoryEntry> {
        Arc::unwrap_or_clone(self.entries)
    }

    /// Keeps the digests of the first entries only: the objects of the others are asked about
    /// anew after a restart.
    pub(crate) fn keep_digests(&mut self, most: usize) {
        let surplus = self.entries.iter().skip(most);
        if surplus.clone().any(|entry| !entry.h.is_empty()) {
            let entries = Arc::make_mut(&mut self.entries);
            entries.iter_mut().skip(most).for_each(|it| it.h.clear());
        }
    }
}

/// How an inventory is written.
#[derive(Serialize)]
struct Written<'a, T> {
    entries: &'a [T],
}

/// An entry as it is written, which may be the one that holds the others.
#[derive(Serialize, Deserialize)]
struct AnyEntry {
    id: String,
    v: String,
    #[serde(default)]
    h: String,
    #[serde(default)]
    w: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    last: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    hook: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    #[serde(default, skip_serializing_if = "is_false")]
    counted: bool,
}

impl Serialize for Inventory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.entries.as_slice();
        if json_size(&self.entries.as_slice()) <= PLAIN {
            return Written { entries }.serialize(serializer);
        }
        let packed = AnyEntry {
            id: PACKED.to_owned(),
            v: FORMAT.to_owned(),
            h: pack(entries).map_err(ser::Error::custom)?,
            w: NO_WAVE,
            last: false,
            hook: false,
            ended: None,
            counted: false,
        };
        let entries = &[packed];
        Written { entries }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Inventory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Read {
            #[serde(default)]
            entries: Vec<AnyEntry>,
        }
        let mut entries = Vec::new();
        for entry in Read::deserialize(deserializer)?.entries {
            if entry.id == PACKED {
                entries.extend(unpack(&entry).map_err(de::Error::custom)?);
                continue;
            }
            entries.push(InventoryEntry {
                w: i32::try_from(entry.w).map_err(de::Error::custom)?,
                id: entry.id,
                v: entry.v,
                h: entry.h,
                last: entry.last,
                hook: entry.hook,
                ended: entry.ended,
                counted: entry.counted,
            });
        }
        Ok(Self::new(entries))
    }
}

fn pack(entries: &[InventoryEntry]) -> Result<String, Error> {
    let too_large = || Error::TooLarge {
        entries: entries.len(),
    };
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry).map_err(|_| too_large())?;
        lines.push(b'\n');
    }
    if lines.len() > MOST_UNPACKED || entries.len() > MOST_ENTRIES {
        return Err(too_large());
    }
    let packed = encoding::compress_to_vec(lines.as_slice(), encoding::CompressionLevel::Fastest);
    let text = STANDARD_NO_PAD.encode(packed);
    match text.len() <= MOST_PACKED {
        true => Ok(text),
        false => Err(too_large()),
    }
}

fn unpack(packed: &AnyEntry) -> Result<Vec<InventoryEntry>, Error> {
    let unreadable = |why: &dyn std::fmt::Display| Error::Unreadable(why.to_string());
    if packed.v != FORMAT {
        return Err(unreadable(&format!(
            "it is packed as \"{}\", which this version does not know",
            packed.v.escape_debug()
        )));
    }
    let bytes = STANDARD_NO_PAD.decode(&packed.h);
    let bytes = bytes.map_err(|error| unreadable(&error))?;
    let decoder = StreamingDecoder::new(bytes.as_slice()).map_err(|error| unreadable(&error))?;
    let mut lines = Vec::new();
    let read = decoder
        .take(MOST_UNPACKED as u64 + 1)
        .read_to_end(&mut lines);
    read.map_err(|error| unreadable(&error))?;
    if lines.len() > MOST_UNPACKED {
        return Err(unreadable(&format!("more than {MOST_UNPACKED} bytes")));
    }
    let lines: &[u8] = lines.strip_suffix(b"\n").unwrap_or(&lines);
    let lines = lines.split(|byte| *byte == b'\n');
    if lines.clone().count() > MOST_ENTRIES {
        return Err(unreadable(&format!("more than {MOST_ENTRIES} objects")));
    }
    lines
        .map(|line| serde_json::from_slice(line).map_err(|error| unreadable(&error)))
        .collect()
}

/// Whether a field is left out where it is false.
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sha2::{Digest, Sha256};

    use super::*;

    /// Entries with digests that do not compress, and everything that can be said of one.
    fn entries(count: usize, name: &str) -> Vec<InventoryEntry> {
        let entry = |n: usize| InventoryEntry {
            id: format!("/ConfigMap:shop/{name}{n}"),
            v: "v1".into(),
            h: match count > MOST_ENTRIES {
                true => String::new(),
                false => STANDARD_NO_PAD.encode(&Sha256::digest(n.to_string())[..30]),
            },
            w: i32::try_from(n % 7).unwrap() - 3,
            last: n.is_multiple_of(11),
            hook: n.is_multiple_of(13),
            ended: n.is_multiple_of(17).then_some(Ended::Failed),
            counted: n.is_multiple_of(19),
        };
        (0..count).map(entry).collect()
    }

    fn written(entries: Vec<InventoryEntry>) -> Value {
        serde_json::to_value(Inventory::new(entries)).unwrap()
    }

    fn read(written: &Value) -> Result<Vec<InventoryEntry>, String> {
        let read = serde_json::from_value::<Inventory>(written.clone());
        read.map(Inventory::into_entries)
            .map_err(|it| it.to_string())
    }

    #[test]
    fn an_inventory_is_read_as_it_was_written() {
        let long = "n".repeat(200);
        for (count, name, packed) in [
            (0, "", false),
            (1, "a", false),
            (1000, "a-", false),
            (3000, "a-", true),
            (900, &*long, true),
            (10_000, "settings-", true),
            (10_000, &*long, true),
        ] {
            let entries = entries(count, name);
            let written = written(entries.clone());
            assert_eq!(
                written["entries"][0]["id"] == PACKED,
                packed,
                "{count} {name}"
            );
            if packed {
                assert_eq!(written["entries"].as_array().unwrap().len(), 1);
                let bytes = written.to_string().len();
                assert!(bytes < MOST_PACKED + 100, "{count} {name}: {bytes}");
            } else {
                let plain: Vec<Value> = entries.iter().map(|it| json!(it)).collect();
                assert_eq!(written, json!({"entries": plain}), "as it always was");
            }
            assert_eq!(read(&written), Ok(entries), "{count} {name}");
        }
    }

    #[test]
    fn what_is_written_is_the_same_each_time() {
        assert_eq!(written(entries(5000, "a")), written(entries(5000, "a")));
    }

    #[test]
    fn an_agent_that_cannot_unpack_does_not_take_it_for_empty() {
        // What is read of an entry by versions that know no packed one.
        #[derive(Debug, Deserialize)]
        struct Old {
            #[expect(dead_code, reason = "only whether it can be read counts")]
            entries: Vec<InventoryEntry>,
        }
        let old = |written: Value| serde_json::from_value::<Old>(written);
        assert!(old(written(entries(10, "a"))).is_ok());
        let error = old(written(entries(5000, "a"))).unwrap_err();
        assert!(error.to_string().contains("expected i32"), "{error}");
    }

    #[test]
    fn one_that_does_not_fit_is_refused() {
        for count in [MOST_ENTRIES + 1, 30_000] {
            let inventory = Inventory::new(entries(count, "a"));
            let error = serde_json::to_value(&inventory).unwrap_err().to_string();
            assert!(error.contains(&format!("{count} objects")), "{error}");
        }
        // Without digests many more do.
        let mut inventory = Inventory::new(entries(30_000, "a"));
        inventory.keep_digests(5000);
        let written = serde_json::to_value(&inventory).unwrap();
        let again = read(&written).unwrap();
        assert_eq!(again.len(), 30_000);
        assert!(!again[4999].h.is_empty() && again[5000].h.is_empty());
    }

    #[test]
    fn what_was_tampered_with_does_not_unpack() {
        let good = written(entries(3000, "a"));
        let h = good["entries"][0]["h"].as_str().unwrap();
        let pack_text = |text: &[u8]| {
            let level = encoding::CompressionLevel::Fastest;
            STANDARD_NO_PAD.encode(encoding::compress_to_vec(text, level))
        };
        let zeros = vec![b'0'; MOST_UNPACKED + 1];
        let many = "{\"id\":\"a\",\"v\":\"\"}\n".repeat(MOST_ENTRIES + 1);
        for (h, v, expected) in [
            (h.to_owned(), "2", "does not know"),
            ("%".to_owned(), FORMAT, "does not unpack"),
            (String::new(), FORMAT, "does not unpack"),
            (h[..h.len() / 2].to_owned(), FORMAT, "does not unpack"),
            (pack_text(b"nonsense"), FORMAT, "does not unpack"),
            (pack_text(&zeros), FORMAT, "more than 25165824 bytes"),
            (
                pack_text(many.as_bytes()),
                FORMAT,
                "more than 100000 objects",
            ),
        ] {
            let mut bad = good.clone();
            bad["entries"][0]["h"] = json!(h);
            bad["entries"][0]["v"] = json!(v);
            let error = read(&bad).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn what_stands_beside_a_packed_entry_counts_as_well() {
        let mut both = written(entries(3000, "a"));
        let other = json!({"id": "/ConfigMap:shop/other", "v": "v1"});
        both["entries"].as_array_mut().unwrap().push(other);
        assert_eq!(read(&both).unwrap().len(), 3001);
    }
}
