//! Going on: `continue`, `step`, `next`, `until`, `n`, `finish`.

use super::super::dispatch::Arguments;
use super::super::{CommandError, Ddb, OUTPUT_BYTES_MAX, TOO_MUCH};
use super::{Command, Group, Repeats};
use crate::debugger::place;
use crate::debugger::stepping::linear_rip;
use std::fmt::Write as _;

/// Levels of calls that are shown by indenting.
const INDENT_MAX: usize = 40;

/// `continue`
pub const CONTINUE: Command = Command {
    names: &["continue", "c"],
    usage: "[/c] [PLACE]",
    help: "Goes on to the next stop, or to PLACE if that comes first. /c says how many instructions that were, which is exact. At a live guest's prompt it lets the guest run.",
    group: Group::Run,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        let counts = arguments.modifier == Some("c");
        let until = ddb.optional_place(&mut arguments)?;
        let from = ddb.debugger.now().icount.0;
        let why = ddb.debugger.run(until)?;
        let passed = ddb.debugger.now().icount.0.saturating_sub(from);
        ddb.say_stop(&why, counts.then_some(passed));
        Ok(())
    },
};

/// `step`
pub const STEP: Command = Command {
    names: &["step", "s"],
    usage: "[/p] [,COUNT]",
    help: "Executes COUNT instructions (1) of this vCPU; /p prints each. Other vCPUs execute meanwhile what the schedule gives them.",
    group: Group::Run,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        let range = ddb.range(&mut arguments)?;
        let from = ddb.debugger.now().icount.0;
        let why = if arguments.modifier == Some("p") {
            let Ddb { debugger, disassembler, out, variables, .. } = ddb;
            let why = debugger.step_each(range.count.unwrap_or(1), &mut |debugger| {
                if out.len() < OUTPUT_BYTES_MAX {
                    let _ = writeln!(
                        out,
                        "{}",
                        disassembler.location(debugger, debugger.vcpu, variables.max_offset)
                    );
                }
            })?;
            ddb.say_if_cut();
            why
        } else {
            ddb.debugger.step(range.count.unwrap_or(1))?
        };
        let passed = ddb.debugger.now().icount.0 - from;
        ddb.say_stop(&why, range.count.map(|_| passed));
        Ok(())
    },
};

/// `next`
pub const NEXT: Command = Command {
    names: &["next", "match"],
    usage: "[/p]",
    help: "Runs to the return of the function that the cursor is in; /p prints each instruction on the way. This is BSD's next; gdb's is `n`.",
    group: Group::Run,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        if !std::mem::replace(&mut ddb.has_hinted, true) {
            ddb.out.push_str("(next runs to the matching return, as in BSD; gdb's next is `n`)\n");
        }
        let from = ddb.debugger.now().icount.0;
        let prints = arguments.modifier == Some("p");
        let Ddb { debugger, disassembler, out, .. } = ddb;
        let why = debugger.until_matching_return(&mut |debugger, depth| {
            if prints && out.len() < OUTPUT_BYTES_MAX {
                let passed = debugger.now().icount.0 - from;
                let rip = linear_rip(&debugger.machine().cpus()[debugger.vcpu]);
                let (text, _) = disassembler.at(debugger, debugger.vcpu, rip);
                let _ = writeln!(out, "[after {passed:6}]     {}{text}", "  ".repeat(depth.min(INDENT_MAX)));
            }
        })?;
        ddb.say_if_cut();
        ddb.say_stop(&why, None);
        Ok(())
    },
};

/// `until`
pub const UNTIL: Command = Command {
    names: &["until"],
    usage: "[/p]",
    help: "Runs to the next call or return; /p prints each instruction on the way.",
    group: Group::Run,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let prints = arguments.modifier == Some("p");
        let Ddb { debugger, disassembler, out, .. } = ddb;
        let why = debugger.until_call_or_return(&mut |debugger| {
            if prints && out.len() < OUTPUT_BYTES_MAX {
                let rip = linear_rip(&debugger.machine().cpus()[debugger.vcpu]);
                let _ = writeln!(out, "\t{}", disassembler.at(debugger, debugger.vcpu, rip).0);
            }
        })?;
        ddb.say_if_cut();
        ddb.say_stop(&why, None);
        Ok(())
    },
};

/// `n`
pub const N: Command = Command {
    names: &["n"],
    usage: "[,COUNT]",
    help: "Goes to the next source line, over calls, as gdb's next does; without source lines, to the next instruction.",
    group: Group::Run,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        let range = ddb.range(&mut arguments)?;
        let why = ddb.debugger.next_lines(range.count.unwrap_or(1))?;
        ddb.say_stop(&why, None);
        Ok(())
    },
};

/// `finish`
pub const FINISH: Command = Command {
    names: &["finish"],
    usage: "",
    help: "Runs until the function that the cursor is in has returned to its caller.",
    group: Group::Run,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let why = ddb.debugger.finish()?;
        ddb.say_stop(&why, None);
        Ok(())
    },
};

impl Ddb<'_> {
    /// Prints the next instruction of this vCPU.
    pub(super) fn say_instruction(&mut self) {
        let location = self.location(self.debugger.vcpu);
        let _ = writeln!(self.out, "{location}");
    }

    /// Says so where instructions were passed that are not shown.
    fn say_if_cut(&mut self) {
        if !self.has_room() {
            let _ = writeln!(self.out, "{TOO_MUCH}");
        }
    }

    /// Reads a place, if there is one, to the end of the line.
    pub(super) fn optional_place(
        &mut self,
        arguments: &mut Arguments<'_>,
    ) -> Result<Option<boundary::Mark>, CommandError> {
        let text = arguments.lexer.take_rest();
        if text.is_empty() {
            return Ok(None);
        }
        let place = place::parse(text)?;
        Ok(Some(self.debugger.find_place(&place)?))
    }
}
