//! Variables of the demonstration kernel, stopped in the middle of its boot.

use crate::backtrace::{Found, backtrace};
use crate::expression::{ExprError, NameScope, PrintStyle, compile, print};
use crate::memory::VcpuMemory;
use crate::registers::Registers;
use crate::symbols::{LocationError, Symbols};
use crate::testing::{DEMO, demo_until};
use machine::Exit;
use machine::cpu::state::RDI;

#[test]
fn arguments_and_globals_of_a_running_guest_are_its_own() {
    let symbols = Symbols::parse(&DEMO).expect("symbols");
    let (machine, exit) = demo_until("", symbols.address_of("page_free"));
    let Exit::Stop { vcpu, .. } = exit else { panic!("{exit:?}") };
    let vcpu = usize::from(vcpu);
    let memory = VcpuMemory { machine: &machine, vcpu };
    let registers = Registers::of(&machine.cpus()[vcpu]);
    let scope = NameScope::at(&symbols, registers.rip);
    let value = |text: &str| {
        let program = compile(text, &scope, &symbols).expect(text);
        program.evaluate(&memory, &registers).expect(text)
    };
    let number = |text: &str| value(text).as_u64(&symbols).expect("a number");
    assert_eq!(number("p"), machine.cpus()[vcpu].gpr[RDI]);
    assert_eq!(number("$rdi"), machine.cpus()[vcpu].gpr[RDI]);
    // Counted by hand: the allocator's own variable, read through its symbol.
    let in_use = symbols.address_of("in_use").expect("in_use");
    let mut bytes = [0; 8];
    machine.peek_virtual(vcpu, in_use, &mut bytes).expect("mapped");
    assert!(number("in_use") > 0 && number("in_use") == u64::from_le_bytes(bytes));
    let lock = print(&value("page_lock"), &symbols, &memory, PrintStyle::default());
    assert!(lock.starts_with('{') && lock.contains(" = ") && lock.ends_with('}'), "{lock}");
}

#[test]
fn every_frame_of_a_running_guest_is_found_by_its_description_and_knows_its_variables() {
    let symbols = Symbols::parse(&DEMO).expect("symbols");
    let (machine, exit) = demo_until("panic", symbols.address_of("panic"));
    let Exit::Stop { vcpu, .. } = exit else { panic!("{exit:?}") };
    let memory = VcpuMemory { machine: &machine, vcpu: usize::from(vcpu) };
    let frames = backtrace(&machine, usize::from(vcpu), &symbols);
    let found: Vec<Found> = frames.iter().map(|frame| frame.found).collect();
    assert_eq!(found[..3], [Found::Innermost, Found::CallFrameInformation, Found::CallFrameInformation]);
    // `panic` is variadic: its first argument lies in RDI, which the caller has just set.
    let scope = NameScope::at(&symbols, frames[0].place());
    let format = compile("format", &scope, &symbols).expect("an argument");
    let value = format.evaluate(&memory, &frames[0].registers).expect("a value");
    let text = print(&value, &symbols, &memory, PrintStyle::default());
    assert!(text.ends_with("\"requested on the command line\""), "{text}");
    // What callers kept in registers that a callee must give back is found by the rules of the frames between.
    let mut seen = 0;
    for frame in &frames[1..] {
        let scope = NameScope::at(&symbols, frame.place());
        for variable in scope.scopes().iter().flat_map(|scope| &scope.variables) {
            let program = compile(&variable.name, &scope, &symbols).expect("a variable");
            match program.evaluate(&memory, &frame.registers) {
                Ok(_) => seen += 1,
                Err(ExprError::Unavailable { reason: LocationError::OptimizedOut, .. }) => {}
                Err(error) => panic!("{} in {frame}: {error}", variable.name),
            }
        }
    }
    assert!(seen > 0, "no variable has a value in {frames:#?}");
}
