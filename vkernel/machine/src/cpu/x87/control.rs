//! Instructions that manage the unit: control and status words, environments, whole-state saves, tags and
//! the stack pointer (SDM vol. 1 8.1.8 to 8.1.10, 8.3.9).
//!
//! These leave the condition codes as they are where the SDM calls them undefined: they compute nothing.

use super::area::Area;
use super::stack::{ALL, F80, status};
use super::transfer::{extended, register_operand};
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::mmu::Intent;
use crate::cpu::state::{Mode, RAX, X87};
use iced_x86::{Code, Instruction};

/// Executes an instruction that does not wait for pending exceptions; `None` if it is not one.
pub fn execute_unwaiting(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let fpu = &mut core.cpu.x87;
    match instruction.code() {
        Code::Fninit => fpu.initialise(),
        Code::Fnclex => {
            fpu.status &= !(status::EXCEPTIONS | status::SF);
            fpu.update_summary();
        }
        // Meaningful to the 8087 and 80287 only; ignored since.
        Code::Fneni | Code::Fndisi | Code::Fnsetpm => {}
        Code::Fnstsw_AX => {
            core.cpu.gpr[RAX] = core.cpu.gpr[RAX] & !0xffff | u64::from(core.cpu.x87.status);
        }
        Code::Fnstsw_m2byte => return Some(store_word(core, instruction, core.cpu.x87.status)),
        Code::Fnstcw_m2byte => return Some(store_word(core, instruction, core.cpu.x87.control)),
        Code::Fnstenv_m14byte => return Some(store_environment(core, instruction, Layout::Narrow)),
        Code::Fnstenv_m28byte => return Some(store_environment(core, instruction, Layout::Wide)),
        Code::Fnsave_m94byte => return Some(save(core, instruction, Layout::Narrow)),
        Code::Fnsave_m108byte => return Some(save(core, instruction, Layout::Wide)),
        _ => return None,
    }
    Some(Ok(()))
}

/// Executes an instruction of this group that waits; `None` if it belongs to another.
pub fn execute(core: &mut Core<'_>, instruction: &Instruction) -> Option<Exec> {
    let index = register_operand(instruction);
    let fpu = &mut core.cpu.x87;
    match instruction.code() {
        Code::Fnop => {}
        Code::Fldcw_m2byte => return Some(load_control(core, instruction)),
        Code::Fldenv_m14byte => return Some(load_environment(core, instruction, Layout::Narrow)),
        Code::Fldenv_m28byte => return Some(load_environment(core, instruction, Layout::Wide)),
        Code::Frstor_m94byte => return Some(restore(core, instruction, Layout::Narrow)),
        Code::Frstor_m108byte => return Some(restore(core, instruction, Layout::Wide)),
        Code::Ffree_sti => {
            fpu.set_conditions(0);
            fpu.free(index);
        }
        Code::Ffreep_sti => {
            fpu.set_conditions(0);
            fpu.free(index);
            fpu.pop();
        }
        Code::Fincstp => {
            fpu.set_conditions(0);
            fpu.set_top(fpu.top() + 1);
        }
        Code::Fdecstp => {
            fpu.set_conditions(0);
            fpu.set_top(fpu.top() + 7);
        }
        _ => return None,
    }
    Some(Ok(()))
}

fn store_word(core: &mut Core<'_>, instruction: &Instruction, value: u16) -> Exec {
    let (segment, offset) = core.effective_address(instruction);
    core.store(segment, offset, &value.to_le_bytes())
}

fn load_control(core: &mut Core<'_>, instruction: &Instruction) -> Exec {
    let (segment, offset) = core.effective_address(instruction);
    let value = core.load(segment, offset)?;
    core.cpu.x87.load_control(u16::from_le_bytes(value));
    Ok(())
}

/// The two sizes of an environment, by operand size. Real and protected mode differ only in how they lay out
/// the instruction and operand pointers, which are always 0 here, and in which halves are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Seven words.
    Narrow,
    /// Seven doublewords.
    Wide,
}

/// Longest environment.
const ENVIRONMENT_BYTES: usize = 28;
/// Bytes of the eight registers behind it.
const REGISTERS_BYTES: usize = 80;

impl Layout {
    fn field_bytes(self) -> usize {
        match self {
            Layout::Narrow => 2,
            Layout::Wide => 4,
        }
    }

    fn environment_bytes(self) -> usize {
        self.field_bytes() * 7
    }

    /// Finds an environment, with `more` bytes behind it.
    fn locate(
        self,
        core: &mut Core<'_>,
        instruction: &Instruction,
        more: usize,
        intent: Intent,
    ) -> Exec<Area> {
        let (segment, offset) = core.effective_address(instruction);
        let length = self.environment_bytes() + more;
        let laddr = core.linear(segment, offset, length, intent)?;
        // The first field stands for all of them in alignment checks.
        core.locate_linear(laddr, self.field_bytes(), intent, core.is_user())?;
        Area::locate(core, laddr, length, intent)
    }

    /// The environment: control, status and tag words, then zeros for the pointers. Reserved halves of
    /// doublewords are stored as ones.
    fn image(self, core: &Core<'_>) -> [u8; ENVIRONMENT_BYTES] {
        let x87 = &core.cpu.x87;
        let mut image = [0; ENVIRONMENT_BYTES];
        let size = self.field_bytes();
        for (index, word) in [x87.control, x87.status, full_tags(x87)].into_iter().enumerate() {
            image[index * size..][..2].copy_from_slice(&word.to_le_bytes());
        }
        if self == Layout::Wide {
            // Protected mode keeps 16 bits of the operand selector; real mode 16 bits each of two offsets.
            let real = matches!(core.cpu.mode, Mode::Real | Mode::Virtual8086);
            let halves: &[usize] = if real { &[0, 1, 2, 3, 5] } else { &[0, 1, 2, 6] };
            for field in halves {
                image[field * 4 + 2..][..2].fill(0xff);
            }
        }
        image
    }

    /// Takes control, status and tag words from an environment.
    fn apply(self, image: &[u8], x87: &mut X87) {
        let word = |index: usize| {
            let at = index * self.field_bytes();
            u16::from_le_bytes([image[at], image[at + 1]])
        };
        x87.status = word(1);
        x87.load_control(word(0));
        let tags = word(2);
        x87.valid = (0..8)
            .filter(|register| tags >> (2 * register) & 3 != 3)
            .fold(0, |valid, register| valid | 1 << register);
    }
}

/// The full tag word: two bits for each physical register, from its contents.
fn full_tags(x87: &X87) -> u16 {
    (0..8).fold(0, |tags, register| {
        let tag = if x87.valid & 1 << register == 0 { 3 } else { tag(x87.registers[register]) };
        tags | tag << (2 * register)
    })
}

/// The tag of a register that is not empty: 0 valid, 1 zero, 2 special.
fn tag(value: F80) -> u16 {
    let (field, significand) = (value >> 64 & 0x7fff, value as u64);
    match field {
        0 if significand == 0 => 1,
        0 | 0x7fff => 2,
        _ if significand >> 63 == 0 => 2,
        _ => 0,
    }
}

fn store_environment(core: &mut Core<'_>, instruction: &Instruction, layout: Layout) -> Exec {
    let area = layout.locate(core, instruction, 0, Intent::Write)?;
    let image = layout.image(core);
    area.write(core, &image[..layout.environment_bytes()]);
    // Handlers save the environment and then compute, so all exceptions are masked.
    let fpu = &mut core.cpu.x87;
    fpu.load_control(fpu.control | status::EXCEPTIONS);
    Ok(())
}

fn load_environment(core: &mut Core<'_>, instruction: &Instruction, layout: Layout) -> Exec {
    let area = layout.locate(core, instruction, 0, Intent::Read)?;
    let mut image = [0; ENVIRONMENT_BYTES];
    area.read(core, &mut image[..layout.environment_bytes()]);
    layout.apply(&image, &mut core.cpu.x87);
    Ok(())
}

fn save(core: &mut Core<'_>, instruction: &Instruction, layout: Layout) -> Exec {
    let area = layout.locate(core, instruction, REGISTERS_BYTES, Intent::Write)?;
    let start = layout.environment_bytes();
    let mut image = [0; ENVIRONMENT_BYTES + REGISTERS_BYTES];
    image[..ENVIRONMENT_BYTES].copy_from_slice(&layout.image(core));
    for (index, slot) in image[start..].chunks_exact_mut(10).take(8).enumerate() {
        slot.copy_from_slice(&core.cpu.x87.st(index).to_le_bytes()[..10]);
    }
    area.write(core, &image[..start + REGISTERS_BYTES]);
    core.cpu.x87.initialise();
    Ok(())
}

fn restore(core: &mut Core<'_>, instruction: &Instruction, layout: Layout) -> Exec {
    let area = layout.locate(core, instruction, REGISTERS_BYTES, Intent::Read)?;
    let start = layout.environment_bytes();
    let mut image = [0; ENVIRONMENT_BYTES + REGISTERS_BYTES];
    area.read(core, &mut image[..start + REGISTERS_BYTES]);
    let x87 = &mut core.cpu.x87;
    layout.apply(&image, x87);
    for (index, slot) in image[start..].chunks_exact(10).take(8).enumerate() {
        let register = x87.physical(index);
        x87.registers[register] = extended(slot.try_into().expect("ten bytes")) & ALL;
    }
    Ok(())
}
