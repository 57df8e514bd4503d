//! Engines: ways to execute the same processor.

pub mod interp;
pub mod reference;

use crate::cpu::exception::Exception;
use crate::cpu::state::Vcpu;
use crate::system::System;
use interp::lazy::Lazy;
use interp::memory::Miss;

/// How much is remembered while executing. It decides how fast the machine is, and never what the guest sees; small
/// limits are for tests that show so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Decoded operations that the interpreter keeps.
    pub operations: usize,
    /// Translations that each vCPU keeps.
    pub translations: usize,
}

impl CacheLimits {
    /// With less some instruction could not be executed at all: a block has to fit, and all pages that an instruction
    /// touches.
    pub const LEAST: CacheLimits = CacheLimits { operations: interp::MAX_OPS, translations: 16 };
}

/// A way to execute instructions. All engines give the same machine, bit for bit; `reference` is the
/// specification.
pub trait Engine: Send + std::fmt::Debug {
    /// Executes `cpu` for at most `budget` counts, and returns earlier only when `sys.leave` says why.
    /// `sys.icount` is exact on return. Exceptions are delivered inside, each delivery counting 1.
    fn run(&mut self, cpu: &mut Vcpu, sys: &mut System, budget: u64);

    /// Drops code decoded across any of these linear addresses: a breakpoint came or went there.
    fn forget_code_at(&mut self, addresses: &[u64]);

    /// Drops everything derived from guest state: it was replaced as a whole.
    fn forget(&mut self);

    /// Keeps at most so many decoded operations from now on, at least those of a block.
    fn keep_at_most(&mut self, operations: usize);
}

/// Which engine executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// The specification, instruction by instruction.
    Reference,
    /// The caching interpreter.
    #[default]
    Interp,
    /// The interpreter beside the reference, compared every so many counts.
    Lockstep {
        /// 1 finds the very instruction.
        slice_counts: u64,
    },
}

/// Builds an engine.
#[must_use]
pub fn build(kind: EngineKind) -> Box<dyn Engine> {
    match kind {
        EngineKind::Reference => Box::new(reference::Reference),
        EngineKind::Interp | EngineKind::Lockstep { .. } => Box::<interp::Interp>::default(),
    }
}

/// What an engine keeps while it executes, beside the architectural state. Empty between calls of
/// [`Engine::run`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Scratch {
    /// Status flags not yet in RFLAGS.
    pub lazy: Lazy,
    /// The exception that the handler just executed raised.
    pub raised: Option<Exception>,
    /// The translation that the handler just executed did not find.
    pub miss: Miss,
    /// Address of the block being executed.
    pub block_rip: u64,
}

impl Scratch {
    /// Brings RFLAGS up to date.
    #[inline]
    pub fn settle(&mut self, cpu: &mut Vcpu) {
        self.lazy.materialise(cpu);
    }
}
