//! The debugger as a person uses it: the prompt on recordings and live, the real gdb, and editors that
//! speak to it.

mod dap;
mod editor;
mod gdb;
mod live_gdb;
mod prompt;
mod terminal;

use crate::support::program::{Ran, Sandbox};
use harness::prompt::first_missing;

/// A sandbox with a recording of the demonstration kernel that died of its race.
fn with_a_race() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(["demo", "-j", "2"]).expect(0, &["panic"]);
    sandbox
}

/// The lines must be there, in this order, each somewhere in a line of the output.
fn expect_in_order(ran: &Ran, lines: &[&str]) {
    let missing = first_missing(&ran.stdout, lines);
    assert!(missing.is_none(), "{missing:?} should follow\n{ran}");
}
