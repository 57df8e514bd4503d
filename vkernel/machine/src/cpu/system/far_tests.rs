//! Far jumps, calls and returns, IRET, task switches.

use super::super::testbed::*;
use crate::cpu::exception::Exception;
use crate::cpu::state::{CS, DS, FS, Mode, RAX, SS, Segment, cr0, rflags};

const IRETQ: [u8; 2] = [0x48, 0xcf];
const IRETD: [u8; 1] = [0xcf];
/// Far return with a 64-bit operand.
const RETFQ: [u8; 2] = [0x48, 0xcb];
const USER: u64 = 0x12_0000;

/// JMP or CALL selector:offset in 32-bit code.
fn direct(opcode: u8, selector: u16, offset: u64) -> [u8; 7] {
    let [a, b, c, d] = (offset as u32).to_le_bytes();
    let [e, f] = selector.to_le_bytes();
    [opcode, a, b, c, d, e, f]
}
const JMP: u8 = 0xea;
const CALL: u8 = 0x9a;

#[test]
fn real_mode_jumps_by_selector_times_16() {
    let mut bed = Testbed::real();
    bed.execute(&[0xea, 0x34, 0x12, 0x00, 0xf0]).expect("JMP F000:1234");
    assert_eq!((bed.cpu.rip, bed.cpu.segments[CS].base), (0x1234, 0xf_0000));
    bed.cpu.rip = 0x1000;
    bed.execute(&[0x9a, 0x78, 0x56, 0x00, 0x01]).expect("CALL 0100:5678");
    assert_eq!((bed.cpu.rip, bed.cpu.gpr[4]), (0x5678, 0x7ffc));
    assert_eq!(bed.read(0x7ffc) & 0xffff_ffff, 0xf000_1005);
    bed.execute(&[0xcb]).expect("RETF");
    assert_eq!((bed.cpu.rip, bed.cpu.gpr[4], bed.cpu.segments[CS].base), (0x1005, 0x8000, 0xf_0000));
}

/// The spare descriptor's access, the selector's RPL, and the fault of jumping there from CPL 0 and 3.
#[test]
fn a_direct_jump_checks_type_privilege_and_presence() {
    let fault = Some(Exception::gp(u32::from(SPARE)));
    let cases = [
        (0xc09b, 0, None, fault),
        (0xc0fb, 0, fault, None),
        (0xc0fb, 3, fault, None),
        (0xc09b, 3, fault, fault),
        (0xc09f, 3, None, None),
        (0xc0ff, 0, fault, None),
        (0xc093, 0, fault, fault),
        (0xc01f, 0, Some(Exception::np(u32::from(SPARE))), Some(Exception::np(u32::from(SPARE)))),
    ];
    for (access, rpl, inner, outer) in cases {
        for (expected, user) in [(inner, false), (outer, true)] {
            let mut bed = Testbed::protected();
            if user {
                bed = bed.user(USER_CODE32);
            }
            bed.descriptor(SPARE, pack(0, 0xf_ffff, access));
            let jump = direct(JMP, SPARE | rpl, USER);
            match expected {
                Some(fault) => assert_eq!(bed.fails(&jump), fault, "{access:#x} RPL {rpl} user {user}"),
                None => {
                    bed.execute(&jump).expect("a legal jump");
                    let cpl = if user { 3 } else { 0 };
                    assert_eq!((bed.cpu.rip, bed.cpu.cpl), (USER, cpl));
                    assert_eq!(bed.cpu.segments[CS].selector, SPARE | u16::from(cpl));
                }
            }
        }
    }
}

#[test]
fn a_jump_beyond_the_limit_or_to_null_is_refused() {
    let mut bed = Testbed::protected();
    bed.descriptor(SPARE, pack(0, 0xfff, 0x409b));
    assert_eq!(bed.fails(&direct(JMP, SPARE, 0x1000)), Exception::gp(0));
    assert_eq!(bed.fails(&direct(JMP, 3, 0)), Exception::gp(0));
    assert_eq!(bed.fails(&direct(JMP, 0x1f0, 0)), Exception::gp(0x1f0));
}

#[test]
fn code_with_both_l_and_d_is_refused_in_long_mode() {
    let mut bed = Testbed::long();
    bed.descriptor(SPARE, pack(0, 0xf_ffff, 0xe09b));
    bed.write(0x2_0000, USER | u64::from(SPARE) << 32);
    // JMP FAR m16:32 [0x20000]
    let jump = [0xff, 0x2c, 0x25, 0x00, 0x00, 0x02, 0x00];
    assert_eq!(bed.fails(&jump), Exception::gp(u32::from(SPARE)));
}

#[test]
fn a_call_gate_copies_parameters_to_the_inner_stack_and_retf_comes_back() {
    let mut bed = Testbed::protected().user(USER_CODE32);
    bed.descriptor(SPARE, pack_gate(KERNEL_CODE, HANDLERS, 0xec, 2));
    bed.stack(&[0x1111, 0x2222], 4);
    bed.execute(&direct(CALL, SPARE | 3, 0)).expect("a legal call");
    assert_eq!((bed.cpu.rip, bed.cpu.cpl, bed.cpu.gpr[4]), (HANDLERS, 0, INNER_STACK - 24));
    let stacked: Vec<u64> = (0..6).map(|n| bed.read(bed.cpu.gpr[4] + 4 * n) & 0xffff_ffff).collect();
    assert_eq!(stacked, [CODE + 7, 0x1b, 0x1111, 0x2222, STACK - 8, 0x23]);
    bed.execute(&[0xca, 8, 0]).expect("RETF 8");
    assert_eq!((bed.cpu.rip, bed.cpu.cpl, bed.cpu.gpr[4]), (CODE + 7, 3, STACK));
    assert_eq!(bed.cpu.segments[DS].selector, USER_DATA, "user segments survive");
}

fn pack_gate(selector: u16, offset: u64, access: u64, parameters: u64) -> u64 {
    offset & 0xffff | u64::from(selector) << 16 | parameters << 32 | access << 40 | (offset >> 16) << 48
}

#[test]
fn a_call_gate_of_long_mode_has_16_bytes_and_copies_nothing() {
    let mut bed = Testbed::long().user(USER_CODE64);
    bed.descriptor(SPARE, pack_gate(KERNEL_CODE, HANDLERS, 0xec, 0));
    bed.write(0x2_0000, u64::from(SPARE | 3) << 32);
    // CALL FAR m16:32 [0x20000]
    bed.execute(&[0xff, 0x1c, 0x25, 0x00, 0x00, 0x02, 0x00]).expect("a legal call");
    assert_eq!((bed.cpu.rip, bed.cpu.cpl, bed.cpu.gpr[4]), (HANDLERS, 0, INNER_STACK - 32));
    bed.execute(&RETFQ).expect("RETFQ");
    assert_eq!((bed.cpu.rip, bed.cpu.cpl, bed.cpu.gpr[4]), (CODE + 7, 3, STACK));
    bed.cpu.rip = CODE;
    bed.write(GDT + u64::from(SPARE) + 8, 0x1f << 40);
    assert_eq!(bed.fails(&[0xff, 0x1c, 0x25, 0x00, 0x00, 0x02, 0x00]), Exception::gp(u32::from(SPARE)));
}

#[test]
fn iretq_goes_to_user_code_and_drops_inner_segments() {
    let mut bed = Testbed::long();
    let flags = rflags::IF | rflags::ZF | rflags::IOPL | rflags::FIXED;
    bed.stack(&[USER, u64::from(USER_CODE64), flags, 0x7000, u64::from(USER_DATA)], 8);
    bed.execute(&IRETQ).expect("a legal return");
    assert_eq!((bed.cpu.rip, bed.cpu.cpl, bed.cpu.gpr[4], bed.cpu.rflags), (USER, 3, 0x7000, flags));
    assert!(bed.cpu.segments[DS].is_unusable());
    assert!(bed.sys.leave.recheck);
}

/// Linux's selftest sigreturn sees this: user code loaded 3, and the next interrupt made it 0.
#[test]
fn a_return_to_an_outer_level_zeroes_null_selectors_and_leaves_bases() {
    let mut bed = Testbed::long();
    bed.cpu.segments[FS] = Segment { selector: 3, base: 0x1234_5000, ..Segment::default() };
    bed.stack(&[USER, u64::from(USER_CODE64), rflags::FIXED, 0x7000, u64::from(USER_DATA)], 8);
    bed.execute(&IRETQ).expect("a legal return");
    assert_eq!((bed.cpu.segments[FS].selector, bed.cpu.segments[FS].base), (0, 0x1234_5000));
}

#[test]
fn iretq_reaches_compatibility_mode() {
    let mut bed = Testbed::long();
    bed.stack(&[USER, u64::from(USER_CODE32), 2, 0x7000, u64::from(USER_DATA)], 8);
    bed.execute(&IRETQ).expect("a legal return");
    assert_eq!((bed.cpu.mode, bed.cpu.code_bits, bed.cpu.rip), (Mode::Compatibility, 32, USER));
}

/// A frame that IRETQ refuses, and why.
#[test]
fn iretq_refuses_bad_frames_and_changes_nothing() {
    let (code, data) = (u64::from(USER_CODE64), u64::from(USER_DATA));
    let cases = [
        ([1 << 47, code, 2, 0x7000, data], Exception::gp(0)),
        ([USER, 0, 2, 0x7000, data], Exception::gp(0)),
        ([USER, 0x1f3, 2, 0x7000, data], Exception::gp(0x1f0)),
        ([USER, 0x28, 2, 0x7000, data], Exception::gp(0x28)),
        ([USER, data, 2, 0x7000, data], Exception::gp(0x20)),
        ([USER, code, 2, 0x7000, 0], Exception::gp(0)),
        ([USER, code, 2, 0x7000, 0x10], Exception::gp(0x10)),
        ([USER, code, 2, 0x7000, 0x1f3], Exception::gp(0x1f0)),
    ];
    for (frame, expected) in cases {
        let mut bed = Testbed::long();
        bed.stack(&frame, 8);
        assert_eq!(bed.fails(&IRETQ), expected, "{frame:x?}");
    }
    let mut bed = Testbed::long();
    bed.set_flags(rflags::NT);
    bed.stack(&[USER, code, 2, 0x7000, data], 8);
    assert_eq!(bed.fails(&IRETQ), Exception::gp(0));
}

#[test]
fn user_code_cannot_change_if_or_iopl_by_iret() {
    let mut bed = Testbed::long().user(USER_CODE64);
    bed.set_flags(rflags::IF);
    bed.stack(&[USER, u64::from(USER_CODE64), rflags::IOPL | 2, 0x7000, u64::from(USER_DATA)], 8);
    bed.execute(&IRETQ).expect("a legal return");
    assert_eq!(bed.cpu.rflags, rflags::IF | rflags::FIXED);
}

#[test]
fn a_same_level_iret_of_protected_mode_keeps_the_stack_segment() {
    let mut bed = Testbed::protected();
    bed.stack(&[USER, 8, rflags::CF | 2], 4);
    bed.execute(&IRETD).expect("a legal return");
    assert_eq!((bed.cpu.rip, bed.cpu.gpr[4]), (USER, STACK));
    assert!(bed.cpu.flag(rflags::CF));
}

#[test]
fn iretd_enters_virtual_8086_mode() {
    let mut bed = Testbed::protected();
    let flags = rflags::VM | rflags::IF | rflags::FIXED;
    bed.stack(&[0x42, 0x200, flags, 0x8000, 0x300, 0x100, 0x400, 0x500, 0x600], 4);
    bed.execute(&IRETD).expect("a legal return");
    assert_eq!((bed.cpu.mode, bed.cpu.cpl, bed.cpu.rip), (Mode::Virtual8086, 3, 0x42));
    let bases: Vec<u64> = bed.cpu.segments.iter().map(|segment| segment.base).collect();
    assert_eq!(bases, [0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000]);
    assert_eq!((bed.cpu.gpr[4], bed.cpu.rflags), (0x8000, flags));
}

#[test]
fn virtual_8086_iret_needs_iopl_3() {
    let mut bed = Testbed::protected();
    bed.cpu.cpl = 3;
    bed.cpu.segments = [Segment { access: 0xf3, ..Segment::real_mode(0) }; 6];
    bed.cpu.rip = 0x1000;
    bed.cpu.gpr[4] = 0x8000;
    bed.set_flags(rflags::VM);
    assert_eq!(bed.fails(&IRETD), Exception::gp(0));
    bed.set_flags(rflags::VM | rflags::IOPL);
    bed.stack(&[0x42, 0x200, rflags::IF | 2], 2);
    bed.execute(&IRETD).expect("a legal return");
    assert_eq!((bed.cpu.rip, bed.cpu.segments[CS].base), (0x42, 0x2000));
    assert_eq!(
        bed.cpu.rflags & (rflags::VM | rflags::IF | rflags::IOPL),
        rflags::VM | rflags::IF | rflags::IOPL
    );
}

/// A second TSS, whose task starts at `USER` with EAX 0x55.
const OTHER: u64 = 0x5000;

fn with_other_task() -> Testbed {
    let mut bed = Testbed::protected();
    bed.descriptor(TASK, pack(TSS, 0x67, 0x8b));
    bed.descriptor(SPARE, pack(OTHER, 0x67, 0x89));
    let words = [(0x20, USER), (0x24, rflags::FIXED), (0x28, 0x55), (0x38, 0x17_0000), (0x4c, 8), (0x60, 0)];
    for (offset, value) in words {
        assert!(bed.sys.mem.write(OTHER + offset, &(value as u32).to_le_bytes()));
    }
    for offset in [0x48, 0x50, 0x54, 0x58, 0x5c] {
        assert!(bed.sys.mem.write(OTHER + offset, &0x10_u32.to_le_bytes()));
    }
    bed
}

#[test]
fn a_call_to_a_tss_starts_its_task_and_iret_returns() {
    let mut bed = with_other_task();
    bed.cpu.gpr[RAX] = 0x77;
    bed.execute(&direct(CALL, SPARE, 0)).expect("a task switch");
    assert_eq!((bed.cpu.rip, bed.cpu.gpr[RAX], bed.cpu.gpr[4]), (USER, 0x55, 0x17_0000));
    assert_eq!((bed.cpu.tr.selector, bed.read(OTHER) & 0xffff), (SPARE, u64::from(TASK)));
    assert!(bed.cpu.flag(rflags::NT) && bed.cpu.cr0 & cr0::TS != 0);
    assert_eq!(bed.read(GDT + u64::from(SPARE)) >> 40 & 0xff, 0x8b, "busy");
    bed.execute(&IRETD).expect("back to the first task");
    assert_eq!((bed.cpu.rip, bed.cpu.gpr[RAX], bed.cpu.tr.selector), (CODE + 7, 0x77, TASK));
    assert_eq!(bed.read(GDT + u64::from(SPARE)) >> 40 & 0xff, 0x89, "available again");
    assert!(!bed.cpu.flag(rflags::NT));
}

#[test]
fn a_task_gate_pushes_the_error_code_on_the_new_stack() {
    let mut bed = with_other_task();
    bed.write(IDT + 8 * 13, u64::from(SPARE) << 16 | 0x85 << 40);
    bed.code(&[0xf4]);
    bed.cpu.segments[CS].limit = 0;
    bed.step();
    assert_eq!((bed.cpu.rip, bed.cpu.gpr[4]), (USER, 0x17_0000 - 4));
    assert_eq!(bed.read(0x17_0000 - 4) & 0xffff_ffff, 0);
    assert_eq!(bed.read(TSS + 0x20) & 0xffff_ffff, CODE, "the fault's address is in the old task");
}

#[test]
fn a_task_that_is_busy_absent_or_short_is_refused() {
    let code = u32::from(SPARE);
    let cases = [
        (pack(OTHER, 0x67, 0x8b), Exception::gp(code)),
        (pack(OTHER, 0x67, 0x09), Exception::np(code)),
        (pack(OTHER, 0x66, 0x89), Exception::ts(code)),
    ];
    for (raw, expected) in cases {
        let mut bed = with_other_task();
        bed.descriptor(SPARE, raw);
        assert_eq!(bed.fails(&direct(JMP, SPARE, 0)), expected);
    }
}

#[test]
fn a_bad_segment_of_the_new_task_faults_in_the_new_task() {
    let mut bed = with_other_task();
    assert!(bed.sys.mem.write(OTHER + 0x50, &8_u32.to_le_bytes()));
    let raised = bed.execute(&direct(JMP, SPARE, 0)).expect_err("code is no stack");
    assert_eq!((raised, bed.cpu.rip), (Exception::ts(8), USER));
    assert!(bed.cpu.segments[SS].is_unusable());
}
