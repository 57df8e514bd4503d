//! Segment registers and questions about selectors.

use super::super::testbed::*;
use crate::cpu::exception::Exception;
use crate::cpu::state::{DS, FS, RAX, RCX, SS, Segment, Shadow, rflags};

/// MOV of AX to a segment register.
const MOV_SS: [u8; 2] = [0x8e, 0xd0];
const MOV_DS: [u8; 2] = [0x8e, 0xd8];
const MOV_FS: [u8; 2] = [0x8e, 0xe0];

fn with_spare(mut bed: Testbed, access: u16) -> Testbed {
    bed.descriptor(SPARE, pack(0x12_3456, 0x0f_ffff, access));
    bed
}

/// The selector, the access bytes of its descriptor, and the fault of loading it at CPL 0 and at CPL 3.
#[test]
fn a_data_segment_is_checked_for_type_privilege_and_presence() {
    let code = u32::from(SPARE);
    type Case = (u16, u16, Option<Exception>, Option<Exception>);
    let cases: [Case; 8] = [
        (SPARE, 0xc093, None, Some(Exception::gp(code))),
        (SPARE | 3, 0xc093, Some(Exception::gp(code)), Some(Exception::gp(code))),
        (SPARE | 3, 0xc0f3, None, None),
        (SPARE | 3, 0xc073, Some(Exception::np(code)), Some(Exception::np(code))),
        (SPARE | 3, 0xc0f9, Some(Exception::gp(code)), Some(Exception::gp(code))),
        (SPARE | 3, 0xc09f, None, None),
        (SPARE | 3, 0xc0e2, Some(Exception::gp(code)), Some(Exception::gp(code))),
        (0x1f3, 0xc0f3, Some(Exception::gp(0x1f0)), Some(Exception::gp(0x1f0))),
    ];
    for (selector, access, inner, outer) in cases {
        for (expected, user) in [(inner, false), (outer, true)] {
            let mut bed = with_spare(Testbed::protected(), access);
            if user {
                bed = bed.user(USER_CODE32);
            }
            bed.cpu.gpr[RAX] = u64::from(selector);
            match expected {
                Some(fault) => assert_eq!(bed.fails(&MOV_DS), fault, "{access:#x} user {user}"),
                None => {
                    bed.execute(&MOV_DS).expect("a legal load");
                    assert_eq!(bed.cpu.segments[DS].selector, selector);
                    assert_eq!(bed.cpu.segments[DS].base, 0x12_3456);
                }
            }
        }
    }
}

#[test]
fn a_stack_segment_must_be_writable_and_of_the_same_privilege() {
    let code = u32::from(SPARE);
    let cases = [
        (SPARE, 0xc093, None),
        (SPARE | 3, 0xc093, Some(Exception::gp(code))),
        (SPARE, 0xc0f3, Some(Exception::gp(code))),
        (SPARE, 0xc091, Some(Exception::gp(code))),
        (SPARE, 0xc013, Some(Exception::ss(code))),
        (0, 0xc093, Some(Exception::gp(0))),
    ];
    for (selector, access, expected) in cases {
        let mut bed = with_spare(Testbed::protected(), access);
        bed.cpu.gpr[RAX] = u64::from(selector);
        match expected {
            Some(fault) => assert_eq!(bed.fails(&MOV_SS), fault, "{access:#x}"),
            None => {
                bed.execute(&MOV_SS).expect("a legal load");
                assert_eq!(bed.cpu.shadow, Shadow::MovSs);
            }
        }
    }
}

#[test]
fn loading_sets_the_accessed_bit_in_the_table() {
    let mut bed = with_spare(Testbed::long(), 0xc092);
    bed.cpu.gpr[RAX] = u64::from(SPARE);
    bed.execute(&MOV_DS).expect("a legal load");
    assert_eq!(bed.read(GDT + u64::from(SPARE)) >> 40 & 1, 1);
    assert_eq!(bed.cpu.segments[DS].access & 1, 1);
}

#[test]
fn a_null_selector_clears_the_base_of_fs() {
    let mut bed = Testbed::long();
    bed.cpu.segments[FS].base = 0x5000;
    bed.cpu.gpr[RAX] = 0;
    bed.execute(&MOV_FS).expect("null is legal");
    assert_eq!(bed.cpu.segments[FS], Segment::default());
}

#[test]
fn a_null_stack_segment_is_for_64_bit_mode_below_cpl_3() {
    let mut bed = Testbed::long();
    bed.cpu.gpr[RAX] = 0;
    bed.execute(&MOV_SS).expect("null with RPL 0 is legal at CPL 0");
    assert!(bed.cpu.segments[SS].is_unusable());
    let mut bed = Testbed::long().user(USER_CODE64);
    bed.cpu.gpr[RAX] = 3;
    assert_eq!(bed.fails(&MOV_SS), Exception::gp(0));
}

#[test]
fn real_mode_keeps_a_limit_loaded_in_protected_mode() {
    let mut bed = Testbed::real();
    bed.cpu.segments[DS].limit = 0xffff_ffff;
    bed.cpu.gpr[RAX] = 0x1234;
    bed.execute(&MOV_DS).expect("nothing to check");
    let ds = bed.cpu.segments[DS];
    assert_eq!((ds.selector, ds.base, ds.limit), (0x1234, 0x12340, 0xffff_ffff));
}

#[test]
fn cs_cannot_be_loaded_by_mov() {
    assert_eq!(Testbed::long().fails(&[0x8e, 0xc8]), Exception::UD);
}

#[test]
fn push_and_pop_move_selectors() {
    let mut bed = Testbed::long();
    bed.cpu.segments[FS].selector = 0x23;
    bed.execute(&[0x0f, 0xa0]).expect("PUSH FS");
    assert_eq!((bed.cpu.gpr[4], bed.read(STACK - 8)), (STACK - 8, 0x23));
    bed.execute(&[0x0f, 0xa9]).expect("POP GS");
    assert_eq!((bed.cpu.gpr[4], bed.cpu.segments[5].selector), (STACK, 0x23));
    bed.execute(&[0x8c, 0xe1]).expect("MOV ECX, FS");
    assert_eq!(bed.cpu.gpr[RCX], 0x23);
}

#[test]
fn a_failing_pop_leaves_the_stack_pointer() {
    let mut bed = Testbed::protected();
    bed.stack(&[0x1f0], 4);
    assert_eq!(bed.fails(&[0x1f]), Exception::gp(0x1f0));
}

#[test]
fn lss_loads_both_halves_or_none() {
    let mut bed = Testbed::protected();
    bed.write(0x2_0000, 0x0010_1234_5678);
    bed.execute(&[0x0f, 0xb2, 0x25, 0x00, 0x00, 0x02, 0x00]).expect("LSS ESP, [0x20000]");
    assert_eq!((bed.cpu.gpr[4], bed.cpu.segments[SS].selector), (0x1234_5678, 0x10));
    let mut bed = Testbed::protected();
    bed.write(0x2_0000, 0x01f0_1234_5678);
    assert_eq!(bed.fails(&[0x0f, 0xb2, 0x25, 0x00, 0x00, 0x02, 0x00]), Exception::gp(0x1f0));
}

/// A descriptor's access, and whether LAR, LSL, VERR and VERW report it in long mode at CPL 3.
#[test]
fn questions_about_selectors_answer_in_zf() {
    let cases = [
        (0xc0f3, [true, true, true, true]),
        (0xc0f1, [true, true, true, false]),
        (0xc0fb, [true, true, true, false]),
        (0xc0f9, [true, true, false, false]),
        (0xc093, [false, false, false, false]),
        (0xc09f, [true, true, true, false]),
        (0x00e9, [true, true, false, false]),
        (0x00ec, [true, false, false, false]),
        (0x00e1, [false, false, false, false]),
    ];
    let questions = [[0x0f, 0x02, 0xc8], [0x0f, 0x03, 0xc8], [0x0f, 0x00, 0xe0], [0x0f, 0x00, 0xe8]];
    for (access, expected) in cases {
        for (question, expected) in questions.into_iter().zip(expected) {
            let mut bed = with_spare(Testbed::long().user(USER_CODE64), access);
            bed.cpu.gpr[RAX] = u64::from(SPARE | 3);
            bed.execute(&question).expect("never faults");
            assert_eq!(bed.cpu.flag(rflags::ZF), expected, "{access:#x} {question:x?}");
        }
    }
}

#[test]
fn lar_and_lsl_give_rights_and_scaled_limit() {
    let mut bed = with_spare(Testbed::long(), 0xc093);
    bed.cpu.gpr[RAX] = u64::from(SPARE);
    bed.execute(&[0x0f, 0x02, 0xc8]).expect("LAR ECX, EAX");
    assert_eq!(bed.cpu.gpr[RCX], 0x00c0_9300);
    bed.execute(&[0x0f, 0x03, 0xc8]).expect("LSL ECX, EAX");
    assert_eq!(bed.cpu.gpr[RCX], 0xffff_ffff);
}

#[test]
fn arpl_raises_the_rpl_only() {
    let mut bed = Testbed::protected();
    bed.cpu.gpr[RAX] = 0x10;
    bed.cpu.gpr[RCX] = 3;
    bed.execute(&[0x63, 0xc8]).expect("ARPL AX, CX");
    assert_eq!((bed.cpu.gpr[RAX], bed.cpu.flag(rflags::ZF)), (0x13, true));
    bed.execute(&[0x63, 0xc8]).expect("ARPL AX, CX");
    assert!(!bed.cpu.flag(rflags::ZF));
    assert_eq!(Testbed::real().fails(&[0x63, 0xc8]), Exception::UD);
}

#[test]
fn an_override_that_64_bit_mode_ignores_does_not_choose_the_fault() {
    // mov eax, [rbx] and mov eax, [rbp+0] behind each override: RBX and RBP are not canonical.
    let cases = [
        (vec![0x8b, 0x03], Exception::gp(0)),
        (vec![0x36, 0x8b, 0x03], Exception::gp(0)),
        (vec![0x8b, 0x45, 0], Exception::ss(0)),
        (vec![0x3e, 0x8b, 0x45, 0], Exception::ss(0)),
        (vec![0x2e, 0x8b, 0x45, 0], Exception::ss(0)),
        (vec![0x26, 0x8b, 0x45, 0], Exception::ss(0)),
        // FS is followed, and is no stack segment.
        (vec![0x64, 0x8b, 0x45, 0], Exception::gp(0)),
        // lods byte [rsi], of no stack segment even with its override.
        (vec![0x36, 0xac], Exception::gp(0)),
    ];
    for (bytes, expected) in cases {
        let mut bed = Testbed::long();
        (bed.cpu.gpr[3], bed.cpu.gpr[5], bed.cpu.gpr[6]) = (1 << 63, 1 << 63, 1 << 63);
        assert_eq!(bed.fails(&bytes), expected, "{bytes:02x?}");
    }
}
