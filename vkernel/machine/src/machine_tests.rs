//! What the machine promises its driver, with a kernel of one instruction.

use super::*;
use crate::platform::{Access, layout};
use boundary::{Boot, BootProtocol, Image, ImageId, Role, Topology};

/// A Multiboot kernel that says by itself where to load it: JMP to itself behind the header.
struct OneInstruction;

impl Media for OneInstruction {
    fn image(&self, _: ImageId) -> Option<Arc<Vec<u8>>> {
        const MAGIC: u32 = 0x1bad_b002;
        const FLAGS: u32 = 1 << 16;
        const START: u32 = 0x10_0000;
        let words = [MAGIC, FLAGS, 0u32.wrapping_sub(MAGIC + FLAGS), START, START, 0, 0, START + 32];
        let mut kernel: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        kernel.extend([0xeb, 0xfe]);
        Some(Arc::new(kernel))
    }
}

fn machine() -> Machine {
    let kernel = Image {
        role: Role::Kernel,
        id: ImageId([0; 32]),
        length_bytes: 34,
        name: "jmp".to_owned(),
        command_line: String::new(),
    };
    let boot = Boot { protocol: BootProtocol::Multiboot1, command_line: String::new(), images: vec![kernel] };
    let topology = Topology { vcpus: 1, thread_bits: 0, core_bits: 0 };
    let power_on = crate::power_on(topology, 64 << 20, 0, 0, boot);
    Machine::new(&power_on, &OneInstruction, EngineKind::Interp).expect("it boots")
}

/// Runs for at most `counts`.
fn run(machine: &mut Machine, counts: u64) -> Exit {
    let until = Mark::before(Icount(machine.mark().icount.0 + counts));
    machine.run(until, &StopSet::default(), &Interrupt::default())
}

/// Sends vCPU 0 an NMI through its local APIC.
fn send_nmi(machine: &mut Machine) {
    const ICR_LOW: u64 = 0x300;
    const DELIVER_NMI: u64 = 4 << 8;
    let at = Access { vcpu: 0, now: machine.now() };
    machine.sys.platform.mmio_write(at, layout::LAPIC + ICR_LOW, 4, DELIVER_NMI);
    assert!(machine.sys.platform.signals(0).nmi);
}

#[test]
fn a_machine_runs_to_the_place_asked_for() {
    let mut machine = machine();
    assert_eq!(run(&mut machine, 12_345), Exit::Budget);
    assert_eq!(machine.mark(), Mark::before(Icount(12_345)));
}

/// SDM vol. 3, 6.7.1: an NMI is held until the handler of the one before has returned by IRET, and so wakes
/// nothing meanwhile.
#[test]
fn an_nmi_that_is_held_back_does_not_wake_a_halted_vcpu() {
    let mut machine = machine();
    machine.cpus[0].activity = Activity::Halted;
    machine.cpus[0].nmi_blocked = true;
    send_nmi(&mut machine);
    assert_eq!(run(&mut machine, 100), Exit::Idle { next_deadline: None });
    assert_eq!(machine.mark().icount, Icount(0));
    machine.cpus[0].nmi_blocked = false;
    assert!(matches!(run(&mut machine, 100), Exit::Power(_)), "it is delivered, and there is no IDT");
}

#[test]
fn a_reset_keeps_what_was_typed() {
    let mut machine = machine();
    machine.apply(&Input::Console(b"ls\n".to_vec()));
    machine.reset(&OneInstruction).expect("it boots again");
    assert_eq!(machine.sys.platform.console_bytes_pending(), 3);
}
