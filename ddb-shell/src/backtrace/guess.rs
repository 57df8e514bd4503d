//! What a stack tells without any description of it: frame pointers, as long as they are plausible (a chain that climbs the
//! stack, return addresses behind CALL instructions and inside functions); where the chain breaks, as in a kernel built
//! without them, words that look like return addresses.

use super::{FRAMES_MAX, Found, Frame, Walk};
use crate::registers::Registers;
use machine::cpu::state::{RBP, RSP};

/// How much of a stack is scanned: the size of Linux's stacks on x86-64.
const SCAN_BYTES: u64 = 16 << 10;
/// How far the next frame can be from this one: large frames, or another stack nearby.
const FRAME_BYTES_MAX: u64 = 64 << 10;

/// How the walk along frame pointers ended.
enum End {
    /// The chain came to its end.
    Outermost,
    /// It breaks: the rest must be looked for from here on.
    Broken(u64),
    /// A scan came to registers that were saved.
    Saved(Box<Registers>),
}

impl Walk<'_, '_> {
    /// Finds callers of `last` by frame pointers and by looking. Ends where nothing more is found, or at registers that an
    /// entry of the kernel has saved, which are given.
    pub(super) fn guess(&mut self, last: &Frame) -> Option<Registers> {
        let rsp = last.registers.rsp()?;
        let stack = self.step_out_of_prologue(last, rsp);
        // Without RBP, only looking is left.
        let end = match self.frames.last().and_then(|last| last.registers.gpr[RBP]) {
            Some(rbp) => self.follow_frame_pointers(stack, rbp),
            None => End::Broken(stack),
        };
        match end {
            End::Saved(saved) => Some(*saved),
            End::Broken(broken_at) if !last.registers.is_user => {
                let end = broken_at | (SCAN_BYTES - 1);
                self.scan(broken_at, end.wrapping_add(1))
            }
            End::Broken(_) | End::Outermost => None,
        }
    }

    fn word_bytes(&self) -> u64 {
        self.frames.last().map_or(8, |last| last.registers.word_bytes)
    }

    fn word(&self, vaddr: u64) -> Option<u64> {
        self.memory.read_number(vaddr, self.word_bytes()).ok()
    }

    fn read(&self, vaddr: u64, into: &mut [u8]) -> bool {
        self.memory.read(vaddr, into).is_ok()
    }

    /// Whether code must have a symbol to be believed.
    fn needs_symbol(&self) -> bool {
        let is_user = self.frames.last().is_some_and(|last| last.registers.is_user);
        !is_user && !self.symbols.is_empty()
    }

    /// A call that returns to `rip`, with the stack as it is then.
    fn caller(&mut self, rip: u64, rsp: u64, rbp: Option<u64>, found: Found) {
        let Some(inner) = self.frames.last().map(|last| last.registers.clone()) else { return };
        let mut registers = Registers { gpr: [None; 16], rip, rflags: None, ..inner };
        registers.gpr[RSP] = Some(rsp);
        registers.gpr[RBP] = rbp;
        self.push(registers, found, false);
    }

    fn is_return_address(&self, vaddr: u64) -> bool {
        let is_named = !self.needs_symbol() || self.symbols.is_code(vaddr.wrapping_sub(1));
        is_named && self.follows_call(vaddr)
    }

    pub(super) fn follows_call(&self, vaddr: u64) -> bool {
        // Fewer bytes are enough behind a page that is not mapped.
        (2..=7).rev().any(|length| {
            let mut bytes = [0; 7];
            let bytes = &mut bytes[..length];
            self.read(vaddr.wrapping_sub(length as u64), bytes) && ends_with_call(bytes)
        })
    }

    /// A function that has not set up its frame yet, or has dropped it, has its return address at the top of
    /// the stack: gives that caller. So does a jump to where no function is, through a bad pointer. Returns
    /// where the stack goes on.
    fn step_out_of_prologue(&mut self, last: &Frame, rsp: u64) -> u64 {
        let Some(slot) = self.return_slot(last, rsp) else { return rsp };
        match self.word(slot) {
            Some(caller) if self.is_return_address(caller) => {
                let stack = slot.wrapping_add(self.word_bytes());
                self.caller(caller, stack, last.registers.gpr[RBP], Found::StackTop);
                stack
            }
            _ => rsp,
        }
    }

    /// Where the return address lies if the function has no frame at RIP.
    fn return_slot(&self, last: &Frame, rsp: u64) -> Option<u64> {
        const PUSH_RBP: u8 = 0x55;
        const RET: [u8; 2] = [0xc3, 0xc2];
        let mut next = [0];
        if !self.read(last.rip, &mut next) || RET.contains(&next[0]) {
            return Some(rsp);
        }
        let Some(function) = &last.function else {
            return self.needs_symbol().then_some(rsp);
        };
        if function.offset == 0 {
            return Some(rsp);
        }
        if function.offset > 5 {
            return None;
        }
        let mut done = [0; 5];
        let done = &mut done[..function.offset as usize];
        if !self.read(last.rip - function.offset, done) {
            return None;
        }
        // ENDBR64 or ENDBR32 can stand before the push.
        let done = match done {
            [0xf3, 0x0f, 0x1e, 0xfa | 0xfb, rest @ ..] => rest,
            all => all,
        };
        match done {
            [] => Some(rsp),
            [PUSH_RBP] => Some(rsp.wrapping_add(self.word_bytes())),
            _ => None,
        }
    }

    /// Follows the chain from `frame_pointer`.
    fn follow_frame_pointers(&mut self, stack: u64, frame_pointer: u64) -> End {
        let (mut stack, mut frame_pointer) = (stack, frame_pointer);
        // Zero ends a chain; before the first link it may as well be a general register's value.
        let mut is_chain = self.frames.iter().any(|frame| frame.found == Found::CallFrameInformation);
        let word_bytes = self.word_bytes();
        while self.frames.len() < FRAMES_MAX {
            if frame_pointer == 0 && is_chain {
                return End::Outermost;
            }
            let distance = frame_pointer.wrapping_sub(stack);
            if frame_pointer % word_bytes != 0 || distance > FRAME_BYTES_MAX {
                return End::Broken(stack);
            }
            let Some(next) = self.word(frame_pointer) else { return End::Broken(stack) };
            let Some(caller) = self.word(frame_pointer.wrapping_add(word_bytes)) else {
                return End::Broken(stack);
            };
            if next == 0 && caller == 0 {
                return End::Outermost;
            }
            if !self.is_return_address(caller) {
                return End::Broken(stack);
            }
            if !self.sets_up_frame() {
                // The frame is an outer function's: what was called in between left its trace below it.
                if let Some(saved) = self.scan(stack, frame_pointer) {
                    return End::Saved(Box::new(saved));
                }
            }
            stack = frame_pointer.wrapping_add(2 * word_bytes);
            self.caller(caller, stack, Some(next), Found::FramePointer);
            frame_pointer = next;
            is_chain = true;
        }
        End::Outermost
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
        let is_read = self.read(last.rip.wrapping_sub(function.offset), bytes);
        let pair = PUSH_AND_MOVE[usize::from(self.word_bytes() == 4)];
        !is_read || bytes.windows(pair.len()).any(|window| window == pair)
    }

    /// Gives everything from `stack` to `end` that looks like a return address, but ends at a page that is not
    /// mapped, and at saved registers, which it returns.
    fn scan(&mut self, stack: u64, end: u64) -> Option<Registers> {
        let word_bytes = self.word_bytes();
        let mut at = stack & !(word_bytes - 1);
        while at != end && self.frames.len() < FRAMES_MAX {
            let word = self.word(at)?;
            at = at.wrapping_add(word_bytes);
            if !self.is_return_address(word) {
                continue;
            }
            self.caller(word, at, None, Found::Scan);
            let saved = self.frames.last().and_then(|last| self.saved_registers(last, at));
            if saved.is_some() {
                return saved;
            }
        }
        None
    }
}

/// Whether the last bytes before a return address can be a near CALL: E8 with a 32-bit displacement, or FF /2
/// in any of its forms. Prefixes before the opcode do not matter.
pub(super) fn ends_with_call(bytes: &[u8]) -> bool {
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
