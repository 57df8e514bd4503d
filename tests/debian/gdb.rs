//! The real gdb on a recording of Debian's stripped kernel, crashed by sysrq-c: it has no file with symbols, and gets what the
//! kernel carries in its memory: names by kallsyms, callers by ORC.

use super::crash::{crashed, with_module};
use crate::vkernel;
use harness::prompt::first_missing;

/// Commands of gdb, and texts that must follow each other in what they print.
const SESSION: [(&str, &[&str]); 12] = [
    (
        "bt",
        &[
            "#0 ",
            " in panic ()",
            "in sysrq_handle_crash ()",
            "in write_sysrq_trigger ()",
            "in vfs_write ()",
            "in ksys_write ()",
            "in do_syscall_64 ()",
            // The entry, which has saved what follows.
            "<signal handler called>",
            " in ?? ()",
        ],
    ),
    ("info threads", &["(vCPU ", ", sh (pid 1))"]),
    ("p (long)jiffies > 4294667296", &["= 1"]),
    ("x/s &linux_banner", &["Linux version 6.1.0-"]),
    ("break ksys_write if $rdx == 2", &["Breakpoint 1 at 0xffffffff"]),
    ("reverse-continue", &["Breakpoint 1, ", " in ksys_write ()"]),
    ("x/s $rsi", &["\"c\\n"]),
    ("delete", &[]),
    ("reverse-finish", &[" in __x64_sys_write ()"]),
    ("stepi", &[" in ksys_write ()"]),
    ("info symbol schedule", &["schedule in section .text"]),
    // What fails last is gdb's status.
    ("p $icount > 0", &["= 1"]),
];

#[test]
fn gdb_has_the_names_and_callers_of_a_stripped_kernel() {
    let vkernel = vkernel();
    let linux = with_module(&vkernel);
    crashed(&vkernel, &linux, &[]);
    let commands = SESSION.iter().flat_map(|(command, _)| ["-ex", command]);
    let run = vkernel
        .run(&["gdb", "latest-fail", "--", "-nx", "-batch"].into_iter().chain(commands).collect::<Vec<_>>());
    run.expect_status(0);
    let expected: Vec<&str> = SESSION.iter().flat_map(|(_, texts)| *texts).copied().collect();
    assert_eq!(first_missing(&run.console(), &expected), None, "{run}");
}
