//! FXSAVE and FXRSTOR: the x87, MMX and SSE state in 512 bytes (SDM vol. 1 10.5, vol. 2 FXSAVE).
//!
//! FIP, FDP and FOP are stored as 0, so FXSAVE and FXSAVE64 differ in nothing. Bytes 416 to 511, and the
//! registers XMM8 to XMM15 outside 64-bit mode, are neither written nor read. MXCSR and XMM registers are
//! included whether or not CR4.OSFXSR is set, which the SDM leaves to the processor.

use super::area::Area;
use super::stack::ALL;
use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::Intent;
use crate::cpu::state::{Mode, X87, cr0};
use iced_x86::{Code, Instruction};

/// Bytes of the operand, all of which must be accessible.
const AREA_BYTES: usize = 512;
/// Where the x87 registers begin; each takes 16 bytes.
const REGISTERS: usize = 32;
/// Where the XMM registers begin.
const XMM: usize = 160;
/// Bits of MXCSR that exist, and what the image tells of them.
pub const MXCSR_MASK: u32 = 0xffff;

/// Executes FXSAVE, FXSAVE64, FXRSTOR or FXRSTOR64; `None` for anything else.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    match instruction.code() {
        Code::Fxsave_m512byte | Code::Fxsave64_m512byte => Some(save(core, instruction)),
        Code::Fxrstor_m512byte | Code::Fxrstor64_m512byte => Some(restore(core, instruction)),
        _ => None,
    }
}

fn save(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let area = locate(core, instruction, Intent::Write)?;
    let mut image = [0; AREA_BYTES];
    let length = used_bytes(core);
    put_x87(&core.cpu.x87, &mut image);
    image[24..28].copy_from_slice(&core.cpu.mxcsr.to_le_bytes());
    image[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
    for (slot, register) in image[XMM..length].chunks_exact_mut(16).zip(core.cpu.xmm) {
        slot.copy_from_slice(&register.to_le_bytes());
    }
    area.write(core, &image[..length]);
    Ok(())
}

fn restore(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let area = locate(core, instruction, Intent::Read)?;
    let mut image = [0; AREA_BYTES];
    let length = used_bytes(core);
    area.read(core, &mut image[..length]);
    let mxcsr = u32::from_le_bytes(image[24..28].try_into().expect("four bytes"));
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(Exception::gp(0));
    }
    core.cpu.mxcsr = mxcsr;
    core.cpu.x87 = take_x87(&image);
    for (slot, register) in image[XMM..length].chunks_exact(16).zip(&mut core.cpu.xmm) {
        *register = u128::from_le_bytes(slot.try_into().expect("sixteen bytes"));
    }
    Ok(())
}

/// Checks what comes before any access, and finds the whole operand.
fn locate(core: &mut Core<'_>, instruction: &Instruction, intent: Intent) -> Exec<Area> {
    if core.cpu.cr0 & cr0::EM != 0 {
        return Err(Exception::UD);
    }
    if core.cpu.cr0 & cr0::TS != 0 {
        return Err(Exception::NM);
    }
    let (segment, offset) = core.effective_address(instruction);
    let laddr = core.linear(segment, offset, AREA_BYTES, intent)?;
    if laddr % 16 != 0 {
        return Err(Exception::gp(0));
    }
    Area::locate(core, laddr, AREA_BYTES, intent)
}

/// Bytes of the image that are used in the present mode.
fn used_bytes(core: &Core<'_>) -> usize {
    let registers = if core.cpu.mode == Mode::Long64 { 16 } else { 8 };
    XMM + registers * 16
}

fn put_x87(x87: &X87, image: &mut [u8; AREA_BYTES]) {
    image[0..2].copy_from_slice(&x87.control.to_le_bytes());
    image[2..4].copy_from_slice(&x87.status.to_le_bytes());
    image[4] = x87.valid;
    for (index, slot) in image[REGISTERS..XMM].chunks_exact_mut(16).enumerate() {
        slot.copy_from_slice(&x87.st(index).to_le_bytes());
    }
}

/// The x87 state in an image, with ES and B made to agree with exceptions and masks.
fn take_x87(image: &[u8; AREA_BYTES]) -> X87 {
    let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let mut x87 = X87 { status: word(2), valid: image[4], ..X87::default() };
    x87.load_control(word(0));
    for (index, slot) in image[REGISTERS..XMM].chunks_exact(16).enumerate() {
        let register = x87.physical(index);
        x87.registers[register] = u128::from_le_bytes(slot.try_into().expect("sixteen bytes")) & ALL;
    }
    x87
}
