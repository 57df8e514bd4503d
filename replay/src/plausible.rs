//! What a trace may ask of a machine. The checks of a trace keep accidents out; this keeps out what was written with
//! right checks around wrong contents, before it reaches a machine that assumes better.

use boundary::{Input, Operator, PowerOn, Topology};

const MOST_VCPUS: u8 = 16;
const MOST_TOPOLOGY_BITS: u8 = 4;
const RAM_GRANULE_BYTES: u64 = 2 << 20;
const MOST_RAM_BYTES: u64 = 1 << 40;
/// Registers that an operator can write: sixteen general ones, then RIP and RFLAGS.
const OPERATOR_REGISTERS: u8 = 18;

/// What is wrong with a description of a machine of this model, if anything.
pub(crate) fn flaw_of_power_on(power_on: &PowerOn) -> Option<&'static str> {
    let Topology { vcpus, thread_bits, core_bits } = power_on.topology;
    if !(1..=MOST_VCPUS).contains(&vcpus) || thread_bits.max(core_bits) > MOST_TOPOLOGY_BITS {
        return Some("its processors are too many, or arranged in no possible way");
    }
    let ram_bytes = power_on.ram_bytes;
    if ram_bytes == 0 || !ram_bytes.is_multiple_of(RAM_GRANULE_BYTES) || ram_bytes > MOST_RAM_BYTES {
        return Some("its memory is of an impossible size");
    }
    if power_on.rules.quantum_counts == 0 || power_on.rules.pauses_per_quantum == 0 {
        return Some("its schedule would never go on");
    }
    let derived = machine::power_on(
        power_on.topology,
        ram_bytes,
        power_on.seed,
        power_on.rtc_start_s,
        power_on.boot.clone(),
    );
    (derived.acpi_hash != power_on.acpi_hash).then_some("its ACPI tables are not those of this model")
}

/// Whether a machine with so many vCPUs can be given this input.
pub(crate) fn is_possible(input: &Input, vcpus: usize) -> bool {
    match input {
        Input::Console(_) | Input::WindowSize { .. } | Input::PowerButton | Input::Wake(_) => true,
        Input::Operator(Operator::WriteMemory { paddr, bytes }) => {
            paddr.checked_add(bytes.len() as u64).is_some()
        }
        Input::Operator(Operator::WriteRegister { vcpu, register, .. }) => {
            usize::from(*vcpu) < vcpus && *register < OPERATOR_REGISTERS
        }
        // No device of this model has these sources yet.
        Input::Frame { .. } | Input::DiskStatus(_) | Input::External(_) => false,
    }
}
