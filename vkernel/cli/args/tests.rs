//! What the command line promises.

use super::*;
use crate::args::boot::{Clock, Engine, FailOn, Keep, OnFail};
use crate::args::values::{CpuLock, Limit};
use crate::exit::ExitStatus;
use boundary::{Icount, Topology};

fn parsed(line: &str) -> Result<Command, Stop> {
    parse(line.split_whitespace().map(OsString::from).collect())
}

fn boot(line: &str) -> BootArgs {
    match parsed(line) {
        Ok(Command::Boot(boot)) => *boot,
        other => panic!("{line}: {other:?}"),
    }
}

/// The status and message of a refusal.
fn refused(line: &str) -> (u8, String) {
    match parsed(line) {
        Err(Stop::Error(error)) => (ExitStatus::of_error(&error).code(), error.to_string()),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn definitions_are_consistent() {
    command().debug_assert();
}

#[test]
fn without_subcommand_boot_is_meant() {
    for line in ["bzImage", "boot bzImage", "-m 1g bzImage", "bzImage -m 1g", "boot -- bzImage"] {
        assert_eq!(boot(line).kernel, Some(PathBuf::from("bzImage")), "{line}");
    }
    assert_eq!(boot("./ls").kernel, Some(PathBuf::from("./ls")));
    assert_eq!(boot("demo:").kernel, Some(PathBuf::from("demo:")));
    assert!(matches!(parsed("demo"), Ok(Command::Demo(_))));
}

#[test]
fn the_letters_of_vkernel_7_mean_what_they_mean_there() {
    let boot = boot("-svtz -e a=1:b='x:y' -e c=2 -l map,1 -m 512m -n 4:1:1 -p /run/pid kernel");
    assert!(boot.guest.single_user && boot.guest.verbose);
    assert!(boot.machine.precise_clock && boot.machine.prefault);
    let words: Vec<String> =
        boot.guest.environment.into_iter().flat_map(|environment| environment.0).collect();
    assert_eq!(words, ["a=1", "b=x:y", "c=2"]);
    assert_eq!(boot.machine.cpu_lock, CpuLock::Cpu(1));
    assert_eq!(boot.machine.ram_bytes, 512 << 20);
    assert_eq!(boot.machine.topology, Topology { vcpus: 4, thread_bits: 1, core_bits: 1 });
    assert_eq!(boot.machine.pidfile, Some("/run/pid".into()));
}

#[test]
fn defaults_are_those_of_the_design() {
    let boot = boot("kernel");
    assert_eq!(boot.machine.ram_bytes, 1 << 30);
    assert_eq!(boot.machine.topology, Topology { vcpus: 2, thread_bits: 0, core_bits: 1 });
    assert_eq!((boot.machine.clock, boot.machine.seed, boot.machine.engine), (None, 0, Engine::Interp));
    assert_eq!((boot.recording.keep, boot.recording.no_record), (Keep::All, false));
    assert_eq!((boot.judgement.fail_on, boot.judgement.on_fail), (FailOn::Panic, OnFail::Exit));
}

#[test]
fn long_options_are_taken() {
    let boot = boot(
        "--initrd a --initrd b --append -x --trace t --keep failed --clock virtual --seed 0x10 --engine lockstep \
         --expect -ok --fail BUG --fail oops --fail-on warn --on-fail go --limit 10Gi --ok-exit 5 --no-reboot \
         --symbols vmlinux --module m:cmd kernel",
    );
    assert_eq!(boot.guest.initrd, [PathBuf::from("a"), PathBuf::from("b")]);
    assert_eq!(boot.guest.append, ["-x"]);
    assert_eq!((boot.machine.clock, boot.machine.seed), (Some(Clock::Virtual), 16));
    assert_eq!(boot.machine.engine, Engine::Lockstep);
    assert_eq!(boot.judgement.expect.as_deref(), Some("-ok"));
    assert_eq!(boot.judgement.fail, ["BUG", "oops"]);
    assert_eq!(boot.judgement.limit, Some(Limit::Instructions(Icount(10_000_000_000))));
    assert_eq!(boot.judgement.ok_exit, Some(5));
    assert!(boot.judgement.no_reboot);
}

#[test]
fn nothing_to_boot_is_usage_and_never_a_silent_success() {
    for line in ["", "boot", "-m 1g", "--append x"] {
        let (status, message) = refused(line);
        assert_eq!(status, 129, "{line}");
        assert!(
            message.contains("no KERNEL") && message.contains("usage: vkernel [boot]"),
            "{line}: {message}"
        );
    }
}

#[test]
fn what_comes_later_is_refused_by_name() {
    for (line, name) in [
        ("-r disk.img", "-r (disk)"),
        ("-R disk.img kernel", "-R "),
        ("-c cd.iso kernel", "-c (CD-ROM)"),
        ("-I tap0 kernel", "-I (network)"),
        ("-i mem kernel", "-i "),
        ("--engine jit kernel", "use interp"),
        ("replay --engine jit", "use interp"),
        ("minimize x", "vkernel minimize"),
        ("first {x}", "vkernel first"),
        ("bisect", "vkernel bisect"),
        ("trace diff a b", "vkernel trace diff"),
        ("trace export --html a", "vkernel trace export"),
    ] {
        let (status, message) = refused(line);
        assert_eq!(status, 129, "{line}");
        assert!(
            message.contains(name) && message.contains("not built into this vkernel yet"),
            "{line}: {message}"
        );
    }
}

#[test]
fn mistakes_are_usage_errors_of_one_line_that_name_the_option() {
    for (line, part) in [
        ("--frobnicate kernel", "--frobnicate"),
        ("kernel surplus", "surplus"),
        ("-m 12 kernel", "-m"),
        ("-m", "-m"),
        ("-n 17 kernel", "1 to 16"),
        ("-l x kernel", "-l"),
        ("-e quiet kernel", "--append"),
        ("--limit soon kernel", "--limit"),
        ("--clock sundial kernel", "virtual, host"),
        ("--seed x kernel", "--seed"),
        ("--no-record --trace t kernel", "--trace"),
        ("--no-record --keep all kernel", "--keep"),
        ("trace frob", "frob"),
        ("rm", "TRACE"),
        ("trace pack x", "--output"),
        ("trace events --from soon x", "--from"),
        ("demo --tries 0", "--tries"),
        ("explore", "BOOT-ARGS"),
        ("explore -j 0 k", "--jobs"),
        ("--no-record --pack p k", "--pack"),
    ] {
        let (status, message) = refused(line);
        assert_eq!(status, 129, "{line}");
        assert!(message.contains(part), "{line}: {message}");
        assert_eq!(message.lines().count(), 1, "{line}: {message}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for line in ["--help", "-h", "help", "--version", "boot --help", "-m 1g -h", "trace --help", "replay -h"]
    {
        assert!(matches!(parsed(line), Err(Stop::Print(text)) if text.contains("vkernel")), "{line}");
    }
    assert!(matches!(parsed("trace"), Err(Stop::Error(_))));
}

#[test]
fn traces_are_named_or_the_latest_is_meant() {
    let Ok(Command::Replay(replay)) = parsed("replay") else { panic!() };
    assert_eq!(replay.trace, "latest");
    let Ok(Command::Trace(TraceCommand::Verify(verify))) = parsed("trace verify --full --image k x") else {
        panic!()
    };
    assert_eq!((verify.full, verify.replay.trace.as_str()), (true, "x"));
    let Ok(Command::Pin(pin)) = parsed("pin --remove a b") else { panic!() };
    assert!(pin.remove && pin.traces == ["a", "b"]);
}

#[test]
fn what_an_editor_puts_in_front_for_gdb_is_gdbs() {
    for line in [
        "--interpreter=mi gdb --at @5 latest",
        "--interpreter=mi gdb --at @5 latest --",
        "gdb --at @5 latest -- --interpreter=mi",
    ] {
        let Ok(Command::Gdb(gdb)) = parsed(line) else { panic!("{line}") };
        assert_eq!(gdb.arguments, ["--interpreter=mi"], "{line}");
        assert_eq!(gdb.at.as_deref(), Some("@5"), "{line}");
    }
    assert_eq!(refused("--interpreter=mi bzImage").0, 129);
}

#[test]
fn arguments_that_are_no_text_are_refused_or_taken_but_never_fatal() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || OsString::from_vec(vec![b'k', 0xff]);
    let Ok(Command::Boot(boot)) = parse(vec![odd()]) else { panic!() };
    assert_eq!(boot.kernel, Some(PathBuf::from(odd())));
    assert!(matches!(parse(vec!["--append".into(), odd(), "k".into()]), Err(Stop::Error(_))));
    assert!(matches!(parse(vec!["replay".into(), odd()]), Err(Stop::Error(_))));
}

#[test]
fn explore_takes_the_arguments_of_a_boot_behind_its_own() {
    for line in ["explore -j 3 --seed 5 -- -n 4 --seed 7 k", "explore -j 3 --seed 5 -n 4 --seed 7 k"] {
        let Ok(Command::Explore(explore)) = parsed(line) else { panic!("{line}") };
        assert_eq!((explore.jobs, explore.seed), (Some(3), 5), "{line}");
        assert_eq!(explore.boot, ["-n", "4", "--seed", "7", "k"], "{line}");
    }
}
