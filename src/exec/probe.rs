//! The self-test's child: tries what a hostile renderer would try, and says what it could do.

use std::{
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

/// One thing that the self-test tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// `read a file outside of its stage`.
    pub(crate) what: String,
    /// It was kept from it, or could do what it must be able to.
    pub(crate) holds: bool,
}

/// The first argument of this program when it is to try.
pub(super) const WORD: &str = "__probe";

/// What is printed of something that was refused, ...
const REFUSED: &str = "refused";
/// ... and of something that was done.
const DONE: &str = "done";

/// Tries everything and prints a line each: what, and what came of it.
///
/// The arguments are a port of this machine where somebody listens, the bytes of memory that it
/// should not get twice, the directory of the scene, and files with secrets.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    let number = |at: usize| {
        arguments
            .get(at)
            .and_then(|text| text.to_str()?.parse().ok())
    };
    let (Some(port), Some(memory), Some(scene)) =
        (number(0), number(1), arguments.get(2).map(PathBuf::from))
    else {
        return ExitCode::FAILURE;
    };
    for (what, expected, done) in attempts(port, &scene, &arguments[3..]) {
        println!("{what}\t{expected}\t{}", if done { DONE } else { REFUSED });
    }
    // Last, and without another allocation after it: the allocator may have nothing left to give.
    if takes(memory) {
        println!("{TOO_MUCH}\t{REFUSED}\t{DONE}");
    } else {
        println!("{TOO_MUCH}\t{REFUSED}\t{REFUSED}");
    }
    ExitCode::SUCCESS
}

const TOO_MUCH: &str = "take more memory than it may have";

/// Whether twice as many bytes can be had. A stack is asked of the kernel at once, where an allocator
/// may reserve first and take later.
fn takes(bytes: u64) -> bool {
    let size = usize::try_from(bytes.saturating_mul(2)).unwrap_or(usize::MAX);
    let thread = std::thread::Builder::new().stack_size(size);
    thread.spawn(|| ()).is_ok_and(|it| it.join().is_ok())
}

/// What is tried, what should come of it, and whether it was done.
fn attempts(port: u64, scene: &Path, secrets: &[OsString]) -> Vec<(String, &'static str, bool)> {
    let reads = |path: &Path| fs::read(path).is_ok();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap_or(0)));
    let wait = Duration::from_secs(1);
    let mut all = vec![
        ("read its stage", DONE, reads(&scene.join("stage/marker"))),
        (
            "write its scratch directory",
            DONE,
            fs::write(scene.join("scratch/new"), "x").is_ok(),
        ),
        (
            "read a file outside of its stage",
            REFUSED,
            reads(&scene.join("marker")),
        ),
        (
            "read the stage of another render",
            REFUSED,
            reads(&scene.join("sibling/marker")),
        ),
        (
            "read its parent's environment",
            REFUSED,
            reads(Path::new(&format!(
                "/proc/{}/environ",
                std::os::unix::process::parent_id()
            ))),
        ),
        (
            "read its parent's memory",
            REFUSED,
            fs::File::open(format!("/proc/{}/mem", std::os::unix::process::parent_id())).is_ok(),
        ),
        (
            "write outside of its scratch directory",
            REFUSED,
            fs::write(scene.join("stage/new"), "x").is_ok(),
        ),
        (
            "connect to a port of this machine",
            REFUSED,
            TcpStream::connect_timeout(&address, wait).is_ok(),
        ),
        (
            "make a socket for datagrams",
            REFUSED,
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_ok(),
        ),
        (
            "make a local socket",
            REFUSED,
            UnixDatagram::unbound().is_ok(),
        ),
        ("start another process", REFUSED, starts_a_process()),
    ]
    .into_iter()
    .map(|(what, expected, done)| (what.to_owned(), expected, done))
    .collect::<Vec<_>>();
    for secret in secrets {
        let path = Path::new(secret);
        all.push((format!("read {}", path.display()), REFUSED, reads(path)));
    }
    all
}

fn starts_a_process() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "it is tried, and should not work"
    )]
    let started = std::process::Command::new("/proc/self/exe")
        .arg(WORD)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.is_ok_and(|mut child| child.wait().is_ok())
}

/// Reads what the child printed.
pub(super) fn read(output: &str) -> Vec<Check> {
    let lines = output.lines();
    let checks = lines.filter_map(|line| {
        let mut parts = line.split('\t');
        let (what, expected, came) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Check {
            what: what.to_owned(),
            holds: expected == came,
        })
    });
    checks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_without_sandbox_fails_the_test() {
        let scene = tempfile::tempdir().unwrap();
        for name in ["stage", "scratch", "sibling"] {
            fs::create_dir(scene.path().join(name)).unwrap();
            fs::write(scene.path().join(name).join("marker"), "x").unwrap();
        }
        fs::write(scene.path().join("marker"), "x").unwrap();
        let secret = scene.path().join("sibling/marker");
        let tried = attempts(1, scene.path(), &[secret.clone().into()]);
        assert!(takes(1 << 20));
        let text: String = tried
            .iter()
            .map(|(what, expected, done)| {
                let came = if *done { DONE } else { REFUSED };
                format!("{what}\t{expected}\t{came}\n")
            })
            .collect();
        let checks = read(&text);
        assert_eq!(checks.len(), tried.len());
        for what in [
            "read a file outside of its stage".to_owned(),
            "make a socket for datagrams".to_owned(),
            "start another process".to_owned(),
            format!("read {}", secret.display()),
        ] {
            let check = checks.iter().find(|check| check.what == what).unwrap();
            assert!(!check.holds, "{what}");
        }
        let stage = checks.iter().find(|check| check.what == "read its stage");
        assert!(stage.unwrap().holds);
    }
}
