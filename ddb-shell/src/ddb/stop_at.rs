//! Where a live guest is to be stopped before anybody asks, in the words of the prompt.
//!
//! A name becomes known when the kernel has unpacked itself, and guest time jumps; so the guest may have come too far when
//! it is looked at. Then the place is gone back to in what has been recorded. Without a recording it is missed.

use super::{CommandError, Ddb};
use crate::debugger::place::{self, Place, PlaceError};
use crate::debugger::target::TargetError;
use crate::debugger::{DebugError, Why};
use boundary::{Icount, Mark};

/// Counts between two looks at the clock.
const CLOCK_COUNTS: u64 = 1 << 20;
/// Counts between two searches for the kernel's names, each of which costs as much as some of these.
const NAMES_COUNTS: u64 = 1 << 25;
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
                place @ Place::Time(time) => {
                    let why = self.run_while(CLOCK_COUNTS, |ddb| ddb.debugger.machine().now() < time)?;
                    if why == Why::Done {
                        self.seek_if_recorded(&place)?;
                    }
                    Ok(why)
                }
                Place::At(mark) => Ok(self.debugger.run(Some(mark))?),
                Place::Start => Ok(Why::Done),
                _ => Err(PlaceError::Nowhere(format!("{event} is no place that a guest comes to")).into()),
            };
        }
        if EVENTS.contains(&first_word) {
            return self.stop_and_run(&format!("stop {event}"));
        }
        let why = self.run_while(NAMES_COUNTS, |ddb| {
            ddb.debugger.find_symbols();
            ddb.debugger.symbols().is_empty() && ddb.parse_and_run(&format!("break {event}")).is_err()
        })?;
        if why != Why::Done {
            return Ok(why);
        }
        if self.debugger.stops.entries().is_empty() {
            self.parse_and_run(&format!("break {event}"))?;
        }
        // It may have been there before its name was known.
        if self.debugger.now() > Mark::default() {
            self.seek_if_recorded(&Place::Start)?;
        }
        self.run_to_stop()
    }

    /// Goes to a place before this one, unless nothing is recorded.
    fn seek_if_recorded(&mut self, place: &Place) -> Result<(), CommandError> {
        match self.debugger.seek(place) {
            Err(DebugError::Target(TargetError::NoPast)) => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
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

    /// Runs as long as something holds, at which it looks every so many counts.
    fn run_while(&mut self, counts: u64, holds: impl Fn(&mut Self) -> bool) -> Result<Why, CommandError> {
        while holds(self) {
            let next = Mark::before(Icount(self.debugger.now().icount.0 + counts));
            match self.debugger.run(Some(next))? {
                Why::Done => {}
                other => return Ok(other),
            }
        }
        Ok(Why::Done)
    }
}
