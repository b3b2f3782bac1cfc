//! Runs a program under a seccomp filter that forbids io_uring, as container runtimes do.

use crate::Options;
use std::mem::offset_of;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Installs the filter and becomes the program.
pub(crate) fn run(options: &Options) {
    let numbers: &[libc::c_long] = match options.forbid.as_str() {
        "setup" => &[libc::SYS_io_uring_setup],
        "enter" => &[libc::SYS_io_uring_enter],
        "register" => &[libc::SYS_io_uring_register],
        "calls" => &[libc::SYS_io_uring_enter, libc::SYS_io_uring_register],
        "all" => &[
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ],
        _ => crate::usage(),
    };
    let Some((program, args)) = options.command.split_first() else {
        crate::usage()
    };
    install(numbers, options.errno);
    let error = Command::new(program).args(args).exec();
    crate::fail(format_args!("{program}: {error}"));
}

/// Lets the system calls with these numbers fail, in this process and all that come of it.
fn install(numbers: &[libc::c_long], errno: u32) {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let number = u32::try_from(offset_of!(libc::seccomp_data, nr)).unwrap();
    let statement = |code: u32, k: u32, jump: u8| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: jump,
        jf: 0,
        k,
    };
    let mut filter = vec![statement(LOAD, number, 0)];
    for (i, number) in numbers.iter().enumerate() {
        // Over the comparisons that follow, and over the statement that allows.
        let jump = u8::try_from(numbers.len() - i).unwrap();
        filter.push(statement(
            JUMP_IF_EQUAL,
            u32::try_from(*number).unwrap(),
            jump,
        ));
    }
    filter.push(statement(RETURN, libc::SECCOMP_RET_ALLOW, 0));
    filter.push(statement(RETURN, libc::SECCOMP_RET_ERRNO | errno, 0));

    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap(),
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: takes numbers.
    let failed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0;
    ensure!(
        !failed,
        "PR_SET_NO_NEW_PRIVS: {}",
        std::io::Error::last_os_error()
    );
    // SAFETY: the kernel copies the program, which lives until then.
    let failed = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    } != 0;
    ensure!(
        !failed,
        "PR_SET_SECCOMP: {}",
        std::io::Error::last_os_error()
    );
}
