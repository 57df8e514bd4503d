//! Steps in terms of functions and source lines, forwards and backwards.
//!
//! A call, or an interrupt that comes in between, is passed by running to where it comes back to the same stack
//! pointer; another vCPU or another task that passes there has another. Forwards this is what gdb does; backwards a
//! function is left by going to where it was entered.

use super::{DebugError, Debugger, Why, why};
use crate::symbols::SourceLine;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use machine::cpu::state::{CS, RSP, SS, Vcpu};
use machine::{Machine, StopReason, StopSet};
use replay::{Arrival, Query};

/// The longest instruction.
const INSTRUCTION_BYTES_MAX: usize = 15;
/// How far up the stack the frame of one function can reach: Linux's stacks are of 16 KiB.
const STACK_BYTES: u64 = 16 << 10;

/// The linear address of the next instruction.
#[must_use]
pub fn linear_rip(cpu: &Vcpu) -> u64 {
    if cpu.code_bits == 64 { cpu.rip } else { cpu.segments[CS].base.wrapping_add(cpu.rip) & 0xffff_ffff }
}

/// The linear address of the top of the stack.
#[must_use]
pub fn linear_rsp(cpu: &Vcpu) -> u64 {
    let rsp = cpu.gpr[RSP];
    if cpu.code_bits == 64 { rsp } else { cpu.segments[SS].base.wrapping_add(rsp) & 0xffff_ffff }
}

/// The next instruction of a vCPU.
#[must_use]
pub fn next_instruction(machine: &Machine, vcpu: usize) -> Option<Instruction> {
    let cpu = &machine.cpus()[vcpu];
    let mut bytes = [0; INSTRUCTION_BYTES_MAX];
    let rip = linear_rip(cpu);
    // Fewer bytes may be enough before a page that is not mapped; what cannot be read stays zero.
    let _ = machine.peek_virtual(vcpu, rip, &mut bytes);
    let instruction = Decoder::with_ip(u32::from(cpu.code_bits), &bytes, rip, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// What an instruction does to the nesting of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// It calls.
    Call,
    /// It returns.
    Return,
    /// Neither.
    Flat,
}

/// What an instruction does to the nesting of calls. System calls and interrupts count as calls.
#[must_use]
pub fn nesting(instruction: &Instruction) -> Nesting {
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::IndirectCall | FlowControl::Interrupt => Nesting::Call,
        FlowControl::Return => Nesting::Return,
        _ => Nesting::Flat,
    }
}

impl Debugger<'_> {
    /// Executes so many instructions of the vCPU; stops early where something else ends it.
    ///
    /// # Errors
    /// The target's.
    pub fn step(&mut self, count: u64) -> Result<Why, DebugError> {
        if count == 0 {
            return Ok(Why::Done);
        }
        let arrival = self.target.step(self.vcpu as u8, count)?;
        self.arrived();
        Ok(why(arrival))
    }

    /// The same, one by one: `every` instruction that comes next is shown.
    ///
    /// # Errors
    /// The target's.
    pub fn step_each(&mut self, count: u64, every: &mut dyn FnMut(&Debugger<'_>)) -> Result<Why, DebugError> {
        self.repeat(count, |debugger| {
            let stepped = why(debugger.target.step(debugger.vcpu as u8, 1)?);
            every(debugger);
            Ok(stepped)
        })
    }

    /// Makes one journey of so many steps; it ends early where something else ends one. Where they lead through is no place
    /// of the history.
    fn repeat(
        &mut self,
        count: u64,
        mut step: impl FnMut(&mut Self) -> Result<Why, DebugError>,
    ) -> Result<Why, DebugError> {
        let mut result = Ok(Why::Done);
        for _ in 0..count {
            result = step(self);
            if !matches!(result, Ok(Why::Done)) {
                break;
            }
        }
        self.arrived();
        result
    }

    /// Takes so many instructions of the vCPU back.
    ///
    /// # Errors
    /// The target's.
    pub fn step_back(&mut self, count: u64) -> Result<Why, DebugError> {
        if count == 0 {
            return Ok(Why::Done);
        }
        let arrival = self.target.past()?.step_back(self.vcpu as u8, count)?;
        self.arrived();
        Ok(why(arrival))
    }

    /// Steps to the next call or return, or `every` instruction is shown on the way.
    ///
    /// # Errors
    /// The target's.
    pub fn until_call_or_return(&mut self, every: &mut dyn FnMut(&Debugger<'_>)) -> Result<Why, DebugError> {
        self.repeat(1, |debugger| {
            loop {
                let why = debugger.pass_interrupts()?;
                every(debugger);
                let instruction = next_instruction(debugger.machine(), debugger.vcpu);
                if why != Why::Done || instruction.is_none_or(|next| nesting(&next) != Nesting::Flat) {
                    return Ok(why);
                }
            }
        })
    }

    /// Steps to the return that matches: of the function that the cursor is in. `every` instruction is shown with how
    /// deep it is.
    ///
    /// # Errors
    /// The target's.
    pub fn until_matching_return(
        &mut self,
        every: &mut dyn FnMut(&Debugger<'_>, usize),
    ) -> Result<Why, DebugError> {
        self.repeat(1, |debugger| debugger.find_matching_return(every))
    }

    fn find_matching_return(
        &mut self,
        every: &mut dyn FnMut(&Debugger<'_>, usize),
    ) -> Result<Why, DebugError> {
        let mut depth = 0usize;
        loop {
            let before = next_instruction(self.machine(), self.vcpu);
            let rsp = linear_rsp(&self.machine().cpus()[self.vcpu]);
            let why = self.pass_interrupts()?;
            if why != Why::Done {
                return Ok(why);
            }
            let cpu = &self.machine().cpus()[self.vcpu];
            match before.map(|before| (nesting(&before), before.next_ip())) {
                Some((Nesting::Call, _)) => depth += 1,
                Some((Nesting::Return, _)) => depth = depth.saturating_sub(1),
                // An exception has entered its handler, which returns as functions do.
                Some((Nesting::Flat, next)) if linear_rip(cpu) != next && linear_rsp(cpu) < rsp => depth += 1,
                _ => {}
            }
            every(self, depth);
            let next = next_instruction(self.machine(), self.vcpu).map(|next| nesting(&next));
            if depth == 0 && next == Some(Nesting::Return) {
                return Ok(Why::Done);
            }
        }
    }

    /// Runs until the function that the cursor is in has returned to its caller.
    ///
    /// # Errors
    /// There is no caller to be seen, or the target's.
    pub fn finish(&mut self) -> Result<Why, DebugError> {
        let why = self.finish_function()?;
        self.arrived();
        Ok(why)
    }

    fn finish_function(&mut self) -> Result<Why, DebugError> {
        let frames = crate::backtrace(self.machine(), self.vcpu, self.symbols());
        let caller =
            frames.get(1).filter(|frame| frame.is_certain()).map(|frame| frame.rip).ok_or_else(|| {
                DebugError::Nothing("the caller of this function is not to be seen on the stack".to_owned())
            })?;
        let rsp = linear_rsp(&self.machine().cpus()[self.vcpu]);
        self.run_to(&[caller], &|at| at > rsp && at - rsp < STACK_BYTES)
    }

    /// Runs until this vCPU is at one of these addresses with a stack pointer that is the one meant, or to a stop of the
    /// list. Another vCPU or task that passes there has another stack.
    pub(super) fn run_to(
        &mut self,
        vaddrs: &[u64],
        is_stack: &(dyn Fn(u64) -> bool + Sync),
    ) -> Result<Why, DebugError> {
        let mut set = self.stops.set();
        set.execute.extend_from_slice(vaddrs);
        let own = self.vcpu;
        let is_there = |machine: &Machine, vcpu: u8, reason: StopReason| {
            let cpu = &machine.cpus()[usize::from(vcpu)];
            reason == StopReason::Execute
                && usize::from(vcpu) == own
                && vaddrs.contains(&linear_rip(cpu))
                && is_stack(linear_rsp(cpu))
        };
        loop {
            let stops = &self.stops;
            let condition = |machine: &Machine, vcpu: u8, reason: StopReason| {
                is_there(machine, vcpu, reason) || stops.entry_of(machine, vcpu, reason).is_some()
            };
            let arrival = self.target.run(None, Query { stops: &set, condition: &condition, workers: 1 })?;
            let Arrival::Stopped { vcpu, reason } = arrival else { return Ok(why(arrival)) };
            if is_there(self.machine(), vcpu, reason) {
                return Ok(Why::Done);
            }
            let number = self.number_of(vcpu, reason);
            if self.stops.count(number) {
                self.vcpu = usize::from(vcpu);
                return Ok(Why::Entry { number, reason: Some(reason) });
            }
        }
    }

    /// Goes to the next source line of this function, or out of it, over calls, `count` times: gdb's `next`. Without source
    /// lines, to the next instruction.
    ///
    /// # Errors
    /// The target's.
    pub fn next_lines(&mut self, count: u64) -> Result<Why, DebugError> {
        self.repeat(count, Self::next_line)
    }

    fn next_line(&mut self) -> Result<Why, DebugError> {
        let line = self.line();
        loop {
            let why = self.step_over()?;
            let here = self.line();
            // A line that begins in its middle, after a return, is finished first.
            if why != Why::Done || line.is_none() || (here.is_some() && here != line) {
                return Ok(why);
            }
        }
    }

    /// Executes an instruction, and what it calls or what interrupts it.
    fn step_over(&mut self) -> Result<Why, DebugError> {
        let cpu = &self.machine().cpus()[self.vcpu];
        let (rip, rsp) = (linear_rip(cpu), linear_rsp(cpu));
        let instruction = next_instruction(self.machine(), self.vcpu);
        let behind = instruction.map_or(rip, |instruction| instruction.next_ip());
        let why = why(self.target.step(self.vcpu as u8, 1)?);
        let cpu = &self.machine().cpus()[self.vcpu];
        let (now, stack) = (linear_rip(cpu), linear_rsp(cpu));
        let is_call = instruction.is_some_and(|instruction| nesting(&instruction) == Nesting::Call);
        // A jump within the function, or a push, stays; what an interrupt entered is elsewhere and deeper.
        let is_elsewhere = now != behind && !self.is_one_function(rip, now) && stack < rsp;
        if why == Why::Done && (is_call && now != behind || is_elsewhere) {
            return self.run_to(&[rip, behind], &|at| at >= rsp && at - rsp < STACK_BYTES);
        }
        Ok(why)
    }

    fn is_one_function(&self, a: u64, b: u64) -> bool {
        let start = |vaddr: u64| self.symbols().function_at(vaddr).map(|function| vaddr - function.offset);
        start(a).is_some() && start(a) == start(b)
    }

    /// The source line of the next instruction.
    #[must_use]
    pub fn line(&self) -> Option<SourceLine> {
        let rip = linear_rip(&self.machine().cpus()[self.vcpu]);
        self.symbols().lines_at(rip).into_iter().next()
    }

    /// Goes back to the call of the function that the cursor is in.
    ///
    /// # Errors
    /// No symbol says where the function begins, or the target's.
    pub fn finish_back(&mut self) -> Result<Why, DebugError> {
        let why = self.leave_back()?;
        self.arrived();
        Ok(why)
    }

    fn leave_back(&mut self) -> Result<Why, DebugError> {
        let cpu = &self.machine().cpus()[self.vcpu];
        let (rip, rsp) = (linear_rip(cpu), linear_rsp(cpu));
        let function = self
            .symbols()
            .function_at(rip)
            .ok_or_else(|| DebugError::Nothing("no symbol says where this function begins".to_owned()))?;
        if function.offset > 0 {
            // Where it was entered the stack pointer was at its return address, above all that it has pushed.
            let entry = rip - function.offset;
            let set = StopSet { execute: vec![entry], ..StopSet::default() };
            let (own, workers) = (self.vcpu, self.workers);
            let condition = |machine: &Machine, vcpu: u8, _: StopReason| {
                let at = linear_rsp(&machine.cpus()[usize::from(vcpu)]);
                usize::from(vcpu) == own && at >= rsp && at - rsp < STACK_BYTES
            };
            let query = Query { stops: &set, condition: &condition, workers };
            let arrival = self.target.past()?.run_back(query)?;
            if !matches!(arrival, Arrival::Stopped { .. }) {
                return Ok(why(arrival));
            }
        }
        let vcpu = self.vcpu as u8;
        Ok(why(self.target.past()?.step_back(vcpu, 1)?))
    }

    /// Goes back to the beginning of the source line before this one, over calls, `count` times. Without source lines, to the
    /// instruction before.
    ///
    /// # Errors
    /// The target's.
    pub fn next_lines_back(&mut self, count: u64) -> Result<Why, DebugError> {
        self.repeat(count, Self::next_line_back)
    }

    fn next_line_back(&mut self) -> Result<Why, DebugError> {
        let line = self.line();
        let mut why = self.step_back_over()?;
        while why == Why::Done && line.is_some() && (self.line().is_none() || self.line() == line) {
            why = self.step_back_over()?;
        }
        // To the beginning of the line that it has come to.
        let line = self.line();
        while why == Why::Done && line.is_some() {
            let here = self.now();
            why = self.step_back_over()?;
            if self.line() != line {
                self.target.past()?.seek(here)?;
                break;
            }
        }
        Ok(why)
    }

    /// Takes an instruction back, and what it called or what had interrupted it.
    fn step_back_over(&mut self) -> Result<Why, DebugError> {
        let rsp = linear_rsp(&self.machine().cpus()[self.vcpu]);
        let vcpu = self.vcpu as u8;
        let why = why(self.target.past()?.step_back(vcpu, 1)?);
        let now = linear_rsp(&self.machine().cpus()[self.vcpu]);
        let returned = next_instruction(self.machine(), self.vcpu)
            .is_some_and(|instruction| nesting(&instruction) == Nesting::Return);
        // Behind a return lies the callee: it is left through its entrance.
        if why == Why::Done && returned && now < rsp {
            return self.leave_back();
        }
        Ok(why)
    }
}
