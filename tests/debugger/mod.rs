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

/// Asks about every access to the kernel's memory, so that a run over the recording takes seconds and there is time for a
/// pause. gdb must not be who is asked: it forgets a pause that comes while it looks at a stop that it will go on from.
const SLOW: &str = "watch/a 0xffff800000000000,0x7fffffffffff if {shelves[0].count == 77777}";
