//! The debugger as a person uses it: the prompt on recordings and live, and the real gdb.

mod gdb;
mod prompt;
mod terminal;

use crate::support::program::Sandbox;

/// A sandbox with a recording of the demonstration kernel that died of its race.
fn with_a_race() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(["demo", "-j", "2"]).expect(0, &["panic"]);
    sandbox
}
