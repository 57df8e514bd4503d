//! When exceptions are recorded, and when they are delivered.

use super::super::stack::{INDEFINITE, ONE, control, status};
use super::Bench;
use crate::cpu::decode::decode;
use crate::cpu::exception::Exception;
use crate::cpu::state::cr0;

const WAIT: &[u8] = &[0x9b];
const FLD1: &[u8] = &[0xd9, 0xe8];
const FLDZ: &[u8] = &[0xd9, 0xee];
const FADD_ST0_ST1: &[u8] = &[0xd8, 0xc1];
const FADDP: &[u8] = &[0xde, 0xc1];
const FDIVRP: &[u8] = &[0xde, 0xf1];
const FNSTSW_AX: &[u8] = &[0xdf, 0xe0];
const FNCLEX: &[u8] = &[0xdb, 0xe2];
const FNINIT: &[u8] = &[0xdb, 0xe3];
const FSTP_M80: &[u8] = &[0xdb, 0x3f];
const FISTP_M32: &[u8] = &[0xdb, 0x1f];

/// IE and SF, with and without ES and B.
const STACK_FAULT: u16 = status::IE | status::SF;
const SUMMARY: u16 = status::ES | status::B;

#[test]
fn masked_stack_faults_answer_with_the_indefinite() {
    let mut bench = Bench::new();
    bench.execute(FADD_ST0_ST1).unwrap();
    assert_eq!(bench.x87().status, STACK_FAULT, "underflow: C1 clear");
    assert_eq!(bench.x87().st(0), INDEFINITE);
    bench.execute(FNINIT).unwrap();
    for _ in 0..8 {
        bench.execute(FLD1).unwrap();
    }
    assert_eq!(bench.x87().status, 0, "eight values fit");
    bench.execute(FLDZ).unwrap();
    assert_eq!(bench.x87().status, STACK_FAULT | status::C1 | 7 << 11, "overflow: C1 set, TOP moved");
    assert_eq!(bench.x87().st(0), INDEFINITE);
}

#[test]
fn unmasked_stack_faults_leave_the_stack_alone() {
    let mut bench = Bench::new();
    bench.x87().load_control(control::DEFAULT & !control::IM);
    bench.execute(FADDP).unwrap();
    assert_eq!(bench.x87().status, STACK_FAULT | SUMMARY);
    assert_eq!(bench.x87().valid, 0);
    assert_eq!(bench.execute(FLD1), Err(Exception::MF));
    bench.execute(FNCLEX).unwrap();
    for _ in 0..8 {
        bench.execute(FLD1).unwrap();
    }
    let before = *bench.x87();
    bench.execute(FLDZ).unwrap();
    assert_eq!(bench.x87().status, before.status | STACK_FAULT | SUMMARY | status::C1);
    assert_eq!(bench.x87().registers, before.registers);
}

#[test]
fn masked_stores_of_nothing_write_the_indefinite_of_their_format() {
    let mut bench = Bench::new();
    bench.execute(FSTP_M80).unwrap();
    assert_eq!(bench.memory()[..10], INDEFINITE.to_le_bytes()[..10]);
    bench.execute(FISTP_M32).unwrap();
    assert_eq!(bench.memory()[..4], i32::MIN.to_le_bytes());
    assert_eq!(bench.x87().top(), 2, "both popped");
}

#[test]
fn an_unmasked_exception_is_delivered_by_the_next_instruction_that_waits() {
    let mut bench = Bench::new();
    bench.x87().load_control(control::DEFAULT & !control::ZM);
    bench.execute(FLDZ).unwrap();
    bench.execute(FLD1).unwrap();
    // 1 / 0
    bench.execute(FDIVRP).unwrap();
    assert_eq!(bench.x87().st(0), ONE, "nothing computed, nothing popped");
    assert_eq!(bench.x87().status & (status::ZE | SUMMARY), status::ZE | SUMMARY);
    for waiting in [WAIT, FLD1, FADDP, FSTP_M80] {
        assert_eq!(bench.execute(waiting), Err(Exception::MF));
    }
    bench.execute(FNSTSW_AX).unwrap();
    assert_eq!(bench.cpu.gpr[0] as u16, bench.cpu.x87.status);
    bench.execute(FNCLEX).unwrap();
    bench.execute(WAIT).unwrap();
}

#[test]
fn unmasking_a_recorded_exception_makes_it_pending() {
    const FLDCW: &[u8] = &[0xd9, 0x2f];
    let mut bench = Bench::new();
    bench.x87().raise(status::PE);
    bench.execute(WAIT).unwrap();
    bench.memory()[..2].copy_from_slice(&(control::DEFAULT & !control::PM).to_le_bytes());
    bench.execute(FLDCW).unwrap();
    assert_eq!(bench.execute(FLDCW), Err(Exception::MF));
}

#[test]
fn an_unavailable_unit_raises_nm() {
    for (bits, fld, wait) in [
        (cr0::TS, Err(Exception::NM), Ok(())),
        (cr0::TS | cr0::MP, Err(Exception::NM), Err(Exception::NM)),
        (cr0::EM, Err(Exception::NM), Ok(())),
        (cr0::EM | cr0::MP, Err(Exception::NM), Ok(())),
        (cr0::MP, Ok(()), Ok(())),
    ] {
        let mut bench = Bench::new();
        bench.cpu.cr0 = cr0::PE | bits;
        assert_eq!(bench.execute(FLD1), fld);
        assert_eq!(bench.execute(WAIT), wait);
        assert_eq!(bench.execute(FNINIT), fld, "even what does not wait");
    }
}

#[test]
fn a_faulting_operand_changes_nothing() {
    const FADD_M64: &[u8] = &[0xdc, 0x07];
    const FSTP_M64: &[u8] = &[0xdd, 0x1f];
    let mut bench = Bench::new();
    bench.x87().push(ONE);
    bench.x87().set_conditions(status::CONDITIONS);
    let before = *bench.x87();
    bench.cpu.gpr[7] = 0x8000_0000_0000_0000;
    assert_eq!(bench.execute(FADD_M64), Err(Exception::gp(0)));
    assert_eq!(bench.execute(FSTP_M64), Err(Exception::gp(0)));
    assert_eq!(*bench.x87(), before);
}

#[test]
fn every_instruction_that_decodes_is_executed() {
    let mut executed = 0;
    for first in 0xd8..=0xdf {
        for second in 0..=0xff {
            let bytes = [first, second, 0, 0, 0, 0, 0, 0];
            let Ok(instruction) = decode(&bytes, 0, 64) else { continue };
            let result = Bench::new().execute(&bytes[..instruction.len()]);
            assert_eq!(result, Ok(()), "{:?}", instruction.code());
            executed += 1;
        }
    }
    assert!(executed > 1800, "{executed} of 2048");
}

#[test]
fn waiting_forms_are_wait_and_the_form_that_does_not() {
    const FINIT: &[u8] = &[0x9b, 0xdb, 0xe3];
    assert_eq!(decode(FINIT, 0, 64).map(|wait| wait.len()), Ok(1));
}
