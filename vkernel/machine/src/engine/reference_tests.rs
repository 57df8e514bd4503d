//! The rules of the boundary between two instructions.

use crate::cpu::state::{Activity, Shadow, cr0, rflags};
use crate::cpu::system::testbed::{CODE, STACK, Testbed, USER_CODE64};
use crate::cpu::system::{accepts_interrupt, deliver_interrupt, needs_reference, start_up};
use crate::engine::{self, EngineKind};
use crate::system::Leave;

const STI: u8 = 0xfb;
const CLI: u8 = 0xfa;
const CPUID: [u8; 2] = [0x0f, 0xa2];
const BS: u64 = 1 << 14;

#[test]
fn a_completed_instruction_counts_one_and_a_faulting_one_counts_its_delivery() {
    let mut bed = Testbed::long();
    bed.code(&[STI, 0x0f, 0x0b]);
    bed.step();
    assert_eq!((bed.sys.icount, bed.cpu.rip), (1, CODE + 1));
    bed.step();
    assert_eq!((bed.sys.icount, bed.handler()), (2, Some(6)));
    assert_eq!(bed.read(bed.cpu.gpr[4]), CODE + 1);
}

#[test]
fn the_shadow_of_sti_lasts_one_instruction_and_ends_with_a_recheck() {
    let mut bed = Testbed::long();
    bed.code(&[STI, CPUID[0], CPUID[1]]);
    bed.step();
    assert_eq!(bed.cpu.shadow, Shadow::Sti);
    assert!(bed.cpu.flag(rflags::IF) && !accepts_interrupt(&bed.cpu));
    bed.sys.leave = Leave::default();
    bed.step();
    assert!(accepts_interrupt(&bed.cpu) && bed.sys.leave.recheck);
}

#[test]
fn sti_with_interrupts_enabled_casts_no_shadow() {
    let mut bed = Testbed::long();
    bed.cpu.rflags |= rflags::IF;
    bed.code(&[STI]);
    bed.step();
    assert_eq!(bed.cpu.shadow, Shadow::None);
}

#[test]
fn a_fault_under_a_shadow_ends_it() {
    let mut bed = Testbed::long();
    bed.code(&[STI, 0x0f, 0x0b]);
    bed.step();
    bed.step();
    assert_eq!((bed.handler(), bed.cpu.shadow), (Some(6), Shadow::None));
}

#[test]
fn single_step_traps_after_the_instruction_as_a_count_of_its_own() {
    let mut bed = Testbed::long();
    bed.cpu.rflags |= rflags::TF;
    bed.code(&[CLI]);
    bed.step();
    assert_eq!((bed.sys.icount, bed.cpu.rip), (1, CODE + 1));
    assert!(needs_reference(&bed.cpu));
    bed.step();
    assert_eq!((bed.sys.icount, bed.handler()), (2, Some(1)));
    assert_eq!(bed.cpu.dr[6] & BS, BS);
    assert_eq!(bed.read(bed.cpu.gpr[4]), CODE + 1, "a trap returns behind the instruction");
    assert!(!bed.cpu.flag(rflags::TF));
}

#[test]
fn tf_set_by_iret_traps_only_after_the_next_instruction() {
    let mut bed = Testbed::long();
    let flags = rflags::TF | rflags::FIXED;
    bed.stack(&[CODE + 2, 0x08, flags, STACK, 0x10], 8);
    bed.code(&[0x48, 0xcf, CLI, CLI]);
    bed.step();
    assert_eq!((bed.cpu.rip, bed.cpu.pending_debug), (CODE + 2, 0));
    bed.step();
    assert_eq!((bed.cpu.rip, bed.cpu.pending_debug), (CODE + 3, BS));
}

#[test]
fn loading_ss_delays_the_single_step_trap_by_one_instruction() {
    let mut bed = Testbed::long();
    bed.cpu.rflags |= rflags::TF;
    bed.cpu.gpr[0] = 0x10;
    bed.code(&[0x8e, 0xd0, CLI, CLI]);
    bed.step();
    assert_eq!((bed.cpu.shadow, bed.cpu.pending_debug), (Shadow::MovSs, 0));
    bed.step();
    assert_eq!((bed.cpu.rip, bed.cpu.pending_debug), (CODE + 3, BS));
    bed.step();
    assert_eq!(bed.handler(), Some(1));
}

#[test]
fn int_clears_tf_and_so_its_own_trap() {
    let mut bed = Testbed::long();
    bed.cpu.rflags |= rflags::TF;
    bed.code(&[0xcd, 0x05]);
    bed.step();
    assert_eq!((bed.handler(), bed.cpu.pending_debug), (Some(5), 0));
}

#[test]
fn an_instruction_breakpoint_faults_before_and_rf_lets_the_instruction_pass_once() {
    let mut bed = Testbed::long();
    bed.cpu.dr[0] = CODE;
    bed.cpu.dr[7] |= 1;
    bed.code(&[CLI, CLI]);
    bed.step();
    assert_eq!((bed.handler(), bed.cpu.dr[6] & 15), (Some(1), 1));
    assert_eq!(bed.read(bed.cpu.gpr[4]), CODE);
    assert_eq!(bed.read(bed.cpu.gpr[4] + 16) & rflags::RF, 0, "RF is left to the handler");

    let mut bed = Testbed::long();
    bed.cpu.dr[0] = CODE;
    bed.cpu.dr[7] |= 1;
    bed.cpu.rflags |= rflags::RF;
    bed.code(&[CLI]);
    bed.step();
    assert_eq!((bed.cpu.rip, bed.cpu.flag(rflags::RF)), (CODE + 1, false));
}

#[test]
fn a_data_breakpoint_traps_after_the_access_it_overlaps() {
    // SGDT [0x150000] writes ten bytes; the breakpoint waits for one in the middle.
    let sgdt = [0x0f, 0x01, 0x04, 0x25, 0x00, 0x00, 0x15, 0x00];
    let cases = [(0x15_0004, 1, true), (0x15_0004, 3, true), (0x15_000c, 1, false), (0x15_0004, 0, false)];
    for (address, condition, hits) in cases {
        let mut bed = Testbed::long();
        bed.cpu.dr[2] = address;
        bed.cpu.dr[7] |= 1 << 5 | condition << 24;
        bed.code(&sgdt);
        bed.step();
        let expected = if hits { 1 << 2 } else { 0 };
        assert_eq!(bed.cpu.pending_debug, expected, "{address:#x} condition {condition}");
    }
}

#[test]
fn a_data_breakpoint_traps_after_the_iteration_that_accesses_it() {
    // The breakpoint waits for the second of three bytes, with a prefix for 64- and for 32-bit addresses.
    for code in [&[0xf3, 0xa4][..], &[0x67, 0xf3, 0xa4]] {
        let mut bed = Testbed::long();
        bed.cpu.dr[1] = 0x15_0001;
        bed.cpu.dr[7] |= 1 << 2 | 1 << 20;
        (bed.cpu.gpr[1], bed.cpu.gpr[6], bed.cpu.gpr[7]) = (3, 0x14_0000, 0x15_0000);
        bed.code(code);
        bed.step();
        assert_eq!((bed.cpu.gpr[1], bed.cpu.pending_debug), (2, 0));
        bed.step();
        assert_eq!((bed.cpu.gpr[1], bed.cpu.pending_debug, bed.cpu.rip), (1, 1 << 1, CODE));
        bed.step();
        assert_eq!((bed.handler(), bed.read(bed.cpu.gpr[4])), (Some(1), CODE));
    }
    let mut bed = Testbed::long();
    bed.cpu.dr[1] = 0x15_0000;
    bed.cpu.dr[7] |= 1 << 2 | 1 << 20;
    (bed.cpu.gpr[1], bed.cpu.gpr[6], bed.cpu.gpr[7]) = (0, 0x14_0000, 0x15_0000);
    bed.code(&[0xf3, 0xa4]);
    bed.step();
    assert_eq!((bed.cpu.rip, bed.cpu.pending_debug), (CODE + 2, 0), "nothing was accessed");
}

#[test]
fn alignment_is_checked_on_every_engine_even_where_the_translation_is_cached() {
    // mov rax, [0x190001] twice; AC is set in between.
    let load = [0x48, 0x8b, 0x04, 0x25, 0x01, 0x00, 0x19, 0x00];
    for kind in [EngineKind::Reference, EngineKind::Interp] {
        let mut bed = Testbed::long().user(USER_CODE64);
        bed.cpu.cr0 |= cr0::AM;
        bed.code(&[load, load].concat());
        let mut engine = engine::build(kind);
        engine.run(&mut bed.cpu, &mut bed.sys, 1);
        assert_eq!(bed.cpu.rip, CODE + 8, "{kind:?}");
        bed.cpu.rflags |= rflags::AC;
        engine.run(&mut bed.cpu, &mut bed.sys, 1);
        assert_eq!(bed.handler(), Some(17), "{kind:?}");
    }
}

#[test]
fn int1_after_a_watched_load_of_ss_is_one_debug_exception_for_both() {
    // MOV SS, [0x150000]; INT1
    let mut bed = Testbed::long();
    assert!(bed.sys.mem.write(0x15_0000, &[0x10, 0]));
    bed.cpu.dr[0] = 0x15_0000;
    bed.cpu.dr[7] |= 1 | 3 << 16 | 1 << 18;
    bed.code(&[0x8e, 0x14, 0x25, 0x00, 0x00, 0x15, 0x00, 0xf1]);
    bed.step();
    assert_eq!((bed.cpu.shadow, bed.cpu.pending_debug), (Shadow::MovSs, 1));
    bed.step();
    assert_eq!((bed.handler(), bed.cpu.pending_debug, bed.cpu.dr[6] & 15), (Some(1), 0, 1));
    assert_eq!(bed.read(bed.cpu.gpr[4]), CODE + 8);
}

#[test]
fn an_io_breakpoint_needs_cr4_de() {
    for (de, hits) in [(0, 0), (1 << 3, 1)] {
        let mut bed = Testbed::long();
        bed.cpu.cr4 |= de;
        bed.cpu.dr[0] = 0x80;
        bed.cpu.dr[7] |= 1 | 2 << 16;
        bed.code(&[0xe6, 0x80]);
        bed.step();
        assert_eq!(bed.cpu.pending_debug, hits);
    }
}

#[test]
fn hlt_stops_until_an_interrupt_and_returns_behind_itself() {
    let mut bed = Testbed::long();
    bed.cpu.rflags |= rflags::IF;
    bed.code(&[0xf4]);
    bed.step();
    assert!(bed.cpu.activity == Activity::Halted && bed.sys.leave.stopped);
    assert!(accepts_interrupt(&bed.cpu));
    deliver_interrupt(&mut bed.core(), 20);
    assert_eq!((bed.cpu.activity, bed.handler()), (Activity::Running, Some(20)));
    assert_eq!(bed.read(bed.cpu.gpr[4]), CODE + 1);
}

#[test]
fn a_start_up_ipi_enters_real_mode_at_its_page() {
    let mut bed = Testbed::real();
    bed.cpu.init();
    start_up(&mut bed.cpu, 0x9a);
    assert_eq!((bed.cpu.activity, bed.cpu.rip, bed.cpu.code_bits), (Activity::Running, 0, 16));
    assert!(bed.sys.mem.write(0x9_a000, &[CLI]));
    bed.step();
    assert_eq!(bed.cpu.rip, 1);
}

#[test]
fn user_code_that_only_faults_still_counts() {
    let mut bed = Testbed::long().user(USER_CODE64);
    bed.code(&[0xf4]);
    bed.step();
    assert_eq!((bed.sys.icount, bed.handler(), bed.cpu.cpl), (1, Some(13), 0));
}
