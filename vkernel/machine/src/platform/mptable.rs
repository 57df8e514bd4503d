//! The MP table (Intel MultiProcessor Specification 1.4, chapter 4): the same board as the ACPI tables say, for
//! kernels that know no ACPI.

use super::acpi::{self, SCI_INTI_FLAGS, checksum};
use super::{layout, pci, power};

/// Where the floating pointer lies: in the BIOS area, behind the RSDP.
pub const FLOATING_POINTER: u64 = 0xf_0040;
/// Where the table lies.
const TABLE: u64 = FLOATING_POINTER + 16;

const LAPIC_VERSION: u8 = 0x14;
const IOAPIC_VERSION: u8 = 0x11;
/// A PCI bus keeps its own number; ISA takes the next.
const BUS_PCI: u8 = 0;
const BUS_ISA: u8 = 1;

const INTERRUPT_VECTORED: u8 = 0;
const INTERRUPT_NMI: u8 = 1;
const INTERRUPT_EXTINT: u8 = 3;

/// MPS INTI flags: as usual for the bus.
const CONFORMS: u16 = 0;
/// MPS INTI flags of PCI: active low, level-triggered.
const PCI_INTI_FLAGS: u16 = 0x000f;

/// The floating pointer followed by the table, to be put at [`FLOATING_POINTER`].
/// `signature` and `features` are EAX and EDX of CPUID leaf 1.
#[must_use]
pub fn mp_table(vcpus: u8, signature: u32, features: u32) -> Vec<u8> {
    let mut bytes = floating_pointer();
    bytes.extend(configuration_table(vcpus, signature, features));
    bytes
}

fn floating_pointer() -> Vec<u8> {
    let mut bytes = b"_MP_".to_vec();
    bytes.extend((TABLE as u32).to_le_bytes());
    // One paragraph long, revision 1.4, checksum, a table is present, no IMCR.
    bytes.extend([1, 4, 0, 0, 0, 0, 0, 0]);
    bytes[10] = checksum(&bytes);
    bytes
}

fn configuration_table(vcpus: u8, signature: u32, features: u32) -> Vec<u8> {
    const HEADER_BYTES: u16 = 44;
    let entries = entries(vcpus, signature, features);
    let length_bytes = HEADER_BYTES + entries.iter().map(|entry| entry.len() as u16).sum::<u16>();
    let mut bytes = b"PCMP".to_vec();
    bytes.extend(length_bytes.to_le_bytes());
    bytes.extend([4, 0]);
    bytes.extend(b"VKERNEL VKERNEL     ");
    // No OEM table.
    bytes.extend([0; 6]);
    bytes.extend((entries.len() as u16).to_le_bytes());
    bytes.extend((layout::LAPIC as u32).to_le_bytes());
    // No extended table.
    bytes.extend([0; 4]);
    entries.into_iter().for_each(|entry| bytes.extend(entry));
    bytes[7] = checksum(&bytes);
    bytes
}

/// All entries in the order that the specification demands: processors, buses, I/O APIC, interrupts.
fn entries(vcpus: u8, signature: u32, features: u32) -> Vec<Vec<u8>> {
    let mut entries: Vec<Vec<u8>> = (0..vcpus).map(|vcpu| processor(vcpu, signature, features)).collect();
    entries.push(bus(BUS_PCI, b"PCI   "));
    entries.push(bus(BUS_ISA, b"ISA   "));
    let mut ioapic = vec![2, acpi::IOAPIC_ID, IOAPIC_VERSION, 1];
    ioapic.extend((layout::IOAPIC as u32).to_le_bytes());
    entries.push(ioapic);
    // Pin 2 is the PIT's; IRQ 2 is the cascade and reaches no pin.
    for irq in (0..16).filter(|irq| *irq != 2) {
        let pin = if irq == 0 { acpi::PIT_GSI } else { irq };
        let flags = if irq == power::SCI_IRQ { SCI_INTI_FLAGS } else { CONFORMS };
        entries.push(interrupt(3, INTERRUPT_VECTORED, flags, [BUS_ISA, irq, acpi::IOAPIC_ID, pin]));
    }
    for device in 1..32 {
        for pin in 0..4 {
            let source = device << 2 | pin;
            let wire = [BUS_PCI, source, acpi::IOAPIC_ID, pci::pin_gsi(device, pin)];
            entries.push(interrupt(3, INTERRUPT_VECTORED, PCI_INTI_FLAGS, wire));
        }
    }
    entries.push(interrupt(4, INTERRUPT_EXTINT, CONFORMS, [BUS_ISA, 0, 0xff, 0]));
    entries.push(interrupt(4, INTERRUPT_NMI, CONFORMS, [BUS_ISA, 0, 0xff, 1]));
    entries
}

fn processor(vcpu: u8, signature: u32, features: u32) -> Vec<u8> {
    const ENABLED: u8 = 1;
    const BOOT_PROCESSOR: u8 = 2;
    let flags = if vcpu == 0 { ENABLED | BOOT_PROCESSOR } else { ENABLED };
    let mut entry = vec![0, vcpu, LAPIC_VERSION, flags];
    entry.extend(signature.to_le_bytes());
    entry.extend(features.to_le_bytes());
    entry.extend([0; 8]);
    entry
}

fn bus(id: u8, name: &[u8; 6]) -> Vec<u8> {
    [&[1, id][..], name].concat()
}

/// `kind` 3: to a pin of the I/O APIC; 4: to a pin of local APICs. `wire` is bus, source, APIC id and pin.
fn interrupt(kind: u8, delivery: u8, flags: u16, wire: [u8; 4]) -> Vec<u8> {
    let [low, high] = flags.to_le_bytes();
    [&[kind, delivery, low, high][..], &wire].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floating_pointer_leads_to_the_table() {
        let bytes = mp_table(4, 0, 0);
        assert_eq!(&bytes[..4], b"_MP_");
        assert_eq!(FLOATING_POINTER % 16, 0);
        assert_eq!(checksum(&bytes[..16]), 0);
        assert_eq!(u32::from_le_bytes(bytes[4..8].try_into().unwrap()), TABLE as u32);
        assert_eq!(&bytes[16..20], b"PCMP");
    }

    #[test]
    fn length_count_and_checksum_agree_with_the_entries() {
        for vcpus in [1, 2, 16] {
            let table = &mp_table(vcpus, 0x0005_0654, 0x0fa9_fbff)[16..];
            assert_eq!(checksum(table), 0);
            assert_eq!(usize::from(u16::from_le_bytes([table[4], table[5]])), table.len());
            let (mut at, mut count, mut processors) = (44, 0, 0);
            while at < table.len() {
                processors += u8::from(table[at] == 0);
                at += if table[at] == 0 { 20 } else { 8 };
                count += 1;
            }
            assert_eq!((at, count), (table.len(), u16::from_le_bytes([table[34], table[35]])));
            assert_eq!(processors, vcpus);
        }
    }

    #[test]
    fn the_pit_is_wired_to_pin_2() {
        let pit = [3, INTERRUPT_VECTORED, 0, 0, BUS_ISA, 0, acpi::IOAPIC_ID, 2];
        assert!(entries(1, 0, 0).iter().any(|entry| entry[..] == pit));
    }
}
