//! Variables of the demonstration kernel, stopped in the middle of its boot.

use crate::expression::{NameScope, PrintStyle, compile, print};
use crate::memory::VcpuMemory;
use crate::registers::Registers;
use crate::symbols::Symbols;
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
