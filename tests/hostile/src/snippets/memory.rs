//! Memory: page tables, devices in memory, code as data.

use crate::code::{Bits, Code, reg};
use crate::image::{BLOCK_BYTES, BLOCKS};
use crate::layout::*;

/// Windows of devices, and what is none although it looks like one.
const WINDOWS: &[(u64, u64)] = &[
    (0xfee0_0000, 0x400),
    (0xfec0_0000, 0x50),
    (0xfed0_0000, 0x400),
    (0xb_8000, 0x1000),
    (0xa_0000, 0x2_0000),
    (0xe000_0000, 0x10_0000),
    (0xe_0000, 0x2_0000),
    (0xc000_0000, 0x1000),
    (0xffff_f000, 0x1000),
];

/// An address in a device's window, mostly of a register.
pub fn device_address(code: &mut Code<'_>) -> u64 {
    let (base, length) = code.random.pick(WINDOWS);
    let offset = code.random.below(length);
    base + if code.random.chance(80) { offset & !0xf } else { offset }
}

/// Any address at which something might happen.
pub fn any_address(code: &mut Code<'_>) -> u64 {
    match code.random.below(10) {
        0..4 => PLAYGROUND + code.random.below(PLAYGROUND_BYTES),
        4 => code.random.below(RAM_BYTES),
        5 => device_address(code),
        6 => (code.random.below(RAM_BYTES) & !0xfff).wrapping_sub(code.random.below(8)),
        7 => code.random.next() & 0xffff_ffff,
        8 if code.bits == Bits::B64 => code.random.pick(&[
            0x7fff_ffff_fff9,
            0x8000_0000_0000,
            0xffff_8000_0000_0000,
            0xffff_ffff_ffff_fffc,
            0x0000_1234_5678_9abc,
        ]),
        _ => IMAGE + code.random.below(IMAGE_END - IMAGE),
    }
}

/// One access of some width: load, store, read-modify-write, string, or fetch.
pub fn access(code: &mut Code<'_>, address: u64) {
    let value = code.random.next();
    match code.random.below(12) {
        0..3 => code.load(address),
        3..6 => code.store(address, value as u32),
        6 => {
            // mov al, [bx]; mov [bx], al
            code.set(reg::BX, address);
            code.wide(&[0x8a, 0x03]);
            code.wide(&[0x88, 0x03]);
        }
        7 => {
            code.set(reg::BX, address);
            let operation: &[u8] = code.random.pick(&[
                &[0xf0, 0x0f, 0xc1, 0x03],
                &[0x87, 0x03],
                &[0xf0, 0xff, 0x03],
                &[0x0f, 0xc7, 0x0b],
                &[0x0f, 0xae, 0x03],
                &[0x0f, 0x6f, 0x03],
                &[0x66, 0x0f, 0x7f, 0x03],
                &[0xdd, 0x33],
                &[0x0f, 0xba, 0x2b, 0x07],
            ]);
            code.wide(operation);
        }
        8 | 9 => string(code, address),
        10 => {
            // push and pop with the stack there
            code.set(reg::SP, address);
            code.raw(&[0x50, 0x50, 0x58]);
        }
        _ => {
            // call bx: code, if there is any
            code.set(reg::BX, address);
            code.wide(&[0xff, 0xd3]);
        }
    }
}

/// REP MOVS, STOS, LODS, CMPS or SCAS from or to an address.
fn string(code: &mut Code<'_>, address: u64) {
    let other = any_address(code);
    let (source, destination) = if code.random.chance(50) { (address, other) } else { (other, address) };
    code.set(reg::SI, source);
    code.set(reg::DI, destination);
    let count = if code.random.chance(5) { u64::from(u32::MAX) } else { code.random.below(300) };
    code.set(reg::CX, count);
    if code.random.chance(10) {
        code.raw(&[0xfd]);
    }
    let repeat = code.random.pick(&[0xf3, 0xf3, 0xf2]);
    let opcode = code.random.pick(&[0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xa6, 0xa7, 0xae, 0xaf]);
    code.raw(&[repeat]);
    code.wide(&[opcode]);
    code.raw(&[0xfc]);
}

/// An entry of any kind: present or not, large or not, to RAM, devices, tables, or nowhere, with reserved bits.
fn entry(code: &mut Code<'_>) -> u64 {
    let target = match code.random.below(8) {
        0..3 => code.random.below(RAM_BYTES) & !0xfff,
        3 => PAGE_TABLES + 0x1000 * code.random.below((PAGE_TABLES_END - PAGE_TABLES) / 0x1000),
        4 => device_address(code) & !0xfff,
        5 => code.random.next() & 0xf_ffff_ffff_f000,
        _ => code.random.below(RAM_BYTES) & !0x1f_ffff,
    };
    let mut flags = match code.random.below(4) {
        0 => code.random.next() & 0xfff,
        1 => 0x87,
        _ => 7 ^ (1 << code.random.below(9)),
    };
    if code.random.chance(15) {
        flags |= 1 << 63;
    }
    target | flags
}

/// Changes entries, perhaps says so, and goes through them.
pub fn page_tables(code: &mut Code<'_>) {
    for _ in 0..1 + code.random.below(3) {
        let table = PAGE_TABLES + 0x1000 * code.random.below((PAGE_TABLES_END - PAGE_TABLES) / 0x1000);
        // The entries of what the guest uses are among the first.
        let index = if code.random.chance(70) { code.random.below(128) } else { code.random.below(512) };
        let at = table + 8 * index + if code.random.chance(5) { 4 } else { 0 };
        let value = entry(code);
        match code.random.below(4) {
            0 => code.store(at, value as u32),
            1 => {
                // Only a flag: lock btc dword [bx], n
                code.set(reg::BX, at);
                let bit = code.random.pick(&[0, 1, 2, 5, 6, 7, 8]);
                code.wide(&[0x0f, 0xba, 0x3b, bit]);
            }
            _ => code.store_long(at, value),
        }
    }
    match code.random.below(5) {
        0 => {
            // invlpg [bx]
            let address = any_address(code);
            code.set(reg::BX, address);
            code.wide(&[0x0f, 0x01, 0x3b]);
        }
        1 => code.raw(&[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]),
        2 => {
            let table =
                PAGE_TABLES + 0x1000 * code.random.below(10) + code.random.pick(&[0, 0, 8, 0x18, 0x20]);
            code.set(reg::AX, table);
            code.raw(&[0x0f, 0x22, 0xd8]);
        }
        _ => {}
    }
    for _ in 0..1 + code.random.below(4) {
        let address = any_address(code);
        access(code, address);
    }
}

/// Accesses to devices, many times.
pub fn mmio(code: &mut Code<'_>) {
    let times = code.random.pick(&[1, 1, 10, 100, 1000]);
    let address = device_address(code);
    code.repeat(times, |code| access(code, address));
    for _ in 0..code.random.below(4) {
        let address = device_address(code);
        access(code, address);
    }
}

/// Rewrites what is about to be executed, here or on another processor.
pub fn self_modifying(code: &mut Code<'_>) {
    match code.random.below(5) {
        0 => next_immediate(code),
        1 => {
            let at = some_code(code);
            let value = code.random.next() as u32;
            code.store(at, value);
        }
        2 => {
            // A small routine made of its bytes, then called.
            let at = PLAYGROUND + code.random.below(PLAYGROUND_BYTES - 64);
            let body = code.random.pick(&[0x00c3_c040, 0xc390_c031, 0xc30b_0f90, 0xfeeb_9090]);
            code.store(at, body);
            code.set(reg::BX, at);
            code.wide(&[0xff, 0xd3]);
        }
        3 => {
            // Copies code over code, as it runs.
            let (from, to) = (some_code(code), some_code(code));
            code.set(reg::SI, from);
            code.set(reg::DI, to);
            let count = code.random.below(64);
            code.set(reg::CX, count);
            code.raw(&[0xf3]);
            code.wide(&[0xa4]);
        }
        _ => {
            let times = code.random.below(200);
            let at = some_code(code);
            // inc byte [bx], under the feet of whoever runs there.
            code.set(reg::BX, at);
            code.repeat(times, |code| code.wide(&[0xfe, 0x03]));
        }
    }
}

/// Where code lies.
fn some_code(code: &mut Code<'_>) -> u64 {
    let own = code.base + code.random.below(BLOCK_BYTES);
    let kind = CODE[code.random.below(3) as usize];
    let other = kind + code.random.below(BLOCK_BYTES * BLOCKS);
    if code.random.chance(50) { own } else { other }
}

/// A loop in which each round changes the immediate of the next instruction.
fn next_immediate(code: &mut Code<'_>) {
    let rounds = 1 + code.random.below(300);
    let distance = code.random.below(20);
    code.repeat(rounds, |code| {
        // set bx: its length is known, and so where the immediate will be.
        let set_bytes = if code.bits == Bits::B16 { 7 } else { 5 };
        let increment_bytes = if code.bits == Bits::B16 { 4 } else { 2 };
        let immediate = code.here() + set_bytes + increment_bytes + distance + 1;
        code.set(reg::BX, immediate);
        code.wide(&[0xfe, 0x03]);
        code.raw(&vec![0x90; distance as usize]);
        // add al, imm8
        code.raw(&[0x04, 0x01]);
    });
}
