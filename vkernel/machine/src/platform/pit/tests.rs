//! What the 8254 data sheet promises.

use super::*;
use crate::platform::law::assert_saves_and_loads;

fn at(tick: u64) -> VirtualTime {
    time_of(tick)
}

/// Programs a counter at tick 0 with a count of two bytes; counting begins at tick 1.
fn programmed(counter: u8, mode: u8, count: u16) -> Pit {
    let mut pit = Pit::new();
    if counter == 2 {
        pit.write(0x61, 1, at(0));
    }
    pit.write(0x43, counter << 6 | 0x30 | mode << 1, at(0));
    pit.write(0x40 + u16::from(counter), count as u8, at(0));
    pit.write(0x40 + u16::from(counter), (count >> 8) as u8, at(0));
    pit
}

fn count(pit: &mut Pit, counter: u8, tick: u64) -> u16 {
    pit.write(0x43, counter << 6, at(tick));
    let port = 0x40 + u16::from(counter);
    u16::from(pit.read(port, at(tick))) | u16::from(pit.read(port, at(tick))) << 8
}

#[test]
fn ticks_and_times_are_inverse_and_exact() {
    for tick in [0, 1, 2, 1000, 1_193_182, 1_193_183, 123_456_789_012] {
        assert_eq!(tick_at(time_of(tick)), tick);
        assert!(tick == 0 || tick_at(VirtualTime(time_of(tick).0 - 1)) == tick - 1);
    }
    assert_eq!(time_of(PIT_HZ * 3600), VirtualTime(3600 * NS_PER_S));
    assert_eq!(time_of(u64::MAX), VirtualTime(u64::MAX));
}

#[test]
fn mode_0_rises_at_terminal_count_and_stays() {
    let mut pit = programmed(0, 0, 100);
    assert!(!pit.output(at(0)) && !pit.output(at(100)));
    assert!(pit.output(at(101)) && pit.output(at(100_000)));
    assert_eq!(pit.deadline(), Some(at(101)));
    assert!(!pit.advance(at(100)));
    assert!(pit.advance(at(101)));
    assert!(!pit.advance(at(500_000)));
    assert_eq!(pit.deadline(), None);
}

#[test]
fn mode_0_counts_through_zero_and_pauses_with_the_gate() {
    let mut pit = programmed(2, 0, 100);
    assert_eq!(count(&mut pit, 2, 11), 90);
    assert_eq!(count(&mut pit, 2, 102), 0xffff);
    let mut pit = programmed(2, 0, 100);
    pit.write(0x61, 0, at(11));
    assert_eq!(count(&mut pit, 2, 5000), 90);
    assert_eq!(pit.read(0x61, at(5000)) & 0x20, 0);
    pit.write(0x61, 1, at(6000));
    assert_eq!(count(&mut pit, 2, 6001), 90);
    assert_eq!(pit.read(0x61, at(6090)) & 0x20, 0);
    assert_eq!(pit.read(0x61, at(6091)) & 0x20, 0x20);
}

#[test]
fn mode_1_waits_for_the_gate_and_is_retriggerable() {
    let mut pit = programmed(2, 1, 50);
    let high = |pit: &mut Pit, tick| pit.read(0x61, at(tick)) & 0x20 != 0;
    assert!(high(&mut pit, 100));
    pit.write(0x61, 0, at(100));
    pit.write(0x61, 1, at(110));
    assert!(high(&mut pit, 110) && !high(&mut pit, 111) && !high(&mut pit, 160) && high(&mut pit, 161));
    pit.write(0x61, 0, at(170));
    pit.write(0x61, 1, at(180));
    pit.write(0x61, 0, at(190));
    pit.write(0x61, 1, at(200));
    assert!(!high(&mut pit, 250) && high(&mut pit, 251));
}

#[test]
fn mode_2_is_low_for_the_last_tick_of_each_period() {
    let mut pit = programmed(0, 2, 10);
    let low: Vec<u64> = (1..=31).filter(|tick| !pit.output(at(*tick))).collect();
    assert_eq!(low, [10, 20, 30]);
    assert_eq!(pit.deadline(), Some(at(11)));
    assert!(pit.advance(at(11)));
    assert_eq!(pit.deadline(), Some(at(21)));
    assert!(pit.advance(at(1_000_000_000)));
    assert_eq!(pit.deadline(), Some(at(1_000_000_001)), "one edge, and the grid is kept");
    assert_eq!(count(&mut pit, 0, 1_000_000_003), 8);
}

#[test]
fn mode_3_is_high_for_the_longer_half_and_counts_by_two() {
    let mut pit = programmed(0, 3, 5);
    let high: Vec<u64> = (1..=10).filter(|tick| pit.output(at(*tick))).collect();
    assert_eq!(high, [1, 2, 3, 6, 7, 8]);
    assert_eq!(pit.deadline(), Some(at(6)));
    let mut even = programmed(0, 3, 10);
    let counts: Vec<u16> = (1..=11).map(|tick| count(&mut even, 0, tick)).collect();
    assert_eq!(counts, [10, 8, 6, 4, 2, 10, 8, 6, 4, 2, 10]);
    assert!(pit.advance(at(6)));
}

#[test]
fn a_new_count_of_mode_2_waits_for_the_end_of_the_period() {
    let mut pit = programmed(0, 2, 100);
    pit.write(0x40, 10, at(50));
    pit.write(0x40, 0, at(50));
    assert!(!pit.advance(at(100)));
    assert_eq!(pit.deadline(), Some(at(101)));
    assert!(pit.advance(at(101)));
    assert_eq!(pit.deadline(), Some(at(111)));
    let mut late = programmed(0, 2, 100);
    late.write(0x40, 10, at(50));
    late.write(0x40, 0, at(50));
    assert!(late.advance(at(135)));
    assert_eq!(late.deadline(), Some(at(141)));
}

#[test]
fn modes_4_and_5_strobe_for_one_tick() {
    let pit = programmed(0, 4, 20);
    let low: Vec<u64> = (0..100).filter(|tick| !pit.output(at(*tick))).collect();
    assert_eq!(low, [21]);
    assert_eq!(pit.deadline(), Some(at(22)));
    let mut pit = programmed(2, 5, 20);
    pit.write(0x61, 0, at(30));
    pit.write(0x61, 1, at(40));
    let low: Vec<u64> = (0..200).filter(|tick| pit.read(0x61, at(*tick)) & 0x20 == 0).collect();
    assert_eq!(low, [61]);
}

#[test]
fn latched_count_stands_until_read() {
    let mut pit = programmed(0, 2, 1000);
    pit.write(0x43, 0, at(11));
    pit.write(0x43, 0, at(300));
    assert_eq!(pit.read(0x40, at(400)), 990u16 as u8);
    assert_eq!(pit.read(0x40, at(500)), (990u16 >> 8) as u8);
    assert_eq!(count(&mut pit, 0, 501), 500);
}

#[test]
fn read_back_gives_status_then_count() {
    let mut pit = programmed(0, 2, 1000);
    pit.write(0x43, 0xc2, at(11));
    assert_eq!(pit.read(0x40, at(12)), 0xb4, "output high, loaded, both bytes, mode 2");
    assert_eq!(pit.read(0x40, at(12)), 990u16 as u8);
    assert_eq!(pit.read(0x40, at(12)), 3);
    pit.write(0x43, 0x34, at(20));
    pit.write(0x43, 0xe2, at(20));
    assert_eq!(pit.read(0x40, at(20)), 0xf4, "null count");
}

#[test]
fn zero_is_the_largest_count_and_bcd_counts_in_tens() {
    assert_eq!(programmed(0, 2, 0).deadline(), Some(at(65_537)));
    let mut pit = Pit::new();
    pit.write(0x43, 0x35, at(0));
    pit.write(0x40, 0x00, at(0));
    pit.write(0x40, 0x10, at(0));
    assert_eq!(count(&mut pit, 0, 2), 0x0999);
}

#[test]
fn single_byte_access() {
    let mut pit = Pit::new();
    pit.write(0x43, 0x14, at(0));
    pit.write(0x40, 50, at(0));
    assert_eq!(pit.deadline(), Some(at(51)));
    assert_eq!((pit.read(0x40, at(2)), pit.read(0x40, at(3))), (49, 48));
    pit.write(0x43, 0x24, at(10));
    pit.write(0x40, 2, at(10));
    assert_eq!(pit.read(0x40, at(11)), 2);
}

#[test]
fn port_61_shows_gate_speaker_and_refresh() {
    let mut pit = Pit::new();
    pit.write(0x61, 3, at(0));
    assert_eq!(pit.read(0x61, VirtualTime(0)) & 0x13, 3);
    assert_eq!(pit.read(0x61, VirtualTime(15_085)) & 0x13, 0x13);
}

#[test]
fn every_program_is_harmless_at_any_time() {
    for control in 0..=255 {
        for now in [0, 1, 1_000_000, u64::MAX] {
            let now = VirtualTime(now);
            let mut pit = Pit::new();
            for value in [0, 1, 0xff] {
                pit.write(0x43, control, now);
                for port in [0x40, 0x41, 0x42, 0x61, 0x40, 0x42] {
                    pit.write(port, value, now);
                    pit.read(port, now);
                }
                pit.advance(now);
                assert!(pit.deadline() >= Some(now) || pit.deadline().is_none());
            }
        }
    }
}

#[test]
fn state_survives() {
    let mut pit = programmed(0, 2, 1000);
    pit.write(0x43, 0xc2, at(11));
    pit.advance(at(5000));
    pit.write(0x40, 7, at(5001));
    assert_saves_and_loads(&mut pit, &mut Pit::new());
}
