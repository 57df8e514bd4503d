//! Port input and output, and who may do it (SDM vol. 1 ch. 19; vol. 2 IN, OUT).

use crate::cpu::core::Core;
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::state::{Mode, RDX};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// Where the I/O permission bitmap's offset lies in a TSS.
const BITMAP_BASE: u64 = 102;

/// Executes IN and OUT; `None` for others.
pub(super) fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let is_input = match instruction.mnemonic() {
        Mnemonic::In => true,
        Mnemonic::Out => false,
        _ => return None,
    };
    let (data, port) = if is_input { (0, 1) } else { (1, 0) };
    let register = instruction.op_register(data);
    let size = register.size() as u8;
    let port = port_operand(core, instruction, port);
    Some(check_io(core, port, size).map(|()| {
        if is_input {
            let value = core.sys.port_read(core.cpu.id, port, size);
            core.set_gpr(register, u64::from(value));
        } else {
            let value = core.gpr(register) as u32;
            core.sys.port_write(core.cpu.id, port, size, value);
        }
    }))
}

/// The port that an operand names: an immediate, or DX.
pub(super) fn port_operand(core: &Core<'_>, instruction: &Instruction, operand: u32) -> u16 {
    match instruction.op_kind(operand) {
        OpKind::Immediate8 => u16::from(instruction.immediate8()),
        _ => core.cpu.gpr[RDX] as u16,
    }
}

/// Whether the running code may access `size` bytes at `port`: by IOPL, or else by the bitmap in the TSS.
///
/// # Errors
/// #GP(0) when not.
pub fn check_io(core: &mut Core<'_>, port: u16, size: u8) -> Exec {
    let iopl = core.cpu.rflags >> 12 & 3;
    let free = match core.cpu.mode {
        Mode::Real => true,
        Mode::Virtual8086 => false,
        _ => u64::from(core.cpu.cpl) <= iopl,
    };
    if free {
        return Ok(());
    }
    let tr = core.cpu.tr;
    let limit = u64::from(tr.limit);
    // A 16-bit TSS has no bitmap.
    if tr.is_unusable() || tr.access & 0xd != 9 || limit < BITMAP_BASE + 1 {
        return Err(Exception::gp(0));
    }
    let base = u16::from_le_bytes(core.load_linear(tr.base.wrapping_add(BITMAP_BASE), false)?);
    let offset = u64::from(base) + u64::from(port / 8);
    if offset + 1 > limit {
        return Err(Exception::gp(0));
    }
    let bits = u16::from_le_bytes(core.load_linear(tr.base.wrapping_add(offset), false)?);
    let wanted = ((1_u16 << size) - 1) << (port % 8);
    if bits & wanted == 0 { Ok(()) } else { Err(Exception::gp(0)) }
}
