//! What is recorded and replayed: a boot that works, and every way in which one fails.

use harness::guests::{self, PROMPT};
use harness::{Step, Typing};
use std::ffi::OsString;

/// One kind of run.
#[derive(Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What vkernel is told.
    pub arguments: Vec<OsString>,
    /// What is on stdin.
    pub typing: Typing<'static>,
    /// What is typed at which prompt, on a live stdin.
    pub steps: &'static [Step<'static>],
    /// The exit status; `None` where the seed decides whether the guest fails.
    pub status: Option<i32>,
}

/// The names of all scenarios.
pub const NAMES: [&str; 8] = ["shell", "crash", "no-root", "init-exits", "triple", "hang", "storm", "demo"];

const SHELL: &[Step<'static>] = &[
    Step { prompt: PROMPT, typed: "dmesg | wc -l; find /sys | md5sum\n" },
    Step { prompt: "  -", typed: "" },
    Step { prompt: PROMPT, typed: "poweroff -f\n" },
];
const CRASH: &[Step<'static>] = &[Step { prompt: PROMPT, typed: "echo c > /proc/sysrq-trigger\n" }];
const HALT: &[Step<'static>] = &[Step { prompt: PROMPT, typed: "halt -f\n" }];

/// The scenario of this name in its `round`.
///
/// # Panics
/// If there is none, or a guest cannot be fetched or built.
pub fn scenario(name: &str, round: u32) -> Scenario {
    let name = NAMES.into_iter().find(|known| *known == name).expect("a name of the list");
    // Both numbers of vCPUs get their turn.
    let vcpus = ["1", "2"][round as usize % 2];
    let debian = |extra: &[&str]| {
        let mut options = vec!["-n", vcpus];
        options.extend(extra);
        guests::debian().boot(&options)
    };
    let quick = ["-e", "cryptomgr.notests=1"];
    let seed = round.to_string();
    let (arguments, typing, steps, status): (_, _, &[Step<'_>], _) = match name {
        "shell" => (debian(&[]), Typing::Live, SHELL, Some(0)),
        "crash" => (debian(&quick), Typing::Live, CRASH, Some(1)),
        "no-root" => (guests::debian().boot_without_initrd(&["-n", vcpus]), Typing::Nothing, &[], Some(1)),
        "init-exits" => (debian(&quick), Typing::File(b"exit 3\n"), &[], Some(1)),
        "triple" => {
            let typing = Typing::Pipe("echo b > /proc/sysrq-trigger\n");
            (debian(&[&quick[..], &["-e", "reboot=t"]].concat()), typing, &[], Some(1))
        }
        "hang" => (debian(&quick), Typing::Live, HALT, Some(1)),
        "storm" => {
            let kernel = guests::built("endings").into_os_string();
            let options = ["boot", "-n", "1", "--append", "unmapped", "--limit", "100Mi"];
            (options.iter().map(OsString::from).chain([kernel]).collect(), Typing::Nothing, &[], Some(1))
        }
        _ => {
            let vcpus = ["1", "2", "4", "16"][round as usize % 4];
            let options = ["boot", "-n", vcpus, "--seed", &seed, "demo:"];
            (options.iter().map(OsString::from).collect(), Typing::Nothing, &[], None)
        }
    };
    Scenario { name, arguments, typing, steps, status }
}
