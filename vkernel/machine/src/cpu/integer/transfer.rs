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
