//! docs/kernel-tests.md: the tests that Linux carries, run inside the same kernel here and under QEMU TCG.

use crate::initrd;
use crate::list::debian_with_modules;
use harness::{Vkernel, root};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(3600);
const QEMU: &str = "qemu-system-x86_64";

/// The words of both kernels' command lines. The vsyscall page is off in Debian's kernels; with it, its test tests.
const COMMAND_LINE: &str = "console=ttyS0 vsyscall=xonly";

/// Why a test fails here, if it does.
const EXPLAINED: &[(&str, &str)] = &[("amx_64", "neither processor has AMX; this one has no XSAVE at all")];

const HEAD: &str = "# Kernels' own tests

What Linux 6.1 carries to test itself, run inside Debian's 6.1 kernel with two vCPUs, here and under QEMU's TCG (`-cpu max`): the modules test_bpf,
test_user_copy and test_static_keys of the package, and all of tools/testing/selftests/x86 that its Makefile builds, as static programs of 64 and of 32 bits. The
initrd is the same in both. A program passes if it exits with 0 and printed no `[FAIL]`.

Made by `cargo build --release && cargo run --release -p kernels -- tests`, which ends badly if a test fails here that passes under TCG.

";

/// What each test came to, by name.
type Results = BTreeMap<String, String>;

/// What can be done by itself, as each takes long: the run here, the run under TCG, the page from what both left.
pub const PARTS: [&str; 3] = ["here", "tcg", "page"];

/// Does the parts that are named, or all.
///
/// # Errors
/// A test that passes under TCG does not pass here, or a guest did not come through.
pub fn run(program: &Path, parts: &[String]) -> Result<(), String> {
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let [here, tcg, page] = PARTS;
    if wanted(here) {
        keep(here, &under_vkernel(program)?)?;
    }
    if wanted(tcg) {
        keep(tcg, &under_tcg()?)?;
    }
    if wanted(page) { write_page(&results(&kept(here)?), &results(&kept(tcg)?)) } else { Ok(()) }
}

/// Where a console is kept.
fn console_path(part: &str) -> PathBuf {
    root().join("target").join(format!("kernel-tests-{part}.txt"))
}

fn keep(part: &str, console: &str) -> Result<(), String> {
    fs::write(console_path(part), console).map_err(|error| error.to_string())
}

fn kept(part: &str) -> Result<String, String> {
    let path = console_path(part);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write_page(here: &Results, tcg: &Results) -> Result<(), String> {
    if here.is_empty() || tcg.is_empty() {
        return Err("a guest did not come through: no results".to_owned());
    }
    fs::write(root().join("docs/kernel-tests.md"), page(here, tcg)).map_err(|error| error.to_string())?;
    let passes_here = |name: &String| here.get(name).is_some_and(|result| is_good(result));
    let passing = tcg.iter().filter(|(_, result)| is_good(result)).map(|(name, _)| name);
    let worse: Vec<&String> = passing.filter(|name| !passes_here(name)).collect();
    if worse.is_empty() { Ok(()) } else { Err(format!("these pass under TCG and not here: {worse:?}")) }
}

/// Boots, records, and replays.
fn under_vkernel(program: &Path) -> Result<String, String> {
    let (kernel, modules) = debian_with_modules();
    let vkernel = Vkernel::new(program).patient(PATIENCE);
    let mut arguments: Vec<OsString> = ["boot", "-n", "2", "--append", COMMAND_LINE].map(Into::into).into();
    arguments.extend(["--initrd".into(), initrd::with_tests(&modules).into(), kernel.into()]);
    let live = vkernel.run(&arguments);
    if live.status != 0 {
        return Err(format!("the tests did not come through: {live}"));
    }
    let replay = vkernel.run(&["replay", "latest"]);
    if replay.status != 0 || replay.stdout != live.stdout {
        return Err(format!("the replay differs: {replay}"));
    }
    Ok(live.console())
}

fn under_tcg() -> Result<String, String> {
    let (kernel, modules) = debian_with_modules();
    let mut qemu = Command::new("timeout");
    qemu.args(["3600", QEMU, "-accel", "tcg", "-cpu", "max", "-m", "1g", "-smp", "2", "-nodefaults"]);
    qemu.args(["-no-reboot", "-display", "none", "-serial", "stdio", "-append", COMMAND_LINE]);
    let initrd = initrd::packed(&initrd::with_tests(&modules));
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).stdin(Stdio::null());
    let output = qemu.output().map_err(|error| format!("{qemu:?}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_good(result: &str) -> bool {
    result == "passes" || result.contains(" 0 FAILED")
}

/// Reads `test: NAME status STATUS`, and the summary that test_bpf prints.
fn results(console: &str) -> Results {
    let mut results = Results::new();
    for line in console.lines() {
        if let Some((name, status)) = line.strip_prefix("test: ").and_then(|rest| rest.split_once(" status "))
        {
            let passes = status.trim() == "0";
            results.insert(name.to_owned(), if passes { "passes" } else { "fails" }.to_owned());
        } else if let Some((_, rest)) = line.split_once("test_bpf: ")
            && let Some((kind, summary)) = rest.split_once("Summary: ")
        {
            results.insert(
                format!("test_bpf: {}", kind.trim_end_matches([':', ' '])),
                summary.trim().to_owned(),
            );
        }
    }
    results
}

fn page(here: &Results, tcg: &Results) -> String {
    let mut page = HEAD.to_owned();
    let passed = |results: &Results| results.values().filter(|result| is_good(result)).count();
    writeln!(
        page,
        "{} of {} pass here, {} of {} under TCG.\n\n| test | vkernel | QEMU TCG | remark |\n|---|---|---|---|",
        passed(here),
        here.len(),
        passed(tcg),
        tcg.len()
    )
    .expect("a String");
    let names: BTreeSet<&String> = here.keys().chain(tcg.keys()).collect();
    for name in names {
        let [own, theirs] = [here, tcg].map(|results| results.get(name).map_or("no result", String::as_str));
        let remark = EXPLAINED.iter().find(|(test, _)| test == name).map_or("", |(_, why)| why);
        let remark = if is_good(own) { "" } else { remark };
        writeln!(page, "| {name} | {own} | {theirs} | {remark} |").expect("a String");
    }
    page
}
