//! Who called whom: the return addresses on a vCPU's stack.
//!
//! Follows frame pointers as long as they are plausible (a chain that climbs the stack, return addresses behind
//! CALL instructions and inside functions). Where the chain breaks, as in a kernel built without frame pointers,
//! the rest of the stack is scanned for words that look like return addresses; those are marked uncertain, as
//! Linux marks them with `?`, since some are left over from calls that have returned. Where Linux's entry code has
//! saved the registers of what an exception or interrupt broke into (`struct pt_regs`), the trace goes on from
//! there. Left out: ORC and DWARF call frame information, 16-bit code.

use crate::symbols::{Function, SourceLine, Symbols};
use machine::Machine;
use machine::cpu::state::{CS, RBP, RSP, SS, Vcpu};
use std::fmt;

/// One function that is being executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The linear address: of the next instruction in the first frame, else where the call returns to.
    pub rip: u64,
    /// The function, if a symbol names it.
    pub function: Option<Function>,
    /// Source lines, the innermost inlined function first; empty without DWARF.
    pub lines: Vec<SourceLine>,
    /// False for a word found by scanning the stack, which may be a left-over.
    pub certain: bool,
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
        if !self.certain {
            write!(f, "? ")?;
        }
        match &self.function {
            Some(function) => write!(f, "{function}")?,
            None => write!(f, "{:#018x}", self.rip)?,
        }
        own.map_or(Ok(()), |line| write!(f, " ({line})"))
    }
}

/// Most frames that are given.
pub const FRAMES_MAX: usize = 64;
/// How much of a stack is scanned: the size of Linux's stacks on x86-64.
const SCAN_BYTES: u64 = 16 << 10;
/// How far the next frame can be from this one: large frames, or another stack nearby.
const FRAME_BYTES_MAX: u64 = 64 << 10;

/// The calls that are active on `vcpu`, the innermost first. Empty if there is no such vCPU.
#[must_use]
pub fn backtrace(machine: &Machine, vcpu: usize, symbols: &Symbols<'_>) -> Vec<Frame> {
    let Some(cpu) = machine.cpus().get(vcpu) else { return Vec::new() };
    let read = |vaddr: u64, into: &mut [u8]| machine.peek_virtual(vcpu, vaddr, into).is_ok();
    walk(&Registers::of(cpu), &read, symbols)
}

/// What a walk starts from; addresses are linear.
struct Registers {
    rip: u64,
    rsp: u64,
    rbp: u64,
    /// Bytes in a word of the stack: 8 or 4.
    word_bytes: u64,
    is_user: bool,
    is_16_bit: bool,
}

impl Registers {
    fn of(cpu: &Vcpu) -> Registers {
        let stack = cpu.segments[SS].base;
        let is_64_bit = cpu.code_bits == 64;
        let linear = |base: u64, offset: u64| match is_64_bit {
            true => offset,
            false => base.wrapping_add(offset) & 0xffff_ffff,
        };
        Registers {
            rip: linear(cpu.segments[CS].base, cpu.rip),
            rsp: linear(stack, cpu.gpr[RSP]),
            rbp: linear(stack, cpu.gpr[RBP]),
            word_bytes: if is_64_bit { 8 } else { 4 },
            is_user: cpu.cpl == 3,
            is_16_bit: cpu.code_bits == 16,
        }
    }
}

/// Where an exception or interrupt came from.
struct Saved {
    rip: u64,
    rsp: u64,
    is_user: bool,
}

type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

fn walk(registers: &Registers, read: Read<'_>, symbols: &Symbols<'_>) -> Vec<Frame> {
    let mut walk = Walk {
        read,
        symbols,
        word_bytes: registers.word_bytes,
        needs_symbol: !registers.is_user && !symbols.is_empty(),
        frames: Vec::new(),
    };
    walk.innermost(registers.rip);
    if registers.is_16_bit {
        return walk.frames;
    }
    let stack = walk.step_out_of_prologue(registers);
    let end = walk.follow_frame_pointers(stack, registers.rbp);
    if let Some(broken_at) = end
        && !registers.is_user
    {
        let last = broken_at | (SCAN_BYTES - 1);
        walk.scan(broken_at, last.wrapping_add(1));
    }
    walk.frames.truncate(FRAMES_MAX);
    walk.frames
}

struct Walk<'a, 'data> {
    read: Read<'a>,
    symbols: &'a Symbols<'data>,
    word_bytes: u64,
    needs_symbol: bool,
    frames: Vec<Frame>,
}

impl Walk<'_, '_> {
    fn word(&self, vaddr: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read)(vaddr, &mut bytes[..self.word_bytes as usize]).then_some(u64::from_le_bytes(bytes))
    }

    fn innermost(&mut self, rip: u64) {
        let (function, lines) = (self.symbols.function_at(rip), self.symbols.lines_at(rip));
        self.frames.push(Frame { rip, function, lines, certain: true });
    }

    /// A call that returns to `rip`. Names are looked up one byte before: a call that never returns can be
    /// the last instruction of its function.
    fn caller(&mut self, rip: u64, certain: bool) {
        let call = rip.wrapping_sub(1);
        let function = self.symbols.function_at(call);
        let function = function.map(|function| Function { offset: function.offset + 1, ..function });
        self.frames.push(Frame { rip, function, lines: self.symbols.lines_at(call), certain });
    }

    fn is_return_address(&self, vaddr: u64) -> bool {
        let is_named = !self.needs_symbol || self.symbols.is_code(vaddr.wrapping_sub(1));
        is_named && self.follows_call(vaddr)
    }

    fn follows_call(&self, vaddr: u64) -> bool {
        // Fewer bytes are enough behind a page that is not mapped.
        (2..=7).rev().any(|length| {
            let mut bytes = [0; 7];
            let bytes = &mut bytes[..length];
            (self.read)(vaddr.wrapping_sub(length as u64), bytes) && ends_with_call(bytes)
        })
    }

    /// A function that has not set up its frame yet, or has dropped it, has its return address at the top of
    /// the stack: gives that caller. So does a jump to where no function is, through a bad pointer. Returns
    /// where the stack goes on.
    fn step_out_of_prologue(&mut self, registers: &Registers) -> u64 {
        let Some(slot) = self.return_slot(registers) else { return registers.rsp };
        match self.word(slot) {
            Some(caller) if self.is_return_address(caller) => {
                self.caller(caller, true);
                slot.wrapping_add(self.word_bytes)
            }
            _ => registers.rsp,
        }
    }

    /// Where the return address lies if the function has no frame at RIP.
    fn return_slot(&self, registers: &Registers) -> Option<u64> {
        const PUSH_RBP: u8 = 0x55;
        const RET: [u8; 2] = [0xc3, 0xc2];
        let mut next = [0];
        if !(self.read)(registers.rip, &mut next) || RET.contains(&next[0]) {
            return Some(registers.rsp);
        }
        let Some(function) = self.symbols.function_at(registers.rip) else {
            return self.needs_symbol.then_some(registers.rsp);
        };
        if function.offset == 0 {
            return Some(registers.rsp);
        }
        if function.offset > 5 {
            return None;
        }
        let mut done = [0; 5];
        let done = &mut done[..function.offset as usize];
        if !(self.read)(registers.rip - function.offset, done) {
            return None;
        }
        // ENDBR64 or ENDBR32 can stand before the push.
        let done = match done {
            [0xf3, 0x0f, 0x1e, 0xfa | 0xfb, rest @ ..] => rest,
            all => all,
        };
        match done {
            [] => Some(registers.rsp),
            [PUSH_RBP] => Some(registers.rsp.wrapping_add(self.word_bytes)),
            _ => None,
        }
    }

    /// Follows the chain from `frame_pointer`. `None` when it came to its end, else where on the stack the rest
    /// must be looked for.
    fn follow_frame_pointers(&mut self, stack: u64, frame_pointer: u64) -> Option<u64> {
        let (mut stack, mut frame_pointer) = (stack, frame_pointer);
        let mut links = 0;
        while self.frames.len() < FRAMES_MAX {
            // Zero ends a chain; before the first link it may as well be a general register's value.
            if frame_pointer == 0 && links > 0 {
                return None;
            }
            let distance = frame_pointer.wrapping_sub(stack);
            if frame_pointer % self.word_bytes != 0 || distance > FRAME_BYTES_MAX {
                return Some(stack);
            }
            let Some(next) = self.word(frame_pointer) else { return Some(stack) };
            let Some(caller) = self.word(frame_pointer.wrapping_add(self.word_bytes)) else {
                return Some(stack);
            };
            if next == 0 && caller == 0 {
                return None;
            }
            if !self.is_return_address(caller) {
                return Some(stack);
            }
            if !self.sets_up_frame() {
                // The frame is an outer function's: what was called in between left its trace below it.
                self.scan(stack, frame_pointer);
            }
            self.caller(caller, true);
            stack = frame_pointer.wrapping_add(2 * self.word_bytes);
            frame_pointer = next;
            links += 1;
        }
        None
    }

    /// Whether the last function found has a frame of its own: in a kernel without frame pointers only a few
    /// functions do. Without a symbol it is taken to have one.
    fn sets_up_frame(&self) -> bool {
        const PUSH_AND_MOVE: [&[u8]; 2] = [&[0x55, 0x48, 0x89, 0xe5], &[0x55, 0x89, 0xe5]];
        let Some(last) = self.frames.last() else { return true };
        let Some(function) = &last.function else { return true };
        // Stack alignment and tracing hooks come before the frame.
        let mut bytes = [0; 40];
        let length = function.length_bytes.min(bytes.len() as u64) as usize;
        let bytes = &mut bytes[..length];
        let is_read = (self.read)(last.rip.wrapping_sub(function.offset), bytes);
        let pair = PUSH_AND_MOVE[usize::from(self.word_bytes == 4)];
        !is_read || bytes.windows(pair.len()).any(|window| window == pair)
    }

    /// Gives everything from `stack` to `end` that looks like a return address, but ends at a page that is not
    /// mapped.
    fn scan(&mut self, stack: u64, end: u64) {
        let mut end = end;
        let mut at = stack & !(self.word_bytes - 1);
        while at != end && self.frames.len() < FRAMES_MAX {
            let Some(word) = self.word(at) else { break };
            at = at.wrapping_add(self.word_bytes);
            if self.is_return_address(word) {
                self.caller(word, false);
                match self.saved_registers(at) {
                    Some(saved) if saved.is_user => break,
                    Some(saved) => {
                        self.innermost(saved.rip);
                        at = saved.rsp & !(self.word_bytes - 1);
                        end = (at | (SCAN_BYTES - 1)).wrapping_add(1);
                    }
                    None => {}
                }
            }
        }
    }

    /// The registers that 64-bit Linux has saved at `vaddr`, if the last function found is an entry of an exception or
    /// interrupt, which has them right behind the return address of its handler (arch/x86/entry/entry_64.S).
    fn saved_registers(&self, vaddr: u64) -> Option<Saved> {
        const ENTRIES: [&str; 3] = ["asm_exc_", "asm_sysvec_", "asm_common_interrupt"];
        // Offsets in `struct pt_regs` (arch/x86/include/asm/ptrace.h), an ABI.
        const RIP: u64 = 128;
        const CODE: u64 = 136;
        const STACK: u64 = 152;
        let function = self.frames.last()?.function.as_ref()?;
        if self.word_bytes != 8 || !ENTRIES.iter().any(|entry| function.name.starts_with(entry)) {
            return None;
        }
        let saved = |offset: u64| self.word(vaddr.wrapping_add(offset));
        let (rip, code) = (saved(RIP)?, saved(CODE)? & 0xffff);
        let is_user = code & 3 == 3;
        // Anything else is left over from a call that has returned.
        let is_sound = code != 0 && (is_user || self.symbols.is_code(rip));
        is_sound.then_some(Saved { rip, rsp: saved(STACK)?, is_user })
    }
}

/// Whether the last bytes before a return address can be a near CALL: E8 with a 32-bit displacement, or FF /2
/// in any of its forms. Prefixes before the opcode do not matter.
fn ends_with_call(bytes: &[u8]) -> bool {
    let length = bytes.len();
    if length == 5 && bytes[0] == 0xe8 {
        return true;
    }
    let [0xff, modrm, rest @ ..] = bytes else { return false };
    let (mode, operation, rm) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    let has_sib = mode != 3 && rm == 4;
    let displacement_bytes = match mode {
        0 if rm == 5 || (has_sib && rest.first().is_some_and(|sib| sib & 7 == 5)) => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    operation == 2 && length == 2 + usize::from(has_sib) + displacement_bytes
}

#[cfg(test)]
mod tests;
