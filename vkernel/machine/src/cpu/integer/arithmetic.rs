//! Binary arithmetic, logic and the flag instructions (SDM vol. 1 7.3.2, 7.3.4, 7.3.15), without products.

use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::flags;
use crate::cpu::operand::truncate;
use crate::cpu::state::rflags;
use iced_x86::{Instruction, Mnemonic};

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Add | M::Adc | M::Sub | M::Sbb | M::And | M::Or | M::Xor => binary(core, instruction),
        M::Cmp | M::Test => compare(core, instruction),
        M::Inc | M::Dec => step(core, instruction),
        M::Neg => negate(core, instruction),
        M::Not => complement(core, instruction),
        M::Clc => set_flag(core, rflags::CF, false),
        M::Stc => set_flag(core, rflags::CF, true),
        M::Cmc => set_flag(core, rflags::CF, !core.cpu.flag(rflags::CF)),
        M::Cld => set_flag(core, rflags::DF, false),
        M::Std => set_flag(core, rflags::DF, true),
        _ => return None,
    })
}

/// Result and status flags of a two-operand instruction.
fn compute(mnemonic: Mnemonic, left: u64, right: u64, carry: bool, size: usize) -> (u64, u64) {
    let logic = |result| (truncate(result, size), flags::logic(result, size));
    match mnemonic {
        Mnemonic::Add => flags::add(left, right, false, size),
        Mnemonic::Adc => flags::add(left, right, carry, size),
        Mnemonic::Sbb => flags::sub(left, right, carry, size),
        Mnemonic::And | Mnemonic::Test => logic(left & right),
        Mnemonic::Or => logic(left | right),
        Mnemonic::Xor => logic(left ^ right),
        _ => flags::sub(left, right, false, size),
    }
}

fn binary(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let place = core.place(instruction, 0)?;
    let right = core.read_operand(instruction, 1)?;
    let left = core.read_place(place);
    let (result, status) = compute(instruction.mnemonic(), left, right, core.cpu.flag(rflags::CF), size);
    core.write_place(place, result);
    core.cpu.set_status(status);
    Ok(())
}

fn compare(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let left = core.read_operand(instruction, 0)?;
    let right = core.read_operand(instruction, 1)?;
    let (_, status) = compute(instruction.mnemonic(), left, right, false, size);
    core.cpu.set_status(status);
    Ok(())
}

/// INC and DEC, which leave CF alone.
fn step(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let place = core.place(instruction, 0)?;
    let value = core.read_place(place);
    let (result, status) = if instruction.mnemonic() == Mnemonic::Inc {
        flags::add(value, 1, false, size)
    } else {
        flags::sub(value, 1, false, size)
    };
    core.write_place(place, result);
    core.cpu.set_status_masked(rflags::STATUS & !rflags::CF, status);
    Ok(())
}

fn negate(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let size = core.operand_size(instruction, 0);
    let place = core.place(instruction, 0)?;
    let value = core.read_place(place);
    let (result, status) = flags::sub(0, value, false, size);
    core.write_place(place, result);
    core.cpu.set_status(status);
    Ok(())
}

fn complement(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let place = core.place(instruction, 0)?;
    let value = core.read_place(place);
    core.write_place(place, !value);
    Ok(())
}

fn set_flag(core: &mut Core<'_>, mask: u64, value: bool) -> Exec {
    core.cpu.set_flag(mask, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::state::{RAX, RBX, rflags};
    use crate::cpu::testing::{Bench, DATA, READ_ONLY};
    use rflags::{AF, CF, DF, OF, PF, SF, ZF};

    #[test]
    fn sums_differences_and_logic_set_all_status_flags() {
        // Opcode with al, bl; AL, BL, CF before; AL, flags after.
        let cases = [
            (0x00, 0x7f, 0x01, 0, 0x80, SF | OF | AF),
            (0x00, 0xff, 0x01, 0, 0x00, ZF | CF | AF | PF),
            (0x00, 0x80, 0x80, 0, 0x00, ZF | CF | OF | PF),
            (0x10, 0x00, 0xff, CF, 0x00, ZF | CF | AF | PF),
            (0x10, 0x7f, 0x00, CF, 0x80, SF | OF | AF),
            (0x28, 0x00, 0x01, 0, 0xff, SF | CF | AF | PF),
            (0x28, 0x80, 0x01, 0, 0x7f, OF | AF),
            (0x18, 0x00, 0xff, CF, 0x00, ZF | CF | AF | PF),
            (0x18, 0x80, 0x00, CF, 0x7f, OF | AF),
            (0x38, 0x05, 0x05, CF, 0x05, ZF | PF),
            (0x20, 0xf0, 0x8f, CF | OF | AF, 0x80, SF),
            (0x08, 0x00, 0x00, CF | OF | AF, 0x00, ZF | PF),
            (0x30, 0xff, 0x0f, CF | OF | AF, 0xf0, SF | PF),
            (0x84, 0x81, 0x80, CF | OF | AF, 0x81, SF),
        ];
        for (opcode, al, bl, carry, result, flags) in cases {
            let mut bench = Bench::long();
            (bench.cpu.gpr[RAX], bench.cpu.gpr[RBX]) = (al, bl);
            bench.cpu.set_status(carry);
            bench.run(&[opcode, 0xd8]).unwrap();
            let found = (bench.cpu.gpr[RAX], bench.cpu.rflags & rflags::STATUS);
            assert_eq!(found, (result, flags), "opcode {opcode:#x} on {al:#x}, {bl:#x}");
        }
    }

    #[test]
    fn inc_and_dec_keep_the_carry_and_neg_sets_it() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RAX] = 0xff;
        bench.cpu.set_status(CF);
        bench.run(&[0xfe, 0xc0]).unwrap(); // inc al
        assert_eq!(bench.cpu.rflags & rflags::STATUS, CF | ZF | AF | PF);
        bench.cpu.set_status(0);
        bench.run(&[0xfe, 0xc8]).unwrap(); // dec al
        assert_eq!(bench.cpu.rflags & rflags::STATUS, SF | AF | PF);
        bench.cpu.gpr[RAX] = 1 << 63;
        bench.run(&[0x48, 0xf7, 0xd8]).unwrap(); // neg rax
        assert_eq!(bench.cpu.gpr[RAX], 1 << 63);
        assert_eq!(bench.cpu.rflags & rflags::STATUS, CF | OF | SF | PF);
        bench.run(&[0xf7, 0xd0]).unwrap(); // not eax
        assert_eq!(bench.cpu.gpr[RAX], 0xffff_ffff);
        assert_eq!(bench.cpu.rflags & rflags::STATUS, CF | OF | SF | PF);
    }

    #[test]
    fn a_fault_of_the_destination_changes_no_flag() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RBX] = READ_ONLY;
        bench.cpu.set_status(CF);
        let before = bench.cpu.clone();
        assert_eq!(bench.run(&[0x83, 0x03, 1]), Err(Exception::pf(3)), "add dword [rbx], 1");
        assert_eq!((bench.cpu.gpr, bench.cpu.rflags), (before.gpr, before.rflags));
        assert_eq!(bench.run(&[0x83, 0x3b, 1]), Ok(()), "cmp only reads");
    }

    #[test]
    fn memory_is_read_modified_and_written_at_its_width() {
        let mut bench = Bench::long();
        bench.poke(DATA, &u64::MAX.to_le_bytes());
        bench.cpu.gpr[RBX] = DATA;
        bench.run(&[0x66, 0x83, 0x03, 1]).unwrap(); // add word [rbx], 1
        assert_eq!(bench.peek_u64(DATA), 0xffff_ffff_ffff_0000);
        bench.run(&[0xf0, 0x48, 0x83, 0x2b, 0xff]).unwrap(); // lock sub qword [rbx], -1
        assert_eq!(bench.peek_u64(DATA), 0xffff_ffff_ffff_0001);
    }

    #[test]
    fn flag_instructions_change_one_flag() {
        let mut bench = Bench::long();
        for (opcode, flags) in
            [(0xf9, CF), (0xfd, CF | DF), (0xf5, DF), (0xf5, CF | DF), (0xf8, DF), (0xfc, 0)]
        {
            bench.run(&[opcode]).unwrap();
            assert_eq!(bench.cpu.rflags, rflags::FIXED | flags, "opcode {opcode:#x}");
        }
    }
}
