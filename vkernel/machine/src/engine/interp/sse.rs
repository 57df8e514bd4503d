//! Handlers of the SSE moves and logic that compilers emit everywhere: plain 16-byte data, no floating point.

use super::memory::{find_read, find_write, raise};
use super::op::{Address, General, Handler, Op, Out, Step, address, handler};
use crate::cpu::exception::Exception;
use crate::cpu::state::{Vcpu, cr0, cr4};
use crate::system::System;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// SSE instructions need CR4.OSFXSR, and no CR0.EM or TS.
#[inline(always)]
fn available(cpu: &Vcpu, sys: &mut System) -> Step {
    if cpu.cr0 & (cr0::EM | cr0::TS) == 0 && cpu.cr4 & cr4::OSFXSR != 0 {
        return Ok(());
    }
    let undefined = cpu.cr0 & cr0::EM != 0 || cpu.cr4 & cr4::OSFXSR == 0;
    Err(raise(sys, if undefined { Exception::UD } else { Exception::NM }))
}

/// A misaligned operand raises #GP, but only after a stack reference that is not canonical has raised #SS: the
/// specification tells which.
#[inline(always)]
fn aligned<const ALIGNED: bool>(laddr: u64) -> Step {
    if ALIGNED && laddr & 15 != 0 { Err(Out::Slow) } else { Ok(()) }
}

/// `mov xmm, [memory]`, 16 bytes.
#[inline(always)]
fn load<const ALIGNED: bool>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    available(cpu, sys)?;
    let laddr = General::of(cpu, op);
    aligned::<ALIGNED>(laddr)?;
    cpu.xmm[usize::from(op.a & 15)] = read(cpu, sys, op, laddr)?;
    Ok(())
}

fn read(cpu: &mut Vcpu, sys: &mut System, op: &Op, laddr: u64) -> Result<u128, Out> {
    let offset = find_read(cpu, sys, op, laddr, 16)?;
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&sys.mem.ram()[offset..offset + 16]);
    Ok(u128::from_le_bytes(bytes))
}

/// `mov [memory], xmm`, 16 bytes.
#[inline(always)]
fn store<const ALIGNED: bool>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    available(cpu, sys)?;
    let laddr = General::of(cpu, op);
    aligned::<ALIGNED>(laddr)?;
    let offset = find_write(cpu, sys, op, laddr, 16)?;
    sys.mem.ram_mut()[offset..offset + 16].copy_from_slice(&cpu.xmm[usize::from(op.a & 15)].to_le_bytes());
    Ok(())
}

/// `mov xmm, xmm`.
#[inline(always)]
fn copy(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    available(cpu, sys)?;
    cpu.xmm[usize::from(op.a & 15)] = cpu.xmm[usize::from(op.b & 15)];
    Ok(())
}

/// A bitwise or lane-wise operation on two XMM values; a type, so that handlers are specialised by it.
trait Packed {
    fn apply(left: u128, right: u128) -> u128;
}

macro_rules! packed {
    ($name:ident, |$left:ident, $right:ident| $body:expr) => {
        struct $name;
        impl Packed for $name {
            #[inline(always)]
            fn apply($left: u128, $right: u128) -> u128 {
                $body
            }
        }
    };
}

packed!(Xor, |left, right| left ^ right);
packed!(And, |left, right| left & right);
packed!(AndNot, |left, right| !left & right);
packed!(Or, |left, right| left | right);
packed!(AddD, |left, right| lanes32(left, right, u32::wrapping_add));
packed!(AddQ, |left, right| lanes64(left, right, u64::wrapping_add));
packed!(SubD, |left, right| lanes32(left, right, u32::wrapping_sub));

#[inline(always)]
fn lanes32(left: u128, right: u128, compute: fn(u32, u32) -> u32) -> u128 {
    let lane = |shift| u128::from(compute((left >> shift) as u32, (right >> shift) as u32)) << shift;
    lane(0) | lane(32) | lane(64) | lane(96)
}

#[inline(always)]
fn lanes64(left: u128, right: u128, compute: fn(u64, u64) -> u64) -> u128 {
    let lane = |shift| u128::from(compute((left >> shift) as u64, (right >> shift) as u64)) << shift;
    lane(0) | lane(64)
}

/// `op xmm, xmm`.
#[inline(always)]
fn packed_reg<O: Packed>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    available(cpu, sys)?;
    let (a, b) = (usize::from(op.a & 15), usize::from(op.b & 15));
    cpu.xmm[a] = O::apply(cpu.xmm[a], cpu.xmm[b]);
    Ok(())
}

/// `op xmm, [memory]`, aligned.
#[inline(always)]
fn packed_mem<O: Packed>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    available(cpu, sys)?;
    let laddr = General::of(cpu, op);
    aligned::<true>(laddr)?;
    let right = read(cpu, sys, op, laddr)?;
    let a = usize::from(op.a & 15);
    cpu.xmm[a] = O::apply(cpu.xmm[a], right);
    Ok(())
}

/// Shifts each doubleword left (`LEFT`) or right by an immediate.
#[inline(always)]
fn shift_d<const LEFT: bool>(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    available(cpu, sys)?;
    let count = op.immediate as u32 & 0xff;
    let a = usize::from(op.a & 15);
    let value = cpu.xmm[a];
    cpu.xmm[a] = match (count < 32, LEFT) {
        (false, _) => 0,
        (true, true) => shift_lanes(value, |lane| lane << count),
        (true, false) => shift_lanes(value, |lane| lane >> count),
    };
    Ok(())
}

#[inline(always)]
fn shift_lanes(value: u128, shift: impl Fn(u32) -> u32) -> u128 {
    let lane = |at: u32| u128::from(shift((value >> at) as u32)) << at;
    lane(0) | lane(32) | lane(64) | lane(96)
}

/// PSHUFD xmm, xmm, immediate.
#[inline(always)]
fn shuffle_d(cpu: &mut Vcpu, sys: &mut System, op: &Op) -> Step {
    available(cpu, sys)?;
    let value = cpu.xmm[usize::from(op.b & 15)];
    let order = op.immediate as u32;
    let lane = |to: u32| u128::from((value >> (32 * (order >> (2 * to) & 3))) as u32) << (32 * to);
    cpu.xmm[usize::from(op.a & 15)] = lane(0) | lane(1) | lane(2) | lane(3);
    Ok(())
}

/// The handler of an SSE instruction, if it has one.
pub fn lower(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    use Mnemonic as M;
    let name = instruction.mnemonic();
    let is_xmm = |operand| {
        instruction.op_count() > operand
            && instruction.op_kind(operand) == OpKind::Register
            && instruction.op_register(operand).is_xmm()
    };
    let is_memory =
        |operand| instruction.op_count() > operand && instruction.op_kind(operand) == OpKind::Memory;
    if is_memory(0) || is_memory(1) {
        generalise(instruction, op);
    }
    if is_xmm(0) {
        op.a = instruction.op0_register().number() as u8;
    }
    if is_xmm(1) {
        let register = instruction.op1_register().number() as u8;
        if is_memory(0) { op.a = register } else { op.b = register }
    }
    let is_move = matches!(name, M::Movaps | M::Movapd | M::Movdqa | M::Movups | M::Movupd | M::Movdqu);
    let must_align = matches!(name, M::Movaps | M::Movapd | M::Movdqa);
    if is_move {
        return match (is_xmm(0), is_xmm(1), must_align) {
            (true, true, _) => Some(handler!(copy)),
            (true, false, true) => Some(handler!(load::<true>)),
            (true, false, false) => Some(handler!(load::<false>)),
            (false, _, true) => Some(handler!(store::<true>)),
            (false, _, false) => Some(handler!(store::<false>)),
        };
    }
    macro_rules! packed_form {
        ($operation:ident) => {
            match (is_xmm(0), is_xmm(1)) {
                (true, true) => Some(handler!(packed_reg::<$operation>)),
                (true, false) if is_memory(1) => Some(handler!(packed_mem::<$operation>)),
                _ => None,
            }
        };
    }
    let has_count = instruction.op_count() == 2 && instruction.op1_kind() == OpKind::Immediate8;
    match name {
        M::Pxor | M::Xorps | M::Xorpd => packed_form!(Xor),
        M::Pand | M::Andps | M::Andpd => packed_form!(And),
        M::Pandn | M::Andnps | M::Andnpd => packed_form!(AndNot),
        M::Por | M::Orps | M::Orpd => packed_form!(Or),
        M::Paddd => packed_form!(AddD),
        M::Paddq => packed_form!(AddQ),
        M::Psubd => packed_form!(SubD),
        M::Pslld | M::Psrld if is_xmm(0) && has_count => {
            op.immediate = i32::from(instruction.immediate8());
            Some(if name == M::Pslld { handler!(shift_d::<true>) } else { handler!(shift_d::<false>) })
        }
        M::Pshufd if is_xmm(0) && is_xmm(1) => {
            op.immediate = i32::from(instruction.immediate8());
            Some(handler!(shuffle_d))
        }
        _ => None,
    }
}

/// These handlers all address generally; forms lowered as plain need their bits.
fn generalise(instruction: &Instruction, op: &mut Op) {
    use iced_x86::Register;
    if !matches!(instruction.memory_base(), Register::None | Register::RIP | Register::EIP) {
        op.address_bits |= address::HAS_BASE;
    }
    if instruction.memory_index() != Register::None {
        op.address_bits |= address::HAS_INDEX;
    }
}
