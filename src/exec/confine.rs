//! The inside of the sandbox: what this program does to itself, as a fresh process, before it
//! becomes a renderer. Everything it takes away is gone for good, also for what it becomes.
//!
//! | taken away | by |
//! |---|---|
//! | every file but the stage, the scratch directory, the tool and the system's libraries | Landlock |
//! | TCP, signals and abstract sockets to the outside | Landlock, as far as the kernel has it |
//! | sockets, new processes, ptrace, mounts, namespaces, keyrings, bpf, io_uring | seccomp |
//! | memory, processor time, size of files, open files, core dumps | resource limits |
//! | new privileges, a life after its parent | `prctl` |
//!
//! New processes are refused by the filter and not by `RLIMIT_NPROC`: that limit counts what all
//! pods of the same user id run on the node, so a busy neighbour would make renders fail.

use std::{
    ffi::{OsStr, OsString},
    fmt::Display,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::ExitCode,
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::filter;

/// The first argument of this program when it is to become a confined child.
pub(super) const WORD: &str = "__confined";
/// The exit code of a child that could not be confined, and so never became the tool.
pub(super) const UNCONFINED: i32 = 125;

/// The newest rights that are asked for; older kernels give what they have.
const NEWEST: ABI = ABI::V7;
/// What every program may read: its libraries, time zones, and the devices without content.
const SYSTEM: [&str; 9] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
];
/// Open files of a child.
const OPEN_FILES: u64 = 256;

/// What a child may have, as it is handed over on its command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// It ends unless this process is its parent.
    pub(super) parent: u32,
    /// Directories and files to read.
    pub(super) read: Vec<PathBuf>,
    /// Directories to write.
    pub(super) write: Vec<PathBuf>,
    /// Bytes of private memory.
    pub(super) memory: u64,
    /// Seconds of processor time.
    pub(super) processor: u64,
    /// Bytes of one file.
    pub(super) file_size: u64,
    /// It runs also where the kernel has no Landlock.
    pub(super) lenient: bool,
}

impl Rights {
    /// The arguments that bring these rights and a command into the child.
    pub(super) fn to_arguments(&self, program: &OsStr, arguments: &[OsString]) -> Vec<OsString> {
        let mut all: Vec<OsString> = vec![WORD.into()];
        for (name, number) in [
            ("--parent", u64::from(self.parent)),
            ("--memory", self.memory),
            ("--processor", self.processor),
            ("--file-size", self.file_size),
        ] {
            all.extend([name.into(), number.to_string().into()]);
        }
        for (name, paths) in [("--read", &self.read), ("--write", &self.write)] {
            for path in paths {
                all.extend([name.into(), path.into()]);
            }
        }
        if self.lenient {
            all.push("--lenient".into());
        }
        all.extend(["--".into(), program.into()]);
        all.extend_from_slice(arguments);
        all
    }

    /// The rights, and the command behind them.
    fn of_arguments(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<(Self, Vec<OsString>), String> {
        let mut rights = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            if name == "--" {
                return Ok((rights, arguments.collect()));
            }
            if name == "--lenient" {
                rights.lenient = true;
                continue;
            }
            let value = arguments.next().ok_or("a value is missing")?;
            let number = || {
                let text = value.to_str().and_then(|text| text.parse().ok());
                text.ok_or_else(|| format!("{} needs a number", name.display()))
            };
            match name.to_str() {
                Some("--read") => rights.read.push(value.into()),
                Some("--write") => rights.write.push(value.into()),
                Some("--memory") => rights.memory = number()?,
                Some("--processor") => rights.processor = number()?,
                Some("--file-size") => rights.file_size = number()?,
                Some("--parent") => {
                    rights.parent = u32::try_from(number()?).map_err(|_| "--parent is no pid")?;
                }
                _ => return Err(format!("unknown argument {}", name.display())),
            }
        }
        Err("no command is given".to_owned())
    }
}

/// Confines this process and becomes the command. Returns only when something went wrong.
pub(super) fn become_confined(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (rights, command) = match Rights::of_arguments(arguments) {
        Ok(parsed) => parsed,
        Err(why) => return refuse("read its rights", why),
    };
    let [program, arguments @ ..] = command.as_slice() else {
        return refuse("read its rights", "no program is given");
    };
    if let Err((doing, why)) = confine(&rights, program) {
        return refuse(doing, why);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this process is the child that exec::run started"
    )]
    let error = std::process::Command::new(program).args(arguments).exec();
    refuse("become the program", error)
}

#[expect(clippy::print_stderr, reason = "the parent reads it")]
fn refuse(doing: &str, why: impl Display) -> ExitCode {
    eprintln!("sandbox: could not {doing}: {why}");
    ExitCode::from(u8::try_from(UNCONFINED).unwrap_or(1))
}

type Step = Result<(), (&'static str, String)>;

fn step<T, E: Display>(doing: &'static str, result: Result<T, E>) -> Step {
    result.map(drop).map_err(|why| (doing, why.to_string()))
}

fn confine(rights: &Rights, program: &OsStr) -> Step {
    step("give up new privileges", prctl::set_no_new_privs())?;
    step(
        "end with its parent",
        prctl::set_pdeathsig(Some(Signal::SIGKILL)),
    )?;
    if u32::try_from(getppid().as_raw()).ok() != Some(rights.parent) {
        return Err(("end with its parent", "it has another parent".to_owned()));
    }
    for (resource, limit) in [
        (Resource::RLIMIT_DATA, rights.memory),
        (Resource::RLIMIT_FSIZE, rights.file_size),
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
        (Resource::RLIMIT_CORE, 0),
    ] {
        step("limit its resources", setrlimit(resource, limit, limit))?;
    }
    // A second more until it is killed: the first signal names the reason.
    let processor = rights.processor;
    let limited = setrlimit(Resource::RLIMIT_CPU, processor, processor + 1);
    step("limit its processor time", limited)?;
    restrict_files(rights, program)?;
    let applied = seccompiler::apply_filter(&filter::program());
    step("filter its system calls", applied)
}

fn step_value<T, E: Display>(
    doing: &'static str,
    result: Result<T, E>,
) -> Result<T, (&'static str, String)> {
    result.map_err(|why| (doing, why.to_string()))
}

fn restrict_files(rights: &Rights, program: &OsStr) -> Step {
    const DOING: &str = "restrict itself by Landlock";
    let landlock = || {
        let read = AccessFs::from_read(NEWEST);
        let system = SYSTEM.iter().map(AsRef::as_ref).chain([program]);
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            // What is not there is passed over: it cannot be read either.
            .add_rules(path_beneath_rules(system, read))?
            .add_rules(path_beneath_rules(&rights.read, read & !AccessFs::Execute))?
            .add_rules(path_beneath_rules(
                &rights.write,
                AccessFs::from_all(NEWEST) & !AccessFs::Execute,
            ))?
            .restrict_self()
    };
    let status: Result<_, landlock::RulesetError> = landlock();
    let status = step_value(DOING, status)?;
    if status.ruleset == RulesetStatus::NotEnforced && !rights.lenient {
        return Err((DOING, "this kernel has no Landlock".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_survive_the_way_into_the_child() {
        let rights = Rights {
            parent: 7,
            read: vec!["/stage".into(), "/a b".into()],
            write: vec!["/scratch".into()],
            memory: 1 << 28,
            processor: 20,
            file_size: 1 << 20,
            lenient: true,
        };
        let arguments = ["--read".into(), "--".into(), "x".into()];
        let all = rights.to_arguments("/bin/tool".as_ref(), &arguments);
        assert_eq!(all[0], WORD);
        let (parsed, command) = Rights::of_arguments(all.into_iter().skip(1)).unwrap();
        assert_eq!(parsed, rights);
        assert_eq!(command, ["/bin/tool", "--read", "--", "x"]);
    }

    #[test]
    fn what_is_not_understood_starts_nothing() {
        for given in [
            &["--read"][..],
            &["--memory", "much", "--", "x"],
            &["--parent", "4294967296", "--", "x"],
            &["--unknown", "1", "--", "x"],
            &["--memory", "1"],
        ] {
            let given = given.iter().map(OsString::from);
            assert!(Rights::of_arguments(given.clone()).is_err(), "{given:?}");
        }
    }
}
