//! From what a user chooses to the full description of a machine.

use crate::platform::firmware::firmware_tables;
use crate::{MODEL, cpu};
use boundary::{Boot, PowerOn, Rules, Topology};
use xxhash_rust::xxh3::xxh3_128;

/// The rules of time and schedule of this model (docs/determinism.md).
///
/// A quantum is short enough that a spinning vCPU soon sees what it waits for, and long enough that changing
/// vCPUs costs nothing. The extras keep polling loops from burning an instruction per nanosecond.
const RULES: Rules = Rules {
    quantum_counts: 20_000,
    pauses_per_quantum: 16,
    pause_ns: 40,
    port_ns: 500,
    mmio_ns: 100,
    hlt_ns: 50,
    perturb: false,
};

/// The machine that boots `boot` with `topology` and `ram_bytes`. `seed` 0 is the plain schedule.
#[must_use]
pub fn power_on(topology: Topology, ram_bytes: u64, seed: u64, rtc_start_s: u64, boot: Boot) -> PowerOn {
    let mut power_on = PowerOn {
        model: MODEL,
        seed,
        rtc_start_s,
        ram_bytes,
        topology,
        cpuid: cpu::system::cpuid::table(&topology),
        rules: Rules { perturb: seed != 0, ..RULES },
        acpi_hash: 0,
        boot,
    };
    power_on.acpi_hash = xxh3_128(&firmware_tables(&power_on));
    power_on
}
