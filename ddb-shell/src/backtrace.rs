//! Who called whom: the frames on a vCPU's stack, each with what is known of its registers.
//!
//! A frame's caller is found by the best of what there is: ORC, the tables by which Linux unwinds itself, read from its memory;
//! the call frame information of an ELF file, which knows more registers; the registers that Linux's entry code has saved
//! (`struct pt_regs`) of what an exception or interrupt broke into; frame pointers; and at last a scan of the stack
//! ([`guess`]), whose finds are marked as uncertain. Programs under the kernel are followed by their frame pointers. Left out:
//! 16-bit code.

mod guess;

use crate::kernel::orc::Orc;
use crate::kernel::{find_module_symbols, pt_regs};
use crate::memory::{GuestMemory, VcpuMemory};
use crate::registers::Registers;
use crate::symbols::{Function, SourceLine, Symbols, Unwound};
use machine::Machine;
use std::fmt;

/// How a frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is the innermost: the registers say so.
    Innermost,
    /// By ORC.
    Orc,
    /// By the file's call frame information.
    CallFrameInformation,
    /// By registers that an entry of the kernel has saved.
    SavedRegisters,
    /// By a return address at the top of the stack of a function that has no frame yet, or no more.
    StackTop,
    /// By a frame pointer.
    FramePointer,
    /// By looking through the stack: it may be a left-over of a call that has returned.
    Scan,
}

/// One function that is being executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The linear address: of the next instruction in a frame that was broken into, else where the call returns to.
    pub rip: u64,
    /// The function, if a symbol names it.
    pub function: Option<Function>,
    /// Source lines, the innermost inlined function first; empty without DWARF.
    pub lines: Vec<SourceLine>,
    /// The registers, as far as they are known, as they will be when execution goes on at `rip`.
    pub registers: Registers,
    /// How it was found.
    pub found: Found,
    /// Whether `rip` is the next instruction, and not where a call returns to.
    pub is_interrupted: bool,
}

impl Frame {
    /// False for a word found by scanning the stack, which may be a left-over.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.found != Found::Scan
    }

    /// An address within the instruction that the frame executes, for looking up lines, scopes and rules: a call that never
    /// returns can be the last instruction of its function.
    #[must_use]
    pub fn place(&self) -> u64 {
        if self.is_interrupted { self.rip } else { self.rip.wrapping_sub(1) }
    }
}

/// Prints as a line of Linux's call trace: `? do_idle+0x1a/0x90 (kernel/sched/idle.c:123)`. Functions inlined
/// at that place come first, each on a line of its own.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (inlined, own) = match self.lines.split_last() {
            Some((own, inlined)) => (inlined, Some(own)),
            None => (&[][..], None),
        };
        for line in inlined {
            writeln!(f, "{} [inlined] ({line})", line.function.as_deref().unwrap_or("?"))?;
        }
        if !self.is_certain() {
            write!(f, "? ")?;
        }
        match &self.function {
            Some(function) => write!(f, "{function}")?,
            None => write!(f, "{:#018x}", self.rip)?,
        }
        if self.registers.is_user && self.function.is_none() {
            write!(f, " (a program)")?;
        }
        own.map_or(Ok(()), |line| write!(f, " ({line})"))
    }
}

/// Most frames that are given.
pub const FRAMES_MAX: usize = 64;

/// The calls that are active on `vcpu`, the innermost first. Empty if there is no such vCPU.
#[must_use]
pub fn backtrace(machine: &Machine, vcpu: usize, symbols: &Symbols<'_>) -> Vec<Frame> {
    let Some(cpu) = machine.cpus().get(vcpu) else { return Vec::new() };
    backtrace_from(&Registers::of(cpu), &VcpuMemory { machine, vcpu }, symbols)
}

/// The calls that are active at a place whose registers are known: of a task that sleeps, say.
#[must_use]
pub fn backtrace_from(registers: &Registers, memory: &dyn GuestMemory, symbols: &Symbols<'_>) -> Vec<Frame> {
    find_module_symbols(symbols, memory);
    let mut walk = Walk { memory, symbols, orc: Orc::find(symbols, memory), frames: Vec::new() };
    walk.push(registers.clone(), Found::Innermost, true);
    if registers.word_bytes >= 4 {
        while walk.frames.len() < FRAMES_MAX && walk.step() {}
    }
    walk.frames.truncate(FRAMES_MAX);
    walk.frames
}

struct Walk<'a, 'data> {
    memory: &'a dyn GuestMemory,
    symbols: &'a Symbols<'data>,
    orc: Option<Orc>,
    frames: Vec<Frame>,
}

impl Walk<'_, '_> {
    fn push(&mut self, registers: Registers, found: Found, is_interrupted: bool) {
        let rip = registers.rip;
        let place = if is_interrupted { rip } else { rip.wrapping_sub(1) };
        // The symbols are the kernel's, and a program's addresses may be the same as of something low in it.
        let (function, lines) = match registers.is_user && self.orc.is_some() {
            true => (None, Vec::new()),
            false => (self.symbols.function_at(place), self.symbols.lines_at(place)),
        };
        let offset = rip.wrapping_sub(place);
        let function = function.map(|function| Function { offset: function.offset + offset, ..function });
        self.frames.push(Frame { rip, function, lines, registers, found, is_interrupted });
    }

    /// Finds the caller of the last frame, or several at once. Whether it goes on from there.
    fn step(&mut self) -> bool {
        let Some(last) = self.frames.last().cloned() else { return false };
        if last.registers.is_user {
            self.guess(&last);
            return false;
        }
        match self.described_caller(&last) {
            (Unwound::Caller(caller), found, is_interrupted)
                if self.is_sound(&last, &caller, is_interrupted) =>
            {
                self.push(*caller, found, is_interrupted);
                return true;
            }
            (Unwound::Outermost, ..) => return false,
            _ => {}
        }
        let saved = last.registers.rsp().and_then(|rsp| self.saved_registers(&last, rsp));
        let saved = saved.or_else(|| self.guess(&last));
        match saved {
            Some(saved) => {
                self.push(saved, Found::SavedRegisters, true);
                true
            }
            None => false,
        }
    }

    /// The caller by ORC or by call frame information: by both, if they agree, for the first knows when the stack changes and
    /// the second where registers were saved.
    fn described_caller(&self, last: &Frame) -> (Unwound, Found, bool) {
        let of_file = self.symbols.unwind(last.place(), &last.registers, self.memory);
        // Generated code is not in the tables, though some entry lies before it.
        let Some(orc) = self.orc.as_ref().filter(|_| self.symbols.is_code(last.place())) else {
            return (of_file, Found::CallFrameInformation, false);
        };
        let module = self.symbols.module_at(last.place()).and_then(|module| module.orc());
        let (of_orc, is_interrupted) = orc.unwind(last.place(), module, &last.registers, self.memory);
        match (of_orc, of_file) {
            (Unwound::Caller(by_orc), Unwound::Caller(by_file))
                if (by_orc.rip, by_orc.rsp()) == (by_file.rip, by_file.rsp()) && !is_interrupted =>
            {
                (Unwound::Caller(by_file), Found::CallFrameInformation, false)
            }
            (Unwound::Unknown, of_file) => (of_file, Found::CallFrameInformation, false),
            (of_orc, _) => (of_orc, Found::Orc, is_interrupted),
        }
    }

    /// Whether what was found can be a caller: it is in code, behind a call unless it was interrupted, and it is somewhere
    /// else. The tables are the guest's, and some lead astray.
    fn is_sound(&self, last: &Frame, caller: &Registers, is_interrupted: bool) -> bool {
        let is_elsewhere = (caller.rip, caller.rsp()) != (last.rip, last.registers.rsp());
        let is_code = caller.is_user
            || self.symbols.is_empty()
            || self.symbols.is_code(caller.rip.wrapping_sub(1))
            || self.symbols.is_code(caller.rip);
        let is_behind_call =
            is_interrupted || caller.is_user || self.orc.is_none() || self.follows_call(caller.rip);
        // At its first instruction a function has its return address on the top of the stack.
        let is_entering =
            last.is_interrupted && last.function.as_ref().is_some_and(|function| function.offset == 0);
        let top = last.registers.rsp().map(|rsp| rsp.wrapping_add(last.registers.word_bytes));
        let is_on_top = !is_entering || is_interrupted || caller.rsp() == top;
        is_elsewhere && is_code && is_behind_call && is_on_top
    }

    /// The registers that 64-bit Linux has saved at `vaddr`, if `frame` is an entry of an exception, interrupt or system call,
    /// which has them right behind the return address of its handler (arch/x86/entry/entry_64.S).
    fn saved_registers(&self, frame: &Frame, vaddr: u64) -> Option<Registers> {
        const ENTRIES: [&str; 4] = ["asm_exc_", "asm_sysvec_", "asm_common_interrupt", "entry_SYSCALL_64"];
        let function = frame.function.as_ref()?;
        let is_entry = ENTRIES.iter().any(|entry| function.name.starts_with(entry));
        if frame.registers.word_bytes != 8 || frame.is_interrupted || !is_entry {
            return None;
        }
        let saved = pt_regs::read(vaddr, self.memory, &frame.registers)?;
        // Anything else is left over from a call that has returned.
        (saved.is_user || self.symbols.is_code(saved.rip)).then_some(saved)
    }
}

#[cfg(test)]
mod tests;
