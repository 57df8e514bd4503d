//! The real gdb on a Debian kernel with full debug information and the kernel's own scripts: a session on a recording that
//! sysrq-c ended, checked, and written to docs/gdb-session.md.

use crate::crashes::Crashed;
use crate::debug_info::tree;
use crate::list::CLOUD;
use harness::prompt::first_missing;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Commands of gdb, and texts that must follow each other in what it prints.
const SESSION: [(&str, &[&str]); 18] = [
    (
        "bt 9",
        &[
            "#0  panic (fmt=",
            "sysrq triggered crash",
            "at kernel/panic.c:",
            "#1 ",
            "sysrq_handle_crash (key=",
            "at drivers/tty/sysrq.c:",
            "__handle_sysrq (key=99",
            "write_sysrq_trigger",
            "vfs_write",
            "ksys_write (fd=",
            "count=2",
        ],
    ),
    ("info threads", &["* ", "(vCPU ", ", sh (pid 1))", "panic (fmt="]),
    (
        "reverse-finish",
        &["sysrq_handle_crash (key=", "at drivers/tty/sysrq.c:", "panic(\"sysrq triggered crash\\n\");"],
    ),
    ("p $lx_current().comm", &["= \"sh\", "]),
    ("p $lx_per_cpu(\"current_task\").pid", &["= 1"]),
    ("lx-version", &["Linux version 6.1."]),
    ("pipe lx-ps | head -4", &["TASK", "PID", "COMM", "swapper/0", " sh", "kthreadd"]),
    ("pipe lx-dmesg | tail -2", &["sysrq: Trigger a crash"]),
    ("watch -l jiffies_64", &["Hardware watchpoint 1: -location jiffies_64"]),
    (
        "reverse-continue",
        &[
            "Hardware watchpoint 1: -location jiffies_64",
            "Old value = ",
            "New value = ",
            "tick_do_update_jiffies64",
        ],
    ),
    ("bt 3", &["#0 ", "tick_do_update_jiffies64", "at kernel/time/tick-sched.c:", "tick_sched_do_timer"]),
    ("delete", &[]),
    ("reverse-stepi", &["jiffies_64"]),
    ("reverse-next", &[]),
    ("next", &[]),
    ("info registers rip cr3 efer", &["rip ", "<tick_", "cr3 ", "efer "]),
    ("monitor when", &["% of @", "guest time ", "vCPU 1: "]),
    ("monitor show all cpus", &[" 0 ", " 1 "]),
];

const HEAD: &str = "# A session of gdb on a Debian kernel

What gdb prints on a recording of Debian's 6.1 cloud kernel that `echo c > /proc/sysrq-trigger` ended: two vCPUs, KASLR as always. The vmlinux is the one
with debug information, beside it lie the kernel's own `vmlinux-gdb.py` and `scripts/gdb`, which `vkernel gdb` loads by itself:

```sh
vkernel gdb --symbols linux/vmlinux latest-fail
```

Made by `cargo build --release && cargo run --release -p kernels -- gdb`, which checks what every command prints. It fetches 900 MB and unpacks 2 GB once; with
`VKERNEL_DEBUG_VMLINUX=FILE` it takes a vmlinux that is there. Addresses, and when timers tick, differ from run to run.

```text
";

/// Makes the page.
///
/// # Errors
/// gdb printed something else, or could not be had.
pub fn run(program: &Path) -> Result<(), String> {
    let crashed = Crashed::boot(program, &CLOUD)?;
    session(program, &crashed).inspect_err(|_| crashed.vkernel.keep_recordings())
}

fn session(program: &Path, crashed: &Crashed) -> Result<(), String> {
    let release = crashed.console_line("6.1.0-").ok_or("no release")?;
    let tree = tree(&release);
    let script = crashed.vkernel.file("session.gdb");
    let mut text = format!("set width 0\nset directories {}\n", tree.display());
    for (command, _) in SESSION {
        writeln!(text, "echo (gdb) {}\\n\n{command}", command.replace('"', "\\\"")).expect("a String");
    }
    fs::write(&script, text).map_err(|error| error.to_string())?;
    let [vmlinux, script] = [tree.join("vmlinux"), script].map(|path| path.display().to_string());
    let arguments = ["gdb", "--symbols", &vmlinux, "latest-fail", "--", "-nx", "-batch", "-x", &script];
    // What monitor prints goes to stderr.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(program).args(arguments).stdin(Stdio::null());
    let printed = harness::must(command.env("VKERNEL_DIR", crashed.vkernel.file("")));
    let page = checked(&printed)?;
    fs::write(harness::root().join("docs/gdb-session.md"), page).map_err(|error| error.to_string())
}

/// The page, if every command printed what it should.
fn checked(printed: &str) -> Result<String, String> {
    let mut page = HEAD.to_owned();
    let mut parts = printed.split("(gdb) ").skip(1);
    for (command, expected) in SESSION {
        let part = parts.next().and_then(|part| part.strip_prefix(command)).ok_or(format!("no {command}"))?;
        if let Some(missing) = first_missing(part, expected) {
            return Err(format!("{command}: {missing:?} should follow in\n{part}"));
        }
        write!(page, "(gdb) {command}{part}").expect("a String");
    }
    // What gdb says of its end is no part of the session.
    let end = page.rfind("[Inferior 1").unwrap_or(page.len());
    page.truncate(end);
    Ok(page.trim_end().to_owned() + "\n```\n")
}
