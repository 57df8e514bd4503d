//! A Debian guest that has loaded a module, has told of itself from inside, and has then been crashed by sysrq-c.

use harness::guests::{self, Linux, PROMPT};
use harness::{Run, Step, Vkernel, files_below};
use std::fs;
use std::path::{Path, PathBuf};

/// Everything that a test compares with what the debugger says.
const TELL: &str = "insmod /dummy.ko; grep dummy /proc/modules; cat /sys/module/dummy/sections/.text; uname -r; \
                    grep -w 'dummy_[a-z_]*\\|init_task\\|jiffies' /proc/kallsyms; sleep 1000 & echo sleeper=$!; \
                    cat /proc/[0-9]*/stat; echo told-$((40+2))\n";

/// Debian's initrd with a module in it.
pub fn with_module(vkernel: &Vkernel) -> Linux {
    with_files(vkernel, &[&debian_module("drivers/net/dummy.ko")])
}

/// The file of a module of Debian's kernel, by the end of its path.
pub fn debian_module(end: &str) -> PathBuf {
    let package = guests::debian().kernel.ancestors().nth(2).expect("a package").join("lib/modules");
    files_below(&package, "ko").into_iter().find(|path| path.ends_with(end)).expect(end)
}

/// Debian's initrd with these files in its root.
pub fn with_files(vkernel: &Vkernel, files: &[&Path]) -> Linux {
    let linux = guests::debian();
    let initrd = vkernel.file("initrd-with-files");
    for file in ["init", "bin/busybox"] {
        fs::create_dir_all(initrd.join("bin")).expect("a folder");
        fs::copy(linux.initrd.join(file), initrd.join(file)).expect("copied");
    }
    for file in files {
        fs::copy(file, initrd.join(file.file_name().expect("a file"))).expect("copied");
    }
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
