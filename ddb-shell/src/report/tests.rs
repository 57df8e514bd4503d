//! Reports of the demonstration kernel in its deliberate failures.

use super::*;
use crate::testing::{DEMO, demo_until};
use boundary::PowerEvent;
use machine::Exit;

/// The demonstration kernel, about to enter `function`.
fn stopped_in(command_line: &str, function: &str) -> (Machine, Symbols<'static>) {
    let symbols = Symbols::parse(&DEMO).expect("symbols");
    let (machine, exit) = demo_until(command_line, symbols.address_of(function));
    assert!(matches!(exit, Exit::Stop { .. }), "{exit:?}");
    (machine, symbols)
}

#[test]
fn registers_and_backtrace_of_every_vcpu_are_reported_in_linux_shape() {
    let (machine, symbols) = stopped_in("panic", "panic");
    let text = vcpus_report(&machine, &symbols);
    let cpu = &machine.cpus()[0];
    let rip = text.lines().find(|line| line.starts_with("RIP: ")).expect("RIP");
    assert!(rip.starts_with("RIP: 0008:panic+0x0/0x") || rip.starts_with("RIP: 0010:panic+0x0/0x"), "{rip}");
    assert!(text.contains(&format!("RAX: {:016x} RBX: {:016x}", cpu.gpr[RAX], cpu.gpr[RBX])));
    assert!(text.contains(&format!("CR3: {:016x} CR4: {:016x}", cpu.cr3, cpu.cr4)));
    assert!(text.contains("\nvCPU 0: running, 64-bit mode, CPL 0\n"), "{text}");
    assert!(text.contains("\nvCPU 1: "));
    assert_eq!(text.matches("Call Trace:\n").count(), 2);
    assert!(vcpu_report(&machine, 7, &symbols).is_empty());
}

#[test]
fn a_panic_is_reported_with_its_place_vcpu_symbol_trace_and_command() {
    let (machine, symbols) = stopped_in("panic", "panic");
    let mark = machine.mark();
    let title = "panic: requested on the command line".to_owned();
    let ending = Ending::Failure { kind: FailureKind::Panic, title, place: mark };
    let report = FailureReport {
        ending: &ending,
        mark,
        virtual_time: machine.now(),
        triple_fault: None,
        scene: None,
        log: &[],
        trace: Some("demo-7"),
    };
    let text = failure_paragraph(&report, &machine, &symbols);
    let (paragraph, trace) = text.split_once('\n').expect("two parts");
    let start = "vkernel: the guest's kernel panicked: panic: requested on the command line. That was at @";
    assert!(paragraph.starts_with(start), "{text}");
    assert!(paragraph.contains("with vCPU 0 in init+0x"), "{text}");
    assert!(paragraph.ends_with("The run is recorded as demo-7; `vkernel ddb demo-7` opens it there."));
    assert!(trace.lines().count() >= 3 && trace.lines().all(|line| line.starts_with("    ")), "{text}");

    let unrecorded = failure_paragraph(&FailureReport { trace: None, ..report }, &machine, &symbols);
    assert!(unrecorded.contains("The run was not recorded.\n"));
}

#[test]
fn a_triple_fault_is_reported_with_its_faults_and_their_reasons() {
    let (machine, exit) = demo_until("triple", None);
    let Exit::Power(PowerEvent::TripleFault(fault)) = exit else { panic!("{exit:?}") };
    let symbols = Symbols::parse(&DEMO).expect("symbols");
    let ending =
        Ending::Failure { kind: FailureKind::TripleFault, title: String::new(), place: machine.mark() };
    let report = FailureReport {
        ending: &ending,
        mark: machine.mark(),
        virtual_time: machine.now(),
        triple_fault: Some(&fault),
        scene: None,
        log: &[],
        trace: None,
    };
    let text = failure_paragraph(&report, &machine, &symbols);
    assert!(text.starts_with("vkernel: a vCPU shut down after a third fault. That was at @"), "{text}");
    assert!(text.contains("\n    fault 1: #"), "{text}");
    for step in &fault.steps {
        assert!(text.contains(&step.reason), "{text}");
    }
    assert!(text.contains("triple_fault+0x") || text.contains("main+0x"), "{text}");
}

#[test]
fn every_ending_is_a_sentence() {
    let endings = [
        Ending::PowerOff,
        Ending::Reset,
        Ending::DebugExit(1),
        Ending::Limit,
        Ending::Hang,
        Ending::Quit,
        Ending::Signal(15),
        Ending::HostTrouble { reason: "the disk is full.".to_owned() },
    ];
    for text in endings.iter().map(what) {
        assert!(text.ends_with('.') && !text.ends_with(".."), "{text}");
    }
}
