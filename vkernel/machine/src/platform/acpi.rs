//! The ACPI tables (ACPI 6.5 chapter 5): which exist, what they say, where they lie. The AML is in `dsdt`.
//!
//! They describe exactly the board and nothing is discovered at run time, so they depend only on the number of
//! vCPUs.

use super::{dsdt, layout, power};
use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::sdt::{GenericAddress, Sdt};

/// Where the RSDP lies: in the BIOS area, where kernels look without being told.
pub const RSDP: u64 = 0xf_0000;
/// Where the other tables begin.
const TABLES: u64 = layout::FIRMWARE_TABLES.start;

const OEM_ID: [u8; 6] = *b"VKERNL";
const OEM_TABLE_ID: [u8; 8] = *b"VKERNEL ";
const OEM_REVISION: u32 = 1;

/// The I/O APIC's id, as its register says after reset.
pub const IOAPIC_ID: u8 = 0;
/// The GSI of the PIT, whose IRQ 0 is wired to pin 2.
pub const PIT_GSI: u8 = 2;
/// MPS INTI flags of the SCI: active high, level-triggered.
pub const SCI_INTI_FLAGS: u16 = 0x000d;

/// IA-PC boot flags: legacy devices exist, the 8042 exists. VGA, MSI and the CMOS clock are not denied.
const BOOT_LEGACY_DEVICES_8042: u16 = 0x0003;
/// HPET capabilities, high half of which is its period: revision 1, 64 bits, legacy routes, 3 timers, Intel.
const HPET_BLOCK_ID: u32 = 0x8086_a201;
/// Where the RTC keeps the century in CMOS.
const CMOS_CENTURY: u8 = 0x32;

/// A table and its place.
#[derive(Debug)]
pub struct Table {
    /// Guest physical address.
    pub paddr: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// All tables of a machine with `vcpus` processors, the RSDP first.
#[must_use]
pub fn tables(vcpus: u8) -> Vec<Table> {
    let mut place = Placement { next: TABLES, tables: Vec::new() };
    let facs = place.put(64, bytes_of(&FACS::new()));
    let mut definitions = sdt(b"DSDT", 2);
    definitions.append_slice(&dsdt::definition_block(vcpus));
    let definitions = place.put(16, definitions.as_slice().to_vec());
    let mut mcfg = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    mcfg.add_ecam(layout::ECAM, 0, 0, 255);
    let described = [fadt(facs, definitions), madt(vcpus), hpet(), bytes_of(&mcfg)];
    let described: Vec<u64> = described.into_iter().map(|bytes| place.put(16, bytes)).collect();
    let (mut rsdt, mut xsdt) = (sdt(b"RSDT", 1), sdt(b"XSDT", 1));
    for paddr in described {
        rsdt.append_slice(&(paddr as u32).to_le_bytes());
        xsdt.append_slice(&paddr.to_le_bytes());
    }
    let rsdt = place.put(16, rsdt.as_slice().to_vec());
    let xsdt = place.put(16, xsdt.as_slice().to_vec());
    assert!(place.next <= RSDP, "the tables of 16 vCPUs fit below the RSDP");
    let rsdp = Table { paddr: RSDP, bytes: rsdp(rsdt, xsdt) };
    std::iter::once(rsdp).chain(place.tables).collect()
}

/// Puts tables one after the other.
struct Placement {
    next: u64,
    tables: Vec<Table>,
}

impl Placement {
    fn put(&mut self, alignment: u64, bytes: Vec<u8>) -> u64 {
        let paddr = self.next.next_multiple_of(alignment);
        self.next = paddr + bytes.len() as u64;
        self.tables.push(Table { paddr, bytes });
        paddr
    }
}

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// A table that is only its header yet.
fn sdt(signature: &[u8; 4], revision: u8) -> Sdt {
    const HEADER_BYTES: u32 = 36;
    Sdt::new(*signature, HEADER_BYTES, revision, OEM_ID, OEM_TABLE_ID, OEM_REVISION)
}

/// The byte that makes the sum of all zero.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// Revision 2, with both root tables: the RSDT is for kernels from before ACPI 2.0.
fn rsdp(rsdt: u64, xsdt: u64) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0".to_vec();
    bytes.extend(OEM_ID);
    bytes.push(2);
    bytes.extend((rsdt as u32).to_le_bytes());
    bytes[8] = checksum(&bytes);
    bytes.extend(36_u32.to_le_bytes());
    bytes.extend(xsdt.to_le_bytes());
    bytes.extend([0; 4]);
    bytes[32] = checksum(&bytes);
    bytes
}

fn port(address: u16, width_bits: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, width_bits, 0, access, u64::from(address))
}

fn fadt(facs: u64, definitions: u64) -> Vec<u8> {
    const NO_C2_US: u16 = 101;
    const NO_C3_US: u16 = 1001;
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .preferred_pm_profile(PmProfile::Desktop)
        .gpe_info(u32::from(power::GPE0), 0, power::GPE0_LENGTH, 0, 0)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // Set means that there is no fixed-feature sleep button, and no RTC wake status.
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup);
    (fadt.firmware_ctrl, fadt.x_firmware_ctrl) = ((facs as u32).into(), 0.into());
    (fadt.dsdt, fadt.x_dsdt) = ((definitions as u32).into(), definitions.into());
    fadt.sci_int = u16::from(power::SCI_IRQ).into();
    fadt.smi_cmd = u32::from(power::SMI_COMMAND).into();
    (fadt.acpi_enable, fadt.acpi_disable) = (power::ACPI_ENABLE, power::ACPI_DISABLE);
    (fadt.pm1a_evt_blk, fadt.pm1_evt_len) = (u32::from(power::PM1A_EVENT).into(), 4);
    (fadt.pm1a_cnt_blk, fadt.pm1_cnt_len) = (u32::from(power::PM1A_CONTROL).into(), 2);
    (fadt.pm_tmr_blk, fadt.pm_tmr_len) = (u32::from(super::board::PM_TIMER).into(), 4);
    fadt.x_pm1a_evt_blk = port(power::PM1A_EVENT, 32, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = port(power::PM1A_CONTROL, 16, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = port(super::board::PM_TIMER, 32, AccessSize::DwordAccess);
    fadt.x_gpe0_blk = port(power::GPE0, 8 * power::GPE0_LENGTH, AccessSize::ByteAccess);
    fadt.reset_reg = port(power::RESET_CONTROL, 8, AccessSize::ByteAccess);
    fadt.reset_value = power::RESET_VALUE;
    (fadt.p_lvl2_lat, fadt.p_lvl3_lat) = (NO_C2_US.into(), NO_C3_US.into());
    fadt.century = CMOS_CENTURY;
    fadt.iapc_boot_arch = BOOT_LEGACY_DEVICES_8042.into();
    bytes_of(&fadt.finalize())
}

fn madt(vcpus: u8) -> Vec<u8> {
    const PCAT_COMPATIBLE: u32 = 1;
    const ALL_PROCESSORS: u8 = 0xff;
    let mut madt = sdt(b"APIC", 4);
    madt.append_slice(&(layout::LAPIC as u32).to_le_bytes());
    madt.append_slice(&PCAT_COMPATIBLE.to_le_bytes());
    for vcpu in 0..vcpus {
        // The APIC id of a vCPU is its number; x2APIC mode needs no other entry for ids below 255.
        madt.append_slice(&bytes_of(&ProcessorLocalApic::new(vcpu, vcpu, EnabledStatus::Enabled)));
    }
    madt.append_slice(&bytes_of(&IoApic::new(IOAPIC_ID, layout::IOAPIC as u32, 0)));
    madt.append_slice(&source_override(0, PIT_GSI, 0));
    madt.append_slice(&source_override(power::SCI_IRQ, power::SCI_IRQ, SCI_INTI_FLAGS));
    // LINT1 is the NMI of every processor.
    madt.append_slice(&[4, 6, ALL_PROCESSORS, 0, 0, 1]);
    madt.as_slice().to_vec()
}

/// An interrupt source override: where an ISA IRQ is wired, and how it is triggered.
fn source_override(irq: u8, gsi: u8, flags: u16) -> Vec<u8> {
    let mut entry = vec![2, 10, 0, irq];
    entry.extend(u32::from(gsi).to_le_bytes());
    entry.extend(flags.to_le_bytes());
    entry
}

fn hpet() -> Vec<u8> {
    const MINIMUM_TICKS: u16 = 100;
    let mut hpet = sdt(b"HPET", 1);
    hpet.append_slice(&HPET_BLOCK_ID.to_le_bytes());
    let address = GenericAddress { address_space_id: 0, ..GenericAddress::mmio_address::<u64>(layout::HPET) };
    hpet.append(address);
    hpet.append_slice(&[0]);
    hpet.append_slice(&MINIMUM_TICKS.to_le_bytes());
    hpet.append_slice(&[0]);
    hpet.as_slice().to_vec()
}

#[cfg(test)]
#[path = "acpi_tests.rs"]
mod tests;
