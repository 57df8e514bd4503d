//! Data transfer (SDM vol. 1 7.3.1): MOV and its extending, conditional and converting relatives.
//!
//! MOV to and from segment, control and debug registers is in `super::super::system`.

use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::operand::sign_extend;
use crate::cpu::state::{RAX, RDX, rflags};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The flags that LAHF and SAHF transfer.
const AH_FLAGS: u64 = rflags::SF | rflags::ZF | rflags::AF | rflags::PF | rflags::CF;

pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    use Mnemonic as M;
    Some(match instruction.mnemonic() {
        M::Mov if is_general(instruction) => copy(core, instruction),
        M::Movzx | M::Movnti | M::Xlatb => copy_to_first(core, instruction),
        M::Movsx | M::Movsxd => copy_sign_extended(core, instruction),
        M::Lea => load_address(core, instruction),
        M::Bswap => swap_bytes(core, instruction),
        M::Cbw | M::Cwde | M::Cdqe => widen_accumulator(core, instruction.mnemonic()),
        M::Cwd | M::Cdq | M::Cqo => spread_sign(core, instruction.mnemonic()),
        M::Lahf => load_flags(core),
        M::Sahf => store_flags(core),
        M::Cmova
        | M::Cmovae
        | M::Cmovb
        | M::Cmovbe
        | M::Cmove
        | M::Cmovg
        | M::Cmovge
        | M::Cmovl
        | M::Cmovle
        | M::Cmovne
        | M::Cmovno
        | M::Cmovnp
        | M::Cmovns
        | M::Cmovo
        | M::Cmovp
        | M::Cmovs => copy_if(core, instruction),
        M::Seta
        | M::Setae
        | M::Setb
        | M::Setbe
        | M::Sete
        | M::Setg
        | M::Setge
        | M::Setl
        | M::Setle
        | M::Setne
        | M::Setno
        | M::Setnp
        | M::Setns
        | M::Seto
        | M::Setp
        | M::Sets => {
            let holds = holds(core, instruction);
            core.write_operand(instruction, 0, u64::from(holds))
        }
        _ => return None,
    })
}

/// Whether the condition that is part of the instruction's opcode holds.
pub(super) fn holds(core: &Core<'_>, instruction: &Instruction) -> bool {
    // iced numbers the conditions in encoding order, from 1.
    core.cpu.condition((instruction.condition_code() as u8).wrapping_sub(1))
}

/// Whether all register operands are general registers.
pub(super) fn is_general(instruction: &Instruction) -> bool {
    (0..instruction.op_count())
        .all(|n| instruction.op_kind(n) != OpKind::Register || instruction.op_register(n).is_gpr())
}

fn copy(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.read_operand(instruction, 1)?;
    core.write_operand(instruction, 0, value)
}

/// MOVZX and MOVNTI copy their second operand; XLAT has only one in iced's eyes and copies it to AL.
fn copy_to_first(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    if instruction.mnemonic() != Mnemonic::Xlatb {
        return copy(core, instruction);
    }
    let value = core.read_operand(instruction, 0)?;
    core.cpu.gpr[RAX] = core.cpu.gpr[RAX] & !0xff | value;
    Ok(())
}

fn copy_sign_extended(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.read_operand(instruction, 1)?;
    let size = core.operand_size(instruction, 1);
    core.write_operand(instruction, 0, sign_extend(value, size))
}

fn load_address(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let (_, offset) = core.effective_address(instruction);
    core.set_gpr(instruction.op0_register(), offset);
    Ok(())
}

/// BSWAP. Of a 16-bit register the SDM leaves the result undefined; here, as on most hardware, it is 0.
fn swap_bytes(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let register = instruction.op0_register();
    let value = core.gpr(register);
    let swapped = match register.size() {
        8 => value.swap_bytes(),
        4 => u64::from((value as u32).swap_bytes()),
        _ => 0,
    };
    core.set_gpr(register, swapped);
    Ok(())
}

/// CMOVcc reads its source whether the condition holds or not, and a 32-bit one always clears the upper half
/// of its destination.
fn copy_if(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let value = core.read_operand(instruction, 1)?;
    let destination = instruction.op0_register();
    let value = if holds(core, instruction) { value } else { core.gpr(destination) };
    core.set_gpr(destination, value);
    Ok(())
}

/// CBW, CWDE, CDQE: doubles the width of the accumulator.
fn widen_accumulator(core: &mut Core<'_>, mnemonic: Mnemonic) -> Exec {
    let value = core.cpu.gpr[RAX];
    core.cpu.gpr[RAX] = match mnemonic {
        Mnemonic::Cbw => value & !0xffff | sign_extend(value, 1) & 0xffff,
        Mnemonic::Cwde => sign_extend(value, 2) & 0xffff_ffff,
        _ => sign_extend(value, 4),
    };
    Ok(())
}

/// CWD, CDQ, CQO: fills the data register with the accumulator's sign.
fn spread_sign(core: &mut Core<'_>, mnemonic: Mnemonic) -> Exec {
    let accumulator = core.cpu.gpr[RAX];
    let data = &mut core.cpu.gpr[RDX];
    let fill = |size| ((sign_extend(accumulator, size) as i64) >> 63) as u64;
    *data = match mnemonic {
        Mnemonic::Cwd => *data & !0xffff | fill(2) & 0xffff,
        Mnemonic::Cdq => fill(4) & 0xffff_ffff,
        _ => fill(8),
    };
    Ok(())
}

fn load_flags(core: &mut Core<'_>) -> Exec {
    let flags = core.cpu.rflags & AH_FLAGS | rflags::FIXED;
    core.cpu.gpr[RAX] = core.cpu.gpr[RAX] & !0xff00 | flags << 8;
    Ok(())
}

fn store_flags(core: &mut Core<'_>) -> Exec {
    core.cpu.set_status_masked(AH_FLAGS, core.cpu.gpr[RAX] >> 8);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::exception::Exception;
    use crate::cpu::state::{FS, RAX, RBX, RCX, RDX, RSI, rflags};
    use crate::cpu::testing::{ABSENT, Bench, CODE, DATA, READ_ONLY};

    #[test]
    fn a_32_bit_result_clears_the_upper_half_and_shorter_ones_do_not() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RAX] = u64::MAX;
        bench.cpu.gpr[RBX] = 0x1122_3344_5566_7788;
        for (bytes, expected) in [
            (&[0x88, 0xd8][..], 0xffff_ffff_ffff_ff88),   // mov al, bl
            (&[0x88, 0xdc], 0xffff_ffff_ffff_8888),       // mov ah, bl
            (&[0x66, 0x89, 0xd8], 0xffff_ffff_ffff_7788), // mov ax, bx
            (&[0x89, 0xd8], 0x5566_7788),                 // mov eax, ebx
            (&[0x48, 0xc7, 0xc0, 0, 0, 0, 0x80], 0xffff_ffff_8000_0000), // mov rax, -0x80000000
            (&[0x66, 0x0f, 0xbe, 0xc3], 0xffff_ffff_8000_ff88), // movsx ax, bl
            (&[0x0f, 0xb6, 0xc7], 0x77),                  // movzx eax, bh
            (&[0x48, 0x0f, 0xbe, 0xc3], 0xffff_ffff_ffff_ff88), // movsx rax, bl
        ] {
            bench.run(bytes).unwrap();
            assert_eq!(bench.cpu.gpr[RAX], expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn addresses_are_relative_absolute_and_wrapped() {
        let mut bench = Bench::long();
        bench.poke(DATA, &0x1234_5678u32.to_le_bytes());
        bench.run(&[0x8b, 0x05, 0xfa, 0x0f, 0, 0]).unwrap(); // mov eax, [rip+0xffa]
        assert_eq!(bench.cpu.gpr[RAX], 0x1234_5678);
        bench.run(&[0xa1, 0, 0x80, 0, 0, 0, 0, 0, 0]).unwrap(); // mov eax, [0x8000] by 64-bit offset
        assert_eq!(bench.cpu.gpr[RAX], 0x1234_5678);
        bench.run(&[0x8b, 0x0c, 0x25, 0, 0x80, 0, 0]).unwrap(); // mov ecx, [0x8000] by SIB
        assert_eq!(bench.cpu.gpr[RCX], 0x1234_5678);
        bench.cpu.gpr[RBX] = 0xffff_ffff_0000_9000;
        bench.run(&[0x67, 0x8b, 0x93, 0, 0xf0, 0xff, 0xff]).unwrap(); // mov edx, [ebx-0x1000]
        assert_eq!(bench.cpu.gpr[RDX], 0x1234_5678);
        bench.run(&[0x67, 0x48, 0x8d, 0x43, 0xff]).unwrap(); // lea rax, [ebx-1]
        assert_eq!(bench.cpu.gpr[RAX], 0x8fff);
        bench.cpu.segments[FS].base = DATA;
        bench.run(&[0x64, 0x8b, 0x34, 0x25, 0, 0, 0, 0]).unwrap(); // mov esi, fs:[0]
        assert_eq!(bench.cpu.gpr[RSI], 0x1234_5678);
    }

    #[test]
    fn a_16_bit_address_wraps_within_its_segment() {
        let mut bench = Bench::real();
        bench.poke(0x10, &[0xab]);
        (bench.cpu.gpr[RBX], bench.cpu.gpr[RSI]) = (0xfff0, 0x0018);
        bench.run(&[0x8a, 0x40, 0x08]).unwrap(); // mov al, [bx+si+8]
        assert_eq!(bench.cpu.gpr[RAX], 0xab);
        assert_eq!(bench.run(&[0xa1, 0xff, 0xff]), Err(Exception::gp(0)), "a word at 0xffff");
    }

    #[test]
    fn a_store_across_pages_happens_whole_or_not_at_all() {
        let mut bench = Bench::long();
        bench.cpu.gpr[RAX] = u64::MAX;
        bench.cpu.gpr[RBX] = ABSENT - 4;
        assert_eq!(bench.run(&[0x48, 0x89, 0x03]), Err(Exception::pf(2)), "mov [rbx], rax");
        assert_eq!((bench.sys.fault_vaddr, bench.cpu.rip), (ABSENT, CODE));
        assert_eq!(bench.peek::<4>(ABSENT - 4), [0; 4]);
        bench.cpu.gpr[RBX] = READ_ONLY;
        assert_eq!(bench.run(&[0x88, 0x03]), Err(Exception::pf(3)), "mov [rbx], al");
        bench.cpu.gpr[RBX] = 1 << 47;
        assert_eq!(bench.run(&[0x88, 0x03]), Err(Exception::gp(0)), "not canonical");
        bench.cpu.gpr[crate::cpu::state::RBP] = 1 << 47;
        assert_eq!(bench.run(&[0x88, 0x45, 0]), Err(Exception::ss(0)), "not canonical, by RBP");
    }

    #[test]
    fn a_conditional_move_reads_and_clears_in_any_case() {
        let mut bench = Bench::long();
        (bench.cpu.gpr[RAX], bench.cpu.gpr[RBX]) = (u64::MAX, ABSENT);
        assert_eq!(bench.run(&[0x0f, 0x44, 0x03]), Err(Exception::pf(0)), "cmove eax, [rbx]");
        bench.run(&[0x0f, 0x44, 0xc3]).unwrap(); // cmove eax, ebx
        assert_eq!(bench.cpu.gpr[RAX], 0xffff_ffff);
        bench.cpu.set_status(rflags::ZF);
        bench.run(&[0x0f, 0x44, 0xc3]).unwrap();
        assert_eq!(bench.cpu.gpr[RAX], ABSENT);
    }

    #[test]
    fn conditions_follow_the_flags() {
        use rflags::{CF, OF, PF, SF, ZF};
        // For each condition in encoding order: flags that make it hold, flags that do not.
        let cases = [
            (OF, 0),
            (0, OF),
            (CF, 0),
            (0, CF),
            (ZF, 0),
            (0, ZF),
            (CF, SF),
            (SF, ZF),
            (SF, 0),
            (0, SF),
            (PF, 0),
            (0, PF),
            (OF, SF | OF),
            (SF | OF, SF),
            (ZF, SF | OF),
            (SF | OF, ZF),
        ];
        let mut bench = Bench::long();
        for (code, (holds, fails)) in (0u8..).zip(cases) {
            for (flags, expected) in [(holds, 1), (fails, 0)] {
                bench.cpu.set_status(flags);
                bench.run(&[0x0f, 0x90 | code, 0xc0]).unwrap(); // setcc al
                assert_eq!(bench.cpu.gpr[RAX], expected, "condition {code} with {flags:#x}");
            }
        }
    }

    #[test]
    fn the_accumulator_widens_by_its_sign() {
        let mut bench = Bench::long();
        for (bytes, rax, rdx) in [
            (&[0x66, 0x98][..], 0x1111_1111_1111_ff80, 0x5555_5555_5555_5555),
            (&[0x98], 0xffff_ff80, 0x5555_5555_5555_5555),
            (&[0x48, 0x98], 0xffff_ffff_ffff_ff80, 0x5555_5555_5555_5555),
            (&[0x66, 0x99], 0xffff_ffff_ffff_ff80, 0x5555_5555_5555_ffff),
            (&[0x99], 0xffff_ffff_ffff_ff80, 0xffff_ffff),
            (&[0x48, 0x99], 0xffff_ffff_ffff_ff80, u64::MAX),
        ] {
            if bytes == [0x66, 0x98] {
                (bench.cpu.gpr[RAX], bench.cpu.gpr[RDX]) = (0x1111_1111_1111_1180, 0x5555_5555_5555_5555);
            }
            bench.run(bytes).unwrap();
            assert_eq!((bench.cpu.gpr[RAX], bench.cpu.gpr[RDX]), (rax, rdx), "{bytes:02x?}");
        }
    }

    #[test]
    fn xlat_indexes_by_al_and_lahf_sahf_are_inverse() {
        let mut bench = Bench::long();
        bench.poke(DATA + 5, &[0xd5]);
        (bench.cpu.gpr[RAX], bench.cpu.gpr[RBX]) = (0x7705, DATA);
        bench.run(&[0xd7]).unwrap();
        assert_eq!(bench.cpu.gpr[RAX], 0x77d5);
        bench.run(&[0x88, 0xc4]).unwrap(); // mov ah, al
        bench.cpu.rflags |= rflags::OF;
        bench.run(&[0x9e]).unwrap();
        assert_eq!(bench.cpu.rflags, 0xd5 | rflags::FIXED | rflags::OF);
        bench.cpu.gpr[RAX] = 0;
        bench.run(&[0x9f]).unwrap();
        assert_eq!(bench.cpu.gpr[RAX], 0xd700);
    }
}
