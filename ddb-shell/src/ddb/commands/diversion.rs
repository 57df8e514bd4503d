//! What would have been: `divert`, `drop`, `keep`, `call`.

use super::super::symbolic::label;
use super::super::{CommandError, Ddb};
use super::{Command, Group, Repeats};
use crate::debugger::Why;
use crate::debugger::call::Called;
use crate::debugger::place::shown;
use std::fmt::Write as _;

/// `divert`
pub const DIVERT: Command = Command {
    names: &["divert"],
    usage: "",
    help: "Leaves the recording here: from now on the guest goes its own way, with a virtual clock and nothing from outside, also past the end of the recording. A write in the past does the same by itself. A diversion has a past, too, and one can be left for another. `drop` goes back to where it left, `keep` makes a recording of it.",
    group: Group::Diversion,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        Ok(ddb.debugger.divert()?)
    },
};

/// `drop`
pub const DROP: Command = Command {
    names: &["drop"],
    usage: "",
    help: "Throws a diversion away: the cursor is where it left the recording, and the recording is as it was.",
    group: Group::Diversion,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        ddb.debugger.drop_diversion()?;
        ddb.say_stop(&Why::Done, None);
        Ok(())
    },
};

/// `keep`
pub const KEEP: Command = Command {
    names: &["keep"],
    usage: "NAME",
    help: "Makes a recording of a diversion, from power-on to as far as it has come: it is listed, replays and can be opened as any other. The diversion goes on.",
    group: Group::Diversion,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let name = arguments.lexer.take_rest().trim().to_owned();
        if name.is_empty() {
            return Err(CommandError::said(format!("Under which name? keep {}", KEEP.usage)));
        }
        ddb.debugger.keep_diversion(&name)?;
        let _ = writeln!(ddb.out, "kept as {name}: vkernel ddb {name}");
        Ok(())
    },
};

/// `call`
pub const CALL: Command = Command {
    names: &["call"],
    usage: "FUNCTION[(ARGUMENT, ...)]",
    help: "Calls a function of the kernel on this vCPU, with up to six numbers as arguments, and prints what it returns. The registers are put back, what it did to memory stays; in a recording this is a diversion.",
    group: Group::Diversion,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let function = ddb.value(&mut arguments.lexer, "call")?;
        let mut values = Vec::new();
        if arguments.lexer.accept("(") && !arguments.lexer.accept(")") {
            loop {
                values.push(ddb.value(&mut arguments.lexer, "(")?);
                if arguments.lexer.accept(")") {
                    break;
                }
                if !arguments.lexer.accept(",") {
                    return Err(CommandError::said(format!("call {}", CALL.usage)));
                }
            }
        }
        ddb.end(&mut arguments.lexer)?;
        match ddb.debugger.call(function, &values)? {
            Called::Returned(value) => {
                let _ = writeln!(ddb.out, "= {value:#x}");
            }
            Called::Stopped(why) => {
                let name = label(ddb.debugger.symbols(), function, ddb.variables.max_offset);
                let _ = writeln!(ddb.out, "{name} has not returned.");
                ddb.say_stop(&why, None);
            }
        }
        Ok(())
    },
};

/// How an operator calls the register of this name: 0 to 15 in encoding order, 16 is RIP and 17 RFLAGS.
pub fn writable_register(name: &str) -> Option<u8> {
    let general = super::super::variables::GENERAL.iter().find(|(known, _)| *known == name);
    match name {
        "rip" | "pc" => Some(16),
        "rflags" | "rfl" | "eflags" => Some(17),
        _ => general.map(|(_, number)| *number as u8),
    }
}

impl Ddb<'_> {
    /// Writes a register of this vCPU; gives what was in it.
    pub(super) fn set_register(&mut self, name: &str, register: u8, value: u64) -> Result<u64, CommandError> {
        let old = self.variable(name).unwrap_or_default();
        self.debugger.write_register(register, value)?;
        Ok(old)
    }

    /// How many diversions lie in each other.
    pub(in super::super) fn diversion_depth(&self) -> usize {
        self.debugger.target.diversion().map_or(0, |(depth, _)| depth)
    }

    /// Says so when a command has opened a diversion.
    pub(in super::super) fn say_if_diverted(&mut self, depth_before: usize) {
        let now = self.debugger.target.diversion();
        if let Some((_, place)) = now.filter(|(depth, _)| *depth > depth_before) {
            let place = shown(place);
            let _ = writeln!(
                self.out,
                "(a diversion from {place}: the recording is as it was; `drop` goes back to it, `keep NAME` keeps this)"
            );
        }
    }
}
