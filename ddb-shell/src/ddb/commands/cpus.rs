//! vCPUs and their stacks: `trace`, `alltrace`, `thread`.

use super::super::{CommandError, Ddb};
use super::{Command, Group, Repeats};
use crate::backtrace;
use std::fmt::Write as _;

/// `trace`
pub const TRACE: Command = Command {
    names: &["trace", "bt", "t", "where"],
    usage: "[VCPU][,COUNT]",
    help: "Prints who called whom on this vCPU, or on the one with this (decimal) number. `?` marks words found by scanning the stack, which may be left over.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let vcpu = ddb.decimal(&mut arguments.lexer)?;
        let count = if arguments.lexer.accept(",") { ddb.decimal(&mut arguments.lexer)? } else { None };
        ddb.end(&mut arguments.lexer)?;
        let vcpu = ddb.vcpu_named(vcpu)?;
        ddb.say_trace(vcpu, count.unwrap_or(u64::MAX) as usize);
        Ok(())
    },
};

/// `alltrace`
pub const ALLTRACE: Command = Command {
    names: &["alltrace", "show all trace"],
    usage: "",
    help: "Prints the trace of every vCPU.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        for vcpu in 0..ddb.debugger.machine().cpus().len() {
            if vcpu > 0 {
                ddb.out.push('\n');
            }
            ddb.say_trace(vcpu, usize::MAX);
        }
        Ok(())
    },
};

/// `thread`
pub const THREAD: Command = Command {
    names: &["thread", "cpu"],
    usage: "[VCPU]",
    help: "Makes registers, steps and traces be about another vCPU (a decimal number); alone, says which it is.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let vcpu = ddb.decimal(&mut arguments.lexer)?;
        ddb.end(&mut arguments.lexer)?;
        ddb.debugger.vcpu = ddb.vcpu_named(vcpu)?;
        ddb.say_stop(&crate::debugger::Why::Done, None);
        Ok(())
    },
};

/// `frame`
pub const FRAME: Command = Command {
    names: &["frame", "f"],
    usage: "[NUMBER]",
    help: "Makes variables in expressions of C be those of another frame of the trace (a decimal number, 0 is the innermost); alone, says which it is. Moving goes back to 0.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let number = ddb.decimal(&mut arguments.lexer)?;
        ddb.end(&mut arguments.lexer)?;
        let frames = ddb.debugger.frames();
        let number = number.map_or(ddb.debugger.frame, |number| number as usize);
        let frame = frames.get(number).ok_or_else(|| {
            CommandError::said(format!("There is no frame {number}: they are 0 to {}", frames.len() - 1))
        })?;
        ddb.debugger.frame = number;
        let _ = writeln!(ddb.out, "#{number} {frame}");
        Ok(())
    },
};

/// `show locals`
pub const LOCALS: Command = Command {
    names: &["show locals", "locals"],
    usage: "",
    help: "Prints the arguments and variables of the frame, by debug information.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let lines = ddb.debugger.locals();
        if lines.is_empty() {
            return Err(CommandError::said(
                "No debug information says what is here; --symbols gives a file that has it",
            ));
        }
        for line in lines {
            let _ = writeln!(ddb.out, "{line}");
        }
        Ok(())
    },
};

/// `whatis`
pub const WHATIS: Command = Command {
    names: &["whatis", "ptype"],
    usage: "{EXPRESSION}",
    help: "Prints the type of an expression of C, a structure with its members and their offsets.",
    group: Group::Memory,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let super::super::lexer::Token::Braces(text) = arguments.lexer.next()? else {
            return Err(CommandError::said(format!("Of what? whatis {}", WHATIS.usage)));
        };
        ddb.end(&mut arguments.lexer)?;
        let text = ddb.debugger.c_type(&text).map_err(CommandError::Said)?;
        let _ = writeln!(ddb.out, "{text}");
        Ok(())
    },
};

impl Ddb<'_> {
    /// The vCPU of this number, or the current one.
    pub(super) fn vcpu_named(&self, number: Option<u64>) -> Result<usize, CommandError> {
        let Some(number) = number else { return Ok(self.debugger.vcpu) };
        let vcpus = self.debugger.machine().cpus().len();
        usize::try_from(number).ok().filter(|vcpu| *vcpu < vcpus).ok_or_else(|| {
            CommandError::said(format!("There is no vCPU {number}: they are 0 to {}", vcpus - 1))
        })
    }

    fn say_trace(&mut self, vcpu: usize, count: usize) {
        let machine = self.debugger.machine();
        let symbols = self.debugger.symbols();
        let task = crate::kernel::current_task(machine, vcpu, symbols);
        let mut text = match task {
            Some(task) => format!("Tracing vCPU {vcpu}, {task}\n"),
            None => format!("Tracing vCPU {vcpu}\n"),
        };
        for (number, frame) in backtrace(machine, vcpu, symbols).iter().enumerate().take(count) {
            let lines = frame.to_string().replace('\n', "\n   ");
            let _ = writeln!(text, "#{number:<2}{lines}");
        }
        self.out.push_str(&text);
    }
}
