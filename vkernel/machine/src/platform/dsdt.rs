//! The DSDT: the devices that a kernel cannot find by probing, in AML (ACPI 6.5 chapters 6, 19 and 20).
//!
//! Everything is a fixed resource: there is nothing to configure, and so no method does more than return a
//! value. Left out: thermal zones, batteries, hot plug, and every device that probing finds.

use super::board::{COM1, COM1_IRQ};
use super::{debug_ports, fw_cfg, i8042, layout, pci, power};
use acpi_tables::aml::{
    self, AddressSpace, AddressSpaceCacheable, Arg, Device, EISAName, Else, If, Interrupt, Memory32Fixed,
    Method, Name, PackageBuilder, Path, ResourceTemplate, Return, Scope, Store,
};
use acpi_tables::{Aml, AmlSink};

/// Length of the HPET's register block.
const HPET_BYTES: u32 = 0x400;
/// Ports of the power management block, PM timer included.
const POWER_PORTS: u8 = 0x40;

/// The definition block of a machine with `vcpus` processors, without table header.
#[must_use]
pub fn definition_block(vcpus: u8) -> Vec<u8> {
    let mut block = Vec::new();
    let s5 = power::SLEEP_TYPE_S5;
    Name::new("_S5_".into(), &package([&s5 as &dyn Aml, &s5, &aml::ZERO, &aml::ZERO]))
        .to_aml_bytes(&mut block);
    // The operating system says through _PIC whether it uses the I/O APIC; _PRT answers accordingly.
    Name::new("PICF".into(), &aml::ZERO).to_aml_bytes(&mut block);
    Method::new("_PIC".into(), 1, false, vec![&Store::new(&Path::new("PICF"), &Arg(0))])
        .to_aml_bytes(&mut block);
    let processors: Vec<Raw> = (0..vcpus).map(processor).collect();
    let mut children: Vec<&dyn Aml> = processors.iter().map(|processor| processor as &dyn Aml).collect();
    let (motherboard, pci_root) = (motherboard(), pci_root());
    children.extend([&motherboard as &dyn Aml, &pci_root]);
    Scope::new("\\_SB_".into(), children).to_aml_bytes(&mut block);
    block
}

/// AML that is already bytes, so that a function can return what borrows its locals.
struct Raw(Vec<u8>);

impl Raw {
    fn of(aml: &dyn Aml) -> Raw {
        let mut bytes = Vec::new();
        aml.to_aml_bytes(&mut bytes);
        Raw(bytes)
    }
}

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

fn package<'a>(elements: impl IntoIterator<Item = &'a dyn Aml>) -> PackageBuilder {
    let mut package = PackageBuilder::new();
    elements.into_iter().for_each(|element| package.add_element(element));
    package
}

/// `\_SB.Cnnn`; the UID is what the MADT calls the processor.
fn processor(vcpu: u8) -> Raw {
    let name = format!("C{vcpu:03X}");
    let hid = Name::new("_HID".into(), &"ACPI0007");
    let uid = Name::new("_UID".into(), &vcpu);
    Raw::of(&Device::new(name.as_str().into(), vec![&hid, &uid]))
}

/// What no device may be given: the ECAM window, the HPET and the power management ports.
fn motherboard() -> Raw {
    let ecam = Memory32Fixed::new(true, layout::ECAM as u32, layout::ECAM_LENGTH as u32);
    let hpet = Memory32Fixed::new(true, layout::HPET as u32, HPET_BYTES);
    let ports = aml::IO::new(power::PM1A_EVENT, power::PM1A_EVENT, 1, POWER_PORTS);
    let resources = ResourceTemplate::new(vec![&ecam, &hpet, &ports]);
    Raw::of(&Device::new(
        "MBRD".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
            &Name::new("_UID".into(), &aml::ZERO),
            &Name::new("_CRS".into(), &resources),
        ],
    ))
}

fn pci_root() -> Raw {
    let (with_pic, with_apic) = (routing_table(pci::pin_irq), routing_table(pci::pin_gsi));
    let answer_apic = Return::new(&with_apic);
    let answer_pic = Return::new(&with_pic);
    let picf = Path::new("PICF");
    let choose = If::new(&picf, vec![&answer_apic]);
    let otherwise = Else::new(vec![&answer_pic]);
    let isa = isa_bridge();
    Raw::of(&Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_UID".into(), &aml::ZERO),
            &Name::new("_SEG".into(), &aml::ZERO),
            &Name::new("_BBN".into(), &aml::ZERO),
            &Name::new("_CRS".into(), &pci_windows()),
            // The operating system may control everything it asks for: there is nothing to take care of.
            &Method::new("_OSC".into(), 4, false, vec![&Return::new(&Arg(3))]),
            &Method::new("_PRT".into(), 0, false, vec![&choose, &otherwise]),
            &isa,
        ],
    ))
}

/// The windows of the root bridge: all ports but its own configuration registers, VGA memory, the PCI hole
/// below the ECAM window.
fn pci_windows() -> Raw {
    let memory = |start: u64, end: u64| {
        AddressSpace::new_memory(
            AddressSpaceCacheable::NotCacheable,
            true,
            start as u32,
            (end - 1) as u32,
            None::<u32>,
        )
    };
    Raw::of(&ResourceTemplate::new(vec![
        &AddressSpace::new_bus_number(0_u16, 0xff),
        &aml::IO::new(pci::CONFIG_ADDRESS, pci::CONFIG_ADDRESS, 1, 8),
        &AddressSpace::new_io(0_u16, pci::CONFIG_ADDRESS - 1, None),
        &AddressSpace::new_io(0x0d00_u16, 0xffff, None),
        &memory(layout::VGA_MEMORY.start, layout::VGA_MEMORY.end),
        &memory(layout::PCI_HOLE, layout::ECAM),
    ]))
}

/// A routing table for the four pins of every device but the host bridge.
fn routing_table(line: fn(u8, u8) -> u8) -> Raw {
    let mut table = PackageBuilder::new();
    for device in 1..32_u8 {
        for pin in 0..4_u8 {
            let address = u32::from(device) << 16 | 0xffff;
            let interrupt = line(device, pin);
            table.add_element(&package([&address as &dyn Aml, &pin, &aml::ZERO, &interrupt]));
        }
    }
    Raw::of(&table)
}

fn isa_bridge() -> Raw {
    let uid = Name::new("_UID".into(), &aml::ZERO);
    let com1 = isa_device("COM1", &EISAName::new("PNP0501"), &[(COM1, 8)], Some(COM1_IRQ), &[&uid]);
    let rtc = isa_device("RTC0", &EISAName::new("PNP0B00"), &[(0x70, 2)], Some(8), &[]);
    let keyboard = isa_device(
        "KBD0",
        &EISAName::new("PNP0303"),
        &[(i8042::DATA, 1), (i8042::COMMAND, 1)],
        Some(i8042::KEYBOARD_IRQ),
        &[],
    );
    let pvpanic = isa_device("PEVT", &"QEMU0001", &[(debug_ports::PVPANIC, 1)], None, &[]);
    let fw_cfg = isa_device("FWCF", &"QEMU0002", &[(fw_cfg::SELECTOR, 2)], None, &[]);
    let address = Name::new("_ADR".into(), &0x001f_0000_u32);
    Raw::of(&Device::new("ISA0".into(), vec![&address, &com1, &rtc, &keyboard, &pvpanic, &fw_cfg]))
}

/// A device that is present, with fixed ports and perhaps an edge-triggered interrupt.
fn isa_device(name: &str, hid: &dyn Aml, ports: &[(u16, u8)], irq: Option<u8>, more: &[&dyn Aml]) -> Raw {
    const PRESENT: u8 = 0x0f;
    let ports: Vec<aml::IO> =
        ports.iter().map(|(port, length)| aml::IO::new(*port, *port, 1, *length)).collect();
    let interrupt = irq.map(|irq| Interrupt::new(true, true, false, false, u32::from(irq)));
    let mut resources: Vec<&dyn Aml> = ports.iter().map(|port| port as &dyn Aml).collect();
    resources.extend(interrupt.iter().map(|interrupt| interrupt as &dyn Aml));
    let hid = Name::new("_HID".into(), hid);
    let status = Name::new("_STA".into(), &PRESENT);
    let resources = Name::new("_CRS".into(), &ResourceTemplate::new(resources));
    let mut children: Vec<&dyn Aml> = vec![&hid, &status, &resources];
    children.extend(more);
    Raw::of(&Device::new(name.into(), children))
}
