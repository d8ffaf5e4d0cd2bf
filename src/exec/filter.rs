//! The filter of system calls: lets everything through but what a renderer has no use for and an
//! attacker has.
//!
//! It is one short program that halves the numbers in question: whenever a child is confined, the
//! kernel translates it and runs it once for every system call there is, which is a part of what a
//! launch costs.

use nix::libc;
use seccompiler::{BpfProgram, sock_filter};

/// The architecture that numbers of system calls are of, as the kernel's audit names it.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xC000_00F3;

/// From here on numbers are of a second set, the calls of programs with short pointers, which some
/// kernels of x86-64 have and no renderer uses. It would lead around everything below.
const SECOND_SET: u32 = 0x4000_0000;
/// Flag of `clone` that makes a thread.
const CLONE_THREAD: u32 = 0x0001_0000;

/// Where the kernel puts what a program judges: the number, the architecture, and the lower half of
/// the first argument.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const FIRST_ARGUMENT_AT: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
/// As if the kernel had no such call.
const HIDE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// The program for the kernel.
pub(super) fn program() -> BpfProgram {
    let mut program = vec![
        load(ARCHITECTURE_AT),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(KILL),
        load(NUMBER_AT),
    ];
    // Its flags are behind a pointer, where no filter sees them: C libraries fall back to `clone`
    // when it seems not to exist.
    for (how, number) in [
        (libc::BPF_JGE, SECOND_SET),
        (libc::BPF_JEQ, number(libc::SYS_clone3)),
    ] {
        program.extend([jump(how, number, 0, 1), answer(HIDE)]);
    }
    // A new thread is wanted, a new process is not.
    program.extend([
        jump(libc::BPF_JEQ, number(libc::SYS_clone), 0, 4),
        load(FIRST_ARGUMENT_AT),
        jump(libc::BPF_JSET, CLONE_THREAD, 0, 1),
        answer(ALLOW),
        answer(REFUSE),
    ]);
    let mut refused: Vec<u32> = REFUSED.iter().map(|call| number(*call)).collect();
    refused.sort_unstable();
    program.extend(search(&refused));
    program
}

/// Refuses these numbers, which are sorted, and allows the others: halves them until few are left.
fn search(refused: &[u32]) -> BpfProgram {
    const FEW: usize = 6;
    if refused.len() > FEW {
        let (lower, upper) = refused.split_at(refused.len() / 2);
        let (pivot, lower, upper) = (upper[0], search(lower), search(upper));
        let mut all = vec![jump(libc::BPF_JGE, pivot, short(lower.len()), 0)];
        all.extend([lower, upper].concat());
        return all;
    }
    let over = (1..=refused.len()).rev();
    let mut all: BpfProgram = over
        .zip(refused)
        .map(|(over, number)| jump(libc::BPF_JEQ, *number, short(over), 0))
        .collect();
    all.extend([answer(ALLOW), answer(REFUSE)]);
    all
}

/// Jumps go over 255 instructions at most; a test compares what the program answers.
fn short(over: usize) -> u8 {
    u8::try_from(over).unwrap_or(u8::MAX)
}

/// Numbers are small.
const fn number(call: i64) -> u32 {
    call.unsigned_abs() as u32
}

const fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

/// Compares, and goes on so many instructions further: where it is so, and where it is not.
const fn jump(how: u32, with: u32, so: u8, not: u8) -> sock_filter {
    instruction(libc::BPF_JMP | how | libc::BPF_K, with, so, not)
}

const fn answer(what: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, what, 0, 0)
}

const fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

/// System calls that are refused whatever their arguments are.
const REFUSED: &[i64] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_memfd_create,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_personality,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };

    use super::*;

    /// What a program answers, as the kernel would run it.
    fn judge(program: &[sock_filter], architecture: u32, number: u32, first: u64) -> u32 {
        let mut value = 0;
        let mut at = 0;
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            let code = u32::from(code);
            let is_so = match code & 0xf0 {
                libc::BPF_JEQ => value == k,
                libc::BPF_JGE => value >= k,
                libc::BPF_JSET => value & k != 0,
                _ => false,
            };
            at += 1;
            match code & 0x07 {
                libc::BPF_LD => {
                    value = match k {
                        NUMBER_AT => number,
                        ARCHITECTURE_AT => architecture,
                        FIRST_ARGUMENT_AT => u32::try_from(first & 0xffff_ffff).unwrap(),
                        20 => u32::try_from(first >> 32).unwrap(),
                        _ => panic!("reads at {k}"),
                    };
                }
                libc::BPF_ALU if code == libc::BPF_ALU | libc::BPF_AND => value &= k,
                libc::BPF_JMP if code == libc::BPF_JMP | libc::BPF_JA => at += k as usize,
                libc::BPF_JMP => at += usize::from(if is_so { jt } else { jf }),
                libc::BPF_RET => return k,
                _ => panic!("does {code:#x}"),
            }
        }
    }

    fn of_here(call: i64, first: u64) -> u32 {
        judge(&program(), ARCHITECTURE, number(call), first)
    }

    #[test]
    fn every_call_has_its_answer() {
        for call in REFUSED {
            assert_eq!(of_here(*call, 0), REFUSE, "{call}");
        }
        let thread = u64::from(CLONE_THREAD);
        for (call, first, answer) in [
            (libc::SYS_read, 0, ALLOW),
            (libc::SYS_openat, 0, ALLOW),
            (libc::SYS_execve, 0, ALLOW),
            (libc::SYS_mmap, 0, ALLOW),
            (libc::SYS_clone, thread, ALLOW),
            (libc::SYS_clone, thread | 0x003d_0f00, ALLOW),
            (libc::SYS_clone, 0, REFUSE),
            (libc::SYS_clone, 0x0100_0011, REFUSE),
            (libc::SYS_clone, thread << 32, REFUSE),
            (libc::SYS_clone3, 0, HIDE),
            (0x3fff_ffff, 0, ALLOW),
            // The second set: `socket`, and all others.
            (i64::from(SECOND_SET) + libc::SYS_socket, 0, HIDE),
            (i64::from(SECOND_SET), 0, HIDE),
            (i64::from(u32::MAX), 0, HIDE),
        ] {
            assert_eq!(of_here(call, first), answer, "{call:#x} {first:#x}");
        }
        for other in [0x4000_0003, 0, ARCHITECTURE ^ 1] {
            assert_eq!(judge(&program(), other, 0, 0), KILL, "{other:#x}");
        }
    }

    /// The library's own compiler says the same, at three times the length.
    #[test]
    fn it_is_what_the_rules_come_to() {
        let compiled = |rules: BTreeMap<i64, Vec<SeccompRule>>, answer: i32| -> BpfProgram {
            let (allow, refuse) = (
                SeccompAction::Allow,
                SeccompAction::Errno(answer.cast_unsigned()),
            );
            let arch = std::env::consts::ARCH.try_into().unwrap();
            let filter = SeccompFilter::new(rules, allow, refuse, arch).unwrap();
            filter.try_into().unwrap()
        };
        let (length, thread) = (SeccompCmpArgLen::Qword, u64::from(CLONE_THREAD));
        let no_thread = SeccompCondition::new(0, length, SeccompCmpOp::MaskedEq(thread), 0);
        let mut rules: BTreeMap<_, _> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
        let rule = SeccompRule::new(vec![no_thread.unwrap()]).unwrap();
        rules.insert(libc::SYS_clone, vec![rule]);
        let refused = compiled(rules, libc::EPERM);
        let hidden = compiled(
            BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
            libc::ENOSYS,
        );
        assert!(program().len() < refused.len() / 2);
        for call in 0..2000 {
            for first in [0, thread, thread | 0x11, 0x11, thread << 32, u64::MAX] {
                let all = [&refused, &hidden].map(|it| judge(it, ARCHITECTURE, call, first));
                // The kernel takes the strictest, which is the smallest of these.
                let expected = all.into_iter().min().unwrap();
                let ours = judge(&program(), ARCHITECTURE, call, first);
                assert_eq!(ours, expected, "{call} {first:#x}");
            }
        }
    }
}
