//! What the platform timers promise together: who drives IRQ 0 and IRQ 8, and in which order.

use super::*;
use crate::platform::law::assert_saves_and_loads;

const HPET_ENABLE_LEGACY: u64 = 3;

fn at(now: u64) -> Access {
    Access { vcpu: 0, now: VirtualTime(now) }
}

/// A PIC with vectors 0x20 and 0x28, everything open, automatic EOI.
fn interrupts() -> Interrupts {
    let mut interrupts = Interrupts::new(1);
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 3), (0x21, 0)] {
        interrupts.port_write(port, value);
    }
    for (port, value) in [(0xa0, 0x11), (0xa1, 0x28), (0xa1, 2), (0xa1, 3), (0xa1, 0)] {
        interrupts.port_write(port, value);
    }
    interrupts
}

fn vectors(interrupts: &mut Interrupts) -> Vec<u8> {
    std::iter::from_fn(|| interrupts.acknowledge(0)).map(|acknowledged| acknowledged.vector).collect()
}

fn start_pit(timers: &mut Timers, interrupts: &mut Interrupts, count: u16) {
    timers.port_write(at(0), 0x43, 0x34, interrupts);
    timers.port_write(at(0), 0x40, count as u8, interrupts);
    timers.port_write(at(0), 0x40, (count >> 8) as u8, interrupts);
}

#[test]
fn pit_ticks_at_its_rate_without_drift() {
    let (mut timers, mut interrupts) = (Timers::new(0), interrupts());
    start_pit(&mut timers, &mut interrupts, 11_932);
    vectors(&mut interrupts);
    let mut ticks = 0;
    while let Some(time) = timers.deadline().filter(|time| time.0 <= 100_000_000_000) {
        timers.advance(VirtualTime(time.0 + 13), &mut interrupts);
        assert_eq!(vectors(&mut interrupts), [0x20]);
        ticks += 1;
    }
    assert_eq!(ticks, (100 * 1_193_182 - 1) / 11_932);
}

#[test]
fn a_long_sleep_is_one_edge() {
    let (mut timers, mut interrupts) = (Timers::new(0), interrupts());
    start_pit(&mut timers, &mut interrupts, 2);
    vectors(&mut interrupts);
    timers.advance(VirtualTime(1_000_000_000_000_000), &mut interrupts);
    assert_eq!(vectors(&mut interrupts), [0x20]);
    assert!(timers.deadline().unwrap() > VirtualTime(1_000_000_000_000_000));
}

#[test]
fn legacy_replacement_takes_both_lines() {
    let (mut timers, mut interrupts) = (Timers::new(0), interrupts());
    start_pit(&mut timers, &mut interrupts, 100);
    timers.hpet_write(at(0), 0x10, 8, HPET_ENABLE_LEGACY, &mut interrupts);
    vectors(&mut interrupts);
    assert_eq!(timers.deadline(), None, "the PIT is disconnected");
    timers.hpet_write(at(0), 0x100, 4, 4, &mut interrupts);
    timers.hpet_write(at(0), 0x108, 8, 1000, &mut interrupts);
    timers.hpet_write(at(0), 0x120, 4, 4, &mut interrupts);
    timers.hpet_write(at(0), 0x128, 8, 500, &mut interrupts);
    assert_eq!(timers.deadline(), Some(VirtualTime(5000)));
    timers.advance(VirtualTime(5000), &mut interrupts);
    assert_eq!(vectors(&mut interrupts), [0x28]);
    timers.advance(VirtualTime(10_000), &mut interrupts);
    assert_eq!(vectors(&mut interrupts), [0x20]);
    timers.hpet_write(at(20_000), 0x10, 8, 1, &mut interrupts);
    assert!(timers.deadline().is_some(), "the PIT is back");
}

#[test]
fn rtc_interrupts_once_until_c_is_read() {
    let (mut timers, mut interrupts) = (Timers::new(0), interrupts());
    timers.port_write(at(0), 0x70, 0xb, &mut interrupts);
    timers.port_write(at(0), 0x71, 0x42, &mut interrupts);
    assert_eq!(timers.deadline(), Some(VirtualTime(976_563)));
    timers.advance(VirtualTime(5_000_000), &mut interrupts);
    assert_eq!(vectors(&mut interrupts), [0x28]);
    assert_eq!(timers.deadline(), None);
    timers.port_write(at(5_000_000), 0x70, 0xc, &mut interrupts);
    assert_eq!(timers.port_read(at(5_000_000), 0x71, &mut interrupts), 0xc0);
    assert_eq!(timers.deadline(), Some(VirtualTime(5_859_375)));
    timers.advance(VirtualTime(5_859_375), &mut interrupts);
    assert_eq!(vectors(&mut interrupts), [0x28]);
}

#[test]
fn hpet_level_line_follows_its_status() {
    let (mut timers, mut interrupts) = (Timers::new(0), interrupts());
    interrupts.mmio_write(at(0), 0xfee0_00f0, 4, 0x1ff);
    interrupts.mmio_write(at(0), 0xfec0_0000, 4, 0x10 + 2 * 21);
    interrupts.mmio_write(at(0), 0xfec0_0010, 4, 0x8066);
    timers.hpet_write(at(0), 0x10, 8, 1, &mut interrupts);
    timers.hpet_write(at(0), 0x140, 4, 21 << 9 | 6, &mut interrupts);
    timers.hpet_write(at(0), 0x148, 8, 10, &mut interrupts);
    timers.advance(VirtualTime(100), &mut interrupts);
    assert_eq!(timers.hpet_read(at(100), 0x20, 4), 4);
    assert_eq!(interrupts.acknowledge(0).map(|taken| taken.vector), Some(0x66));
    interrupts.mmio_write(at(100), 0xfee0_00b0, 4, 0);
    assert_eq!(vectors(&mut interrupts), [0x66], "still asserted");
    timers.hpet_write(at(100), 0x20, 4, 4, &mut interrupts);
    interrupts.mmio_write(at(100), 0xfee0_00b0, 4, 0);
    assert_eq!(vectors(&mut interrupts), []);
}

#[test]
fn pm_timer_and_counter_read_the_same_time() {
    let (mut timers, mut interrupts) = (Timers::new(0), interrupts());
    timers.hpet_write(at(0), 0x10, 8, 1, &mut interrupts);
    assert_eq!(timers.hpet_read(at(1_000_000_000), 0xf0, 8), 100_000_000);
    assert_eq!(timers.pm_timer(VirtualTime(1_000_000_000)), 3_579_545);
}

#[test]
fn state_and_deadline_survive() {
    let (mut timers, mut interrupts) = (Timers::new(5), interrupts());
    start_pit(&mut timers, &mut interrupts, 1000);
    timers.advance(VirtualTime(1_000_000), &mut interrupts);
    timers.hpet_write(at(1_000_000), 0x10, 8, 1, &mut interrupts);
    let mut fresh = Timers::new(0);
    assert_saves_and_loads(&mut timers, &mut fresh);
    assert_eq!(fresh.deadline(), timers.deadline());
}

/// A guest that writes anything anywhere, with time going on in steps of every size: nothing overflows, a
/// deadline never lies in the past, and what is loaded behaves as what was saved.
#[test]
fn a_hostile_guest_is_harmless() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (mut timers, mut interrupts) = (Timers::new(1 << 31), Interrupts::new(4));
    let mut now = 0u64;
    for round in 0..200_000 {
        now = now.saturating_add(random() >> (20 + random() % 44));
        let access = Access { vcpu: (random() % 4) as u8, now: VirtualTime(now) };
        let value = random() >> (random() % 64);
        let port =
            [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71][random() as usize % 12];
        let register = random() % 0x40 * 16;
        match random() % 8 {
            0 => interrupts.port_write(port, value as u8),
            1 => timers.port_write(access, port, value as u8, &mut interrupts),
            2 => drop((interrupts.port_read(port), timers.port_read(access, port, &mut interrupts))),
            3 => interrupts.mmio_write(access, 0xfee0_0000 + register, 4, value),
            4 => interrupts.mmio_write(access, 0xfec0_0000 + register % 0x50, 4, value % 0x10000),
            5 => timers.hpet_write(
                access,
                (random() % 0x180) & !3,
                4 << (random() & 1),
                value,
                &mut interrupts,
            ),
            6 => drop(interrupts.msr_write(access.vcpu, 0x800 + register as u32 / 16, value, access.now)),
            _ => interrupts.msi(0xfee0_0000 | value & 0xf_ffff, random() as u32),
        }
        timers.advance(access.now, &mut interrupts);
        interrupts.advance(access.now);
        for deadline in [timers.deadline(), interrupts.deadline()].into_iter().flatten() {
            assert!(deadline > access.now, "round {round}: {deadline} at {}", access.now);
        }
        interrupts.acknowledge(access.vcpu);
        if round % 10_000 == 0 {
            let saved = crate::archive::save(&mut interrupts);
            let mut loaded = Interrupts::new(4);
            crate::archive::load(&mut loaded, saved);
            assert!((0..4).all(|vcpu| loaded.signals(vcpu) == interrupts.signals(vcpu)));
            interrupts = loaded;
        }
    }
}
