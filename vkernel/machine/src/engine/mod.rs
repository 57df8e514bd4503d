//! Engines: ways to execute the same processor.

pub mod reference;

use crate::cpu::state::Vcpu;
use crate::system::System;

/// A way to execute instructions. All engines give the same machine, bit for bit; `reference` is the
/// specification.
pub trait Engine: Send + std::fmt::Debug {
    /// Executes `cpu` for at most `budget` counts, and returns earlier only when `sys.leave` says why.
    /// `sys.icount` is exact on return. Exceptions are delivered inside, each delivery counting 1.
    fn run(&mut self, cpu: &mut Vcpu, sys: &mut System, budget: u64);

    /// Drops everything derived from guest state: it was replaced as a whole.
    fn forget(&mut self);
}
