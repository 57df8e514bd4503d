//! What stops the guest besides breakpoints: watchpoints, events.

use super::super::dispatch::Arguments;
use super::super::expr;
use super::super::lexer::{Lexer, Token};
use super::super::symbolic::label;
use super::super::{CommandError, Ddb};
use super::{Command, Group, Repeats};
use crate::debugger::Why;
use crate::debugger::place::{self, Place};
use crate::debugger::stops::{Condition, Entry, Kind};
use crate::exceptions::{EXCEPTIONS, exception_name, exception_vector};
use machine::{Space, StopReason, Watchpoint};
use std::fmt::Write as _;

/// `watch`
pub const WATCH: Command = Command {
    names: &["watch"],
    usage: "[/rwap] ADDRESS[,LENGTH] | {EXPRESSION} [if {EXPRESSION}]",
    help: "Stops behind every access that writes (/w, without a modifier too), reads (/r), or does either (/a) to LENGTH bytes (4) at ADDRESS, or to the object that an expression of C names. /p: ADDRESS is physical. Any length and any number.",
    group: Group::Stops,
    repeats: Repeats::Never,
    run: add_watch,
};

/// `dwatch`
pub const DWATCH: Command = Command {
    names: &["dwatch"],
    usage: "ADDRESS",
    help: "Removes the watchpoint that begins at ADDRESS.",
    group: Group::Stops,
    repeats: Repeats::Never,
    run: remove_watch,
};

/// `hwatch`
pub const HWATCH: Command = Command {
    names: &["hwatch"],
    usage: "[/rwap] ADDRESS[,LENGTH] | {EXPRESSION}",
    help: "The same as watch: neither uses the guest's debug registers, so there are more than four.",
    group: Group::Stops,
    repeats: Repeats::Never,
    run: add_watch,
};

/// `dhwatch`
pub const DHWATCH: Command = Command {
    names: &["dhwatch"],
    usage: "ADDRESS",
    help: "The same as dwatch.",
    group: Group::Stops,
    repeats: Repeats::Never,
    run: remove_watch,
};

/// `stop`
pub const STOP: Command = Command {
    names: &["stop"],
    usage: "exception [VECTOR] | interrupt [VECTOR] | syscall [NUMBER] | port FIRST[,LAST] | msr FIRST[,LAST] | text /REGEX/ [if {EXPRESSION}]",
    help: "Stops behind the delivery of an exception or interrupt, a system call, an access to a port or MSR, or when the console has printed a text. Exceptions and system calls are numbered in decimal; an exception may be named, as in stop exception #PF. Works in both directions.",
    group: Group::Stops,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let kind = ddb.event(&mut arguments)?;
        let condition = ddb.condition(&mut arguments, &[])?;
        let entry = ddb.debugger.stops.add(kind);
        entry.condition = condition;
        let number = entry.number;
        let _ = writeln!(ddb.out, "Event {number}");
        Ok(())
    },
};

fn add_watch(ddb: &mut Ddb<'_>, mut arguments: Arguments<'_>) -> Result<(), CommandError> {
    let modifier = arguments.modifier.unwrap_or("w");
    if let Some(wrong) = modifier.chars().find(|c| !"rwap".contains(*c)) {
        return Err(CommandError::said(format!("Bad modifier `{wrong}`: r, w, a and p are known")));
    }
    let space = if modifier.contains('p') { Space::Physical } else { Space::Linear };
    let reads = modifier.contains(['r', 'a']);
    let writes = modifier.contains(['w', 'a']) || !reads;
    let (address, length_bytes) = ddb.object(&mut arguments, 4)?;
    let condition = ddb.condition(&mut arguments, &[])?;
    let watch = Watchpoint { space, address, length_bytes, read: reads, write: writes };
    let entry = ddb.debugger.stops.add(Kind::Watch(watch));
    entry.condition = condition;
    let number = entry.number;
    let label = label(ddb.debugger.symbols(), address, ddb.variables.max_offset);
    let _ = writeln!(ddb.out, "Watchpoint {number} at {label}, {length_bytes} bytes");
    Ok(())
}

fn remove_watch(ddb: &mut Ddb<'_>, mut arguments: Arguments<'_>) -> Result<(), CommandError> {
    let (address, _) = ddb.object(&mut arguments, 4)?;
    ddb.end(&mut arguments.lexer)?;
    let is_it = |entry: &Entry| matches!(&entry.kind, Kind::Watch(watch) if watch.address == address);
    if ddb.debugger.stops.remove(is_it) == 0 { Err(CommandError::said("Not set.")) } else { Ok(()) }
}

impl Ddb<'_> {
    /// Reads `ADDRESS[,LENGTH]` or an expression of C in braces: where an object lies, and its length.
    pub(super) fn object(
        &mut self,
        arguments: &mut Arguments<'_>,
        default_bytes: u64,
    ) -> Result<(u64, u64), CommandError> {
        if let Token::Braces(text) = arguments.lexer.peek()? {
            let object = self.debugger.c_object(&text);
            arguments.lexer.next()?;
            return object.map_err(CommandError::Said);
        }
        let range = self.range_within(arguments)?;
        if !range.is_given {
            return Err(CommandError::said(
                "Which address? ADDRESS[,LENGTH], or an expression of C in braces",
            ));
        }
        let length_bytes = range.count.unwrap_or(default_bytes);
        if length_bytes == 0 {
            return Err(CommandError::said("A length of 0 holds nothing"));
        }
        Ok((range.address, length_bytes))
    }

    /// Reads `if {EXPRESSION}`, if it is there, to the end of the line. It is read in the scope of each of `places`, else of
    /// the frame.
    pub(super) fn condition(
        &mut self,
        arguments: &mut Arguments<'_>,
        places: &[u64],
    ) -> Result<Option<Condition>, CommandError> {
        let lexer = &mut arguments.lexer;
        match lexer.next()? {
            Token::End => Ok(None),
            Token::Name(word) if word == "if" => {
                let Token::Braces(text) = lexer.next()? else {
                    return Err(CommandError::said(
                        "A condition is an expression of C in braces: if {x > 3}",
                    ));
                };
                self.end(lexer)?;
                let holds = match places {
                    [] => self.debugger.c_condition(&text, None).map_err(CommandError::Said)?,
                    places => self.condition_at(&text, places)?,
                };
                Ok(Some(Condition { text, holds }))
            }
            _ => Err(CommandError::said("Only `if {EXPRESSION}` can follow")),
        }
    }

    fn event(&mut self, arguments: &mut Arguments<'_>) -> Result<Kind, CommandError> {
        let usage = || CommandError::said(format!("stop {}", STOP.usage));
        let Token::Name(event) = arguments.lexer.next()? else { return Err(usage()) };
        let is_condition = |lexer: &Lexer<'_>| matches!(lexer.peek(), Ok(Token::Name(word)) if word == "if");
        Ok(match event.as_str() {
            "exception" => Kind::Exceptions(self.exceptions(arguments)?),
            "interrupt" if is_condition(&arguments.lexer) => Kind::Interrupts(None),
            "interrupt" => {
                let vector = expr::optional(&mut arguments.lexer, self)?.map(u8::try_from).transpose();
                let error = |_| CommandError::said("An interrupt's vector is from 0 to 0xff");
                Kind::Interrupts(vector.map_err(error)?)
            }
            "syscall" if is_condition(&arguments.lexer) => Kind::Syscalls(None),
            "syscall" => Kind::Syscalls(self.decimal(&mut arguments.lexer)?),
            "port" => {
                let (first, last) = self.bounds(arguments, u64::from(u16::MAX))?;
                Kind::Ports(first as u16, last as u16)
            }
            "msr" => {
                let (first, last) = self.bounds(arguments, u64::from(u32::MAX))?;
                Kind::Msrs(first as u32, last as u32)
            }
            "text" => {
                let rest = arguments.lexer.take_rest();
                let place = place::parse(&format!("@{rest}"))?;
                match place {
                    Place::Text(regex) => Kind::Text(regex),
                    _ => return Err(usage()),
                }
            }
            _ => return Err(usage()),
        })
    }

    /// Reads the decimal vector or the name of an exception, if one is there: a bit for each that is meant.
    pub(super) fn exceptions(&mut self, arguments: &mut Arguments<'_>) -> Result<u32, CommandError> {
        let lexer = &mut arguments.lexer;
        let is_named = lexer.accept("#");
        let word = match lexer.peek()? {
            Token::Name(word) => word,
            _ => String::new(),
        };
        let vector = match exception_vector(&word) {
            Some(vector) => {
                lexer.next()?;
                Some(u64::from(vector))
            }
            None if is_named => {
                return Err(CommandError::said("No exception has that name: #PF is one, #GP another"));
            }
            None if ["if", "limit"].contains(&word.as_str()) => None,
            None => self.decimal(lexer)?,
        };
        match vector {
            None => Ok(u32::MAX),
            Some(vector) if vector < u64::from(EXCEPTIONS) => Ok(1 << vector),
            Some(_) => Err(CommandError::said("Exceptions have the vectors 0 to 31, decimal")),
        }
    }

    fn bounds(&mut self, arguments: &mut Arguments<'_>, max: u64) -> Result<(u64, u64), CommandError> {
        let first = self.value(&mut arguments.lexer, "stop")?;
        let last = if arguments.lexer.accept(",") { self.value(&mut arguments.lexer, ",")? } else { first };
        if first > last || last > max {
            return Err(CommandError::said(format!(
                "The numbers go from 0 to {max:#x}, the first is not above the last"
            )));
        }
        Ok((first, last))
    }

    /// The words that say why the guest stands still.
    pub(in super::super) fn describe_entry(&mut self, why: &Why) -> String {
        let Why::Entry { number, reason } = why else { return "Stopped at".to_owned() };
        let named = |vaddr: u64| label(self.debugger.symbols(), vaddr, self.variables.max_offset);
        let what = match reason {
            None => format!("Event {number}: the text was printed\n"),
            Some(StopReason::Execute) => return "Breakpoint at".to_owned(),
            Some(StopReason::OwnCounts) => return "Stopped at".to_owned(),
            Some(StopReason::Watch { address, length_bytes, write, .. }) => {
                let access = if *write { "write" } else { "read" };
                let _ = writeln!(
                    self.out,
                    "Watchpoint {number}: {access} of {length_bytes} bytes at {}",
                    named(*address)
                );
                return "Watchpoint at".to_owned();
            }
            Some(StopReason::Exception { vector, error_code, rip }) => {
                let code = error_code.map_or_else(String::new, |code| format!(", error code {code:#x}"));
                format!(
                    "Event {number}: exception {vector} ({}){code} at {}\n",
                    exception_name(*vector),
                    named(*rip)
                )
            }
            Some(StopReason::Interrupt { vector }) => format!("Event {number}: interrupt {vector:#x}\n"),
            Some(StopReason::Syscall { number: call }) => format!("Event {number}: system call {call}\n"),
            Some(StopReason::Port { port, write, value }) => {
                let access = if *write { "write" } else { "read" };
                format!("Event {number}: {access} of {value:#x} at port {port:#x}\n")
            }
            Some(StopReason::Msr { index, write, value }) => {
                let access = if *write { "write" } else { "read" };
                format!("Event {number}: {access} of {value:#x} at MSR {index:#x}\n")
            }
        };
        self.out.push_str(&what);
        "Stopped at".to_owned()
    }
}
