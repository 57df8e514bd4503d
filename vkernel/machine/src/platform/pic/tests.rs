//! What the 8259A data sheet promises.

use super::*;
use crate::platform::law::assert_saves_and_loads;

fn initialised(icw4: u8) -> Pic {
    let mut pic = Pic::new();
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, icw4), (0xa0, 0x11), (0xa1, 0x28)] {
        pic.write(port, value);
    }
    pic.write(0xa1, 2);
    pic.write(0xa1, icw4);
    pic.write(0x21, 0);
    pic.write(0xa1, 0);
    pic
}

fn pulse(pic: &mut Pic, irq: u8) {
    pic.set_irq(irq, false);
    pic.set_irq(irq, true);
}

#[test]
fn lower_number_wins_and_blocks_until_eoi() {
    let mut pic = initialised(1);
    pulse(&mut pic, 4);
    pulse(&mut pic, 1);
    assert_eq!(pic.acknowledge(), (0x21, 1));
    assert!(!pic.interrupt(), "IR4 waits for the EOI of IR1");
    pulse(&mut pic, 0);
    assert!(pic.interrupt(), "IR0 is above IR1");
    assert_eq!(pic.acknowledge(), (0x20, 0));
    pic.write(0x20, 0x20);
    assert!(!pic.interrupt());
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), (0x24, 4));
}

#[test]
fn slave_goes_through_ir2() {
    let mut pic = initialised(1);
    pulse(&mut pic, 12);
    assert_eq!(pic.acknowledge(), (0x2c, 12));
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), 4);
    pic.write(0xa0, 0x0b);
    assert_eq!(pic.read(0xa0), 0x10);
    pulse(&mut pic, 14);
    pic.write(0xa0, 0x20);
    assert!(!pic.interrupt(), "IR2 of the master is still in service");
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), (0x2e, 14));
}

#[test]
fn fully_nested_master_lets_the_slave_nest() {
    let mut pic = initialised(0x11);
    pulse(&mut pic, 12);
    assert_eq!(pic.acknowledge().1, 12);
    pulse(&mut pic, 9);
    assert!(pic.interrupt());
    assert_eq!(pic.acknowledge(), (0x29, 9));
}

#[test]
fn vanished_request_is_spurious_seven_without_in_service() {
    let mut pic = initialised(1);
    assert_eq!(pic.acknowledge(), (0x27, 7));
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), 0);
    // The slave's request vanishes after the master saw it.
    pulse(&mut pic, 10);
    pic.slave.mask = 0xff;
    assert_eq!(pic.acknowledge(), (0x2f, 15));
    assert_eq!(pic.read(0x20), 4, "the master served its IR2");
    pic.write(0xa0, 0x0b);
    assert_eq!(pic.read(0xa0), 0);
}

#[test]
fn auto_eoi_leaves_nothing_in_service() {
    let mut pic = initialised(3);
    pulse(&mut pic, 3);
    assert_eq!(pic.acknowledge(), (0x23, 3));
    pulse(&mut pic, 5);
    assert_eq!(pic.acknowledge(), (0x25, 5));
}

#[test]
fn edge_is_taken_once_and_level_as_long_as_it_is_high() {
    let mut pic = initialised(1);
    pic.set_irq(5, true);
    assert_eq!(pic.acknowledge().1, 5);
    pic.write(0x20, 0x20);
    assert!(!pic.interrupt());
    pic.write(0x4d0, 0xff);
    assert_eq!(pic.read(0x4d0), 0xf8);
    assert!(pic.interrupt());
    assert_eq!(pic.acknowledge().1, 5);
    pic.write(0x20, 0x20);
    assert!(pic.interrupt());
    pic.set_irq(5, false);
    assert!(!pic.interrupt());
}

#[test]
fn special_mask_lets_lower_priorities_in() {
    let mut pic = initialised(1);
    pulse(&mut pic, 1);
    assert_eq!(pic.acknowledge().1, 1);
    pulse(&mut pic, 6);
    assert!(!pic.interrupt());
    pic.write(0x21, 2);
    pic.write(0x20, 0x68);
    assert_eq!(pic.acknowledge().1, 6);
    pic.write(0x20, 0x48);
    pic.write(0x20, 0x66);
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), 2);
}

#[test]
fn poll_acknowledges() {
    let mut pic = initialised(1);
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), 0);
    pulse(&mut pic, 4);
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), 0x84);
    assert!(!pic.interrupt());
    pic.write(0x20, 0x0b);
    assert_eq!(pic.read(0x20), 0x10);
}

#[test]
fn rotation_makes_the_served_input_the_lowest() {
    let mut pic = initialised(1);
    pulse(&mut pic, 3);
    assert_eq!(pic.acknowledge().1, 3);
    pic.write(0x20, 0xa0);
    pulse(&mut pic, 3);
    pulse(&mut pic, 5);
    assert_eq!(pic.acknowledge().1, 5);
    pic.write(0x20, 0x65);
    pic.write(0x20, 0xc7);
    assert_eq!(pic.acknowledge().1, 3);
}

#[test]
fn masked_request_is_latched() {
    let mut pic = initialised(1);
    pic.write(0x21, 0x10);
    pulse(&mut pic, 4);
    pic.set_irq(4, false);
    assert!(!pic.interrupt());
    pic.write(0x20, 0x0a);
    assert_eq!(pic.read(0x20), 0x10);
    pic.write(0x21, 0);
    assert_eq!(pic.acknowledge().1, 4);
}

#[test]
fn state_survives() {
    let mut pic = initialised(1);
    pulse(&mut pic, 12);
    pic.acknowledge();
    pulse(&mut pic, 3);
    pic.write(0x4d1, 0x0c);
    assert_saves_and_loads(&mut pic, &mut Pic::new());
}
