//! A kernel with a shell, crashed by sysrq-c, and its recording.

use crate::boots::expect;
use crate::list::Kernel;
use harness::guests::{self, Linux, PROMPT};
use harness::{Run, Step, Vkernel, must};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is typed: a module is loaded if there is one, and some processes sleep.
const TELL: &str =
    "test -e /dummy.ko && insmod /dummy.ko; cat /proc/modules; uname -r; sleep 1000 & echo told-$((40+2))\n";

/// A recording in a store of its own, and its boot.
pub struct Crashed {
    /// Whose store has it.
    pub vkernel: Vkernel,
    /// The boot.
    pub run: Run,
}

impl Crashed {
    /// Boots `kernel` with two vCPUs, and crashes it.
    ///
    /// # Errors
    /// It ended in another way.
    pub fn boot(program: &Path, kernel: &Kernel) -> Result<Crashed, String> {
        let vkernel = Vkernel::new(program);
        let initrd = vkernel.file("initrd");
        let linux = guests::debian();
        fill(&linux.initrd, &initrd, kernel.module("dummy"));
        let linux = Linux { kernel: kernel.image(), initrd };
        let steps = [
            Step { prompt: PROMPT, typed: TELL },
            Step { prompt: "told-42", typed: "" },
            Step { prompt: PROMPT, typed: "echo c > /proc/sysrq-trigger\n" },
        ];
        let options = ["-e", "cryptomgr.notests=1", "-n", "2", "-m", "256m"];
        let run = vkernel.run_with_steps(&linux.boot(&options), &steps);
        expect(&run, run.status == 1, "no crash")?;
        Ok(Crashed { vkernel, run })
    }

    /// What the guest's shell printed as this line's first words.
    #[must_use]
    pub fn console_line(&self, start: &str) -> Option<String> {
        self.run.console().lines().find(|line| line.starts_with(start)).map(|line| line.trim().to_owned())
    }
}

fn fill(from: &Path, to: &Path, module: Option<PathBuf>) {
    fs::create_dir_all(to.join("bin")).expect("a folder");
    for file in ["init", "bin/busybox"] {
        fs::copy(from.join(file), to.join(file)).expect("copied");
    }
    let Some(module) = module else { return };
    let name = if module.extension().is_some_and(|end| end == "xz") { "dummy.ko.xz" } else { "dummy.ko" };
    fs::copy(module, to.join(name)).expect("copied");
    if name.ends_with(".xz") {
        must(Command::new("xz").arg("-d").arg(to.join(name)));
    }
}
