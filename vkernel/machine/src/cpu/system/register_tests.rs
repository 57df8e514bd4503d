//! Control, debug and model-specific registers, descriptor tables, CPUID.

use super::super::testbed::*;
use super::super::{cpuid, msr};
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{CS, DescriptorTable, FS, Mode, RAX, RBX, RCX, RDX, Segment, cr0, cr4, efer};
use crate::tlb::Kind;
use boundary::Topology;

const GP: Exception = Exception { vector: 13, error_code: Some(0) };

/// MOV CRn, RAX (or EAX).
fn set_control(bed: &mut Testbed, number: u8, value: u64) -> Exec {
    bed.cpu.gpr[RAX] = value;
    match number {
        8 => bed.execute(&[0x44, 0x0f, 0x22, 0xc0]),
        _ => bed.execute(&[0x0f, 0x22, 0xc0 | number << 3]),
    }
}

#[test]
fn impossible_control_register_values_are_refused() {
    let long = Testbed::long as fn() -> Testbed;
    let protected = Testbed::protected as fn() -> Testbed;
    let on = cr0::PE | cr0::PG | cr0::WP | cr0::ET;
    let cases = [
        (long, 0, on | 1 << 32),
        (long, 0, on & !cr0::PE),
        (long, 0, on | cr0::NW),
        (long, 0, on & !cr0::PG),
        (long, 3, 1 << 40),
        (long, 4, 0),
        (long, 4, cr4::PAE | cr4::SMEP),
        (long, 4, cr4::PAE | cr4::SMAP),
        (long, 4, cr4::PAE | cr4::VME),
        (long, 4, cr4::PAE | 1 << 12),
        (long, 4, cr4::PAE | 1 << 17),
        (long, 4, cr4::PAE | 1 << 18),
        (long, 8, 16),
        (protected, 4, 1 << 11),
    ];
    for (bed, number, value) in cases {
        let mut bed = bed();
        assert_eq!(set_control(&mut bed, number, value), Err(GP), "CR{number} = {value:#x}");
    }
    for number in [1, 5, 6, 7] {
        assert_eq!(set_control(&mut Testbed::long(), number, 0), Err(Exception::UD));
    }
    let mut bed = Testbed::long().user(USER_CODE64);
    assert_eq!(set_control(&mut bed, 3, 0), Err(GP));
    assert_eq!(bed.execute(&[0x0f, 0x20, 0xd8]), Err(GP));
}

#[test]
fn all_features_of_the_model_can_be_switched_on() {
    let mut bed = Testbed::long();
    let all = super::CR4_WRITABLE;
    set_control(&mut bed, 4, all).expect("the model has them");
    bed.execute(&[0x0f, 0x20, 0xe1]).expect("MOV RCX, CR4");
    assert_eq!(bed.cpu.gpr[RCX], all);
}

#[test]
fn long_mode_starts_with_paging_and_ends_with_it() {
    let mut bed = Testbed::long();
    bed.descriptor(KERNEL_CODE, pack(0, 0xf_ffff, 0xa09b));
    // Back to protected mode without paging, as if never entered.
    bed.cpu.efer = efer::LME;
    bed.cpu.cr0 &= !cr0::PG;
    bed.cpu.segments[CS].access = 0xc09b;
    bed.cpu.update_mode();
    let on = bed.cpu.cr0 | cr0::PG;
    bed.cpu.cr4 = 0;
    assert_eq!(set_control(&mut bed, 0, on), Err(GP), "long mode needs PAE");
    bed.cpu.cr4 = cr4::PAE;
    set_control(&mut bed, 0, on).expect("long mode starts");
    assert_eq!((bed.cpu.mode, bed.cpu.efer), (Mode::Compatibility, efer::LME | efer::LMA));
    assert!(bed.sys.leave.recheck);
    let off = bed.cpu.cr0 & !cr0::PG;
    set_control(&mut bed, 0, off).expect("compatibility mode may leave");
    assert_eq!((bed.cpu.mode, bed.cpu.efer), (Mode::Protected, efer::LME));
}

#[test]
fn pae_paging_loads_four_entries_and_checks_them() {
    let mut bed = Testbed::protected();
    bed.cpu.cr4 = cr4::PAE;
    bed.cpu.cr3 = 0x6020;
    bed.write(0x6020, 0x7001);
    bed.write(0x6028, 0x8001 | 1 << 1);
    let on = bed.cpu.cr0 | cr0::PG;
    assert_eq!(set_control(&mut bed, 0, on), Err(GP), "a reserved bit is set");
    bed.write(0x6028, 0x1e6);
    set_control(&mut bed, 0, on).expect("an absent entry may hold anything");
    assert_eq!(bed.cpu.pdptes, [0x7001, 0x1e6, 0, 0]);
}

#[test]
fn changes_of_translation_evict_it() {
    type Change = (u8, u64, bool);
    let paging = cr0::PE | cr0::PG | cr0::WP;
    let cases: [Change; 5] = [
        (3, PML4, false),
        (0, paging | cr0::WP | cr0::MP, true),
        (0, paging & !cr0::WP, false),
        (4, cr4::PAE | cr4::PGE, false),
        (4, cr4::PAE | cr4::TSD, true),
    ];
    for (number, value, stays) in cases {
        let mut bed = Testbed::long();
        bed.sys.tlbs.current.insert(Kind::Read, false, 0x5000, 0x5000, false);
        set_control(&mut bed, number, value).expect("a legal value");
        let found = bed.sys.tlbs.current.lookup(Kind::Read, false, 0x5000, 1);
        assert_eq!(found.is_some(), stays, "CR{number} = {value:#x}");
    }
}

#[test]
fn global_translations_survive_cr3_while_pge_is_on() {
    for (pge, stays) in [(cr4::PGE, true), (0, false)] {
        let mut bed = Testbed::long();
        bed.cpu.cr4 |= pge;
        bed.sys.tlbs.current.insert(Kind::Read, false, !0xfff, 0x5000, true);
        set_control(&mut bed, 3, PML4).expect("a legal value");
        assert_eq!(bed.sys.tlbs.current.lookup(Kind::Read, false, !0xfff, 1).is_some(), stays);
    }
}

#[test]
fn a_global_translation_goes_when_the_new_root_would_not_give_it_as_it_is() {
    const ROOT: u64 = 0x30_0000;
    const LAST: u64 = 8 * 511;
    let entry = 0x31_0023;
    // The same; not accessed yet; absent; another table. And a root that is no RAM.
    for (root, other, stays) in [
        (ROOT, entry, true),
        (ROOT, entry & !0x20, false),
        (ROOT, 0, false),
        (ROOT, entry + 0x1000, false),
        (1 << 39, 0, false),
    ] {
        let mut bed = Testbed::long();
        bed.cpu.cr4 |= cr4::PGE;
        bed.write(PML4 + LAST, entry);
        bed.write(ROOT + LAST, other);
        bed.sys.tlbs.current.insert(Kind::Read, false, !0xfff, 0x5000, true);
        set_control(&mut bed, 3, root).expect("a legal value");
        let is_there = |bed: &Testbed| bed.sys.tlbs.current.lookup(Kind::Read, false, !0xfff, 1).is_some();
        assert_eq!(is_there(&bed), stays, "root {root:#x}, entry {other:#x}");
        bed.sys.store_phys(0, ROOT + LAST, &0_u64.to_le_bytes());
        assert!(!is_there(&bed), "a store to the new root is noticed");
    }
}

#[test]
fn real_mode_enters_protected_mode_by_cr0_and_a_jump() {
    let mut bed = Testbed::protected();
    let real = Testbed::real().cpu;
    bed.cpu.segments = real.segments;
    bed.cpu.cr0 &= !cr0::PE;
    bed.cpu.rip = 0x1000;
    bed.cpu.update_mode();
    bed.cpu.gpr[RAX] = 1;
    // LMSW AX; JMP 0008:00010000 (32-bit)
    bed.execute(&[0x0f, 0x01, 0xf0]).expect("LMSW");
    assert_eq!((bed.cpu.mode, bed.cpu.code_bits), (Mode::Protected, 16));
    bed.execute(&[0x66, 0xea, 0x00, 0x00, 0x10, 0x00, 0x08, 0x00]).expect("JMP");
    assert_eq!((bed.cpu.rip, bed.cpu.code_bits), (CODE, 32));
    bed.cpu.gpr[RAX] = 0;
    bed.execute(&[0x0f, 0x01, 0xf0]).expect("LMSW");
    assert_eq!(bed.cpu.mode, Mode::Protected, "LMSW cannot clear PE");
}

#[test]
fn smsw_and_clts_work_on_cr0() {
    let mut bed = Testbed::long();
    bed.cpu.cr0 |= cr0::TS;
    bed.execute(&[0x0f, 0x06]).expect("CLTS");
    assert_eq!(bed.cpu.cr0 & cr0::TS, 0);
    bed.execute(&[0x0f, 0x01, 0xe1]).expect("SMSW ECX");
    assert_eq!(bed.cpu.gpr[RCX], bed.cpu.cr0 & 0xffff_ffff);
    assert_eq!(Testbed::long().user(USER_CODE64).fails(&[0x0f, 0x06]), GP);
}

#[test]
fn descriptor_table_registers_are_loaded_and_stored() {
    let mut bed = Testbed::long();
    bed.write(0x2_0000, 0x5678_9abc_0123);
    bed.write(0x2_0008, 0xffff);
    // LIDT [0x20000]: base 0xffff_0000_5678_9abc is not canonical.
    bed.write(0x2_0008, 0x0001);
    assert_eq!(bed.fails(&[0x0f, 0x01, 0x1c, 0x25, 0x00, 0x00, 0x02, 0x00]), GP);
    bed.write(0x2_0008, 0);
    bed.execute(&[0x0f, 0x01, 0x1c, 0x25, 0x00, 0x00, 0x02, 0x00]).expect("LIDT");
    assert_eq!(bed.cpu.idtr, DescriptorTable { base: 0x5678_9abc, limit: 0x123 });
    bed.execute(&[0x0f, 0x01, 0x0c, 0x25, 0x00, 0x00, 0x03, 0x00]).expect("SIDT [0x30000]");
    assert_eq!((bed.read(0x3_0000), bed.read(0x3_0008)), (0x5678_9abc_0123, 0));
    let mut bed = Testbed::long().user(USER_CODE64);
    assert_eq!(bed.fails(&[0x0f, 0x01, 0x14, 0x25, 0x00, 0x00, 0x02, 0x00]), GP);
}

#[test]
fn a_16_bit_lgdt_loads_24_bits_of_base() {
    let mut bed = Testbed::real();
    bed.write(0x2000, 0xff12_3456_0fff);
    bed.execute(&[0x0f, 0x01, 0x16, 0x00, 0x20]).expect("LGDT [0x2000]");
    assert_eq!(bed.cpu.gdtr, DescriptorTable { base: 0x12_3456, limit: 0xfff });
}

#[test]
fn ltr_marks_the_task_busy_and_refuses_it_then() {
    let mut bed = Testbed::long();
    bed.cpu.tr = Segment::default();
    bed.cpu.gpr[RAX] = u64::from(TASK);
    bed.execute(&[0x0f, 0x00, 0xd8]).expect("LTR AX");
    assert_eq!((bed.cpu.tr.selector, bed.cpu.tr.base, bed.cpu.tr.access & 15), (TASK, TSS, 11));
    assert_eq!(bed.fails(&[0x0f, 0x00, 0xd8]), Exception::gp(u32::from(TASK)));
    bed.execute(&[0x0f, 0x00, 0xc9]).expect("STR ECX");
    assert_eq!(bed.cpu.gpr[RCX], u64::from(TASK));
}

/// What LTR and LLDT refuse: selector, descriptor and fault.
#[test]
fn ltr_and_lldt_check_their_descriptors() {
    let (ltr, lldt) = ([0x0f, 0x00, 0xd8], [0x0f, 0x00, 0xd0]);
    let code = u32::from(SPARE);
    let cases = [
        (ltr, 0, 0x89, GP),
        (ltr, SPARE | 4, 0x89, Exception::gp(code | 4)),
        (ltr, SPARE, 0x82, Exception::gp(code)),
        (ltr, SPARE, 0x81, Exception::gp(code)),
        (ltr, SPARE, 0x09, Exception::np(code)),
        (ltr, 0x1f0, 0x89, Exception::gp(0x1f0)),
        (lldt, SPARE, 0x89, Exception::gp(code)),
        (lldt, SPARE, 0x02, Exception::np(code)),
    ];
    for (instruction, selector, access, expected) in cases {
        let mut bed = Testbed::long();
        bed.descriptor(SPARE, pack(0x5000, 0x67, access));
        bed.cpu.gpr[RAX] = u64::from(selector);
        assert_eq!(bed.fails(&instruction), expected, "{selector:#x} {access:#x}");
    }
    let mut bed = Testbed::long();
    bed.descriptor(SPARE, pack(0x5000, 0x67, 0x82));
    bed.write(GDT + u64::from(SPARE) + 8, 0xffff_8000);
    bed.cpu.gpr[RAX] = u64::from(SPARE);
    bed.execute(&lldt).expect("LLDT AX");
    assert_eq!(bed.cpu.ldtr.base, 0xffff_8000_0000_5000);
    assert_eq!(Testbed::real().fails(&lldt), Exception::UD);
}

#[test]
fn dr4_and_dr5_are_aliases_unless_cr4_de() {
    let mut bed = Testbed::long();
    bed.cpu.gpr[RAX] = 0xffff_ffff;
    bed.execute(&[0x0f, 0x23, 0xe8]).expect("MOV DR5, RAX");
    assert_eq!(bed.cpu.dr[7], 0xffff_27ff);
    bed.cpu.dr[7] = 0x400;
    bed.execute(&[0x0f, 0x23, 0xe0]).expect("MOV DR4, RAX");
    assert_eq!(bed.cpu.dr[6], 0xffff_efff);
    bed.cpu.cr4 |= cr4::DE;
    assert_eq!(bed.fails(&[0x0f, 0x23, 0xe0]), Exception::UD);
    bed.cpu.gpr[RAX] = 1 << 32;
    assert_eq!(bed.fails(&[0x0f, 0x23, 0xf8]), GP);
}

#[test]
fn general_detect_faults_on_the_next_access_and_is_cleared_for_the_handler() {
    let mut bed = Testbed::long();
    bed.cpu.dr[7] |= 1 << 13;
    bed.code(&[0x0f, 0x21, 0xc0]);
    bed.step();
    assert_eq!((bed.handler(), bed.cpu.dr[6] >> 13 & 1, bed.cpu.dr[7] >> 13 & 1), (Some(1), 1, 0));
    assert_eq!(bed.read(bed.cpu.gpr[4]), CODE);
}

fn write_msr(bed: &mut Testbed, number: u32, value: u64) -> Exec {
    bed.cpu.gpr[RCX] = u64::from(number);
    bed.cpu.gpr[RAX] = value & 0xffff_ffff;
    bed.cpu.gpr[RDX] = value >> 32;
    bed.execute(&[0x0f, 0x30])
}

fn read_msr(bed: &mut Testbed, number: u32) -> Exec<u64> {
    bed.cpu.gpr[RCX] = u64::from(number);
    bed.execute(&[0x0f, 0x32])?;
    Ok(bed.cpu.gpr[RDX] << 32 | bed.cpu.gpr[RAX])
}

#[test]
fn msrs_hold_what_they_are_given() {
    use msr::index::*;
    let values = [
        (STAR, 0x0023_0010_1234_5678),
        (LSTAR, 0xffff_8000_1234_5678),
        (CSTAR, 0x1234),
        (FMASK, 0x4_7700),
        (FS_BASE, 0x7fff_ffff_f000),
        (GS_BASE, 0xffff_8800_0000_0000),
        (KERNEL_GS_BASE, 0x1000),
        (SYSENTER_CS, 0x10),
        (SYSENTER_ESP, 0x7000),
        (SYSENTER_EIP, 0xffff_ffff_8100_0000),
        (PAT, 0x0007_0106_0007_0106),
        (TSC_AUX, 0x1001),
        (MTRR_DEF_TYPE, 0xc06),
        (MTRR_VARIABLE, 0xc000_0000),
        (MTRR_VARIABLE + 15, 0xff_c000_0800),
        (MTRR_FIX64K, 0x0606_0606_0606_0606),
        (MTRR_FIX16K + 1, 0x0001_0405_0600_0000),
        (MTRR_FIX4K + 7, 0x0505_0505_0505_0505),
        (MISC_ENABLE, 1),
    ];
    let mut bed = Testbed::long();
    for (number, value) in values {
        write_msr(&mut bed, number, value).expect("a legal value");
    }
    for (number, value) in values {
        assert_eq!(read_msr(&mut bed, number), Ok(value), "MSR {number:#x}");
    }
}

#[test]
fn illegal_msr_values_and_unknown_msrs_are_refused() {
    use msr::index::*;
    let cases = [
        (LSTAR, 1 << 47),
        (CSTAR, 1 << 63),
        (FMASK, 1 << 32),
        (FS_BASE, 0x8000_0000_0000_0000),
        (GS_BASE, 1 << 48),
        (KERNEL_GS_BASE, 1 << 47),
        (SYSENTER_ESP, 1 << 47),
        (SYSENTER_EIP, 1 << 47),
        (PAT, 2),
        (PAT, 0x0800),
        (TSC_AUX, 1 << 32),
        (MTRR_CAP, 0),
        (MTRR_DEF_TYPE, 2),
        (MTRR_DEF_TYPE, 0x100),
        (MTRR_VARIABLE, 0x100),
        (MTRR_VARIABLE, 1 << 40),
        (MTRR_VARIABLE + 1, 0x400),
        (MTRR_FIX64K, 7),
        (ARCH_CAPABILITIES, 0),
        (EFER, 1 << 12),
        (EFER, efer::SCE | efer::LMA),
        (0x48, 0),
        (0x122, 0),
        (0x210, 0),
        (0xc1, 0),
        (0x4000_0000, 0),
    ];
    for (number, value) in cases {
        let mut bed = Testbed::long();
        assert_eq!(write_msr(&mut bed, number, value), Err(GP), "MSR {number:#x} = {value:#x}");
    }
    for number in [0x48, 0xc1, 0xce, 0x122, 0x186, 0x345, 0x210, 0x4b56_4d00] {
        assert_eq!(read_msr(&mut Testbed::long(), number), Err(GP), "MSR {number:#x}");
    }
    assert_eq!(Testbed::long().user(USER_CODE64).fails(&[0x0f, 0x32]), GP);
}

#[test]
fn efer_keeps_lma_and_evicts_when_nxe_changes() {
    let mut bed = Testbed::long();
    bed.sys.tlbs.current.insert(Kind::Fetch, false, 0x5000, 0x5000, false);
    write_msr(&mut bed, msr::index::EFER, efer::SCE | efer::LME | efer::NXE).expect("a legal value");
    assert_eq!(bed.cpu.efer, efer::SCE | efer::LME | efer::LMA | efer::NXE);
    assert_eq!(bed.sys.tlbs.current.lookup(Kind::Fetch, false, 0x5000, 1), None);
}

#[test]
fn the_tsc_is_guest_time_moved_by_its_adjustment() {
    let mut bed = Testbed::long();
    bed.sys.charge(1_000_000);
    assert_eq!(read_msr(&mut bed, msr::index::TSC), Ok(1_000_000));
    write_msr(&mut bed, msr::index::TSC, 5).expect("writable");
    assert_eq!(read_msr(&mut bed, msr::index::TSC), Ok(5));
    assert_eq!(read_msr(&mut bed, msr::index::TSC_ADJUST), Ok(5_u64.wrapping_sub(1_000_000)));
    write_msr(&mut bed, msr::index::TSC_ADJUST, 7).expect("writable");
    bed.execute(&[0x0f, 0x31]).expect("RDTSC");
    assert_eq!((bed.cpu.gpr[RAX], bed.cpu.gpr[RDX]), (1_000_007, 0));
}

#[test]
fn the_microcode_revision_appears_after_cpuid() {
    let mut bed = Testbed::long();
    write_msr(&mut bed, msr::index::BIOS_SIGN_ID, 0).expect("writable");
    bed.cpu.gpr[RAX] = 1;
    bed.execute(&[0x0f, 0xa2]).expect("CPUID");
    assert_eq!(read_msr(&mut bed, msr::index::BIOS_SIGN_ID).map(|value| value >> 32), Ok(0x10d));
}

#[test]
fn firmware_mtrrs_are_legal_and_leave_the_pci_hole_uncached() {
    let mut bed = Testbed::long();
    msr::set_firmware_mtrrs(&mut bed.cpu);
    let msrs = bed.cpu.msrs;
    write_msr(&mut bed, 0x200, msrs.mtrr_variable[0]).expect("legal");
    write_msr(&mut bed, 0x201, msrs.mtrr_variable[1]).expect("legal");
    assert_eq!((msrs.mtrr_variable[0], msrs.mtrr_variable[1]), (0xc000_0000, 0xff_c000_0800));
    assert_eq!(msrs.mtrr_def_type, 0xc06);
}

const TOPOLOGY: Topology = Topology { vcpus: 4, thread_bits: 1, core_bits: 1 };

#[test]
fn cpuid_answers_from_the_machines_description() {
    let mut bed = Testbed::long();
    bed.cpu.id = 1;
    bed.cpu.gpr[RAX] = 0;
    bed.execute(&[0x0f, 0xa2]).expect("CPUID");
    let vendor: Vec<u8> =
        [RBX, RDX, RCX].iter().flat_map(|&register| (bed.cpu.gpr[register] as u32).to_le_bytes()).collect();
    assert_eq!((bed.cpu.gpr[RAX], vendor.as_slice()), (0x16, b"GenuineIntel".as_slice()));
    bed.cpu.gpr[RAX] = 1;
    bed.cpu.rip = CODE;
    bed.execute(&[0x0f, 0xa2]).expect("CPUID");
    assert_eq!(bed.cpu.gpr[RAX], 0x0003_0661);
    assert_eq!(bed.cpu.gpr[RBX] >> 24, 1, "initial APIC id");
}

#[test]
fn cpuid_describes_the_topology() {
    let table = cpuid::table(&TOPOLOGY);
    assert_eq!(cpuid::lookup(&table, 2, 1, 0)[1], 2 << 24 | 4 << 16 | 8 << 8);
    assert_eq!(cpuid::lookup(&table, 2, 1, 0)[3] >> 28 & 1, 1);
    assert_eq!(cpuid::lookup(&table, 3, 0xb, 0), [1, 2, 0x100, 3]);
    assert_eq!(cpuid::lookup(&table, 3, 0xb, 1), [2, 4, 0x201, 3]);
    assert_eq!(cpuid::lookup(&table, 3, 0xb, 2), [0, 0, 2, 3]);
    assert_eq!(cpuid::lookup(&table, 0, 4, 0)[0], 1 | 1 << 5 | 1 << 8 | 1 << 14 | 1 << 26);
    assert_eq!(cpuid::lookup(&table, 0, 4, 3), [0; 4]);
}

#[test]
fn cpuid_gives_frequencies_and_hides_what_the_model_lacks() {
    let table = cpuid::table(&TOPOLOGY);
    let [denominator, numerator, crystal, _] = cpuid::lookup(&table, 0, 0x15, 0);
    let tsc_hz = u64::from(crystal) * u64::from(numerator) / u64::from(denominator);
    assert_eq!(tsc_hz, crate::platform::layout::TSC_HZ);
    assert_eq!(cpuid::lookup(&table, 0, 0x4000_0010, 0), [1_000_000, 25_000, 0, 0]);
    let features = cpuid::lookup(&table, 0, 1, 0);
    assert_eq!(features[2] & (1 << 26 | 1 << 27 | 1 << 28 | 1 << 3 | 1 << 5), 0, "XSAVE AVX MONITOR VMX");
    assert_eq!(cpuid::lookup(&table, 0, 7, 0)[1] & (1 << 7 | 1 << 9 | 1 << 20), 0, "SMEP ERMS SMAP");
    // Beyond the last basic leaf the last basic leaf answers; unknown hypervisor leaves are empty.
    assert_eq!(cpuid::lookup(&table, 0, 0x17, 0), cpuid::lookup(&table, 0, 0x16, 0));
    assert_eq!(cpuid::lookup(&table, 0, 0x8000_0009, 0), cpuid::lookup(&table, 0, 0x16, 0));
    assert_eq!(cpuid::lookup(&table, 0, 0x4000_0001, 0), [0; 4]);
}

#[test]
fn writing_the_base_of_fs_leaves_its_selector() {
    let mut bed = Testbed::long();
    write_msr(&mut bed, msr::index::FS_BASE, 0x1234_5000).expect("canonical");
    assert_eq!((bed.cpu.segments[FS].selector, bed.cpu.segments[FS].base), (KERNEL_DATA, 0x1234_5000));
}
