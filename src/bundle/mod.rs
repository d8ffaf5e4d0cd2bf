//! Rendered bundles. In Secrets (`history`), and on disk: the last render of each application, so
//! that repairing drift and starting again need neither Git nor a renderer, and the one before, to
//! see what left the source. A cache: it may vanish at any time.

pub(crate) mod history;

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use crate::object::Rendered;

/// A directory of bundles, one an application.
#[derive(Clone, Debug)]
pub(crate) struct Bundles(PathBuf);

impl Bundles {
    /// Bundles in a directory that is created when needed.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// What was rendered for this digest, or none when it is not there (any more) or cannot be
    /// read.
    pub(crate) fn load(&self, uid: &str, digest: &str) -> Option<Rendered> {
        let text = fs::read(self.path(uid)).ok()?;
        let end = text.iter().position(|byte| *byte == b'\n')?;
        if &text[..end] != digest.as_bytes() {
            return None;
        }
        read(&text[end + 1..])
    }

    /// Keeps what was rendered for this digest in place of what was kept before.
    pub(crate) fn save(&self, uid: &str, digest: &str, rendered: &Rendered) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let path = self.path(uid);
        let temporary = path.with_extension("new");
        // Manifests can hold Secrets: nobody else reads them.
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        let mut writer = io::BufWriter::new(file);
        writer.write_all(digest.as_bytes())?;
        writer.write_all(b"\n")?;
        serde_json::to_writer(&mut writer, &(&rendered.notes, &rendered.objects))?;
        writer.flush()?;
        let _ = fs::rename(&path, self.before(uid));
        fs::rename(temporary, path)
    }

    /// What was kept before the last render, for whatever digest.
    pub(crate) fn load_before(&self, uid: &str) -> Option<Rendered> {
        let text = fs::read(self.before(uid)).ok()?;
        let end = text.iter().position(|byte| *byte == b'\n')?;
        read(&text[end + 1..])
    }

    /// Forgets the bundle of an application that is gone.
    pub(crate) fn remove(&self, uid: &str) {
        let _ = fs::remove_file(self.path(uid));
        let _ = fs::remove_file(self.before(uid));
    }

    fn before(&self, uid: &str) -> PathBuf {
        self.path(uid).with_extension("before")
    }

    fn path(&self, uid: &str) -> PathBuf {
        // A uid comes from the API server; only its plain characters become a file name.
        let plain: String = uid
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        self.0.join(plain).with_extension("json")
    }
}

fn read(json: &[u8]) -> Option<Rendered> {
    let (notes, objects) = serde_json::from_slice(json).ok()?;
    Some(Rendered { objects, notes })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::Object;

    #[test]
    fn a_bundle_is_for_its_digest_only() {
        let directory = tempfile::tempdir().unwrap();
        let bundles = Bundles::new(directory.path().join("bundles"));
        assert_eq!(bundles.load("uid", "one"), None);
        let object = Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap"})).unwrap();
        let mut rendered = Rendered::from(vec![object]);
        rendered.notes.repeated_keys.push("x".to_owned());
        bundles.save("uid", "one", &rendered).unwrap();
        assert_eq!(bundles.load("uid", "one"), Some(rendered));
        assert_eq!(bundles.load("uid", "two"), None);
        let nothing = Rendered::default();
        bundles.save("uid", "two", &nothing).unwrap();
        assert_eq!(bundles.load("uid", "one"), None);
        assert_eq!(
            bundles.load_before("uid").map(|it| it.objects.len()),
            Some(1)
        );
        assert_eq!(bundles.load("uid", "two"), Some(nothing));
        bundles.remove("uid");
        assert_eq!(bundles.load("uid", "two"), None);
        assert_eq!(bundles.load_before("uid"), None);
    }

    #[test]
    fn a_broken_bundle_is_no_bundle() {
        let directory = tempfile::tempdir().unwrap();
        let bundles = Bundles::new(directory.path().into());
        fs::write(
            directory.path().join("uid.json"),
            "one\n[{},[{\"apiVersion\":",
        )
        .unwrap();
        assert_eq!(bundles.load("uid", "one"), None);
    }
}
