//! crash and drgn, as distributed, on dumps of a recording of Debian's kernel with its full debug information: at the failure,
//! and at the end, when the panic has named its CPU.

use crate::crashes::Crashed;
use crate::debug_info::tree;
use crate::list::CLOUD;
use harness::Typing;
use harness::prompt::first_missing;
use std::fs;
use std::path::Path;

const CRASH: &str = "sys\nbt\nlog\nquit\n";

/// What crash must print, in this order.
const CRASH_PRINTS: [&str; 14] = [
    "RELEASE: 6.1.",
    "PANIC: \"Kernel panic - not syncing: sysrq triggered crash\"",
    "COMMAND: \"sh\"",
    "#0 [",
    "] panic at ",
    "] sysrq_handle_crash at ",
    "] __handle_sysrq",
    "] write_sysrq_trigger at ",
    "] vfs_write at ",
    "] ksys_write at ",
    "] entry_SYSCALL_64_after_hwframe at ",
    "ORIG_RAX: 0000000000000001",
    "Linux version 6.1.",
    "sysrq: Trigger a crash",
];

const DRGN: &str = "\
from drgn.helpers.linux import for_each_task, get_dmesg
print('release', prog['UTS_RELEASE'].string_().decode())
tasks = [(task.pid.value_(), task.comm.string_().decode()) for task in for_each_task(prog)]
print('tasks', tasks[:2], 'and sleep' if 'sleep' in dict(map(reversed, tasks)) else '', len(tasks) > 30)
print('stack', prog.stack_trace(1))
print('log', get_dmesg(prog).decode().splitlines()[-1])
";

/// What drgn must print, in this order.
const DRGN_PRINTS: [&str; 9] = [
    "release 6.1.",
    "tasks [(1, 'sh'), (2, 'kthreadd')] and sleep True",
    "stack #0  panic (kernel/panic.c:",
    "sysrq_handle_crash (drivers/tty/sysrq.c:",
    "write_sysrq_trigger (drivers/tty/sysrq.c:",
    "vfs_write (fs/read_write.c:",
    "entry_SYSCALL_64",
    "log [",
    "sysrq: Trigger a crash",
];

/// What drgn must say of a panic that has come to its end.
const CRASHED_PRINTS: [&str; 2] = ["crashed 1 0x0", "sysrq_handle_crash (drivers/tty/sysrq.c:"];
const DRGN_CRASHED: &str = "\
thread = prog.crashed_thread()
print('crashed', thread.tid, hex(thread.object.exit_code.value_()), thread.stack_trace())
";

/// Has both tools read dumps.
///
/// # Errors
/// One printed something else, or is not there (packages crash and drgn).
pub fn run(program: &Path) -> Result<(), String> {
    let crashed = Crashed::boot(program, &CLOUD)?;
    tools(&crashed).inspect_err(|_| crashed.vkernel.keep_recordings())
}

fn tools(crashed: &Crashed) -> Result<(), String> {
    let release = crashed.console_line("6.1.0-").ok_or("no release")?;
    let vmlinux = tree(&release).join("vmlinux").display().to_string();
    let read = |tool: &str, at: &str, options: &[&str], script: &str, texts: &[&str]| {
        let file = crashed.vkernel.file("script");
        fs::write(&file, script).map_err(|error| error.to_string())?;
        let file = file.display().to_string();
        let arguments =
            [&[tool, "--at", at, "--symbols", &vmlinux, "latest", "--"], options, &[&file]].concat();
        let run = crashed.vkernel.run_with(&arguments, Typing::Nothing);
        let printed = run.console();
        match first_missing(&printed, texts) {
            None if run.status == 0 => {
                println!("{tool} at {at}: as it should\n{printed}");
                Ok(())
            }
            missing => Err(format!("{tool} at {at}: {missing:?} should follow in\n{printed}\n{run}")),
        }
    };
    read("drgn", "@fail", &["-q"], DRGN, &DRGN_PRINTS)?;
    read("drgn", "@end", &["-q"], DRGN_CRASHED, &CRASHED_PRINTS)?;
    read("crash", "@end", &["-s", "--no_scroll", "-i"], CRASH, &CRASH_PRINTS)
}
