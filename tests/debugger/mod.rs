//! The debugger as a person uses it: the prompt on recordings and live, and the real gdb.

mod gdb;
mod live_gdb;
mod prompt;
mod terminal;

use crate::support::program::{Ran, Sandbox};

/// A sandbox with a recording of the demonstration kernel that died of its race.
fn with_a_race() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.run(["demo", "-j", "2"]).expect(0, &["panic"]);
    sandbox
}

/// The lines must be there, in this order, each somewhere in a line of the output.
fn expect_in_order(ran: &Ran, lines: &[&str]) {
    let mut rest = ran.stdout.as_str();
    for line in lines {
        let at = rest.find(line).unwrap_or_else(|| panic!("`{line}` should follow\n{ran}"));
        rest = &rest[at + line.len()..];
    }
}
