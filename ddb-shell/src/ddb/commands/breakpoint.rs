//! Breakpoints: `break`, `delete`, and what names code: an address, a function with all its copies, a source line.

use super::super::dispatch::Arguments;
use super::super::expr;
use super::super::lexer::{Lexer, Token};
use super::super::symbolic::{label, source_line};
use super::super::{CommandError, Ddb};
use super::{Command, Group, Repeats};
use crate::debugger::stepping::linear_rip;
use crate::debugger::stops::{Entry, Holds, Kind};
use crate::symbols::LineInfo;
use machine::Machine;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Places of one breakpoint that are listed.
const PLACES_SHOWN: usize = 8;

/// `break`
pub const BREAK: Command = Command {
    names: &["break", "b"],
    usage: "[ADDRESS | FUNCTION | FILE:LINE][,COUNT] [if {EXPRESSION}]",
    help: "Stops before the instruction at ADDRESS (dot). A FUNCTION stands for all of that name and, by debug information, for every place at which it was inlined; MODULE:FUNCTION for those of a module. FILE is the end of a path, as in break kernel/fork.c:2780; LINE is decimal. With COUNT, stops only every COUNT-th time that is met going forwards; with a condition in C, only where it holds. Works in both directions, writes nothing into the guest, and there can be any number.",
    group: Group::Stops,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let places = ddb.code(&mut arguments)?;
        let count = ddb.count(&mut arguments.lexer)?;
        let condition = ddb.condition(&mut arguments, &places)?;
        let is_set = |entry: &Entry| matches!(&entry.kind, Kind::Execute(known) if **known == *places);
        if ddb.debugger.stops.entries().iter().any(is_set) {
            return Err(CommandError::said("Already set."));
        }
        let entry = ddb.debugger.stops.add(Kind::Execute(places.clone().into()));
        entry.every = count.unwrap_or(1).max(1);
        entry.condition = condition;
        let number = entry.number;
        match *places {
            [place] => {
                let place = ddb.code_label(place);
                let _ = writeln!(ddb.out, "Breakpoint {number} at {place}");
            }
            _ => {
                let _ = writeln!(ddb.out, "Breakpoint {number} at {} places:", places.len());
                ddb.list_places(&places);
            }
        }
        Ok(())
    },
};

/// `delete`
pub const DELETE: Command = Command {
    names: &["delete", "d"],
    usage: "[ADDRESS | FUNCTION | FILE:LINE | #NUMBER | all]",
    help: "Removes the breakpoint there (at dot), the breakpoint, watchpoint or event of this NUMBER, or all of them.",
    group: Group::Stops,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        if arguments.lexer.rest() == "all" {
            ddb.debugger.stops.remove(|_| true);
            return Ok(());
        }
        let removed = if arguments.lexer.accept("#") {
            let number = ddb.decimal(&mut arguments.lexer)?;
            ddb.end(&mut arguments.lexer)?;
            ddb.debugger.stops.remove(|entry| Some(u64::from(entry.number)) == number)
        } else {
            let places = ddb.code(&mut arguments)?;
            ddb.end(&mut arguments.lexer)?;
            ddb.debugger.stops.remove(|entry| match &entry.kind {
                Kind::Execute(known) => known.iter().any(|place| places.contains(place)),
                _ => false,
            })
        };
        if removed == 0 { Err(CommandError::said("Not set.")) } else { Ok(()) }
    },
};

impl Ddb<'_> {
    /// Reads what names code, and gives where that begins: at least one place. Dot is then the first.
    pub(super) fn code(&mut self, arguments: &mut Arguments<'_>) -> Result<Vec<u64>, CommandError> {
        let places = match arguments.lexer.source_line() {
            Some((file, line)) => self.code_of_line(&file, line)?,
            None => match self.code_of_function(&mut arguments.lexer)? {
                Some(places) => places,
                None => vec![expr::optional(&mut arguments.lexer, self)?.unwrap_or(self.dot)],
            },
        };
        if let Some(first) = places.first() {
            self.dot = *first;
            self.last_given = *first;
        }
        Ok(places)
    }

    fn code_of_line(&mut self, file: &str, line: u64) -> Result<Vec<u64>, CommandError> {
        let symbols = self.debugger.symbols();
        let found =
            symbols.line_code(file, line).filter(|found| !found.starts.is_empty()).ok_or_else(|| {
                let why = match symbols.line_info() {
                    LineInfo::Present => "no code is from there",
                    _ => "the kernel's source lines are not known; give its vmlinux with --symbols",
                };
                CommandError::said(format!("{file}:{line}: {why}"))
            })?;
        if found.line != line {
            let _ = writeln!(self.out, "Line {line} has no code, line {} has", found.line);
        }
        Ok(found.starts)
    }

    /// Reads the name of a function, if nothing but that stands there.
    fn code_of_function(&mut self, lexer: &mut Lexer<'_>) -> Result<Option<Vec<u64>>, CommandError> {
        let mut ahead = lexer.clone();
        let Token::Name(name) = ahead.next()? else { return Ok(None) };
        if !matches!(ahead.peek()?, Token::End | Token::Mark(",") | Token::Name(_)) {
            return Ok(None);
        }
        let (table, function) = match name.rsplit_once(':') {
            Some((table, function)) => (Some(table.trim_end_matches(':')), function),
            None => (None, name.as_str()),
        };
        let places = self.debugger.symbols().function_starts(function, table);
        if places.is_empty() {
            return Ok(None);
        }
        *lexer = ahead;
        Ok(Some(places))
    }

    /// An expression of C as the condition of a breakpoint at several places, each of which has its own variables. Where it
    /// cannot be read it does not hold, which is said.
    pub(super) fn condition_at(&mut self, text: &str, places: &[u64]) -> Result<Holds, CommandError> {
        let mut at = HashMap::new();
        let mut refused = None;
        for place in places {
            match self.debugger.c_condition(text, Some(*place)) {
                Ok(holds) => drop(at.insert(*place, holds)),
                Err(error) => drop(refused.get_or_insert(error)),
            }
        }
        match refused {
            Some(error) if at.is_empty() => return Err(CommandError::Said(error)),
            Some(error) => {
                let (refused, all) = (places.len() - at.len(), places.len());
                let _ =
                    writeln!(self.out, "At {refused} of {all} places the condition has no meaning: {error}");
            }
            None => {}
        }
        Ok(Arc::new(move |machine: &Machine, vcpu: usize| {
            let holds = at.get(&linear_rip(&machine.cpus()[vcpu]));
            holds.is_some_and(|holds| holds(machine, vcpu))
        }))
    }

    /// A place in code: `symbol+0xoffset [file:line]`.
    pub(super) fn code_label(&self, vaddr: u64) -> String {
        let symbols = self.debugger.symbols();
        format!("{}{}", label(symbols, vaddr, self.variables.max_offset), source_line(symbols, vaddr))
    }

    fn list_places(&mut self, places: &[u64]) {
        for place in places.iter().take(PLACES_SHOWN) {
            let place = self.code_label(*place);
            let _ = writeln!(self.out, "  {place}");
        }
        if let Some(more) = places.len().checked_sub(PLACES_SHOWN + 1) {
            let _ = writeln!(self.out, "  and {} more", more + 1);
        }
    }
}
