//! Kernels of a few instructions, each with one bad habit.

use super::Bench;
use boundary::Icount;
use machine::{EngineKind, Interrupt};
use recorder::Ending;
use replay::{Budget, Timeline};
use std::fs;

/// A flat Multiboot 1 kernel of this 32-bit code.
fn kernel(code: &[u8]) -> Vec<u8> {
    let (magic, flags, at) = (0x1bad_b002_u32, 1_u32 << 16, 0x10_0000_u32);
    let checksum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    let entry = at + 32;
    let header = [magic, flags, checksum, at, at, 0, 0, entry];
    header.iter().flat_map(|word| word.to_le_bytes()).chain(code.iter().copied()).collect()
}

/// mov al, 0xfe; out 0x64, al; pause; jmp to the pause
const RESET: [u8; 8] = [0xb0, 0xfe, 0xe6, 0x64, 0xf3, 0x90, 0xeb, 0xfc];

#[test]
fn a_guest_that_resets_for_ever_and_prints_nothing_is_ended() {
    let bench = Bench::new();
    let path = bench.file("resets", &kernel(&RESET));
    let run = bench.run("boot", Some(&path), "");
    run.expect_status(1);
    run.expect_said(
        "the guest resets for ever: 3 resets in a row, and nothing was printed in between. That was at @",
    );
    bench.expect_the_same_again(&run);
    bench.run("boot --no-reboot", Some(&path), "").expect_status(0);
}

#[test]
fn a_guest_that_prints_before_each_reset_goes_on_to_its_limit() {
    let bench = Bench::new();
    // mov al, 'a'; out 0xe9, al
    let code = [&[0xb0, b'a', 0xe6, 0xe9][..], &RESET].concat();
    let path = bench.file("prints", &kernel(&code));
    let run = bench.run("boot --limit 1ms", Some(&path), "");
    run.expect_status(1);
    run.expect_said("the run reached its --limit.");
    assert!(run.console.len() > 3 && run.console.bytes().all(|byte| byte == b'a'), "{run}");
}

#[test]
fn a_replay_names_the_instruction_that_an_oops_began_with_and_a_debugger_can_open_there() {
    let bench = Bench::new();
    let path = harness::guests::built("endings");
    let live = bench.run("boot -n 1 --fail-on oops --append oops", Some(&path), "");
    live.expect_status(1);
    live.expect_said("the guest's kernel failed: BUG: unable to handle page fault");
    bench.expect_the_same_again(&live);
    let again = bench.run("replay latest", None, "");
    let (_, said) = again.said.split_once("it began with #PF at @").expect("the fault is named");
    assert!(said.contains(", by bad_load+0x0/0x"), "{again}");
    let icount: u64 = said.split(',').next().and_then(|digits| digits.parse().ok()).expect("a place");

    let (reader, images) = bench.last_recording();
    let kernel = fs::read(&path).expect("the guest");
    let symbols = ddb_shell::Symbols::parse(&kernel).expect("its symbols");
    let Some(Ending::Failure { place, .. }) = reader.ending().map(|end| &end.ending) else {
        panic!("it ended by a failure: {live}")
    };
    let mut timeline =
        Timeline::new(&reader, &images, EngineKind::Interp, Interrupt::default(), Budget::default())
            .expect("a timeline");
    let opened = ddb_shell::opening_place(&mut timeline, *place, 0, &symbols, 2).expect("no divergence");
    assert_eq!([opened.icount, timeline.now().icount], [Icount(icount); 2]);
    assert_eq!(Some(timeline.machine().cpus()[0].rip), symbols.address_of("bad_load"));
}

#[test]
fn a_debug_exit_gives_the_status_that_other_emulators_give_unless_told_what_is_good() {
    let bench = Bench::new();
    // mov al, 3; out 0xf4, al; pause; jmp to the pause
    let path = bench.file("exits", &kernel(&[0xb0, 3, 0xe6, 0xf4, 0xf3, 0x90, 0xeb, 0xfc]));
    for (options, status) in [("", 7), ("--ok-exit 3", 0), ("--ok-exit 4", 1)] {
        let run = bench.run(&format!("boot {options}"), Some(&path), "");
        run.expect_status(status);
        run.expect_said("debug");
    }
}

#[test]
fn a_guest_that_computes_in_silence_is_said_once_to_be_where_it_is() {
    let bench = Bench::new();
    // in al, 0x80; jmp to the in: reading a port takes a microsecond of guest time.
    let path = bench.file("spins", &kernel(&[0xe4, 0x80, 0xeb, 0xfc]));
    let run = bench.run("boot -n 1 --limit 11s", Some(&path), "");
    run.expect_status(1);
    run.expect_said("no output for 5 s of guest time, at @");
    run.expect_said("vCPU 0 in the kernel, at 0x10002");
    assert_eq!(run.said.matches("no output for").count(), 1, "{run}");
}

#[test]
fn ddb_after_a_failure_opens_the_recording_where_it_failed() {
    let bench = Bench::new();
    let path = harness::guests::built("endings");
    let run = bench.run("boot -n 1 --on-fail ddb --fail-on oops --append oops", Some(&path), "");
    run.expect_status(1);
    run.expect_console("Stopped at");
    run.expect_console("bad_load");
    let run = bench.run("boot --on-fail ddb --no-record demo:", None, "");
    run.expect_status(129);
    run.expect_said("there would be none");
}

#[test]
fn a_guest_may_go_on_after_a_failure_whose_status_stays() {
    let bench = Bench::new();
    let text = b"panic: of a kind\n";
    let print = text.iter().flat_map(|&byte| [0xb0, byte, 0xe6, 0xe9]);
    // Then one more byte, and a debug exit that would be good.
    let code: Vec<u8> = print.chain([0xb0, b'+', 0xe6, 0xe9, 0xb0, 0, 0xe6, 0xf4]).collect();
    let path = bench.file("panics", &kernel(&code));
    for options in ["--on-fail go", "--on-fail exit"] {
        let run = bench.run(&format!("boot {options} --ok-exit 0"), Some(&path), "");
        run.expect_status(1);
        run.expect_said("the guest's kernel panicked: panic: of a kind. That was at @");
        run.expect_console("+");
    }
}
