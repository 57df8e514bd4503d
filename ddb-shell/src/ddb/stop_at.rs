//! Where a live guest is to be stopped before anybody asks, in the words of the prompt.

use super::{CommandError, Ddb};
use crate::debugger::Why;
use crate::debugger::place::{self, Place, PlaceError};
use boundary::{Icount, Mark};

/// Counts between two looks for what is not there yet.
const LOOK_COUNTS: u64 = 1 << 20;
/// First words of `stop`.
const EVENTS: [&str; 6] = ["exception", "interrupt", "syscall", "port", "msr", "text"];

impl Ddb<'_> {
    /// Lets the guest run to an event: a place (`@12345`, `@1.25s`, `@/text/`), what `stop` takes (`exception 6`,
    /// `port 3f8`), or what `break` takes, with names that become known only as the kernel unpacks itself.
    ///
    /// # Errors
    /// It is none of these, or there is no such name, or the session's.
    pub fn run_to_event(&mut self, event: &str) -> Result<Why, CommandError> {
        let event = event.trim();
        let first_word = event.split([' ', '/']).next().unwrap_or_default();
        if let Some(bare) = event.strip_prefix('@') {
            return match place::parse(event)? {
                Place::Text(_) => self.stop_and_run(&format!("stop text {bare}")),
                Place::Time(time) => self.run_while(|ddb| ddb.debugger.machine().now() < time),
                Place::At(mark) => Ok(self.debugger.run(Some(mark))?),
                Place::Start => Ok(Why::Done),
                _ => Err(PlaceError::Nowhere(format!("{event} is no place that a guest comes to")).into()),
            };
        }
        if EVENTS.contains(&first_word) {
            return self.stop_and_run(&format!("stop {event}"));
        }
        let why = self.run_while(|ddb| {
            ddb.debugger.find_symbols();
            ddb.debugger.symbols().is_empty() && ddb.parse_and_run(&format!("break {event}")).is_err()
        })?;
        if why != Why::Done {
            return Ok(why);
        }
        if self.debugger.stops.entries().is_empty() {
            self.parse_and_run(&format!("break {event}"))?;
        }
        self.run_to_stop()
    }

    fn stop_and_run(&mut self, command: &str) -> Result<Why, CommandError> {
        self.parse_and_run(command)?;
        self.run_to_stop()
    }

    /// Runs to the one stop that was set, which is gone then.
    fn run_to_stop(&mut self) -> Result<Why, CommandError> {
        self.out.clear();
        let why = self.debugger.run(None)?;
        self.debugger.stops.remove(|_| true);
        Ok(if matches!(why, Why::Entry { .. }) { Why::Done } else { why })
    }

    /// Runs as long as something holds.
    fn run_while(&mut self, holds: impl Fn(&mut Self) -> bool) -> Result<Why, CommandError> {
        while holds(self) {
            let next = Mark::before(Icount(self.debugger.now().icount.0 + LOOK_COUNTS));
            match self.debugger.run(Some(next))? {
                Why::Done => {}
                other => return Ok(other),
            }
        }
        Ok(Why::Done)
    }
}
