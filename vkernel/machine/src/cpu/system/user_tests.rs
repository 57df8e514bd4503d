//! System calls, segment bases, ports, halting, interrupt flag, random numbers.

use super::testbed::*;
use super::{check_io, msr};
use crate::cpu::exception::Exception;
use crate::cpu::state::{CS, FS, GS, Mode, RAX, RCX, RDX, SS, Segment, cr4, efer, rflags};
use crate::system::Leave;

const GP: Exception = Exception { vector: 13, error_code: Some(0) };
const SYSCALL: [u8; 2] = [0x0f, 0x05];
const SYSRETQ: [u8; 3] = [0x48, 0x0f, 0x07];
const SYSRETD: [u8; 2] = [0x0f, 0x07];
const SYSENTER: [u8; 2] = [0x0f, 0x34];
const SYSEXITQ: [u8; 3] = [0x48, 0x0f, 0x35];
const SWAPGS: [u8; 3] = [0x0f, 0x01, 0xf8];
/// WRFSBASE RAX and RDGSBASE RAX.
const WRFSBASE: [u8; 5] = [0xf3, 0x48, 0x0f, 0xae, 0xd0];
const RDGSBASE: [u8; 5] = [0xf3, 0x48, 0x0f, 0xae, 0xc8];
const ENTRY: u64 = 0x13_0000;
const R11: usize = 11;

fn with_syscalls(mut bed: Testbed) -> Testbed {
    bed.cpu.msrs.star = 0x001b_0008 << 32;
    bed.cpu.msrs.lstar = ENTRY;
    bed.cpu.msrs.fmask = rflags::IF | rflags::TF;
    bed
}

#[test]
fn syscall_and_sysret_go_to_the_kernel_and_back() {
    let mut bed = with_syscalls(Testbed::long()).user(USER_CODE64);
    let flags = rflags::IF | rflags::ZF | rflags::FIXED;
    bed.set_flags(flags);
    bed.execute(&SYSCALL).expect("SYSCALL");
    assert_eq!((bed.cpu.rip, bed.cpu.cpl, bed.cpu.gpr[RCX]), (ENTRY, 0, CODE + 2));
    assert_eq!((bed.cpu.gpr[R11], bed.cpu.rflags), (flags, rflags::ZF | rflags::FIXED));
    assert_eq!((bed.cpu.segments[CS].selector, bed.cpu.segments[SS].selector), (8, 16));
    assert_eq!(bed.cpu.mode, Mode::Long64);
    bed.sys.leave = Leave::default();
    bed.execute(&SYSRETQ).expect("SYSRETQ");
    assert_eq!((bed.cpu.rip, bed.cpu.cpl, bed.cpu.rflags), (CODE + 2, 3, flags));
    assert_eq!((bed.cpu.segments[CS].selector, bed.cpu.segments[SS].selector), (0x2b, 0x23));
    assert!(bed.sys.leave.recheck);
}

#[test]
fn sysretd_returns_to_32_bit_code() {
    let mut bed = with_syscalls(Testbed::long());
    bed.cpu.gpr[RCX] = 0xffff_ffff_0012_3456;
    bed.cpu.gpr[R11] = u64::MAX;
    bed.execute(&SYSRETD).expect("SYSRETD");
    assert_eq!((bed.cpu.rip, bed.cpu.mode, bed.cpu.code_bits), (0x12_3456, Mode::Compatibility, 32));
    assert_eq!(bed.cpu.segments[CS].selector, 0x1b);
    assert_eq!(bed.cpu.rflags & (rflags::RF | rflags::VM), 0);
}

#[test]
fn system_calls_are_refused_where_the_manual_says() {
    let mut bed = with_syscalls(Testbed::long());
    bed.cpu.gpr[RCX] = 1 << 47;
    assert_eq!(bed.fails(&SYSRETQ), GP);
    let mut user = with_syscalls(Testbed::long()).user(USER_CODE64);
    assert_eq!(user.fails(&SYSRETQ), GP);
    user.cpu.efer &= !efer::SCE;
    assert_eq!(user.fails(&SYSCALL), Exception::UD);
    assert_eq!(user.fails(&SYSENTER), GP);
    assert_eq!(user.fails(&SWAPGS), GP);
    let mut compatible = with_syscalls(Testbed::long()).user(USER_CODE32);
    assert_eq!(compatible.fails(&SYSCALL), Exception::UD);
    assert_eq!(Testbed::real().fails(&SYSENTER), GP);
}

#[test]
fn sysenter_and_sysexit_use_their_msrs() {
    let mut bed = Testbed::long().user(USER_CODE64);
    bed.cpu.msrs.sysenter_cs = 8;
    bed.cpu.msrs.sysenter_esp = INNER_STACK;
    bed.cpu.msrs.sysenter_eip = ENTRY;
    bed.set_flags(rflags::IF | rflags::TF);
    bed.execute(&SYSENTER).expect("SYSENTER");
    assert_eq!((bed.cpu.rip, bed.cpu.gpr[4], bed.cpu.cpl), (ENTRY, INNER_STACK, 0));
    assert_eq!(bed.cpu.rflags, rflags::TF | rflags::FIXED);
    bed.cpu.gpr[RCX] = STACK;
    bed.cpu.gpr[RDX] = CODE;
    bed.execute(&SYSEXITQ).expect("SYSEXIT");
    assert_eq!((bed.cpu.rip, bed.cpu.gpr[4], bed.cpu.cpl), (CODE, STACK, 3));
    assert_eq!((bed.cpu.segments[CS].selector, bed.cpu.segments[SS].selector), (0x2b, 0x33));
}

#[test]
fn swapgs_exchanges_the_bases() {
    let mut bed = Testbed::long();
    bed.cpu.segments[GS].base = 1;
    bed.cpu.msrs.kernel_gs_base = 2;
    bed.execute(&SWAPGS).expect("SWAPGS");
    assert_eq!((bed.cpu.segments[GS].base, bed.cpu.msrs.kernel_gs_base), (2, 1));
}

#[test]
fn segment_bases_are_for_64_bit_mode_with_cr4_fsgsbase() {
    let mut bed = Testbed::long().user(USER_CODE64);
    assert_eq!(bed.fails(&WRFSBASE), Exception::UD);
    bed.cpu.cr4 |= cr4::FSGSBASE;
    bed.cpu.gpr[RAX] = 0x7000;
    bed.execute(&WRFSBASE).expect("WRFSBASE");
    assert_eq!(bed.cpu.segments[FS].base, 0x7000);
    bed.cpu.segments[GS].base = 0x8000;
    bed.execute(&RDGSBASE).expect("RDGSBASE");
    assert_eq!(bed.cpu.gpr[RAX], 0x8000);
    bed.cpu.gpr[RAX] = 1 << 47;
    assert_eq!(bed.fails(&WRFSBASE), GP);
}

/// IOPL, offset of the bitmap in the TSS, TSS limit, and whether a user may read one word at port 0x3f8.
#[test]
fn the_permission_bitmap_decides_for_code_above_iopl() {
    let cases = [
        (3, 0, 0, true),
        (0, 0x68, 0x200, true),
        (0, 0x68, 0x68 + 0x7f, false),
        (0, 0x68, 0x68 + 0x80, true),
        (0, 0x68, 102, false),
        (0, 0x1000, 0x200, false),
    ];
    for (iopl, offset, limit, allowed) in cases {
        let mut bed = Testbed::long().user(USER_CODE64);
        bed.set_flags(iopl << 12);
        assert!(bed.sys.mem.write(TSS + 102, &(offset as u16).to_le_bytes()));
        bed.cpu.tr.limit = limit;
        let expected = if allowed { Ok(()) } else { Err(GP) };
        assert_eq!(check_io(&mut bed.core(), 0x3f8, 2), expected, "{iopl} {offset:#x} {limit:#x}");
    }
}

#[test]
fn every_byte_of_a_port_access_needs_its_bit() {
    let mut bed = Testbed::long().user(USER_CODE64);
    assert!(bed.sys.mem.write(TSS + 102, &0x68_u16.to_le_bytes()));
    // Port 0x40 is forbidden.
    assert!(bed.sys.mem.write(TSS + 0x68 + 8, &[1]));
    let cases = [(0x3f, 1, true), (0x3f, 2, false), (0x40, 1, false), (0x41, 4, true), (0x3d, 4, false)];
    for (port, size, allowed) in cases {
        assert_eq!(check_io(&mut bed.core(), port, size).is_ok(), allowed, "{port:#x} {size}");
    }
}

#[test]
fn in_replaces_as_much_of_rax_as_it_reads() {
    const BEFORE: u64 = 0x1111_2222_3333_4444;
    let forms: [(&[u8], u8, u64); 3] =
        [(&[0xec], 1, !0xff & BEFORE), (&[0x66, 0xed], 2, !0xffff & BEFORE), (&[0xed], 4, 0)];
    for (code, size, kept) in forms {
        let mut bed = Testbed::long();
        bed.cpu.gpr[RAX] = BEFORE;
        bed.cpu.gpr[RDX] = 0x1234;
        let read = u64::from(bed.sys.port_read(0, 0x1234, size));
        bed.sys.leave = Leave::default();
        bed.execute(code).expect("CPL 0");
        assert_eq!(bed.cpu.gpr[RAX], kept | read, "{code:x?}");
        assert!(bed.sys.leave.recheck, "a port access takes time");
    }
}

#[test]
fn cli_and_sti_obey_iopl_and_hlt_obeys_cpl() {
    for (iopl, allowed) in [(0, false), (2, false), (3, true)] {
        for opcode in [0xfa, 0xfb] {
            let mut bed = Testbed::long().user(USER_CODE64);
            bed.set_flags(iopl << 12);
            assert_eq!(bed.execute(&[opcode]), if allowed { Ok(()) } else { Err(GP) });
        }
    }
    assert_eq!(Testbed::long().user(USER_CODE64).fails(&[0xf4]), GP);
}

#[test]
fn rdtsc_obeys_cr4_tsd_and_rdtscp_gives_the_processor() {
    let mut bed = Testbed::long().user(USER_CODE64);
    msr::write(&mut bed.core(), msr::index::TSC_AUX, 0x42).expect("legal");
    bed.execute(&[0x0f, 0x01, 0xf9]).expect("RDTSCP");
    assert_eq!(bed.cpu.gpr[RCX], 0x42);
    bed.cpu.cr4 |= cr4::TSD;
    assert_eq!(bed.fails(&[0x0f, 0x31]), GP);
    assert_eq!(bed.fails(&[0x0f, 0x33]), GP);
}

#[test]
fn random_numbers_follow_seed_vcpu_and_ordinal() {
    let draw = |seed: u64, id: u8, skip: u64| {
        let mut bed = Testbed::long();
        bed.sys.power_on.seed = seed;
        bed.cpu.id = id;
        bed.cpu.random_ordinal = skip;
        bed.cpu.rflags |= rflags::ZF | rflags::OF;
        bed.execute(&[0x48, 0x0f, 0xc7, 0xf0]).expect("RDRAND RAX");
        assert_eq!(bed.cpu.rflags & rflags::STATUS, rflags::CF);
        assert_eq!(bed.cpu.random_ordinal, skip + 1);
        bed.cpu.gpr[RAX]
    };
    let base = draw(1, 0, 0);
    assert_eq!(base, draw(1, 0, 0));
    for other in [draw(2, 0, 0), draw(1, 1, 0), draw(1, 0, 1)] {
        assert_ne!(base, other);
    }
}

#[test]
fn software_interrupts_of_virtual_8086_programs_need_iopl_3() {
    let mut bed = Testbed::protected();
    bed.cpu.cpl = 3;
    bed.cpu.segments = [Segment { access: 0xf3, ..Segment::real_mode(0) }; 6];
    bed.cpu.rip = 0x1000;
    bed.set_flags(rflags::VM);
    assert_eq!(bed.fails(&[0xcd, 0x21]), GP);
    assert_eq!(bed.fails(&[0xfa]), GP);
}

#[test]
fn instructions_of_absent_features_are_undefined() {
    let absent: [&[u8]; 10] = [
        &[0x0f, 0x01, 0xc8],
        &[0x0f, 0x01, 0xc9],
        &[0x0f, 0x01, 0xd0],
        &[0x0f, 0x01, 0xd1],
        &[0x0f, 0x01, 0xc1],
        &[0x0f, 0x01, 0xd9],
        &[0x0f, 0x01, 0xca],
        &[0x0f, 0x01, 0xcb],
        &[0x0f, 0xaa],
        &[0x66, 0x0f, 0x38, 0x82, 0x00],
    ];
    for code in absent {
        assert_eq!(Testbed::long().fails(code), Exception::UD, "{code:x?}");
    }
}

/// Random code, registers and descriptors in every mode: whatever happens is architecture, and every step
/// is one count.
#[test]
fn no_guest_makes_a_step_fail() {
    let opcodes: [&[u8]; 24] = [
        &[0x0f, 0x00],
        &[0x0f, 0x01],
        &[0x0f, 0x02],
        &[0x0f, 0x03],
        &[0x0f, 0x20],
        &[0x0f, 0x21],
        &[0x0f, 0x22],
        &[0x0f, 0x23],
        &[0x0f, 0x30],
        &[0x0f, 0x32],
        &[0x0f, 0x05],
        &[0x0f, 0x07],
        &[0x0f, 0xb2],
        &[0x8e],
        &[0x8c],
        &[0xcf],
        &[0x48, 0xcf],
        &[0xca],
        &[0xff],
        &[0xea],
        &[0x9a],
        &[0xcd],
        &[0xe5],
        &[0xf4],
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..2_000 {
        let mut bed = match round % 5 {
            0 => Testbed::real(),
            1 => Testbed::protected(),
            2 => Testbed::protected().user(USER_CODE32),
            3 => Testbed::long(),
            _ => Testbed::long().user(USER_CODE64),
        };
        for register in 0..16 {
            bed.cpu.gpr[register] = match random() % 4 {
                0 => random(),
                1 => random() % 0x80,
                2 => random() | 0xffff_8000_0000_0000,
                _ => STACK - random() % 64,
            };
        }
        for slot in 0..16 {
            bed.write(GDT + 8 * (random() % 16), random() & random() | 1 << 47);
            bed.write(STACK - 64 + 8 * slot, random() % 0x90);
        }
        bed.cpu.msrs.star = random();
        bed.cpu.tr.limit = random() as u32 % 0x100;
        bed.cpu.rflags ^= random() & random() & 0x1f_7fd5;
        bed.cpu.dr[7] ^= random() & random() & 0xff;
        bed.cpu.update_mode();
        let opcode = opcodes[random() as usize % opcodes.len()];
        let mut code = opcode.to_vec();
        code.extend_from_slice(&random().to_le_bytes());
        bed.code(&code);
        for count in 1..=4 {
            bed.step();
            assert_eq!(bed.sys.icount, count);
        }
    }
}
