//! Files as Kubernetes mounts them, changed while they are followed.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Sees changes by the watch alone.
fn watching() -> Options {
    Options {
        debounce: Duration::from_millis(5),
        poll: HOUR,
        max_bytes: 64,
    }
}

/// A number, 0 for a missing file.
fn number(contents: &[Content]) -> Result<u32, String> {
    let Some(bytes) = &contents[0] else {
        return Ok(0);
    };
    let text = String::from_utf8_lossy(bytes);
    text.trim()
        .parse()
        .map_err(|error| format!("\"{text}\": {error}"))
}

fn start(path: &Path, options: Options) -> Reloaded<u32> {
    let (reloaded, follow) = Reloaded::follow(vec![path.to_owned()], options, number).unwrap();
    tokio::spawn(follow);
    reloaded
}

async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(found) = check() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}

async fn becomes(reloaded: &mut Reloaded<u32>, expected: u32) {
    let wait = async {
        while *reloaded.get() != expected {
            reloaded.changed().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
    assert!(waited.is_ok(), "never became {expected}");
}

/// Does what the kubelet does: a new directory, then the link `..data` swapped by a rename.
fn publish(volume: &Path, generation: &str, text: &str) {
    let name = format!("..{generation}");
    fs::create_dir(volume.join(&name)).unwrap();
    fs::write(volume.join(&name).join("settings"), text).unwrap();
    symlink(&name, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

#[tokio::test]
async fn a_config_map_swap_is_followed() {
    let volume = tempfile::tempdir().unwrap();
    publish(volume.path(), "1", "1");
    let path = volume.path().join("settings");
    symlink("..data/settings", &path).unwrap();
    let mut reloaded = start(&path, watching());
    assert_eq!(*reloaded.get(), 1);
    for generation in 2..5 {
        publish(
            volume.path(),
            &generation.to_string(),
            &generation.to_string(),
        );
        becomes(&mut reloaded, generation).await;
    }
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_value_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings");
    fs::write(&path, "7").unwrap();
    let mut reloaded = start(&path, watching());
    assert!(reloaded.error().is_none());

    for (broken, expected) in [
        ("seven", "invalid digit"),
        (&"9".repeat(65), "larger than 64"),
    ] {
        fs::write(&path, broken).unwrap();
        eventually(expected, || {
            let error = reloaded.error()?.to_string();
            error.contains(expected).then_some(())
        })
        .await;
        assert_eq!(*reloaded.get(), 7);
    }
    assert!(!reloaded.value.has_changed().unwrap(), "no news yet");

    fs::write(&path, "8").unwrap();
    becomes(&mut reloaded, 8).await;
    eventually("no error", || reloaded.error().is_none().then_some(())).await;
}

#[tokio::test]
async fn a_missing_file_is_what_the_caller_says_and_may_come_later() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings");
    let mut reloaded = start(&path, watching());
    assert_eq!(*reloaded.get(), 0);
    fs::write(&path, "3").unwrap();
    becomes(&mut reloaded, 3).await;
    fs::remove_file(&path).unwrap();
    becomes(&mut reloaded, 0).await;
}

#[tokio::test]
async fn what_the_watch_misses_is_found_by_the_poll() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("current");
    for generation in ["1", "2"] {
        fs::create_dir(directory.path().join(generation)).unwrap();
        fs::write(
            directory.path().join(generation).join("settings"),
            generation,
        )
        .unwrap();
    }
    symlink("1", &link).unwrap();
    let options = Options {
        poll: Duration::from_millis(10),
        ..watching()
    };
    let mut reloaded = start(&link.join("settings"), options);
    symlink("2", directory.path().join("next")).unwrap();
    fs::rename(directory.path().join("next"), &link).unwrap();
    becomes(&mut reloaded, 2).await;
}

#[tokio::test]
async fn several_files_make_one_value() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| directory.path().join(name));
    fs::write(&paths[0], b"\xffone").unwrap();
    let all = |contents: &[Content]| Ok::<_, String>(contents.to_vec());
    let (mut reloaded, follow) = Reloaded::follow(paths.to_vec(), watching(), all).unwrap();
    tokio::spawn(follow);
    assert_eq!(*reloaded.get(), [Some(b"\xffone".to_vec()), None]);
    fs::write(&paths[1], "two").unwrap();
    let two = Some(b"two".to_vec());
    while reloaded.get()[1] != two {
        reloaded.changed().await;
    }
}

#[tokio::test]
async fn files_that_are_broken_at_the_start_are_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let started = Reloaded::follow(vec![path], watching(), number);
    assert!(matches!(started.err(), Some(Error::Read { .. })));
}

#[tokio::test]
async fn following_ends_with_the_last_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings");
    let (reloaded, follow) = Reloaded::follow(vec![path], watching(), number).unwrap();
    let task = tokio::spawn(follow);
    let clone = reloaded.clone();
    drop(reloaded);
    assert!(!task.is_finished());
    drop(clone);
    let ended = tokio::time::timeout(Duration::from_secs(10), task).await;
    ended.unwrap().unwrap();
}
