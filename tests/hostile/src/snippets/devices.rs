//! Ports and devices.

use super::memory::{any_address, device_address};
use crate::code::{Bits, Code, reg};

/// Ports where something is.
const PORTS: &[u16] = &[
    0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0xa0, 0xa1, 0xb2, 0xe9,
    0x3c0, 0x3c4, 0x3c5, 0x3ce, 0x3cf, 0x3d4, 0x3d5, 0x3da, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe,
    0x3ff, 0x4d0, 0x4d1, 0x505, 0x510, 0x511, 0x514, 0x600, 0x602, 0x604, 0x608, 0x620, 0x622, 0xcf8, 0xcfa,
    0xcfc, 0xcfe,
];
/// Writes to these may end or restart the guest.
const LAST_PORTS: &[u16] = &[0xf4, 0x501, 0xcf9, 0x64, 0x92, 0x604, 0x605];

fn any_port(code: &mut Code<'_>) -> u16 {
    match code.random.below(40) {
        0 => code.random.pick(LAST_PORTS),
        1..5 => code.random.next() as u16,
        _ => code.random.pick(PORTS),
    }
}

/// Reads and writes of ports, many times, one by one or as strings.
pub fn ports(code: &mut Code<'_>) {
    let port = any_port(code);
    let size = code.random.pick(&[1, 1, 2, 4]);
    let value = code.random.next() as u32;
    let times = code.random.pick(&[1, 1, 5, 50, 500]);
    match code.random.below(4) {
        0 => code.repeat(times, |code| code.input(port, size)),
        1 | 2 => code.repeat(times, |code| code.out(port, value, size)),
        _ => {
            let address = any_address(code);
            code.set(reg::DX, u64::from(port));
            code.set(reg::SI, address);
            code.set(reg::DI, address);
            let count = code.random.below(200);
            code.set(reg::CX, count);
            code.raw(&[0xf3]);
            let opcode = code.random.pick(&[0x6c, 0x6e]);
            if code.bits == Bits::B16 {
                code.raw(&[0x67]);
            }
            code.port(opcode, size);
        }
    }
    for _ in 0..code.random.below(4) {
        let (port, value) = (any_port(code), code.random.byte());
        if code.random.chance(50) {
            code.input(port, 1);
        } else {
            code.out(port, u32::from(value), 1);
        }
    }
}

/// Starts timers of all kinds with any period, then waits or goes on with interrupts on.
pub fn timers(code: &mut Code<'_>) {
    let random_count = code.random.next() as u32 >> code.random.below(32);
    match code.random.below(7) {
        0 => {
            let mode = code.random.byte();
            code.out(0x43, u32::from(mode), 1);
            let channel = 0x40 + code.random.below(3) as u16;
            code.out(channel, random_count & 0xff, 1);
            code.out(channel, random_count >> 8 & 0xff, 1);
        }
        1 | 2 => {
            let vector = code.random.byte();
            let mode = code.random.pick(&[0, 0x2_0000, 0x4_0000, 0x1_0000]);
            let divider = u32::from(code.random.byte() & 0xf);
            code.store(0xfee0_00f0, 0x100 | u32::from(vector));
            code.store(0xfee0_03e0, divider);
            code.store(0xfee0_0320, mode | u32::from(vector));
            code.store(0xfee0_0380, random_count);
        }
        3 => {
            // A deadline soon, by RDTSC: add ax, delay; wrmsr
            let delay = code.random.below(20_000) as u32;
            code.store(0xfee0_0320, 0x4_0040);
            code.set(reg::CX, 0x6e0);
            code.raw(&[0x0f, 0x31]);
            code.wide(&[0x05]);
            code.raw(&delay.to_le_bytes());
            code.raw(&[0x0f, 0x30]);
        }
        4 => {
            let comparator = 0xfed0_0100 + 0x20 * code.random.below(3);
            let configuration = code.random.next() as u32 & 0x7f7f;
            code.store(comparator, configuration);
            code.store(comparator + 8, random_count);
            let enable = code.random.pick(&[0, 1, 3]);
            code.store(0xfed0_0010, enable);
        }
        5 => {
            for (register, value) in [(0x0a, 0x26), (0x0b, 0x72)] {
                let change = code.random.byte() & code.random.byte();
                code.out(0x70, register, 1);
                code.out(0x71, value ^ u32::from(change), 1);
            }
        }
        _ => {
            // A pin of the I/O APIC to any vector and destination.
            let pin = code.random.below(24) as u32;
            let entry = code.random.next();
            for (index, half) in [(0x10, entry as u32 & 0x1_ffff), (0x11, (entry >> 32) as u32)] {
                code.store(0xfec0_0000, index + 2 * pin);
                code.store(0xfec0_0010, half);
            }
            code.out(0x21, 0, 1);
        }
    }
    wait(code);
}

/// STI, and HLT, PAUSE or work.
fn wait(code: &mut Code<'_>) {
    match code.random.below(5) {
        0 | 1 => code.raw(&[0xfb, 0xf4]),
        2 => {
            let times = code.random.below(200);
            code.raw(&[0xfb]);
            code.repeat(times, |code| code.raw(&[0xf3, 0x90]));
        }
        3 => {
            let times = code.random.below(2000);
            code.raw(&[0xfb]);
            code.repeat(times, |code| code.raw(&[0x90]));
        }
        _ => code.raw(&[0xf4]),
    }
}

/// Interprocessor interrupts of every kind.
pub fn processors(code: &mut Code<'_>) {
    for _ in 0..1 + code.random.below(3) {
        let vector = code.random.byte();
        let command = match code.random.below(8) {
            0 => 0x4500,
            1 => 0x8500,
            2 => 0x4602,
            3 => 0x4600 | u32::from(vector & 0x9f),
            4 => 0x4400,
            5 => code.random.next() as u32 & 0xcffff,
            _ => 0x4000 | u32::from(vector),
        };
        let shorthand = code.random.pick(&[0, 0, 0x4_0000, 0x8_0000, 0xc_0000]);
        let destination = code.random.pick(&[0u32, 1, 2, 3, 0xff]);
        if code.random.chance(15) {
            code.write_msr(0x1b, 0xfee0_0d00);
            code.write_msr(0x830, u64::from(destination) << 32 | u64::from(command | shorthand));
        } else {
            code.store(0xfee0_0310, destination << 24);
            code.store(0xfee0_0300, command | shorthand);
        }
    }
    match code.random.below(4) {
        0 => code.raw(&[0xfb, 0x90]),
        1 => code.store(0xfee0_00b0, 0),
        2 => wait(code),
        _ => {}
    }
}

/// Devices by their own protocols: PCI configuration, CMOS, keyboard controller, UART, fw_cfg, VGA, power.
pub fn pokes(code: &mut Code<'_>) {
    let value = code.random.next() as u32;
    match code.random.below(9) {
        0 => {
            let address = 0x8000_0000 | value & 0xffff;
            code.out(0xcf8, address, 4);
            let size = code.random.pick(&[1, 2, 4]);
            code.out(0xcfc + (value as u16 >> 14), value, size);
            code.input(0xcfc, 4);
        }
        1 => {
            code.out(0x70, value & 0xff, 1);
            code.out(0x71, value >> 8 & 0xff, 1);
            code.input(0x71, 1);
        }
        2 => {
            let command =
                code.random.pick(&[0x20, 0x60, 0xa7, 0xa8, 0xaa, 0xad, 0xae, 0xd0, 0xd1, 0xd2, 0xd4]);
            code.out(0x64, command, 1);
            code.out(0x60, value & 0xff, 1);
            code.input(0x60, 1);
        }
        3 => {
            for offset in 0..6 {
                let byte = u32::from(code.random.byte());
                code.out(0x3f8 + offset, byte, 1);
            }
            code.repeat(40, |code| code.input(0x3f8, 1));
        }
        4 => {
            let selector = code.random.pick(&[0, 1, 0x19, 0x20, value & 0xffff]);
            code.out(0x510, selector, 2);
            code.repeat(100, |code| code.input(0x511, 1));
        }
        5 => {
            code.out(0x3d4, value & 0x1f, 1);
            code.out(0x3d5, value >> 8 & 0xff, 1);
            let screen = 0xb_8000 + u64::from(value >> 16 & 0xffe);
            code.store(screen, value);
        }
        6 => {
            // Power management, but for the bit that switches off.
            code.out(0x602, value & 0xffff, 2);
            code.out(0x604, value & 0xdfff, 2);
            code.out(0x505, value & 3, 1);
        }
        7 => {
            for port in [0x20, 0x21, 0x21, 0x21, 0xa0, 0xa1, 0xa1, 0xa1] {
                let byte = u32::from(code.random.byte());
                code.out(port, byte | 0x10, 1);
            }
        }
        _ => {
            let address = device_address(code);
            code.store(address, value);
            code.load(address);
        }
    }
    if code.random.chance(2) {
        let port = code.random.pick(LAST_PORTS);
        code.out(port, value & 0xff, 1);
    }
}
