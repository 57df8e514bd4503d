//! When instructions are unavailable, fault, or raise floating-point exceptions.

use super::{Guest, OPERAND_PADDR};
use crate::cpu::exception::Exception;
use crate::cpu::state::{RDI, cr0, cr4, rflags};

const ADDPS_MEMORY: &[u8] = &[0x0f, 0x58, 0x07];
const MOVUPS_LOAD: &[u8] = &[0x0f, 0x10, 0x07];
const MOVAPS_STORE: &[u8] = &[0x0f, 0x29, 0x07];
const PADDB_MM: &[u8] = &[0x0f, 0xfc, 0xc1];
const MOVQ_STORE_MM: &[u8] = &[0x0f, 0x7f, 0x07];
const EMMS: &[u8] = &[0x0f, 0x77];
const MOVNTI: &[u8] = &[0x0f, 0xc3, 0x07];
const DIVPS: &[u8] = &[0x0f, 0x5e, 0xc1];
const MULSS: &[u8] = &[0xf3, 0x0f, 0x59, 0xc1];
const COMISS: &[u8] = &[0x0f, 0x2f, 0xc1];
const LDMXCSR: &[u8] = &[0x0f, 0xae, 0x17];
const CVTPI2PS_MEMORY: &[u8] = &[0x0f, 0x2a, 0x07];
const CVTPI2PD_MEMORY: &[u8] = &[0x66, 0x0f, 0x2a, 0x07];
const CVTPI2PD_REGISTER: &[u8] = &[0x66, 0x0f, 0x2a, 0xc0];
const PCMPISTRI: &[u8] = &[0x66, 0x0f, 0x3a, 0x63, 0x07, 0x00];
const MASKMOVDQU: &[u8] = &[0x66, 0x0f, 0xf7, 0xc1];

/// Four singles.
fn singles(lanes: [f32; 4]) -> u128 {
    lanes.iter().rev().fold(0, |value, lane| value << 32 | u128::from(lane.to_bits()))
}

#[test]
fn control_register_bits_make_instructions_unavailable_in_the_manuals_order() {
    let table: &[(&[u8], u64, u64, Option<Exception>)] = &[
        (ADDPS_MEMORY, 0, 0, None),
        (ADDPS_MEMORY, cr0::EM | cr0::TS, 0, Some(Exception::UD)),
        (ADDPS_MEMORY, cr0::TS, 0, Some(Exception::NM)),
        (ADDPS_MEMORY, cr0::TS, cr4::OSFXSR, Some(Exception::UD)),
        (LDMXCSR, 0, cr4::OSFXSR, Some(Exception::UD)),
        (LDMXCSR, cr0::TS, 0, Some(Exception::NM)),
        (PADDB_MM, 0, cr4::OSFXSR, None),
        (PADDB_MM, cr0::EM, 0, Some(Exception::UD)),
        (PADDB_MM, cr0::TS, 0, Some(Exception::NM)),
        (EMMS, cr0::EM, 0, Some(Exception::UD)),
        (EMMS, cr0::TS, 0, Some(Exception::NM)),
        (MOVNTI, cr0::EM | cr0::TS, cr4::OSFXSR, None),
    ];
    for &(bytes, cr0_set, cr4_clear, expected) in table {
        let mut guest = Guest::new();
        guest.cpu.cr0 |= cr0_set;
        guest.cpu.cr4 &= !cr4_clear;
        assert_eq!(guest.execute(bytes).err(), expected, "{bytes:x?} {cr0_set:#x} {cr4_clear:#x}");
    }
}

#[test]
fn sixteen_byte_operands_must_be_aligned_unless_the_instruction_says_otherwise() {
    let gp = Some(Exception::gp(0));
    for (bytes, expected) in
        [(ADDPS_MEMORY, gp), (MOVAPS_STORE, gp), (MOVUPS_LOAD, None), (PCMPISTRI, None), (MASKMOVDQU, None)]
    {
        let mut guest = Guest::new();
        guest.cpu.gpr[RDI] = OPERAND_PADDR + 8;
        assert_eq!(guest.execute(bytes).err(), expected, "{bytes:x?}");
    }
}

#[test]
fn mmx_takes_the_x87_over_and_emms_gives_it_back() {
    let mut guest = Guest::new();
    guest.cpu.x87.status = 3 << 11 | 0x4700;
    guest.cpu.x87.registers[0] = 0x3fff_8000_0000_0000_0001;
    guest.cpu.x87.registers[1] = 0x01;
    guest.execute(PADDB_MM).unwrap();
    assert_eq!(guest.cpu.x87.registers[0], 0xffff_8000_0000_0000_0002);
    assert_eq!(guest.cpu.x87.registers[1], 0x01);
    assert_eq!((guest.cpu.x87.status, guest.cpu.x87.valid), (0x4700, 0xff));
    guest.execute(MOVQ_STORE_MM).unwrap();
    assert_eq!(guest.memory(), 0x8000_0000_0000_0002);
    guest.execute(EMMS).unwrap();
    assert_eq!((guest.cpu.x87.status, guest.cpu.x87.valid), (0x4700, 0));
    assert_eq!(guest.cpu.x87.registers[0], 0xffff_8000_0000_0000_0002);
}

#[test]
fn a_pending_x87_exception_comes_before_mmx_changes_anything() {
    for (bytes, expected) in [
        (PADDB_MM, Some(Exception::MF)),
        (EMMS, Some(Exception::MF)),
        (CVTPI2PD_REGISTER, Some(Exception::MF)),
        (CVTPI2PS_MEMORY, None),
        (CVTPI2PD_MEMORY, None),
        (ADDPS_MEMORY, None),
    ] {
        let mut guest = Guest::new();
        guest.cpu.x87.status = 0x80 | 1 << 11;
        assert_eq!(guest.execute(bytes).err(), expected, "{bytes:x?}");
        assert_eq!((guest.cpu.x87.status, guest.cpu.x87.valid), (0x80 | 1 << 11, 0));
    }
}

#[test]
fn unmasked_exceptions_leave_the_destination_and_report_the_flags() {
    // Lanes: 1/3 is inexact, 1/0 divides by zero, 0/0 is invalid, and one is exact.
    let a = singles([1.0, 1.0, 0.0, 1.0]);
    let b = singles([3.0, 0.0, 0.0, 1.0]);
    for (unmasked, flags, fault) in [
        (0, 0b10_0101, false),
        // Detected before the computation: nothing of the computation is reported.
        (0b00_0001, 0b00_0101, true),
        (0b00_0100, 0b00_0101, true),
        (0b10_0100, 0b00_0101, true),
        // Detected after it: everything is.
        (0b10_0000, 0b10_0101, true),
        (0b01_1010, 0b10_0101, false),
    ] {
        let mut guest = Guest::new();
        guest.cpu.mxcsr &= !(unmasked << 7);
        (guest.cpu.xmm[0], guest.cpu.xmm[1]) = (a, b);
        let result = guest.execute(DIVPS);
        assert_eq!(result.err(), fault.then_some(Exception::XM), "unmasked {unmasked:#b}");
        assert_eq!(guest.cpu.mxcsr & 0x3f, flags, "unmasked {unmasked:#b}");
        assert_eq!(guest.cpu.xmm[0] == a, fault, "unmasked {unmasked:#b}");
    }
}

#[test]
fn without_osxmmexcpt_a_floating_point_exception_is_an_undefined_instruction() {
    let mut guest = Guest::new();
    guest.cpu.mxcsr = 0;
    guest.cpu.cr4 &= !cr4::OSXMMEXCPT;
    guest.cpu.xmm[0] = u128::from(f32::NAN.to_bits());
    let flags = guest.cpu.rflags;
    assert_eq!(guest.execute(COMISS), Err(Exception::UD));
    assert_eq!((guest.cpu.mxcsr, guest.cpu.rflags), (1, flags));
    guest.cpu.mxcsr = 0x1f80;
    guest.execute(COMISS).unwrap();
    assert_eq!(guest.cpu.rflags & rflags::STATUS, rflags::ZF | rflags::PF | rflags::CF);
}

#[test]
fn unmasked_underflow_is_raised_by_exact_tiny_results_too_and_switches_flushing_off() {
    let least_normal = u128::from(f32::MIN_POSITIVE.to_bits());
    let half = u128::from(0.5f32.to_bits());
    for (mxcsr, flags, fault) in [
        (0x1f80, 0, false),
        (0x1f80 & !0x800, 0x10, true),
        (0x9f80 & !0x800, 0x10, true),
        (0x9f80, 0x30, false),
    ] {
        let mut guest = Guest::new();
        guest.cpu.mxcsr = mxcsr;
        (guest.cpu.xmm[0], guest.cpu.xmm[1]) = (least_normal, half);
        assert_eq!(guest.execute(MULSS).err(), fault.then_some(Exception::XM), "MXCSR {mxcsr:#x}");
        assert_eq!(guest.cpu.mxcsr, mxcsr | flags, "MXCSR {mxcsr:#x}");
    }
}

#[test]
fn mxcsr_bits_that_do_not_exist_cannot_be_loaded() {
    let mut guest = Guest::new();
    guest.set_memory(0x1_0000);
    assert_eq!(guest.execute(LDMXCSR), Err(Exception::gp(0)));
    guest.set_memory(0xffff_ffff_0000_ffff);
    guest.execute(LDMXCSR).unwrap();
    assert_eq!(guest.cpu.mxcsr, 0xffff);
}

#[test]
fn a_flag_set_before_faults_only_when_it_is_raised_again() {
    let (zero, one) = (singles([0.0; 4]), singles([1.0; 4]));
    for (divisor, fault) in [(one, false), (zero, true)] {
        let mut guest = Guest::new();
        guest.cpu.mxcsr = 0x1f80 & !(4 << 7) | 4;
        (guest.cpu.xmm[0], guest.cpu.xmm[1]) = (one, divisor);
        assert_eq!(guest.execute(DIVPS).err(), fault.then_some(Exception::XM));
        assert_eq!(guest.cpu.mxcsr & 0x3f, 4);
    }
}
