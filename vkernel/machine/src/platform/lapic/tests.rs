//! What SDM volume 3, chapter 12 promises of a local APIC.

use super::*;
use crate::platform::law::assert_saves_and_loads;

const NOW: VirtualTime = VirtualTime(0);
const X2APIC: u64 = layout::LAPIC | 0xd00;

fn enabled() -> Lapic {
    let mut lapic = Lapic::new(3, false);
    lapic.mmio_write(register::SVR, 0x1ff, NOW);
    lapic
}

fn x2apic() -> Lapic {
    let mut lapic = Lapic::new(3, true);
    lapic.set_base(X2APIC).unwrap();
    lapic.msr_write(register::SVR, 0x1ff, NOW).unwrap();
    lapic
}

fn fixed(vector: u8) -> Message {
    Message {
        vector,
        delivery: Delivery::Fixed,
        level: false,
        destination: Destination::narrow(3, false),
        source: Source::Device,
    }
}

#[test]
fn registers_after_power_on_are_those_of_the_manual() {
    let mut lapic = Lapic::new(3, false);
    for (index, value) in [
        (register::ID, 3 << 24),
        (register::VERSION, 0x0105_0014),
        (register::DFR, u32::MAX),
        (register::SVR, 0xff),
        (register::LVT, 0x1_0000),
        (register::LVT_LAST, 0x1_0000),
        (register::ICR_LOW, 0),
        (register::DIVIDE, 0),
    ] {
        assert_eq!(lapic.mmio_read(index, NOW), value, "register {index:#x}");
    }
}

#[test]
fn looking_from_outside_shows_what_the_registers_hold() {
    let mut lapic = enabled();
    lapic.mmio_write(register::TPR, 0x25, NOW);
    lapic.mmio_write(register::LDR, 0x0800_0000, NOW);
    lapic.mmio_write(register::LVT + LINT0 as u32, 0xa700, NOW);
    lapic.mmio_write(0x01, 0, NOW);
    lapic.accept(&fixed(0x41));
    lapic.acknowledge();
    lapic.accept(&fixed(0x40));
    assert_eq!((lapic.mode(), lapic.id(), lapic.version() & 0xff), (ApicMode::XApic, 3, 0x14));
    assert_eq!((lapic.spurious(), lapic.task_priority_register()), ((true, 0xff), 0x25));
    assert_eq!((lapic.logical_destination() >> 24, lapic.is_flat()), (8, true));
    assert_eq!(lapic.error_status(), (0, ESR_ILLEGAL_REGISTER));
    let (name, lint0) = lapic.local_vectors()[LINT0];
    assert_eq!((name, lint0.delivery), ("LINT0", Delivery::ExtInt));
    assert!(lint0.level && lint0.active_low && !lint0.masked && lapic.local_vectors()[TIMER].1.masked);
    assert_eq!(lapic.pending().members().collect::<Vec<_>>(), [0x40]);
    assert_eq!(lapic.in_service().members().collect::<Vec<_>>(), [0x41]);
    assert_eq!((x2apic().mode(), x2apic().logical_destination()), (ApicMode::X2Apic, 8));
    lapic.set_base(0).unwrap();
    assert_eq!(lapic.mode(), ApicMode::Disabled);
}

#[test]
fn higher_class_preempts_and_equal_class_waits() {
    let mut lapic = enabled();
    lapic.accept(&fixed(0x41));
    assert_eq!(lapic.acknowledge(), Some((0x41, Source::Device)));
    assert_eq!(lapic.mmio_read(register::PPR, NOW), 0x40);
    lapic.accept(&fixed(0x4f));
    assert!(!lapic.signals().interrupt, "same class");
    lapic.accept(&fixed(0x50));
    assert_eq!(lapic.acknowledge().unwrap().0, 0x50);
    lapic.mmio_write(register::EOI, 0, NOW);
    assert!(!lapic.signals().interrupt);
    lapic.mmio_write(register::EOI, 0, NOW);
    assert_eq!(lapic.acknowledge().unwrap().0, 0x4f);
}

#[test]
fn task_priority_holds_back_its_class() {
    let mut lapic = enabled();
    lapic.accept(&fixed(0x41));
    lapic.set_task_priority(4);
    assert!(!lapic.signals().interrupt);
    assert_eq!(lapic.mmio_read(register::TPR, NOW), 0x40);
    lapic.mmio_write(register::TPR, 0x3f, NOW);
    assert_eq!(lapic.mmio_read(register::PPR, NOW), 0x3f);
    assert!(lapic.signals().interrupt);
    assert_eq!(lapic.task_priority(), 3);
}

#[test]
fn irr_isr_and_tmr_show_the_vector() {
    let mut lapic = enabled();
    lapic.accept(&Message { level: true, ..fixed(0x72) });
    assert_eq!(lapic.mmio_read(register::IRR + 3, NOW), 1 << 0x12);
    assert_eq!(lapic.mmio_read(register::TMR + 3, NOW), 1 << 0x12);
    lapic.acknowledge();
    assert_eq!(lapic.mmio_read(register::IRR + 3, NOW), 0);
    assert_eq!(lapic.mmio_read(register::ISR + 3, NOW), 1 << 0x12);
}

#[test]
fn eoi_of_a_level_vector_is_broadcast_unless_suppressed() {
    let mut lapic = enabled();
    for (spurious, effect) in [(0x1ff, Effect::EndOfInterrupt(0x61)), (0x11ff, Effect::None)] {
        lapic.mmio_write(register::SVR, spurious, NOW);
        lapic.accept(&Message { level: true, ..fixed(0x61) });
        lapic.acknowledge();
        assert_eq!(lapic.mmio_write(register::EOI, 0, NOW), effect);
    }
    lapic.accept(&fixed(0x61));
    lapic.acknowledge();
    assert_eq!(lapic.mmio_write(register::EOI, 0, NOW), Effect::None, "edge");
}

#[test]
fn software_disabled_takes_nmi_but_no_vectors_and_masks_the_lvt() {
    let mut lapic = enabled();
    lapic.mmio_write(register::LVT, 0x40, NOW);
    lapic.mmio_write(register::SVR, 0xff, NOW);
    assert_eq!(lapic.mmio_read(register::LVT, NOW), 0x1_0040);
    lapic.mmio_write(register::LVT, 0x41, NOW);
    assert_eq!(lapic.mmio_read(register::LVT, NOW), 0x1_0041);
    lapic.accept(&fixed(0x41));
    assert!(!lapic.signals().interrupt);
    lapic.accept(&Message { delivery: Delivery::Nmi, ..fixed(0) });
    assert!(lapic.take_nmi());
    assert!(!lapic.take_nmi());
}

#[test]
fn base_transitions_follow_the_diagram() {
    let (off, x, x2) = (layout::LAPIC, layout::LAPIC | 0x800, layout::LAPIC | 0xc00);
    let reach = |path: &[u64]| {
        let mut lapic = Lapic::new(0, false);
        path.iter().try_for_each(|value| lapic.set_base(*value))
    };
    assert!(reach(&[x, x2, off, x]).is_some());
    assert!(reach(&[x, off, x]).is_some());
    assert!(reach(&[x2, x2]).is_some());
    assert!(reach(&[x2, x]).is_none());
    assert!(reach(&[off, x2]).is_none());
    for invalid in [layout::LAPIC | 0x400, x | 1, x | 1 << 52] {
        assert!(reach(&[invalid]).is_none());
    }
    assert!(reach(&[off, layout::LAPIC | 0x400]).is_none());
}

#[test]
fn disabling_forgets_and_unmaps() {
    let mut lapic = enabled();
    lapic.accept(&fixed(0x41));
    assert_eq!(lapic.page(), Some(layout::LAPIC));
    lapic.set_base(layout::LAPIC).unwrap();
    assert_eq!((lapic.page(), lapic.signals()), (None, Signals::default()));
    assert!(lapic.passes_pic());
    lapic.set_base(0x1234_5000 | 0x800).unwrap();
    assert_eq!(lapic.page(), Some(0x1234_5000));
    assert_eq!(lapic.mmio_read(register::SVR, NOW), 0xff);
}

#[test]
fn x2apic_registers_and_faults() {
    let mut lapic = x2apic();
    assert_eq!(lapic.page(), None);
    assert_eq!(lapic.msr_read(register::ID, NOW), Some(3));
    assert_eq!(lapic.msr_read(register::LDR, NOW), Some(8));
    for index in [register::DFR, register::ICR_HIGH, register::EOI, register::SELF_IPI, 0x2f, 0x40, 0xff] {
        assert_eq!(lapic.msr_read(index, NOW), None, "read {index:#x}");
    }
    for (index, value) in [
        (register::ID, 0),
        (register::LDR, 0),
        (register::DFR, 0),
        (register::PPR, 0),
        (register::EOI, 1),
        (register::ESR, 1),
        (register::TPR, 0x100),
        (register::SVR, 0x200),
        (register::LVT, 1 << 15),
        (register::LVT, 1 << 32),
        (register::INITIAL_COUNT, 1 << 32),
        (register::DIVIDE, 4),
        (register::ICR_LOW, 1 << 13),
        (register::SELF_IPI, 0x100),
    ] {
        assert_eq!(lapic.msr_write(index, value, NOW), None, "write {index:#x}");
    }
    assert_eq!(enabled().msr_read(register::ID, NOW), None, "no MSRs in xAPIC mode");
}

#[test]
fn x2apic_icr_has_a_32_bit_destination() {
    let mut lapic = x2apic();
    let effect = lapic.msr_write(register::ICR_LOW, 0x0000_0105_0000_4041, NOW).unwrap();
    let Effect::Ipi(message, Shorthand::None) = effect else { panic!("{effect:?}") };
    assert_eq!(message.destination, Destination { id: 0x105, logical: false, wide: true });
    assert_eq!((message.vector, message.source), (0x41, Source::Ipi));
    let effect = lapic.msr_write(register::SELF_IPI, 0x55, NOW).unwrap();
    assert!(matches!(effect, Effect::Ipi(Message { vector: 0x55, .. }, Shorthand::Oneself)));
}

#[test]
fn logical_destinations_flat_cluster_and_x2apic() {
    let mut lapic = enabled();
    lapic.mmio_write(register::LDR, 0x2200_0000, NOW);
    let narrow = |lapic: &Lapic, id| lapic.matches(&Destination::narrow(id, true));
    assert!(narrow(&lapic, 0x02) && narrow(&lapic, 0x20) && narrow(&lapic, 0xff) && !narrow(&lapic, 0x11));
    lapic.mmio_write(register::DFR, 0, NOW);
    assert!(narrow(&lapic, 0x22) && narrow(&lapic, 0xf2) && !narrow(&lapic, 0x12) && !narrow(&lapic, 0x21));
    let lapic = x2apic();
    let wide = |id| lapic.matches(&Destination { id, logical: true, wide: true });
    assert!(wide(0x0000_0008) && wide(u32::MAX) && !wide(0x0001_0008) && !wide(4));
}

#[test]
fn illegal_vectors_and_registers_reach_the_esr_and_the_error_interrupt() {
    let mut lapic = enabled();
    lapic.mmio_write(register::LVT_LAST, 0xfe, NOW);
    assert_eq!(lapic.mmio_write(register::ICR_LOW, 5, NOW), Effect::None);
    assert_eq!(lapic.mmio_read(register::ESR, NOW), 0, "latched by a write only");
    lapic.mmio_write(register::ESR, 0, NOW);
    assert_eq!(lapic.mmio_read(register::ESR, NOW), ESR_SEND_ILLEGAL_VECTOR);
    assert_eq!(lapic.acknowledge().unwrap().0, 0xfe);
    lapic.accept(&fixed(3));
    lapic.mmio_read(0x05, NOW);
    lapic.mmio_write(register::ESR, 0, NOW);
    assert_eq!(lapic.mmio_read(register::ESR, NOW), ESR_RECEIVED_ILLEGAL_VECTOR | ESR_ILLEGAL_REGISTER);
    lapic.mmio_write(register::ESR, 0, NOW);
    assert_eq!(lapic.mmio_read(register::ESR, NOW), 0);
}

#[test]
fn timer_interrupts_through_its_lvt_entry() {
    let mut lapic = enabled();
    lapic.mmio_write(register::DIVIDE, 0xb, NOW);
    lapic.mmio_write(register::LVT, 0x2_00ec, NOW);
    lapic.mmio_write(register::INITIAL_COUNT, 25, NOW);
    assert_eq!(lapic.deadline(), Some(VirtualTime(1000)));
    lapic.advance(VirtualTime(999));
    assert!(!lapic.signals().interrupt);
    lapic.advance(VirtualTime(1000));
    assert_eq!(lapic.acknowledge(), Some((0xec, Source::Timer)));
    assert_eq!(lapic.deadline(), Some(VirtualTime(2000)));
    lapic.mmio_write(register::LVT, 0x3_00ec, VirtualTime(1100));
    assert_eq!(lapic.deadline(), None, "masked");
    lapic.mmio_write(register::LVT, 0x2_00ec, VirtualTime(7100));
    assert_eq!(lapic.deadline(), Some(VirtualTime(8000)), "on the grid it began");
    assert_eq!(lapic.acknowledge(), None, "expiries while masked are lost");
}

#[test]
fn tsc_deadline_fires_once() {
    let mut lapic = x2apic();
    lapic.set_tsc_deadline(Some(VirtualTime(50)));
    assert_eq!(lapic.tsc_deadline(), None, "not in that mode");
    lapic.msr_write(register::LVT, 0x4_00ec, NOW).unwrap();
    lapic.set_tsc_deadline(Some(VirtualTime(50)));
    assert_eq!(lapic.deadline(), Some(VirtualTime(50)));
    lapic.advance(VirtualTime(60));
    assert_eq!((lapic.tsc_deadline(), lapic.deadline()), (None, None));
    assert_eq!(lapic.acknowledge().unwrap().1, Source::Timer);
}

#[test]
fn start_up_after_init_survives_the_reset() {
    let mut lapic = enabled();
    lapic.accept(&Message { delivery: Delivery::StartUp, ..fixed(0x10) });
    lapic.accept(&Message { delivery: Delivery::Init, ..fixed(0) });
    assert!(!lapic.signals().sipi, "INIT forgets an earlier start-up");
    lapic.accept(&Message { delivery: Delivery::StartUp, ..fixed(0x9a) });
    assert!(lapic.take_init());
    lapic.reset();
    assert_eq!(lapic.take_start_up(), Some(0x9a));
    assert_eq!(lapic.mmio_read(register::SVR, NOW), 0xff);
}

#[test]
fn level_lint0_repeats_after_its_eoi() {
    let mut lapic = enabled();
    lapic.mmio_write(register::LVT + 3, 0x8035, NOW);
    lapic.set_lint0(true, Source::Timer);
    assert_eq!(lapic.acknowledge(), Some((0x35, Source::Timer)));
    assert_eq!(lapic.mmio_read(register::LVT + 3, NOW), 0xc035);
    lapic.mmio_write(register::EOI, 0, NOW);
    assert!(lapic.signals().interrupt);
    lapic.acknowledge();
    lapic.set_lint0(false, Source::Timer);
    lapic.mmio_write(register::EOI, 0, NOW);
    assert!(!lapic.signals().interrupt);
}

#[test]
fn every_register_takes_every_value() {
    for value in [0, 1, 0x7_ffff, 0xffff_ffff, 0x8000_0000] {
        let (mut x, mut x2) = (enabled(), x2apic());
        for index in 0..=0xff {
            x.mmio_write(index, value, VirtualTime(u64::MAX));
            x.mmio_read(index, VirtualTime(u64::MAX));
            x2.msr_write(index, u64::from(value) << 32 | u64::from(value), VirtualTime(u64::MAX));
            x2.msr_read(index, VirtualTime(u64::MAX));
        }
        assert_eq!(x.mmio_read(register::ID, NOW), 3 << 24);
        assert_eq!(x2.msr_read(register::ID, NOW), Some(3));
    }
}

#[test]
fn state_survives() {
    let mut lapic = enabled();
    lapic.accept(&fixed(0x41));
    lapic.acknowledge();
    lapic.accept(&Message { level: true, source: Source::Ipi, ..fixed(0x91) });
    lapic.mmio_write(register::LVT, 0x2_00ec, NOW);
    lapic.mmio_write(register::INITIAL_COUNT, 25, NOW);
    let mut fresh = Lapic::new(3, false);
    assert_saves_and_loads(&mut lapic, &mut fresh);
    fresh.refresh();
    assert_eq!(fresh.signals(), lapic.signals());
}
