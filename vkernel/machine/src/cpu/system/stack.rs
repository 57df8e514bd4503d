//! Stacks of far transfers and event deliveries (SDM vol. 1 ch. 6): filled or emptied completely, or not at
//! all, before any register changes.
//!
//! An ordinary PUSH or POP is no business of this file. A [`Stack`] may be one that SS and RSP do not yet
//! name: that of an inner privilege level, or of an interrupt stack table.

use crate::cpu::core::{Core, Located};
use crate::cpu::exception::{Exception, Exec};
use crate::cpu::mmu::Intent;
use crate::cpu::operand::{sign_extend, truncate};
use crate::cpu::state::{Mode, RSP, SS, Segment, Vcpu};

/// More than the largest frame: 31 parameters and a far return address with a stack pointer.
const MAX_FRAME: usize = 40;

/// A stack and a position in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack {
    segment: Segment,
    /// The position, not yet written back to RSP.
    pub pointer: u64,
    /// Width of the stack pointer in bytes: 2, 4 or 8.
    bytes: usize,
    user: bool,
    /// What a limit violation raises: #SS with this selector.
    selector: u32,
}

impl Stack {
    /// The stack in use.
    pub fn current(core: &Core<'_>) -> Stack {
        let bytes = usize::from(core.cpu.stack_bytes());
        Stack {
            segment: core.cpu.segments[SS],
            pointer: truncate(core.cpu.gpr[RSP], bytes),
            bytes,
            user: core.is_user(),
            selector: 0,
        }
    }

    /// A stack to be switched to: in a segment just checked, used at privilege `cpl`.
    pub fn other(segment: Segment, pointer: u64, cpl: u8, selector: u16) -> Stack {
        let bytes = if segment.access & Segment::BIG != 0 { 4 } else { 2 };
        let pointer = truncate(pointer, bytes);
        Stack { segment, pointer, bytes, user: cpl == 3, selector: u32::from(selector & !3) }
    }

    /// A stack of 64-bit mode, which has no segment.
    pub fn flat(pointer: u64, cpl: u8) -> Stack {
        Stack { segment: Segment::default(), pointer, bytes: 8, user: cpl == 3, selector: 0 }
    }

    /// The linear address of `size` bytes at `pointer`, with the checks of the segment.
    fn linear(&self, pointer: u64, size: usize) -> Exec<u64> {
        let fault = Err(Exception::ss(self.selector));
        if self.bytes == 8 {
            let last = pointer.wrapping_add(size as u64 - 1);
            return if Vcpu::is_canonical(pointer) && Vcpu::is_canonical(last) { Ok(pointer) } else { fault };
        }
        let last = pointer + (size as u64 - 1);
        let limit = u64::from(self.segment.limit);
        let inside = if self.segment.is_expand_down() {
            let top = if self.segment.access & Segment::BIG != 0 { 0xffff_ffff } else { 0xffff };
            pointer > limit && last <= top
        } else {
            last <= limit
        };
        if !inside || self.segment.is_unusable() {
            return fault;
        }
        Ok(self.segment.base.wrapping_add(pointer) & 0xffff_ffff)
    }

    fn moved(&self, by: u64) -> u64 {
        truncate(self.pointer.wrapping_add(by), self.bytes)
    }

    /// Pushes `values` one after the other, each of `size` bytes. Nothing is stored unless all can be.
    pub fn push_all(&mut self, core: &mut Core<'_>, values: &[u64], size: usize) -> Exec {
        let mut places: [Option<Located>; MAX_FRAME] = [None; MAX_FRAME];
        let mut moved = *self;
        for place in &mut places[..values.len()] {
            moved.pointer = moved.moved((size as u64).wrapping_neg());
            let laddr = moved.linear(moved.pointer, size)?;
            *place = Some(core.locate_linear(laddr, size, Intent::Write, self.user)?);
        }
        for (place, value) in places.iter().zip(values) {
            core.store_located_sized(place.expect("located above"), *value);
        }
        *self = moved;
        Ok(())
    }

    /// Pops one value of `size` bytes.
    pub fn pop(&mut self, core: &mut Core<'_>, size: usize) -> Exec<u64> {
        let laddr = self.linear(self.pointer, size)?;
        let at = core.locate_linear(laddr, size, Intent::Read, self.user)?;
        self.pointer = self.moved(size as u64);
        Ok(core.load_located_sized(at))
    }

    /// Skips `count` bytes.
    pub fn skip(&mut self, count: u64) {
        self.pointer = self.moved(count);
    }

    /// Writes the position back to RSP, as wide as this stack's pointer.
    pub fn commit(&self, core: &mut Core<'_>) {
        set_stack_pointer(core.cpu, self.pointer, self.bytes);
    }
}

/// Replaces SP, ESP or RSP.
pub(super) fn set_stack_pointer(cpu: &mut Vcpu, value: u64, bytes: usize) {
    let rsp = &mut cpu.gpr[RSP];
    *rsp = match bytes {
        2 => *rsp & !0xffff | value & 0xffff,
        4 => value & 0xffff_ffff,
        _ => value,
    };
}

/// Pushes one value on the stack in use.
pub(super) fn push_one(core: &mut Core<'_>, value: u64, size: usize) -> Exec {
    let mut stack = Stack::current(core);
    stack.push_all(core, &[value], size)?;
    stack.commit(core);
    Ok(())
}

/// Whether the processor is in 64-bit mode, where segments do not matter.
pub(super) fn is_flat(cpu: &Vcpu) -> bool {
    cpu.mode == Mode::Long64
}

/// An instruction pointer of `size` bytes as the branch in a code segment takes it.
pub(super) fn branch_target(offset: u64, size: usize) -> u64 {
    if size == 8 { sign_extend(offset, 8) } else { truncate(offset, size) }
}
