//! The interpreter: blocks of lowered operations, found and executed in a loop.
//!
//! Differs from the reference engine in speed only. What it does not do itself it gives to the specification
//! one instruction at a time: single-stepping, breakpoints and interrupt shadows; instructions without a
//! handler; accesses to anything but plain RAM.

mod alu;
mod block;
mod bulk;
mod control;
mod data;
pub mod lazy;
mod lower;
pub mod memory;
mod op;
mod sse;

use super::Engine;
use super::reference;
use crate::cpu::core::Core;
use crate::cpu::exception::Exec;
use crate::cpu::mmu::{Intent, translate};
use crate::cpu::state::{CS, Mode, Vcpu};
use crate::cpu::system;
use crate::system::System;
use crate::tlb::Kind;
pub use block::MAX_OPS;
use block::{Block, BlockCache, ModeKey};
use op::{Flow, Op, Out};

/// The caching interpreter.
#[derive(Default)]
pub struct Interp {
    cache: BlockCache,
}

impl std::fmt::Debug for Interp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interp").field("blocks_built", &self.cache.built).finish()
    }
}

impl Engine for Interp {
    fn run(&mut self, cpu: &mut Vcpu, sys: &mut System, budget: u64) {
        let end = sys.icount + budget;
        while sys.icount < end && !sys.leave.any() {
            self.drop_stale(sys);
            if system::needs_reference(cpu) {
                reference::step(&mut Core { cpu, sys });
                continue;
            }
            self.run_blocks(cpu, sys, end);
            sys.scratch.settle(cpu);
        }
        self.drop_stale(sys);
    }

    fn forget_code_at(&mut self, addresses: &[u64]) {
        self.cache.drop_around(addresses);
    }

    fn forget(&mut self) {
        self.cache.clear();
    }

    fn keep_at_most(&mut self, operations: usize) {
        self.cache.keep_at_most(operations);
    }
}

impl Interp {
    /// Drops code that was overwritten.
    fn drop_stale(&mut self, sys: &mut System) {
        while let Some(offset) = sys.stale_code.pop() {
            self.cache.drop_page(offset);
        }
    }

    /// Executes blocks until the budget ends at `end`, something asks to leave, or code went stale.
    fn run_blocks(&mut self, cpu: &mut Vcpu, sys: &mut System, end: u64) {
        loop {
            let Some(block) = self.next_block(cpu, sys) else { return };
            sys.scratch.block_rip = block.rip;
            let mut straight = self.run_block(&block, cpu, sys, end);
            // A block that branches to its own start needs no finding again: nothing that handlers do can
            // change where its bytes lie.
            while straight && cpu.rip == block.rip && sys.icount < end && !sys.stops.breaks_before(cpu.rip) {
                straight = self.run_block(&block, cpu, sys, end);
            }
            if sys.icount >= end || !straight && (must_look(sys) || system::needs_reference(cpu)) {
                return;
            }
        }
    }

    /// Executes a block from its start, up to its end, a branch or the count `end`. Says whether nothing
    /// happened but what its handlers did.
    #[inline(always)]
    fn run_block(&self, block: &Block, cpu: &mut Vcpu, sys: &mut System, end: u64) -> bool {
        let start = sys.icount;
        let ops = self.cache.ops(block);
        let ops = &ops[..(end - start).min(ops.len() as u64) as usize];
        let mut first = 0;
        loop {
            let (op, rest) = ops[first..].split_first().expect("a block is not empty");
            let Flow { reason, index } = (op.run)(cpu, sys, op, rest);
            let done = usize::from(index);
            sys.icount = start + done as u64;
            match reason {
                Out::Branch => {
                    sys.icount += 1;
                    return true;
                }
                Out::End => {
                    sys.icount += 1;
                    cpu.rip = ops[done].address(block.rip).wrapping_add(u64::from(ops[done].length));
                    return true;
                }
                Out::Miss => match memory::fill(cpu, sys) {
                    Ok(_) if !must_look(sys) => first = done,
                    Ok(_) => {
                        cpu.rip = ops[done].address(block.rip);
                        return false;
                    }
                    Err(reason) => return self.stop_in_block(block, &ops[done], reason, cpu, sys, end),
                },
                Out::Fault | Out::Slow => {
                    return self.stop_in_block(block, &ops[done], reason, cpu, sys, end);
                }
            }
        }
    }

    /// Gives an operation to the specification, or delivers the exception that it raised: never straight on.
    #[inline(never)]
    fn stop_in_block(
        &self,
        block: &Block,
        op: &Op,
        reason: Out,
        cpu: &mut Vcpu,
        sys: &mut System,
        end: u64,
    ) -> bool {
        cpu.rip = op.address(block.rip);
        if reason == Out::Slow {
            step_slow(cpu, sys, self.cache.instruction(block, usize::from(op.index)), end);
        } else {
            deliver_raised(cpu, sys);
        }
        false
    }

    /// Finds or builds the block at RIP; `None` when fetching from there raised an exception, which then has
    /// been delivered, or when the instruction had to be executed another way.
    fn next_block(&mut self, cpu: &mut Vcpu, sys: &mut System) -> Option<Block> {
        let mode = ModeKey {
            code_bits: cpu.code_bits,
            cs_limit: if cpu.mode == Mode::Long64 { 0 } else { cpu.segments[CS].limit },
        };
        let rip = cpu.rip;
        if sys.reaches_stop(rip) {
            return None;
        }
        let laddr = if cpu.mode == Mode::Long64 {
            rip
        } else {
            match (Core { cpu, sys }).fetch_linear(rip) {
                Ok(laddr) => laddr,
                Err(exception) => {
                    sys.scratch.raised = Some(exception);
                    deliver_raised(cpu, sys);
                    return None;
                }
            }
        };
        let found = sys.tlbs.current.lookup(Kind::Fetch, cpu.cpl == 3, laddr, 1);
        let offset = match found {
            Some(offset) => offset,
            None => self.translate_fetch(cpu, sys, laddr)?,
        };
        match self.cache.find(rip, offset, mode) {
            Some(block) => Some(block),
            None => self.build(cpu, sys, offset, mode),
        }
    }

    #[cold]
    fn translate_fetch(&mut self, cpu: &mut Vcpu, sys: &mut System, laddr: u64) -> Option<usize> {
        let user = cpu.cpl == 3;
        let found: Exec<_> = if cpu.mode == Mode::Long64 && !Vcpu::is_canonical(laddr) {
            Err(crate::cpu::exception::Exception::gp(0))
        } else {
            translate(cpu, sys, laddr, Intent::Fetch, user)
        };
        match found {
            Err(exception) => {
                sys.scratch.raised = Some(exception);
                deliver_raised(cpu, sys);
                None
            }
            Ok(found) => match sys.mem.offset(found.paddr) {
                Some(offset) => {
                    sys.tlbs.current.insert(Kind::Fetch, user, laddr, offset, found.global);
                    Some(offset)
                }
                None => {
                    // Code in a device: never cached.
                    step_reference(cpu, sys);
                    None
                }
            },
        }
    }

    #[cold]
    fn build(&mut self, cpu: &mut Vcpu, sys: &mut System, offset: usize, mode: ModeKey) -> Option<Block> {
        if self.cache.is_full() {
            self.cache.clear();
        }
        let lowered = lower::lower_block(cpu, sys, offset, mode);
        if lowered.ops.is_empty() {
            // The first instruction crosses the page or does not decode: executed anew each time.
            step_reference(cpu, sys);
            return None;
        }
        sys.mark_code(offset, lowered.length_bytes);
        Some(self.cache.insert(lowered, cpu.rip, offset, mode))
    }
}

/// Whether the schedule, or code that was overwritten, wants attention.
#[inline]
fn must_look(sys: &System) -> bool {
    sys.leave.any() || !sys.stale_code.is_empty()
}

/// One instruction by the reference engine, with flags where it expects them.
fn step_reference(cpu: &mut Vcpu, sys: &mut System) {
    sys.scratch.settle(cpu);
    reference::step(&mut Core { cpu, sys });
}

/// Executes one decoded instruction by the specification, many iterations of a REP at once.
fn step_slow(cpu: &mut Vcpu, sys: &mut System, instruction: &iced_x86::Instruction, end: u64) {
    sys.scratch.settle(cpu);
    if bulk::repeat(cpu, sys, instruction, end) {
        return;
    }
    reference::step_decoded(&mut Core { cpu, sys }, instruction);
}

/// Delivers the exception a handler raised.
fn deliver_raised(cpu: &mut Vcpu, sys: &mut System) {
    sys.scratch.settle(cpu);
    let exception = sys.scratch.raised.take().expect("a faulting handler notes its exception");
    system::deliver_exception(&mut Core { cpu, sys }, exception);
    sys.icount += 1;
    sys.heed_stops();
}
