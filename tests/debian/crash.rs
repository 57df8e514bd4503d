//! A Debian guest that has loaded a module, has told of itself from inside, and has then been crashed by sysrq-c.

use harness::guests::{self, Linux, PROMPT};
use harness::{Run, Step, Vkernel, files_below};
use std::fs;

/// Everything that a test compares with what the debugger says.
const TELL: &str = "insmod /dummy.ko; grep dummy /proc/modules; cat /sys/module/dummy/sections/.text; uname -r; \
                    grep -w 'dummy_[a-z_]*\\|init_task\\|jiffies' /proc/kallsyms; sleep 1000 & echo sleeper=$!; \
                    cat /proc/[0-9]*/stat; echo told-$((40+2))\n";

/// Debian's initrd with a module in it.
pub fn with_module(vkernel: &Vkernel) -> Linux {
    let linux = guests::debian();
    let package = linux.kernel.parent().and_then(|boot| boot.parent()).expect("a package");
    let modules = files_below(&package.join("lib/modules"), "ko");
    let module = modules.iter().find(|path| path.ends_with("drivers/net/dummy.ko")).expect("dummy.ko");
    let initrd = vkernel.file("initrd-with-module");
    for file in ["init", "bin/busybox"] {
        fs::create_dir_all(initrd.join("bin")).expect("a folder");
        fs::copy(linux.initrd.join(file), initrd.join(file)).expect("copied");
    }
    fs::copy(module, initrd.join("dummy.ko")).expect("copied");
    Linux { initrd, ..linux }
}

/// Boots it with two vCPUs and `more`, and crashes it.
pub fn crashed(vkernel: &Vkernel, linux: &Linux, more: &[&str]) -> Run {
    let steps = [
        Step { prompt: PROMPT, typed: TELL },
        Step { prompt: "told-42", typed: "" },
        Step { prompt: PROMPT, typed: "echo c > /proc/sysrq-trigger\n" },
    ];
    let options = [&["-e", "cryptomgr.notests=1", "-n", "2"], more].concat();
    let run = vkernel.run_with_steps(&linux.boot(&options), &steps);
    run.expect_status(1);
    run
}

/// The console's line that has `text`.
pub fn line<'a>(console: &'a str, text: &str) -> &'a str {
    console.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {console}"))
}
