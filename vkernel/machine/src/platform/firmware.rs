//! What firmware would have left in memory: the ACPI tables and the MP table.

use super::layout::FIRMWARE_TABLES;
use super::{acpi, mptable};
use boundary::PowerOn;

/// The contents of [`FIRMWARE_TABLES`], to be copied into RAM before a kernel starts.
#[must_use]
pub fn firmware_tables(power_on: &PowerOn) -> Vec<u8> {
    let vcpus = power_on.topology.vcpus;
    let identity = power_on.cpuid.iter().find(|leaf| leaf.leaf == 1).map_or([0; 4], |leaf| leaf.registers);
    let [signature, _, _, features] = identity;
    let mut area = vec![0; (FIRMWARE_TABLES.end - FIRMWARE_TABLES.start) as usize];
    let mut put = |paddr: u64, bytes: &[u8]| {
        let start = (paddr - FIRMWARE_TABLES.start) as usize;
        area[start..start + bytes.len()].copy_from_slice(bytes);
    };
    acpi::tables(vcpus).iter().for_each(|table| put(table.paddr, &table.bytes));
    put(mptable::FLOATING_POINTER, &mptable::mp_table(vcpus, signature, features));
    area
}
