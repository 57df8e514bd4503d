//! vCPUs and their stacks: `trace`, `alltrace`, `thread`.

use super::super::dispatch::Arguments;
use super::super::lexer::Token;
use super::super::{CommandError, Ddb};
use super::{Command, Group, Repeats};
use crate::debugger::Why;
use crate::{Frame, backtrace};
use std::fmt::Write as _;

/// `trace`
pub const TRACE: Command = Command {
    names: &["trace", "bt", "t", "where"],
    usage: "[/c] [PID | VCPU][,COUNT]",
    help: "Prints who called whom on this vCPU; in a Linux, with a (decimal) number, of that task, whether it runs or waits; otherwise, and with /c, of the vCPU with that number. `?` marks words found by scanning the stack, which may be left over.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let number = ddb.decimal(&mut arguments.lexer)?;
        let count = if arguments.lexer.accept(",") { ddb.decimal(&mut arguments.lexer)? } else { None };
        ddb.end(&mut arguments.lexer)?;
        let count = count.unwrap_or(u64::MAX) as usize;
        match number {
            Some(pid) if arguments.modifier != Some("c") && ddb.tasks().is_ok() => {
                let task = ddb.task_named(pid)?;
                let frames = ddb.debugger.task_frames(&task);
                ddb.say_frames(&format!("Tracing pid {pid} {}", task.name), &frames, count);
            }
            _ => {
                let vcpu = ddb.vcpu_named(number)?;
                ddb.say_trace(vcpu, count);
            }
        }
        Ok(())
    },
};

/// `alltrace`
pub const ALLTRACE: Command = Command {
    names: &["alltrace", "show all trace"],
    usage: "[/c]",
    help: "Prints the trace of every vCPU, and, unless /c is given, of every task of a Linux that waits.",
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
        let tasks =
            if arguments.modifier == Some("c") { Vec::new() } else { ddb.tasks().unwrap_or_default() };
        for task in tasks.iter().filter(|task| task.vcpu.is_none()) {
            let frames = ddb.debugger.task_frames(task);
            ddb.out.push('\n');
            ddb.say_frames(&format!("Tracing pid {} {}", task.pid, task.name), &frames, usize::MAX);
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
        ddb.say_stop(&Why::Done, None);
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
    usage: "{EXPRESSION | TYPE}",
    help: "Prints the type of an expression of C, or a type by its name, a structure with its members and their offsets. The braces may be left out.",
    group: Group::Memory,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let text = ddb.c_text(&mut arguments, &WHATIS)?;
        let text = ddb.debugger.c_type(&text).map_err(CommandError::Said)?;
        let _ = writeln!(ddb.out, "{text}");
        Ok(())
    },
};

impl Ddb<'_> {
    /// Reads C to the end of the line, for a command that takes nothing else: the braces may be left out.
    pub(super) fn c_text(
        &self,
        arguments: &mut Arguments<'_>,
        command: &Command,
    ) -> Result<String, CommandError> {
        if let Token::Braces(text) = arguments.lexer.peek()? {
            arguments.lexer.next()?;
            self.end(&mut arguments.lexer)?;
            return Ok(text);
        }
        match arguments.lexer.take_rest() {
            "" => Err(CommandError::said(format!("Of what? {} {}", command.names[0], command.usage))),
            text => Ok(text.to_owned()),
        }
    }

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
        let title = match task {
            Some(task) => format!("Tracing vCPU {vcpu}, {task}"),
            None => format!("Tracing vCPU {vcpu}"),
        };
        let frames = backtrace(machine, vcpu, symbols);
        self.say_frames(&title, &frames, count);
    }

    fn say_frames(&mut self, title: &str, frames: &[Frame], count: usize) {
        let _ = writeln!(self.out, "{title}");
        for (number, frame) in frames.iter().enumerate().take(count) {
            let lines = frame.to_string().replace('\n', "\n   ");
            let _ = writeln!(self.out, "#{number} {lines}");
        }
    }
}
