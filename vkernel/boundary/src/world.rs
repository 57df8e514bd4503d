//! The live end of a timeline: what stands on the other side of the boundary while a machine runs live.
//!
//! Implemented by the host (terminal, signals, clocks) and by scripts in tests. The timeline polls it when it
//! suits the machine; nothing is ever called back into the machine.

use crate::{Input, Note, Output};
use std::time::Duration;

/// Something that arrived from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// An input for the machine.
    Input(Input),
    /// Something to be written down only.
    Note(Note),
    /// SIGQUIT without a terminal: registers and backtraces are wanted on stderr.
    Report,
    /// The run should end.
    Stop {
        /// The signal that says so; SIGPIPE when the console was closed.
        signal: u8,
        /// Why, for a message: `SIGTERM`, `stdout was closed`.
        reason: String,
    },
    /// The host cannot go on: `stdout cannot be written: No space left on device`.
    Trouble {
        /// Why.
        reason: String,
    },
}

/// The outside of a live machine.
pub trait World {
    /// What has arrived since the last call, in order. With nothing there, waits up to `wait` for something.
    fn arrivals(&mut self, wait: Duration) -> Vec<Arrival>;

    /// Delivers an output. A host that cannot (a closed pipe) says so by a later [`Arrival::Stop`] or
    /// [`Arrival::Trouble`].
    fn emit(&mut self, output: &Output);

    /// Tells the person something at once, on stderr.
    fn notice(&mut self, message: &str);

    /// The guest stands still from now on, or goes on: while it stands, the terminal is a debugger's, and ^C is not
    /// for the guest.
    fn stand_still(&mut self, stands: bool) {
        let _ = stands;
    }

    /// Whether an input can still arrive: some source is open. Without one, the clock is virtual and an
    /// idle machine without deadlines is a hang.
    fn is_live(&self) -> bool;

    /// The host's monotonic clock, in nanoseconds from an arbitrary origin.
    fn monotonic_ns(&self) -> u64;

    /// The host's wall clock, in nanoseconds since 1970; for notes.
    fn wall_clock_ns(&self) -> u64;
}

impl<W: World + ?Sized> World for &mut W {
    fn arrivals(&mut self, wait: Duration) -> Vec<Arrival> {
        (**self).arrivals(wait)
    }

    fn emit(&mut self, output: &Output) {
        (**self).emit(output);
    }

    fn notice(&mut self, message: &str) {
        (**self).notice(message);
    }

    fn stand_still(&mut self, stands: bool) {
        (**self).stand_still(stands);
    }

    fn is_live(&self) -> bool {
        (**self).is_live()
    }

    fn monotonic_ns(&self) -> u64 {
        (**self).monotonic_ns()
    }

    fn wall_clock_ns(&self) -> u64 {
        (**self).wall_clock_ns()
    }
}
