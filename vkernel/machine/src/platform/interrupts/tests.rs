//! What the wiring of PIC, I/O APIC and local APICs promises.

use super::*;
use crate::platform::law::assert_saves_and_loads;

const SVR: u64 = 0xf0;
const EOI: u64 = 0xb0;
const ICR_LOW: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const LVT_LINT0: u64 = 0x350;

fn access(vcpu: u8) -> Access {
    Access { vcpu, now: VirtualTime(0) }
}

fn write(interrupts: &mut Interrupts, vcpu: u8, register: u64, value: u32) {
    interrupts.mmio_write(access(vcpu), layout::LAPIC + register, 4, u64::from(value));
}

fn route(interrupts: &mut Interrupts, pin: u8, low: u32, destination: u8) {
    for (index, value) in [(1, u64::from(destination) << 24), (0, u64::from(low))] {
        interrupts.mmio_write(access(0), layout::IOAPIC, 4, u64::from(0x10 + 2 * pin + index));
        interrupts.mmio_write(access(0), layout::IOAPIC + 0x10, 4, value);
    }
}

fn enabled(vcpus: u8) -> Interrupts {
    let mut interrupts = Interrupts::new(vcpus);
    for vcpu in 0..vcpus {
        write(&mut interrupts, vcpu, SVR, 0x1ff);
    }
    interrupts
}

fn initialise_pic(interrupts: &mut Interrupts) {
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0)] {
        interrupts.port_write(port, value);
    }
    for (port, value) in [(0xa0, 0x11), (0xa1, 0x28), (0xa1, 2), (0xa1, 1), (0xa1, 0)] {
        interrupts.port_write(port, value);
    }
}

fn taken(vector: u8, kind: LandmarkKind) -> Option<Acknowledged> {
    Some(Acknowledged { vector, kind })
}

#[test]
fn pic_reaches_the_boot_processor_at_power_on() {
    let mut interrupts = Interrupts::new(2);
    initialise_pic(&mut interrupts);
    interrupts.set_irq(0, true, LandmarkKind::Timer);
    assert!(interrupts.signals(0).interrupt);
    assert!(!interrupts.signals(1).interrupt);
    assert_eq!(interrupts.acknowledge(0), taken(0x20, LandmarkKind::Timer));
    assert!(!interrupts.signals(0).interrupt);
    interrupts.port_write(0x20, 0x20);
    interrupts.set_irq(4, true, LandmarkKind::Device);
    assert_eq!(interrupts.acknowledge(0), taken(0x24, LandmarkKind::Device));
}

#[test]
fn masking_lint0_closes_the_virtual_wire_and_disabling_the_apic_opens_it() {
    let mut interrupts = enabled(1);
    initialise_pic(&mut interrupts);
    interrupts.set_irq(4, true, LandmarkKind::Device);
    assert!(interrupts.signals(0).interrupt);
    write(&mut interrupts, 0, LVT_LINT0, 0x1_0700);
    assert!(!interrupts.signals(0).interrupt);
    assert_eq!(interrupts.acknowledge(0), None);
    interrupts.msr_write(0, 0x1b, layout::LAPIC | 0x100, VirtualTime(0)).unwrap();
    assert!(interrupts.signals(0).interrupt);
    assert!(!interrupts.claims(0, layout::LAPIC));
}

#[test]
fn virtual_wire_through_the_io_apic() {
    let mut interrupts = enabled(2);
    initialise_pic(&mut interrupts);
    write(&mut interrupts, 0, LVT_LINT0, 0x1_0700);
    route(&mut interrupts, 0, 0x700, 1);
    interrupts.set_irq(3, true, LandmarkKind::Device);
    assert!(!interrupts.signals(0).interrupt);
    assert_eq!(interrupts.acknowledge(1), taken(0x23, LandmarkKind::Device));
}

#[test]
fn irq_0_is_pin_2_and_irq_2_is_nothing() {
    let mut interrupts = enabled(2);
    route(&mut interrupts, 2, 0x30, 1);
    interrupts.set_irq(2, true, LandmarkKind::Device);
    assert!(!interrupts.signals(1).interrupt);
    interrupts.set_irq(0, true, LandmarkKind::Timer);
    assert_eq!(interrupts.acknowledge(1), taken(0x30, LandmarkKind::Timer));
}

#[test]
fn level_line_repeats_after_the_broadcast_eoi() {
    let mut interrupts = enabled(1);
    route(&mut interrupts, 17, 0x8045, 0);
    interrupts.set_irq(17, true, LandmarkKind::Device);
    assert_eq!(interrupts.acknowledge(0), taken(0x45, LandmarkKind::Device));
    write(&mut interrupts, 0, EOI, 0);
    assert_eq!(interrupts.acknowledge(0), taken(0x45, LandmarkKind::Device));
    interrupts.set_irq(17, false, LandmarkKind::Device);
    write(&mut interrupts, 0, EOI, 0);
    assert!(!interrupts.signals(0).interrupt);
}

#[test]
fn lowest_priority_goes_to_the_least_busy() {
    let mut interrupts = enabled(3);
    for vcpu in 0..3 {
        write(&mut interrupts, vcpu, 0xd0, 0x0100_0000 << vcpu);
    }
    interrupts.set_task_priority(0, 5);
    interrupts.set_task_priority(1, 2);
    interrupts.set_task_priority(2, 3);
    interrupts.msi(0xfee0_700c, 0x0170);
    let reached: Vec<_> = (0..3).map(|vcpu| interrupts.signals(vcpu).interrupt).collect();
    assert_eq!(reached, [false, true, false]);
    interrupts.msi(0xfee0_7004, 0x0071);
    assert!((0..3).all(|vcpu| interrupts.signals(vcpu).interrupt), "fixed reaches all");
}

#[test]
fn ipi_shorthands_reach_whom_they_name() {
    for (shorthand, reached) in [(1, [true, false, false]), (2, [true; 3]), (3, [false, true, true])] {
        let mut interrupts = enabled(3);
        write(&mut interrupts, 0, ICR_LOW, shorthand << 18 | 0x4060);
        let got: Vec<_> = (0..3).map(|vcpu| interrupts.signals(vcpu).interrupt).collect();
        assert_eq!(got, reached, "shorthand {shorthand}");
        assert_eq!(interrupts.take_ipi_sent(), shorthand != 1);
        assert!(!interrupts.take_ipi_sent());
    }
}

#[test]
fn ipi_kind_is_remembered_until_acknowledged() {
    let mut interrupts = enabled(2);
    write(&mut interrupts, 0, ICR_HIGH, 1 << 24);
    write(&mut interrupts, 0, ICR_LOW, 0x4060);
    interrupts.msi(0xfee0_1000, 0x50);
    assert_eq!(interrupts.acknowledge(1), taken(0x60, LandmarkKind::Ipi));
    write(&mut interrupts, 1, EOI, 0);
    assert_eq!(interrupts.acknowledge(1), taken(0x50, LandmarkKind::Device));
}

#[test]
fn init_and_start_up_wake_an_application_processor() {
    let mut interrupts = enabled(2);
    write(&mut interrupts, 0, ICR_HIGH, 1 << 24);
    write(&mut interrupts, 0, ICR_LOW, 0xc500);
    write(&mut interrupts, 0, ICR_LOW, 0x8500);
    assert!(interrupts.signals(1).init);
    assert!(interrupts.take_init(1));
    interrupts.reset_vcpu(1);
    write(&mut interrupts, 0, ICR_LOW, 0x4699);
    assert!(interrupts.signals(1).sipi);
    assert_eq!(interrupts.take_sipi(1), Some(0x99));
    assert_eq!(interrupts.take_sipi(1), None);
    write(&mut interrupts, 0, ICR_LOW, 0x4400);
    assert!(interrupts.take_nmi(1) && !interrupts.signals(1).nmi);
}

#[test]
fn deadline_is_the_earliest_timer_and_advance_delivers_it() {
    let mut interrupts = enabled(2);
    for (vcpu, count) in [(0, 50), (1, 25)] {
        write(&mut interrupts, vcpu, 0x3e0, 0xb);
        write(&mut interrupts, vcpu, 0x320, 0xec);
        write(&mut interrupts, vcpu, 0x380, count);
    }
    assert_eq!(interrupts.deadline(), Some(VirtualTime(1000)));
    interrupts.advance(VirtualTime(1000));
    assert_eq!(interrupts.acknowledge(1), taken(0xec, LandmarkKind::Timer));
    assert_eq!(interrupts.deadline(), Some(VirtualTime(2000)));
    interrupts.advance(VirtualTime(9000));
    assert_eq!(interrupts.acknowledge(0), taken(0xec, LandmarkKind::Timer));
    assert_eq!(interrupts.deadline(), None);
}

#[test]
fn x2apic_processors_exchange_ipis_and_take_8_bit_messages() {
    let mut interrupts = Interrupts::new(2);
    for vcpu in 0..2 {
        let base = interrupts.msr_read(vcpu, 0x1b, VirtualTime(0)).unwrap();
        interrupts.msr_write(vcpu, 0x1b, base | 0x400, VirtualTime(0)).unwrap();
        interrupts.msr_write(vcpu, 0x80f, 0x1ff, VirtualTime(0)).unwrap();
    }
    interrupts.msr_write(0, 0x830, 0x1_0000_0060, VirtualTime(0)).unwrap();
    assert_eq!(interrupts.acknowledge(1), taken(0x60, LandmarkKind::Ipi));
    interrupts.msr_write(1, 0x80b, 0, VirtualTime(0)).unwrap();
    interrupts.msi(0xfee0_2004, 0x51);
    assert_eq!(interrupts.acknowledge(1), taken(0x51, LandmarkKind::Device));
    interrupts.msr_write(0, 0x83f, 0x44, VirtualTime(0)).unwrap();
    assert_eq!(interrupts.acknowledge(0), taken(0x44, LandmarkKind::Ipi));
    assert_eq!(interrupts.msr_write(0, 0x840, 0, VirtualTime(0)), None);
}

#[test]
fn odd_sizes_and_places_are_harmless() {
    let mut interrupts = enabled(1);
    for base in [layout::LAPIC, layout::IOAPIC] {
        for offset in 0..0x1000 {
            for size in [1, 2, 4, 8] {
                let value = interrupts.mmio_read(access(0), base + offset, size);
                assert!(size == 8 || value >> (8 * size) == 0);
            }
            interrupts.mmio_write(access(0), base + offset, 1, 0xff);
            interrupts.mmio_write(access(0), base + offset, 8, u64::MAX);
        }
    }
    assert_eq!(interrupts.mmio_read(access(0), layout::LAPIC + 0x31, 1), 0, "byte 1 of the version");
}

#[test]
fn state_and_caches_survive() {
    let mut interrupts = enabled(2);
    initialise_pic(&mut interrupts);
    interrupts.set_irq(4, true, LandmarkKind::Device);
    write(&mut interrupts, 1, 0x320, 0xec);
    write(&mut interrupts, 1, 0x380, 25);
    interrupts.msi(0xfee0_1000, 0x50);
    let mut fresh = Interrupts::new(2);
    assert_saves_and_loads(&mut interrupts, &mut fresh);
    for vcpu in 0..2 {
        assert_eq!(fresh.signals(vcpu), interrupts.signals(vcpu));
    }
    assert_eq!(fresh.deadline(), interrupts.deadline());
    assert_eq!(fresh.acknowledge(0), interrupts.acknowledge(0));
}
