//! The layouts that FXSAVE, FSTENV and FSAVE write, and reading them back.

use super::super::stack::{ONE, SIGN, control, status};
use super::{Bench, OPERAND, Random};
use crate::cpu::exception::Exception;
use crate::cpu::state::{Mode, RDI, Segment, X87, cr0};

const FXSAVE: &[u8] = &[0x0f, 0xae, 0x07];
const FXSAVE64: &[u8] = &[0x48, 0x0f, 0xae, 0x07];
const FXRSTOR: &[u8] = &[0x0f, 0xae, 0x0f];
const FXRSTOR64: &[u8] = &[0x48, 0x0f, 0xae, 0x0f];
const FNSTENV: &[u8] = &[0xd9, 0x37];
const FLDENV: &[u8] = &[0xd9, 0x27];
const FNSAVE: &[u8] = &[0xdd, 0x37];
const FRSTOR: &[u8] = &[0xdd, 0x27];

/// A bench whose registers all hold something.
fn filled() -> Bench {
    let mut random = Random(42);
    let mut bench = Bench::new();
    let x87 = bench.x87();
    x87.registers.fill_with(|| random.extended());
    x87.status = 3 << 11 | status::C3 | status::PE;
    x87.valid = 0b1011_0110;
    x87.load_control(0x0c7f);
    bench.cpu.xmm.fill_with(|| u128::from(random.next()) << 64 | u128::from(random.next()));
    bench.cpu.mxcsr = 0x9fc0;
    bench
}

/// The same bench in 32-bit protected mode, or 16-bit real mode.
fn narrow(mut bench: Bench, mode: Mode, code_bits: u8) -> Bench {
    bench.cpu.mode = mode;
    bench.cpu.code_bits = code_bits;
    bench.cpu.segments = [Segment { access: 0xc093, limit: u32::MAX, ..Segment::real_mode(0) }; 6];
    bench
}

fn clear(bench: &mut Bench) {
    bench.cpu.x87 = X87::default();
    bench.cpu.xmm = [0; 16];
    bench.cpu.mxcsr = 0;
}

#[test]
fn fxsave_and_fxrstor_round_trip() {
    for (save, restore) in [(FXSAVE, FXRSTOR), (FXSAVE64, FXRSTOR64), (FXSAVE, FXRSTOR64)] {
        let mut bench = filled();
        let before = bench.cpu.clone();
        bench.execute(save).unwrap();
        clear(&mut bench);
        bench.execute(restore).unwrap();
        assert_eq!(bench.cpu, before);
    }
}

#[test]
fn fxsave_writes_the_canonical_image_and_nothing_behind_it() {
    let mut bench = filled();
    bench.memory().fill(0xaa);
    bench.execute(FXSAVE64).unwrap();
    let (st0, xmm15, image) = (bench.cpu.x87.st(0), bench.cpu.xmm[15], *bench.memory());
    assert_eq!(image[0..2], 0x0c7f_u16.to_le_bytes());
    assert_eq!(image[2..4], bench.cpu.x87.status.to_le_bytes());
    assert_eq!(image[4..6], [0b1011_0110, 0]);
    assert_eq!(image[6..24], [0; 18], "FOP, FIP and FDP");
    assert_eq!(image[24..32], [0xc0, 0x9f, 0, 0, 0xff, 0xff, 0, 0], "MXCSR and its mask");
    assert_eq!(image[32..48], st0.to_le_bytes());
    assert_eq!(image[400..416], xmm15.to_le_bytes());
    assert_eq!(image[416..], [0xaa; 96]);
}

#[test]
fn outside_64_bit_mode_only_eight_xmm_registers_are_saved_and_restored() {
    let mut bench = narrow(filled(), Mode::Protected, 32);
    bench.memory().fill(0xaa);
    bench.execute(FXSAVE).unwrap();
    assert_eq!(bench.memory()[288..], [0xaa; 224]);
    let before = bench.cpu.xmm;
    bench.cpu.xmm = [7; 16];
    bench.execute(FXRSTOR).unwrap();
    assert_eq!(bench.cpu.xmm[..8], before[..8]);
    assert_eq!(bench.cpu.xmm[8..], [7; 8]);
}

#[test]
fn fxsave_and_fxrstor_check_before_they_act() {
    for instruction in [FXSAVE, FXRSTOR] {
        let mut bench = filled();
        let before = bench.cpu.clone();
        bench.cpu.gpr[RDI] = OPERAND as u64 + 8;
        assert_eq!(bench.execute(instruction), Err(Exception::gp(0)), "alignment");
        bench.cpu.gpr[RDI] = 0x7fff_ffff_ff00;
        assert_eq!(bench.execute(instruction), Err(Exception::gp(0)), "canonical to the last byte");
        bench.cpu.gpr[RDI] = OPERAND as u64;
        bench.cpu.cr0 |= cr0::TS;
        assert_eq!(bench.execute(instruction), Err(Exception::NM));
        bench.cpu.cr0 |= cr0::EM;
        assert_eq!(bench.execute(instruction), Err(Exception::UD));
        bench.cpu.cr0 = before.cr0;
        assert_eq!(bench.cpu, before);
        assert_eq!(*bench.memory(), [0; 512]);
    }
}

#[test]
fn fxrstor_of_a_bad_mxcsr_changes_nothing() {
    let mut bench = filled();
    bench.memory()[24..28].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    let before = bench.cpu.clone();
    assert_eq!(bench.execute(FXRSTOR), Err(Exception::gp(0)));
    assert_eq!(bench.cpu, before);
}

#[test]
fn fxsave_across_an_absent_page_writes_nothing() {
    let mut bench = filled();
    // Page tables at 0x10000: 4 KiB pages, the one at 0x1000 present, the one at 0x2000 not.
    for (table, entry) in [(0x10000, 0x11003), (0x11000, 0x12003), (0x12000, 0x13003), (0x13008, 0x1003)] {
        bench.sys.store_phys(0, table, &u64::to_le_bytes(entry));
    }
    bench.cpu.cr3 = 0x10000;
    bench.cpu.cr4 = crate::cpu::state::cr4::PAE;
    bench.cpu.efer = crate::cpu::state::efer::LMA | crate::cpu::state::efer::LME;
    bench.cpu.cr0 |= cr0::PG;
    bench.cpu.gpr[RDI] = 0x1f00;
    assert_eq!(bench.execute(FXSAVE), Err(Exception::pf(2)));
    assert_eq!(bench.sys.fault_vaddr, 0x2000);
    assert_eq!(bench.sys.mem.ram()[0x1f00..0x2100], [0; 0x200]);
    bench.cpu.gpr[RDI] = 0x1e00;
    bench.execute(FXSAVE).unwrap();
    assert_eq!(bench.sys.mem.ram()[0x1e00..0x1e02], [0x7f, 0x0c]);
}

#[test]
fn environments_have_four_layouts() {
    let wide = |reserved: &[usize]| {
        let mut image = [0; 28];
        image[0..2].copy_from_slice(&[0x7f, 0x0c]);
        image[4..6].copy_from_slice(&[0x20, 0x58]);
        for half in reserved {
            image[half * 4 + 2..half * 4 + 4].fill(0xff);
        }
        image.to_vec()
    };
    let short = || {
        let mut image = [0; 14];
        image[0..2].copy_from_slice(&[0x7f, 0x0c]);
        image[2..4].copy_from_slice(&[0x20, 0x58]);
        image.to_vec()
    };
    let operand_size = |instruction: &[u8]| [&[0x66], instruction].concat();
    let cases = [
        (Mode::Long64, 64, FNSTENV.to_vec(), wide(&[0, 1, 2, 6])),
        (Mode::Long64, 64, operand_size(FNSTENV), short()),
        (Mode::Protected, 32, FNSTENV.to_vec(), wide(&[0, 1, 2, 6])),
        (Mode::Protected, 32, operand_size(FNSTENV), short()),
        // 16-bit addressing has no [EDI]: 37 is [BX] there, which the address-size prefix undoes.
        (Mode::Real, 16, [&[0x67], FNSTENV].concat(), short()),
        (Mode::Real, 16, [&[0x67, 0x66], FNSTENV].concat(), wide(&[0, 1, 2, 3, 5])),
    ];
    for (mode, code_bits, instruction, mut expected) in cases {
        let mut bench = narrow(filled(), mode, code_bits);
        bench.memory().fill(0xaa);
        // Valid, zero, special, and empty, from register 0 up; the rest empty.
        let x87 = bench.x87();
        x87.registers[..4].copy_from_slice(&[ONE, SIGN, 1, ONE]);
        x87.valid = 0b0111;
        let field = expected.len() / 7;
        expected[2 * field..][..2].copy_from_slice(&0b1111_1111_1110_0100_u16.to_le_bytes());
        bench.execute(&instruction).unwrap();
        assert_eq!(bench.memory()[..expected.len()], expected, "{mode:?} {instruction:02x?}");
        assert_eq!(bench.memory()[expected.len()..][..4], [0xaa; 4]);
        assert_eq!(bench.x87().control, 0x0c7f | status::EXCEPTIONS, "all masked afterwards");
    }
}

#[test]
fn fldenv_loads_what_fnstenv_stored() {
    for prefix in [&[][..], &[0x66]] {
        let mut bench = filled();
        let before = *bench.x87();
        bench.execute(&[prefix, FNSTENV].concat()).unwrap();
        *bench.x87() = X87 { registers: before.registers, ..X87::default() };
        bench.execute(&[prefix, FLDENV].concat()).unwrap();
        assert_eq!(*bench.x87(), before);
    }
}

#[test]
fn frstor_loads_what_fnsave_stored_before_it_initialised() {
    for prefix in [&[][..], &[0x66]] {
        let mut bench = filled();
        let before = *bench.x87();
        bench.execute(&[prefix, FNSAVE].concat()).unwrap();
        let initialised = X87 { registers: before.registers, control: control::DEFAULT, status: 0, valid: 0 };
        assert_eq!(*bench.x87(), initialised);
        *bench.x87() = X87::default();
        bench.execute(&[prefix, FRSTOR].concat()).unwrap();
        assert_eq!(*bench.x87(), before);
    }
}

#[test]
fn a_loaded_status_word_cannot_claim_or_deny_a_pending_exception() {
    let mut bench = filled();
    bench.execute(FNSTENV).unwrap();
    bench.memory()[4] = (status::ES | status::PE) as u8;
    bench.execute(FLDENV).unwrap();
    assert_eq!(bench.x87().status & (status::ES | status::B), 0, "PE is masked");
    bench.memory()[0] = control::FIXED as u8;
    bench.memory()[4] = status::PE as u8;
    bench.execute(FLDENV).unwrap();
    assert_eq!(bench.execute(&[0x9b]), Err(Exception::MF));
}
