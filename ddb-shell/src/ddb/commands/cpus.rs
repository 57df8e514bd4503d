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
        for frame in backtrace(machine, vcpu, symbols).iter().take(count) {
            let _ = writeln!(text, "{frame}");
        }
        self.out.push_str(&text);
    }
}
