//! The integration tests: the program and the real guests, in one binary.

mod ci;
mod cli;
mod debian;
mod debugger;
mod determinism;
mod docs;
mod failures;
mod faults;
mod privmatrix;
mod protocols;
mod support;
mod tidy;
mod time_travel;

use harness::Vkernel;

/// The program under test, with a store of its own.
fn vkernel() -> Vkernel {
    Vkernel::new(support::program::VKERNEL)
}
