//! The processor's own tables and registers.

use super::memory::{access, any_address};
use crate::code::{Bits, Code, reg};
use crate::image::dispatcher;
use crate::layout::*;

/// A selector: of the tables, of a slot with garbage, or any.
fn any_selector(code: &mut Code<'_>) -> u16 {
    match code.random.below(4) {
        0 => code.random.next() as u16,
        1 => (code.random.below(0x40) as u16) | 4,
        _ => (code.random.below(0x100) as u16 & !4) ^ code.random.pick(&[0, 0, 3, 1]),
    }
}

/// A descriptor: of any type, with any base and limit, or of random bits.
fn any_descriptor(code: &mut Code<'_>) -> u64 {
    if code.random.chance(25) {
        return code.random.next();
    }
    let base = if code.random.chance(60) { 0 } else { any_address(code) };
    let limit = code.random.pick(&[0xf_ffff, 0, 0xfff, 0x67, 0x1f, 0xffff]);
    let access = 0x80 | code.random.below(128);
    let flags = code.random.pick(&[0xc, 0xa, 0, 4, 8, 0xe]);
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | access << 40
        | (limit >> 16) << 48
        | flags << 52
        | (base >> 24 & 0xff) << 56
}

/// Writes descriptors and uses selectors.
pub fn descriptors(code: &mut Code<'_>) {
    for _ in 0..1 + code.random.below(3) {
        let table = code.random.pick(&[GDT, GDT, LDT, TASKS[0], TASKS[1], TASKS[2]]);
        let at = table + 8 * code.random.below(if table == GDT { 32 } else { 8 });
        let value = any_descriptor(code);
        code.store_long(at, value);
    }
    for _ in 0..1 + code.random.below(4) {
        let selector = any_selector(code);
        let target = if code.random.chance(70) { dispatcher(code.bits) } else { any_address(code) };
        match code.random.below(9) {
            0 | 1 => {
                let segment = code.random.pick(&[0, 2, 3, 4, 5]);
                code.load_segment(segment, selector);
            }
            2 => {
                // lar, lsl, verr, verw ax
                code.set(reg::AX, u64::from(selector));
                let form: &[u8] = code.random.pick(&[
                    &[0x0f, 0x02, 0xd0],
                    &[0x0f, 0x03, 0xd0],
                    &[0x0f, 0x00, 0xe0],
                    &[0x0f, 0x00, 0xe8],
                ]);
                code.raw(form);
            }
            3 => {
                // lldt ax, ltr ax
                code.set(reg::AX, u64::from(selector));
                let form = code.random.pick(&[0xd0, 0xd8]);
                code.raw(&[0x0f, 0x00, form]);
            }
            4 if code.bits != Bits::B64 => {
                let opcode = code.random.pick(&[0xea, 0x9a]);
                code.far(opcode, selector, target);
            }
            5 => {
                // lgdt, lidt [bx]
                let at = if code.random.chance(70) { GDTR } else { any_address(code) };
                code.set(reg::BX, at);
                let form = code.random.pick(&[0x13, 0x1b]);
                code.wide(&[0x0f, 0x01, form]);
            }
            6 => {
                // mov ax, fs:[bx] and a store through gs
                code.set(reg::BX, target);
                code.raw(&[0x64]);
                code.wide(&[0x8b, 0x03]);
                code.raw(&[0x65]);
                code.wide(&[0x89, 0x03]);
            }
            _ => access(code, target),
        }
    }
}

/// Interrupt tables that lead nowhere, stacks that are none, and then an exception.
pub fn faults(code: &mut Code<'_>) {
    if code.random.chance(40) {
        let vector = code.random.pick(&[0, 1, 3, 6, 8, 10, 11, 12, 13, 14, 17]);
        let value = if code.random.chance(50) { any_descriptor(code) } else { code.random.next() };
        match code.bits {
            Bits::B16 => code.store(VECTORS + 4 * vector, value as u32),
            Bits::B32 => code.store_long(IDT32 + 8 * vector, value),
            Bits::B64 => code.store_long(IDT64 + 16 * vector, value),
        }
    }
    if code.random.chance(30) {
        let stack = any_address(code);
        code.set(reg::SP, stack);
    }
    match code.random.below(10) {
        0 => code.raw(&[0x0f, 0x0b]),
        1 => {
            // xor cx, cx; div cx
            code.raw(&[0x31, 0xc9, 0xf7, 0xf1]);
        }
        2 | 3 => {
            let vector = code.random.byte();
            code.raw(&[0xcd, vector]);
        }
        4 => code.raw(&[0xcc]),
        5 => {
            // A flag that traps: pushf; or word [sp], flags; popf
            let flag = code.random.pick(&[0x100u16, 0x4000, 0x200, 0x3000, 0x100]);
            code.set(reg::AX, u64::from(flag) | 2);
            code.raw(&[0x50, 0x9d, 0x90, 0x90]);
        }
        6 => code.raw(&[0xf1]),
        7 => {
            // A division and an unmasked x87 exception: fninit; fldcw of 0; fldz; fdiv st0, st0; fwait
            code.set(reg::AX, 0);
            code.raw(&[0xdb, 0xe3, 0x50]);
            code.wide(&[0xd9, 0x2c, 0x24]);
            code.raw(&[0xd9, 0xee, 0xd8, 0xf0, 0x9b]);
        }
        _ => {
            let address = any_address(code);
            access(code, address);
        }
    }
}

/// Control and debug registers, a bit at a time or whole.
pub fn control(code: &mut Code<'_>) {
    match code.random.below(8) {
        0..3 => {
            // mov ax, crN; btc ax, bit; mov crN, ax
            let register = code.random.pick(&[0u8, 0, 4, 4, 3, 8]);
            let bit = match register {
                0 => code.random.pick(&[1, 2, 3, 5, 16, 18, 29, 30, 31, 0]),
                _ => code.random.byte() & 31,
            };
            let (rex, low): (&[u8], u8) = if register < 8 {
                (&[], register)
            } else if code.bits == Bits::B64 {
                (&[0x44], 0)
            } else {
                (&[], 2)
            };
            code.raw(rex);
            code.raw(&[0x0f, 0x20, 0xc0 | low << 3]);
            code.wide(&[0x0f, 0xba, 0xf8, bit]);
            code.raw(rex);
            code.raw(&[0x0f, 0x22, 0xc0 | low << 3]);
        }
        3 => {
            let register = code.random.pick(&[0u8, 2, 3, 4]);
            let value = code.random.next() & code.random.next() & 0xffff_ffff;
            code.set(reg::AX, value);
            code.raw(&[0x0f, 0x22, 0xc0 | register << 3]);
        }
        4 | 5 => {
            // A breakpoint somewhere near.
            let register = code.random.byte() & 7;
            let value = match register {
                7 => 0x700 | code.random.next() & 0xffff_00ff,
                0..4 => any_address(code),
                _ => code.random.next() & 0xffff_ffff,
            };
            code.set(reg::AX, value);
            code.raw(&[0x0f, 0x23, 0xc0 | register << 3, 0x0f, 0x21, 0xc0 | register << 3]);
        }
        6 => {
            let form: &[u8] = code.random.pick(&[
                &[0x0f, 0x06],
                &[0x0f, 0x08],
                &[0x0f, 0x09],
                &[0x0f, 0x01, 0xe0],
                &[0x0f, 0x01, 0xf0],
                &[0x0f, 0x01, 0xd0],
                &[0x0f, 0x01, 0xd1],
                &[0x0f, 0x01, 0xf8],
                &[0x0f, 0x01, 0xca],
                &[0x0f, 0x00, 0xc0],
                &[0x0f, 0xa2],
                &[0x0f, 0x31],
            ]);
            code.raw(form);
        }
        _ => {
            let address = any_address(code);
            access(code, address);
        }
    }
}

const MSRS: &[u32] = &[
    0x10,
    0x17,
    0x1b,
    0x8b,
    0xfe,
    0x174,
    0x175,
    0x176,
    0x179,
    0x17a,
    0x1a0,
    0x1d9,
    0x200,
    0x201,
    0x250,
    0x258,
    0x277,
    0x2ff,
    0x3a,
    0x3b,
    0x6e0,
    0x800,
    0x802,
    0x808,
    0x80b,
    0x80d,
    0x80f,
    0x830,
    0x832,
    0x838,
    0x839,
    0x83e,
    0x83f,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
    0xc000_0103,
    0xcd,
    0x48,
    0x10a,
];

/// RDMSR and WRMSR.
pub fn msrs(code: &mut Code<'_>) {
    for _ in 0..1 + code.random.below(4) {
        let msr = match code.random.below(20) {
            0 => code.random.next() as u32,
            1 => 0x800 + code.random.below(0x40) as u32,
            _ => code.random.pick(MSRS),
        };
        let value = match code.random.below(5) {
            0 => code.random.next(),
            1 => 0,
            2 => any_address(code),
            3 => 0xfee0_0000 | code.random.below(0x1000),
            _ => code.random.below(0x1000),
        };
        code.set(reg::CX, u64::from(msr));
        code.raw(&[0x0f, 0x32]);
        if code.random.chance(30) {
            // What was there with one bit changed.
            let bit = code.random.byte() & 31;
            code.wide(&[0x0f, 0xba, 0xf8, bit]);
            code.raw(&[0x0f, 0x30]);
        } else {
            code.write_msr(msr, value);
        }
    }
}

/// Pushes a value of the width of the code.
fn push(code: &mut Code<'_>, value: u64) {
    code.set(reg::AX, value);
    code.raw(&[0x50]);
}

/// SYSCALL or SYSENTER to `target`.
fn system_call(code: &mut Code<'_>, code_selector: u16, target: u64) {
    code.write_msr(0xc000_0081, u64::from(selector::USER_CODE32) << 48 | 0x8 << 32);
    code.write_msr(0xc000_0082, target);
    code.write_msr(0x174, u64::from(code_selector));
    code.write_msr(0x176, target);
    let form = code.random.pick(&[0x05, 0x34]);
    code.raw(&[0x0f, form]);
}

/// Leaves for somewhere else by every way there is.
pub fn transfers(code: &mut Code<'_>) {
    let bits = code.random.pick(&Bits::ALL);
    let block = CODE[bits.index()] + code.random.below(16) * crate::image::BLOCK_BYTES;
    let target = if code.random.chance(80) { block } else { any_address(code) };
    let stack = if code.random.chance(80) { STACKS + STACK_BYTES } else { any_address(code) };
    let code_selector = match code.random.below(5) {
        0 => any_selector(code),
        _ => code.random.pick(&[
            selector::CODE32,
            selector::CODE64,
            selector::CODE16,
            selector::USER_CODE32,
            selector::USER_CODE64,
        ]),
    };
    let data_selector = code.random.pick(&[selector::DATA, selector::USER_DATA, selector::DATA16, 0]);
    let flags = code.random.next() & 0x27_7ed7 | 2;
    match code.random.below(9) {
        0..3 => {
            for value in [u64::from(data_selector), stack, flags, u64::from(code_selector), target] {
                push(code, value);
            }
            let rex: &[u8] = if code.bits == Bits::B64 { &[0x48] } else { &[] };
            code.raw(rex);
            code.raw(&[0xcf]);
        }
        3 => {
            push(code, u64::from(code_selector));
            push(code, target);
            let rex: &[u8] = if code.bits == Bits::B64 { &[0x48] } else { &[] };
            code.raw(rex);
            code.raw(&[0xcb]);
        }
        4 => {
            // sysret, sysexit, with everything they take
            code.set(reg::CX, target);
            code.set(reg::DX, target);
            let form: &[u8] =
                code.random.pick(&[&[0x0f, 0x07], &[0x48, 0x0f, 0x07], &[0x0f, 0x35], &[0x48, 0x0f, 0x35]]);
            code.raw(form);
        }
        5 => system_call(code, code_selector, target),
        6 | 7 if code.bits != Bits::B64 => {
            let gate = code.random.pick(&[
                selector::CALL_GATE,
                selector::TASK_GATE,
                selector::OTHER_TASK,
                selector::TASK32,
                code_selector,
            ]);
            let opcode = code.random.pick(&[0xea, 0x9a]);
            code.far(opcode, gate, target);
        }
        _ => {
            // far through memory: jmp or call far [bx]
            let at = PLAYGROUND + code.random.below(PLAYGROUND_BYTES - 16);
            code.store(at, target as u32);
            code.store(at + 4, u32::from(code_selector));
            code.set(reg::BX, at);
            let form = code.random.pick(&[0x2b, 0x1b]);
            code.wide(&[0xff, form]);
        }
    }
}
