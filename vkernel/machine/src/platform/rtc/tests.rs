//! What the MC146818 data sheet promises.

use super::*;
use crate::platform::law::assert_saves_and_loads;

/// Saturday, 21 November 2026, 21:47:58.
const START_S: u64 = 1_795_297_678;

fn ns(seconds: f64) -> VirtualTime {
    VirtualTime((seconds * 1e9) as u64)
}

fn read(rtc: &mut Rtc, index: u8, now: VirtualTime) -> u8 {
    rtc.write(0x70, index, now);
    rtc.read(0x71, now)
}

fn write(rtc: &mut Rtc, index: u8, value: u8, now: VirtualTime) {
    rtc.write(0x70, index, now);
    rtc.write(0x71, value, now);
}

fn clock(rtc: &mut Rtc, now: VirtualTime) -> Vec<u8> {
    [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS]
        .into_iter()
        .map(|index| read(rtc, index, now))
        .collect()
}

#[test]
fn shows_the_date_in_bcd_and_carries() {
    let mut rtc = Rtc::new(START_S);
    assert_eq!(clock(&mut rtc, ns(0.0)), [0x20, 0x26, 0x11, 0x21, 7, 0x21, 0x47, 0x58]);
    assert_eq!(clock(&mut rtc, ns(2.5)), [0x20, 0x26, 0x11, 0x21, 7, 0x21, 0x48, 0x00]);
    assert_eq!(read(&mut rtc, DAY, ns(86_400.0)), 0x22);
    assert_eq!(read(&mut rtc, REGISTER_D, ns(0.0)), 0x80);
}

#[test]
fn binary_and_12_hours() {
    let mut rtc = Rtc::new(START_S);
    write(&mut rtc, REGISTER_B, B_BINARY, ns(0.0));
    assert_eq!(read(&mut rtc, HOURS, ns(0.0)), 0x89);
    assert_eq!(read(&mut rtc, SECONDS, ns(0.0)), 58);
    write(&mut rtc, HOURS, 12, ns(0.0));
    write(&mut rtc, REGISTER_B, B_24_HOURS, ns(0.0));
    assert_eq!(read(&mut rtc, HOURS, ns(0.0)), 0, "12 AM is midnight");
}

#[test]
fn setting_holds_the_clock_and_takes_all_fields() {
    let mut rtc = Rtc::new(START_S);
    write(&mut rtc, REGISTER_B, B_SET | B_24_HOURS | B_UPDATE_INTERRUPT, ns(1.25));
    assert_eq!(read(&mut rtc, REGISTER_B, ns(1.25)), B_SET | B_24_HOURS);
    for (index, value) in
        [(SECONDS, 0x59), (MINUTES, 0x59), (HOURS, 0x23), (DAY, 0x28), (MONTH, 2), (YEAR, 0), (WEEKDAY, 1)]
    {
        write(&mut rtc, index, value, ns(1.5));
    }
    assert_eq!(read(&mut rtc, SECONDS, ns(100.0)), 0x59);
    write(&mut rtc, REGISTER_B, B_24_HOURS, ns(100.5));
    assert_eq!(clock(&mut rtc, ns(100.9)), [0x20, 0, 2, 0x28, 1, 0x23, 0x59, 0x59]);
    assert_eq!(clock(&mut rtc, ns(101.0)), [0x20, 0, 2, 0x29, 2, 0, 0, 0], "2000 was a leap year");
}

#[test]
fn released_divider_updates_after_half_a_second() {
    let mut rtc = Rtc::new(START_S);
    write(&mut rtc, REGISTER_A, 0x76, ns(1.25));
    assert_eq!(read(&mut rtc, SECONDS, ns(9.0)), 0x59);
    write(&mut rtc, REGISTER_A, 0x26, ns(10.1));
    assert_eq!(read(&mut rtc, SECONDS, ns(10.59)), 0x59);
    assert_eq!(read(&mut rtc, SECONDS, ns(10.61)), 0);
}

#[test]
fn uip_comes_before_each_second() {
    let mut rtc = Rtc::new(START_S);
    assert_eq!(read(&mut rtc, REGISTER_A, ns(0.99)), 0x26);
    assert_eq!(read(&mut rtc, REGISTER_A, ns(0.998)), 0xa6);
    assert_eq!(read(&mut rtc, REGISTER_A, ns(1.0)), 0x26);
}

#[test]
fn periodic_interrupt_has_the_selected_rate() {
    for (rate, hz) in [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)] {
        let mut rtc = Rtc::new(START_S);
        write(&mut rtc, REGISTER_A, 0x20 | rate, ns(0.0));
        write(&mut rtc, REGISTER_B, PERIODIC | B_24_HOURS, ns(0.0));
        let mut interrupts = 0;
        while let Some(time) = rtc.deadline().filter(|time| time.0 <= NS_PER_S) {
            rtc.settle(VirtualTime(time.0 - 1));
            assert!(!rtc.interrupt());
            rtc.settle(time);
            assert!(rtc.interrupt());
            assert_eq!(read(&mut rtc, REGISTER_C, time) & (INTERRUPT | PERIODIC), INTERRUPT | PERIODIC);
            interrupts += 1;
        }
        assert_eq!(interrupts, hz, "rate {rate}");
    }
}

#[test]
fn interrupt_stays_until_c_is_read_and_missed_ones_are_one() {
    let mut rtc = Rtc::new(START_S);
    write(&mut rtc, REGISTER_B, PERIODIC | B_24_HOURS, ns(0.0));
    rtc.settle(ns(3600.0));
    assert!(rtc.interrupt());
    assert_eq!(rtc.deadline(), None);
    assert_eq!(read(&mut rtc, REGISTER_C, ns(3600.0)), INTERRUPT | PERIODIC | UPDATED);
    assert!(!rtc.interrupt());
    assert_eq!(read(&mut rtc, REGISTER_C, ns(3600.0)), 0);
    assert_eq!(rtc.deadline(), Some(VirtualTime(3_600_000_976_563)));
}

#[test]
fn update_ended_interrupt_comes_with_the_second() {
    let mut rtc = Rtc::new(START_S);
    write(&mut rtc, REGISTER_B, UPDATED | B_24_HOURS, ns(0.3));
    assert_eq!(rtc.deadline(), Some(ns(1.0)));
    rtc.settle(ns(1.0));
    assert_eq!(read(&mut rtc, REGISTER_C, ns(1.0)) & (INTERRUPT | UPDATED), INTERRUPT | UPDATED);
}

#[test]
fn alarm_matches_exactly_or_with_wildcards() {
    let mut rtc = Rtc::new(START_S);
    let set = |rtc: &mut Rtc, hour, minute, second| {
        write(rtc, HOURS_ALARM, hour, ns(0.0));
        write(rtc, MINUTES_ALARM, minute, ns(0.0));
        write(rtc, SECONDS_ALARM, second, ns(0.0));
        write(rtc, REGISTER_B, ALARM | B_24_HOURS, ns(0.0));
    };
    set(&mut rtc, 0x22, 0x00, 0x10);
    assert_eq!(rtc.deadline(), Some(ns(2.0 + 12.0 * 60.0 + 10.0)));
    set(&mut rtc, ANY, ANY, 0x58);
    assert_eq!(rtc.deadline(), Some(ns(60.0)), "not the second that is now");
    set(&mut rtc, 0x21, 0x47, 0x57);
    assert_eq!(rtc.deadline(), Some(ns(86_399.0)));
    set(&mut rtc, ANY, ANY, 0x7a);
    assert_eq!(rtc.deadline(), None, "no such second");
    set(&mut rtc, ANY, 0x48, 0x00);
    rtc.settle(ns(1.9));
    assert_eq!(rtc.flags & ALARM, 0);
    rtc.settle(ns(2.0));
    assert_eq!(read(&mut rtc, REGISTER_C, ns(2.0)) & (INTERRUPT | ALARM), INTERRUPT | ALARM);
}

#[test]
fn cmos_keeps_bytes_and_firmware_cannot_touch_the_clock() {
    let mut rtc = Rtc::new(START_S);
    rtc.set_cmos(0x15, 0x80);
    rtc.set_cmos(SECONDS, 0x11);
    rtc.set_cmos(0xff, 1);
    write(&mut rtc, 0x7f, 0x5a, ns(0.0));
    assert_eq!(read(&mut rtc, 0x15, ns(0.0)), 0x80);
    assert_eq!(read(&mut rtc, 0xff, ns(0.0)), 0x5a, "bit 7 is the NMI mask");
    assert_eq!(read(&mut rtc, SECONDS, ns(0.0)), 0x58);
}

#[test]
fn every_register_takes_every_value() {
    for value in 0..=255 {
        let mut rtc = Rtc::new(u64::MAX);
        for now in [ns(0.1), ns(5.0), VirtualTime(u64::MAX)] {
            for index in 0..=0x7f {
                write(&mut rtc, index, value, now);
                read(&mut rtc, index, now);
                assert!(rtc.deadline() >= Some(now) || rtc.deadline().is_none());
            }
        }
    }
}

#[test]
fn state_survives() {
    let mut rtc = Rtc::new(START_S);
    write(&mut rtc, REGISTER_B, PERIODIC | B_24_HOURS, ns(0.0));
    write(&mut rtc, HOURS, 0x03, ns(1.0));
    rtc.settle(ns(2.0));
    assert_saves_and_loads(&mut rtc, &mut Rtc::new(0));
}

#[test]
fn looking_from_outside_shows_what_the_guest_would_read_and_changes_nothing() {
    let mut rtc = Rtc::new(START_S);
    write(&mut rtc, REGISTER_B, B_24_HOURS | B_UPDATE_INTERRUPT, ns(0.0));
    write(&mut rtc, 0x70, 0x12, ns(0.0));
    let before = rtc.clone();
    let now = ns(2.5);
    let seen: Vec<u8> = (0..128).map(|register| rtc.peek(register, now)).collect();
    let date = rtc.date(now);
    assert_eq!(rtc, before);
    let read: Vec<u8> = (0..128).map(|register| read(&mut rtc, register, now)).collect();
    assert_eq!(seen, read);
    assert_eq!(read[usize::from(REGISTER_C)], INTERRUPT | UPDATED | PERIODIC);
    assert_eq!(date, Civil::from_seconds(START_S as i64 + 2));
}
