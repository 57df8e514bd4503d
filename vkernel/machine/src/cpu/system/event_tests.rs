//! Deliveries: frames, stacks, error codes, double and triple faults.

use super::super::interrupt::{Event, Source, deliver};
use super::super::testbed::*;
use super::super::{deliver_exception, deliver_interrupt, deliver_nmi};
use crate::cpu::exception::Exception;
use crate::cpu::state::{Activity, CS, DS, DescriptorTable, GS, SS, Segment, rflags};

fn frame<const N: usize>(bed: &Testbed, size: u64) -> [u64; N] {
    let mask = u64::MAX >> (64 - 8 * size);
    let top = bed.cpu.gpr[4];
    std::array::from_fn(|index| bed.read(top + size * index as u64) & mask)
}

#[test]
fn long_mode_pushes_a_full_frame_on_an_aligned_stack() {
    let mut bed = Testbed::long();
    bed.cpu.gpr[4] = STACK - 3;
    bed.set_flags(rflags::IF | rflags::TF | rflags::NT | rflags::CF);
    deliver_exception(&mut bed.core(), Exception::gp(0x18));
    assert_eq!(bed.handler(), Some(13));
    assert_eq!(bed.cpu.gpr[4], (STACK - 3) / 16 * 16 - 48);
    let stored = rflags::IF | rflags::TF | rflags::NT | rflags::CF | rflags::FIXED | rflags::RF;
    assert_eq!(frame(&bed, 8), [0x18, CODE, 0x08, stored, STACK - 3, 0x10]);
    assert_eq!(bed.cpu.rflags, rflags::CF | rflags::FIXED);
}

#[test]
fn from_user_code_the_stack_comes_from_the_tss_and_ss_becomes_null() {
    let mut bed = Testbed::long().user(USER_CODE64);
    deliver_interrupt(&mut bed.core(), 30);
    assert_eq!((bed.cpu.cpl, bed.cpu.gpr[4]), (0, INNER_STACK - 40));
    assert_eq!(bed.cpu.segments[SS], Segment::default());
    let [rip, cs, flags, rsp, ss] = frame(&bed, 8);
    assert_eq!((rip, cs, rsp, ss), (CODE, 0x2b, STACK, 0x23));
    assert_eq!(flags & rflags::RF, 0, "an interrupt from outside stores RF as it is");
}

#[test]
fn an_interrupt_stack_table_entry_is_used_at_any_level() {
    let mut bed = Testbed::long();
    bed.write(TSS + 36 + 8, 0x17_0008);
    let low = bed.read(IDT + 16 * 14) | 2 << 32;
    bed.write(IDT + 16 * 14, low);
    bed.sys.fault_vaddr = 0xdead_b000;
    deliver_exception(&mut bed.core(), Exception::pf(2));
    assert_eq!((bed.cpu.gpr[4], bed.cpu.cr2), (0x17_0000 - 48, 0xdead_b000));
}

#[test]
fn a_stack_pointer_of_the_tss_must_be_canonical_although_what_is_pushed_would_be() {
    let deliver_with = |offset: u64, ist: u64| {
        let mut bed = Testbed::long().user(USER_CODE64);
        bed.write(TSS + offset, 0x8000_0000_0000);
        let low = bed.read(IDT + 16 * 6) | ist << 32;
        bed.write(IDT + 16 * 6, low);
        let event = Event { source: Source::Fault, vector: 6, error_code: None, rip: CODE };
        deliver(&mut bed.core(), event).map_err(|failure| failure.exception)
    };
    assert_eq!(deliver_with(4, 0), Err(Exception::ss(1)), "RSP0");
    assert_eq!(deliver_with(36, 1), Err(Exception::ss(1)), "IST1");
}

#[test]
fn a_trap_gate_leaves_interrupts_enabled() {
    let mut bed = Testbed::long();
    bed.gate(3, 0x8f, KERNEL_CODE);
    bed.set_flags(rflags::IF);
    deliver_exception(&mut bed.core(), Exception::BP);
    assert!(bed.cpu.flag(rflags::IF));
}

/// What goes wrong with the gate of vector 20, and what the delivery then raises.
#[test]
fn bad_gates_raise_the_manuals_error_codes_and_change_nothing() {
    type Damage = fn(&mut Testbed);
    let gate = 20 * 8 + 2;
    let cases: [(&str, bool, Damage, Exception); 12] = [
        ("limit", true, |bed| bed.cpu.idtr.limit = 20 * 16 + 14, Exception::gp(gate)),
        ("limit", false, |bed| bed.cpu.idtr.limit = 20 * 8 + 6, Exception::gp(gate)),
        ("type", true, |bed| bed.gate(20, 0x86, KERNEL_CODE), Exception::gp(gate)),
        ("type", false, |bed| bed.gate(20, 0x8c, KERNEL_CODE), Exception::gp(gate)),
        ("present", true, |bed| bed.gate(20, 0x0e, KERNEL_CODE), Exception::np(gate)),
        ("null code", true, |bed| bed.gate(20, 0x8e, 3), Exception::gp(0)),
        ("code beyond table", false, |bed| bed.gate(20, 0x8e, 0x1f0), Exception::gp(0x1f0)),
        ("data", true, |bed| bed.gate(20, 0x8e, KERNEL_DATA), Exception::gp(0x10)),
        ("outer code", true, |bed| bed.gate(20, 0x8e, USER_CODE64), Exception::gp(0x28)),
        ("32-bit code", true, |bed| bed.gate(20, 0x8e, KERNEL_CODE), Exception::gp(8)),
        ("code not present", false, |bed| bed.gate(20, 0x8e, KERNEL_CODE), Exception::np(8)),
        ("stack", true, |bed| bed.cpu.gpr[4] = 0x8000_0000_0000_0000, Exception::ss(0)),
    ];
    for (what, long, damage, expected) in cases {
        for source in [Source::Software, Source::External] {
            let mut bed = if long { Testbed::long() } else { Testbed::protected() };
            damage(&mut bed);
            match what {
                "32-bit code" => bed.descriptor(KERNEL_CODE, pack(0, 0xf_ffff, 0xc09b)),
                "code not present" => bed.descriptor(KERNEL_CODE, pack(0, 0xf_ffff, 0xc01b)),
                _ => {}
            }
            let before = bed.cpu.clone();
            let event = Event { vector: 20, source, error_code: None, rip: CODE };
            let failure = deliver(&mut bed.core(), event).expect_err(what);
            let ext = u32::from(source == Source::External);
            let code = expected.error_code.map(|code| code | ext);
            assert_eq!(failure.exception, Exception { error_code: code, ..expected }, "{what}");
            assert!(!failure.reason.is_empty());
            assert_eq!(bed.cpu, before, "{what} changed registers");
        }
    }
}

#[test]
fn int_n_needs_the_gates_permission_and_reports_no_ext() {
    let mut bed = Testbed::long().user(USER_CODE64);
    assert_eq!(bed.fails(&[0xcd, 0x14]), Exception::gp(20 * 8 + 2));
    bed.gate(20, 0xee, KERNEL_CODE);
    bed.code(&[0xcd, 0x14]);
    bed.step();
    assert_eq!((bed.handler(), bed.read(bed.cpu.gpr[4])), (Some(20), CODE + 2));
    assert_eq!(bed.sys.icount, 1, "INT n is one count, its delivery included");
}

#[test]
fn protected_mode_switches_to_the_stack_of_the_tss() {
    let mut bed = Testbed::protected().user(USER_CODE32);
    bed.cpu.set_flag(rflags::IF, true);
    deliver_exception(&mut bed.core(), Exception::gp(0));
    assert_eq!((bed.cpu.cpl, bed.cpu.segments[SS].selector), (0, KERNEL_DATA));
    assert_eq!(bed.cpu.gpr[4], INNER_STACK - 24);
    let [code, eip, cs, flags, esp, ss] = frame(&bed, 4);
    assert_eq!((code, eip, cs, esp, ss), (0, CODE, 0x1b, STACK, 0x23));
    assert_eq!(flags, rflags::IF | rflags::FIXED | rflags::RF);
}

/// What is wrong with the inner stack in the TSS, and what that raises (with EXT).
#[test]
fn a_bad_inner_stack_raises_ts_or_ss() {
    type Damage = fn(&mut Testbed);
    let cases: [(Damage, Exception); 6] = [
        (|bed| bed.cpu.tr.limit = 10, Exception::ts(TASK as u32 | 1)),
        (|bed| bed.write(TSS + 8, 0), Exception::ts(1)),
        (|bed| bed.write(TSS + 8, 0x1f0), Exception::ts(0x1f1)),
        (|bed| bed.write(TSS + 8, 0x13), Exception::ts(0x11)),
        (|bed| bed.write(TSS + 8, 0x08), Exception::ts(0x09)),
        (|bed| bed.descriptor(KERNEL_DATA, pack(0, 0xf_ffff, 0xc013)), Exception::ss(0x11)),
    ];
    for (damage, expected) in cases {
        let mut bed = Testbed::protected().user(USER_CODE32);
        damage(&mut bed);
        let event = Event { vector: 13, source: Source::Fault, error_code: Some(0), rip: CODE };
        let failure = deliver(&mut bed.core(), event).expect_err("a bad stack");
        assert_eq!(failure.exception, expected);
    }
}

#[test]
fn a_16_bit_gate_pushes_words() {
    let mut bed = Testbed::protected();
    bed.gate(20, 0x86, KERNEL_CODE);
    bed.cpu.rip = 0x1234_5678;
    deliver_interrupt(&mut bed.core(), 20);
    assert_eq!(bed.cpu.gpr[4], STACK - 6);
    assert_eq!(frame(&bed, 2), [0x5678, 8, rflags::FIXED]);
    assert_eq!(bed.cpu.rip, (HANDLERS + 320) & 0xffff);
}

#[test]
fn virtual_8086_programs_leave_their_segments_on_the_inner_stack() {
    let mut bed = Testbed::protected();
    for (index, selector) in [0x100, 0x200, 0x300, 0x400, 0x500, 0x600].into_iter().enumerate() {
        bed.cpu.segments[index] = Segment { access: 0xf3, ..Segment::real_mode(selector) };
    }
    bed.cpu.cpl = 3;
    bed.cpu.rip = 0x42;
    bed.cpu.gpr[4] = 0x8000;
    bed.set_flags(rflags::VM | rflags::IF);
    deliver_interrupt(&mut bed.core(), 20);
    let [eip, cs, flags, esp, ss, es, ds, fs, gs] = frame(&bed, 4);
    assert_eq!((eip, cs, esp, ss), (0x42, 0x200, 0x8000, 0x300));
    assert_eq!([es, ds, fs, gs], [0x100, 0x400, 0x500, 0x600]);
    assert_eq!(flags & (rflags::VM | rflags::IF), rflags::VM | rflags::IF);
    assert!(bed.cpu.segments[DS].is_unusable() && bed.cpu.segments[GS].is_unusable());
    assert_eq!((bed.cpu.cpl, bed.handler()), (0, Some(20)));
}

#[test]
fn real_mode_uses_the_vector_table_and_three_words() {
    let mut bed = Testbed::real();
    bed.write(4 * 0x21, 0x1234 << 16 | 0x5678);
    bed.set_flags(rflags::IF | rflags::CF);
    bed.code(&[0xcd, 0x21]);
    bed.step();
    assert_eq!((bed.cpu.segments[CS].selector, bed.cpu.segments[CS].base), (0x1234, 0x12340));
    assert_eq!((bed.cpu.rip, bed.cpu.gpr[4]), (0x5678, 0x8000 - 6));
    assert_eq!(frame(&bed, 2), [0x1002, 0, rflags::IF | rflags::CF | rflags::FIXED]);
    assert!(!bed.cpu.flag(rflags::IF));
}

#[test]
fn an_nmi_blocks_further_ones_until_iret() {
    let mut bed = Testbed::long();
    deliver_nmi(&mut bed.core());
    assert_eq!((bed.handler(), bed.cpu.nmi_blocked), (Some(2), true));
    bed.execute(&[0x48, 0xcf]).expect("IRETQ returns");
    assert_eq!((bed.cpu.rip, bed.cpu.nmi_blocked), (CODE, false));
}

/// First exception, the exception that delivering it raises, and the vector that is delivered in the end.
#[test]
fn exceptions_combine_by_the_table_of_the_manual() {
    // Vector `first` has no gate, so that delivering it raises `second`: #NP by an absent gate.
    for (first, expected) in [(0, 8), (6, 11), (13, 8), (10, 8), (1, 11), (17, 11), (14, 8)] {
        let mut bed = Testbed::long();
        bed.gate(first, 0x0e, KERNEL_CODE);
        let exception = Exception { vector: first as u8, error_code: None };
        deliver_exception(&mut bed.core(), exception);
        assert_eq!(bed.handler(), Some(expected), "first {first}");
    }
}

#[test]
fn a_page_fault_while_delivering_a_contributory_fault_is_taken_by_itself() {
    let mut bed = Testbed::long();
    // The IDT wraps: the entry of #GP is at the top of the address space, which is not mapped, and that of
    // #PF at address 0.
    bed.cpu.idtr.base = 0_u64.wrapping_sub(16 * 14);
    let gate = bed.read(IDT + 16 * 14);
    bed.write(0, gate);
    bed.write(8, 0);
    deliver_exception(&mut bed.core(), Exception::gp(0));
    assert_eq!((bed.handler(), bed.cpu.cr2), (Some(14), 0_u64.wrapping_sub(16)));
    assert_eq!(frame::<2>(&bed, 8), [0, CODE], "the page fault is that of the instruction");
}

#[test]
fn a_triple_fault_tells_its_three_faults_and_why() {
    let mut bed = Testbed::long();
    bed.cpu.idtr = DescriptorTable::default();
    bed.code(&[0x0f, 0xa2]);
    bed.sys.fault_vaddr = 0x1234;
    deliver_exception(&mut bed.core(), Exception::pf(2));
    assert_eq!(bed.cpu.activity, Activity::Shutdown);
    assert!(bed.sys.leave.stopped);
    let fault = bed.sys.triple_fault.expect("shut down");
    let steps: Vec<_> = fault
        .steps
        .iter()
        .map(|step| (step.vector, step.error_code, step.cr2, step.reason.as_str()))
        .collect();
    assert_eq!(
        steps,
        [
            (14, Some(2), Some(0x1234), "page not present for a supervisor write"),
            (13, Some(14 * 8 + 3), None, "IDT limit 0x0 is below vector 14's gate"),
            (
                13,
                Some(8 * 8 + 3),
                None,
                "delivering the double fault: IDT limit 0x0 is below vector 8's gate"
            ),
        ]
    );
    assert_eq!((fault.vcpu, fault.steps[0].rip), (0, CODE));
}

#[test]
fn an_unreachable_stack_names_its_address() {
    let mut bed = Testbed::long();
    bed.cpu.gpr[4] = 0x7777_0000;
    let event = Event { vector: 13, source: Source::Fault, error_code: Some(0), rip: CODE };
    let failure = deliver(&mut bed.core(), event).expect_err("no page there");
    assert_eq!(failure.exception, Exception::pf(2));
    let expected =
        "stack at 0x77770000 cannot be written: page not present for a supervisor write at 0x7776fff8";
    assert_eq!(failure.reason, expected);
}

#[test]
fn a_failed_delivery_of_any_vector_terminates() {
    for vector in 0..=255 {
        let mut bed = Testbed::long();
        bed.cpu.idtr.limit = 0;
        deliver_interrupt(&mut bed.core(), vector);
        assert_eq!(bed.cpu.activity, Activity::Shutdown);
    }
}
