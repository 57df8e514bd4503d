//! The privileged matrix (tests/guests/privmatrix) here and under QEMU: every line that differs must be
//! explained by a reviewed class of [`classes`].

mod classes;
mod judge;

use crate::support::root;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the debug-exit port makes of the guest's 0.
const FINISHED: i32 = 1;

/// Builds the guest; gives its path.
fn build(folder: &Path) -> PathBuf {
    let script = root().join("tests/guests/build.sh");
    let status = Command::new(&script).arg(folder).arg("privmatrix").stdout(Stdio::null()).status();
    let status = status.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(status.success(), "{} {} privmatrix: {status}", script.display(), folder.display());
    folder.join("privmatrix.elf")
}

/// Runs to the guest's end, for a minute at most; gives its console.
fn console(mut command: Command) -> String {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{shown}: {error} (the tests need qemu-system-x86, see .ci/run)");
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(FINISHED), "{shown}: {errors}");
    assert!(text.contains("# end"), "{shown} did not come to its end:\n{errors}");
    text
}

fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["60", program]);
    command
}

#[test]
fn every_difference_to_qemu_on_the_privileged_matrix_is_justified_by_the_manual() {
    let folder = tempfile::tempdir().expect("a folder");
    let kernel = build(folder.path());
    let mut here = limited(env!("CARGO_BIN_EXE_vkernel"));
    here.env("VKERNEL_DIR", folder.path().join("store")).arg("boot").arg(&kernel);
    let mut there = limited("qemu-system-x86_64");
    there.args("-accel tcg -cpu max -m 128 -display none -serial stdio -no-reboot".split(' '));
    there.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel"]).arg(&kernel);
    let verdict = judge::compare(&console(here), &console(there));
    let listed: String = verdict
        .unexplained
        .iter()
        .take(20)
        .map(|(ours, theirs)| format!("vkernel {ours}\nqemu    {theirs}\n"))
        .collect();
    let how = "to see all: tests/guests/build.sh OUT privmatrix, and the commands of tests/guests/privmatrix/README.md";
    let count = verdict.unexplained.len();
    assert_eq!(
        count, 0,
        "of {} differing lines {count} are not explained; {how}\n{listed}",
        verdict.differing
    );
    assert_eq!(verdict.idle(), Vec::<&str>::new(), "classes that no longer occur");
}

#[test]
fn both_engines_agree_on_the_privileged_matrix() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lockstep = limited(env!("CARGO_BIN_EXE_vkernel"));
    lockstep.env("VKERNEL_DIR", folder.path().join("store")).args(["boot", "--engine", "lockstep"]);
    lockstep.arg(build(folder.path()));
    console(lockstep);
}

#[test]
fn an_unexplained_difference_is_found_and_an_explained_one_is_named() {
    let same = "walk pte p---- 0r: ok/f 3r: pf(5)+0/0";
    let verdict = judge::compare(same, "walk pte p---- 0r: ok/f 3r: pf(5)+0/e");
    assert_eq!(verdict.explained.get("accessed bits of a walk that faults"), Some(&1));
    for wrong in [
        "walk pte p---- 0r: ok/e 3r: pf(5)+0/e",
        "walk pte p---- 0r: ok/f 3r: pf(7)+0/e",
        "walk pte p---- 0r: ok/f 3r: gp(0)+0",
        "",
    ] {
        assert_eq!(judge::compare(same, wrong).unexplained.len(), 1, "{wrong}");
    }
    assert!(classes::CLASSES.iter().all(|class| !class.manual.is_empty()));
}
