//! What the HPET specification promises.

use super::*;
use crate::platform::law::assert_saves_and_loads;

fn ns(ticks: u64) -> VirtualTime {
    VirtualTime(ticks * TICK_NS)
}

fn running(config: u64) -> Hpet {
    let mut hpet = Hpet::default();
    hpet.write(0x10, 8, config | ENABLE, ns(0));
    hpet
}

fn expire(hpet: &mut Hpet, now: VirtualTime) -> Vec<HpetEvent> {
    let mut events = Vec::new();
    hpet.expire(now, &mut |event| events.push(event));
    events
}

const PULSE_0: HpetEvent = HpetEvent { irq: 0, level: false };

#[test]
fn capabilities_say_100_mhz_and_three_comparators() {
    let hpet = Hpet::default();
    assert_eq!(hpet.read(4, 4, ns(0)), 10_000_000);
    assert_eq!(hpet.read(0, 4, ns(0)), 0x8086_a201);
    assert_eq!(hpet.read(0x104, 4, ns(0)), 0x00f0_0000);
    assert_eq!(hpet.read(0x100, 4, ns(0)), 0x30);
    assert_eq!(hpet.read(0x160, 8, ns(0)), 0, "no fourth comparator");
}

#[test]
fn counter_stops_and_continues_and_can_be_written() {
    let mut hpet = running(0);
    assert_eq!(hpet.read(0xf0, 8, ns(500)), 500);
    hpet.write(0x10, 4, 0, ns(500));
    assert_eq!(hpet.read(0xf0, 8, ns(900)), 500);
    hpet.write(0xf4, 4, 1, ns(900));
    hpet.write(0x10, 4, ENABLE, ns(1000));
    assert_eq!(hpet.read(0xf0, 8, ns(1007)), 0x1_0000_01fb);
    assert_eq!(hpet.read(0xf4, 4, ns(1007)), 1);
}

#[test]
fn one_shot_interrupts_once() {
    let mut hpet = running(LEGACY);
    hpet.write(0x100, 8, T_INTERRUPT, ns(0));
    hpet.write(0x108, 8, 1000, ns(10));
    assert_eq!(hpet.deadline(), Some(ns(1000)));
    assert_eq!(expire(&mut hpet, VirtualTime(ns(1000).0 - 1)), []);
    assert_eq!(expire(&mut hpet, ns(1000)), [PULSE_0]);
    assert_eq!(hpet.deadline(), None, "a 64-bit counter does not come round");
    hpet.write(0x108, 8, 500, ns(2000));
    assert_eq!(hpet.deadline(), None, "a value in the past");
}

#[test]
fn narrow_one_shot_comes_round() {
    let mut hpet = running(LEGACY);
    hpet.write(0x100, 8, T_INTERRUPT | T_32_BIT, ns(0));
    hpet.write(0x108, 8, 1000, ns(10));
    assert_eq!(expire(&mut hpet, ns(1000)).len(), 1);
    let round = hpet.deadline().unwrap();
    assert!(round > ns(0xffff_0000) && round <= ns((1 << 32) + 1000));
}

#[test]
fn periodic_takes_value_then_period_and_keeps_its_grid() {
    let mut hpet = running(LEGACY);
    hpet.write(0x100, 4, T_INTERRUPT | T_PERIODIC | T_SET_VALUE | T_32_BIT, ns(100));
    hpet.write(0x108, 4, 1100, ns(100));
    hpet.write(0x108, 4, 1000, ns(101));
    assert_eq!(hpet.deadline(), Some(ns(1100)));
    assert_eq!(expire(&mut hpet, VirtualTime(ns(1100).0 + 7)), [PULSE_0]);
    assert_eq!(hpet.deadline(), Some(ns(2100)));
    assert_eq!(expire(&mut hpet, ns(30_000_000_050)), [PULSE_0], "one for all that passed");
    assert_eq!(hpet.deadline(), Some(ns(30_000_000_100)));
}

#[test]
fn level_holds_the_line_until_the_status_is_cleared() {
    let mut hpet = running(0);
    hpet.write(0x120, 8, T_INTERRUPT | T_LEVEL | 21 << 9, ns(0));
    hpet.write(0x128, 8, 50, ns(0));
    assert_eq!(expire(&mut hpet, ns(60)), [HpetEvent { irq: 21, level: true }]);
    assert_eq!((hpet.level_lines(), hpet.read(0x20, 4, ns(60))), (1 << 21, 2));
    hpet.write(0x20, 4, 1, ns(61));
    assert_eq!(hpet.level_lines(), 1 << 21);
    hpet.write(0x20, 4, 2, ns(62));
    assert_eq!(hpet.level_lines(), 0);
}

#[test]
fn unrouted_and_disabled_comparators_have_no_deadline() {
    let mut hpet = running(0);
    hpet.write(0x108, 8, 50, ns(0));
    assert_eq!(hpet.deadline(), None);
    hpet.write(0x100, 8, T_INTERRUPT, ns(1));
    assert_eq!(hpet.deadline(), None, "route 0 is not offered");
    hpet.write(0x100, 8, T_INTERRUPT | 20 << 9, ns(1));
    assert_eq!(hpet.deadline(), Some(ns(50)));
    hpet.write(0x10, 8, 0, ns(2));
    assert_eq!(hpet.deadline(), None, "stopped");
}

#[test]
fn every_register_takes_every_value() {
    for value in [0, 1, u64::MAX, 0x8000_0000, 1 << 63, 0x1ff] {
        let mut hpet = running(LEGACY);
        for offset in 0..0x400 {
            for size in [1, 2, 4, 8] {
                hpet.write(offset, size, value, VirtualTime(offset));
                assert!(size == 8 || hpet.read(offset, size, VirtualTime(u64::MAX)) >> (8 * size) == 0);
            }
        }
        expire(&mut hpet, VirtualTime(u64::MAX));
        hpet.write(0x10, 8, value, VirtualTime(u64::MAX));
        assert_eq!(hpet.read(4, 4, ns(0)), 10_000_000);
    }
}

#[test]
fn state_survives() {
    let mut hpet = running(LEGACY);
    hpet.write(0x100, 4, T_INTERRUPT | T_PERIODIC | T_SET_VALUE, ns(100));
    hpet.write(0x108, 8, 1000, ns(100));
    expire(&mut hpet, ns(5555));
    assert_saves_and_loads(&mut hpet, &mut Hpet::default());
}
