//! `show`: what there is to be seen of the guest and of the session.

use super::super::symbolic::{label, named};
use super::super::variables::{GENERAL, SEGMENTS};
use super::super::{CommandError, Ddb};
use super::{Command, Group, Repeats};
use crate::debugger::stepping::linear_rip;
use crate::debugger::stops::{Entry, Kind};
use crate::exceptions::exception_name;
use crate::kernel::printk;
use crate::registers::KERNEL_SPACE;
use machine::Space;
use machine::cpu::state::Activity;
use std::fmt::Write as _;

/// `show registers`
pub const REGISTERS: Command = Command {
    names: &["show registers", "registers"],
    usage: "",
    help: "Prints the general and segment registers of this vCPU, with symbols, and its instruction.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let cpu = &ddb.debugger.machine().cpus()[ddb.debugger.vcpu];
        let segments =
            SEGMENTS.iter().map(|(name, number)| (*name, u64::from(cpu.segments[*number].selector)));
        let general = GENERAL.iter().map(|(name, number)| (*name, cpu.gpr[*number]));
        let rest = [("rip", cpu.rip), ("rflags", cpu.rflags)];
        let mut text = String::new();
        for (name, value) in segments.chain(general).chain(rest) {
            // As in FreeBSD: a zero has no prefix.
            let value_text = if value == 0 { "0".to_owned() } else { format!("{value:#x}") };
            let symbols = ddb.debugger.symbols();
            // Where Linux's per-CPU variables are offsets, every small number would be one.
            let is_offset = value < KERNEL_SPACE && symbols.is_per_cpu(value);
            let symbol = named(symbols, value, ddb.variables.max_offset).filter(|_| !is_offset);
            let symbol = symbol.map_or_else(String::new, |symbol| format!("\t{symbol}"));
            let _ = writeln!(text, "{name:<12}{value_text:>18}{symbol}");
        }
        ddb.out.push_str(&text);
        ddb.say_instruction();
        Ok(())
    },
};

/// `show breaks`
pub const BREAKS: Command = Command {
    names: &["show breaks"],
    usage: "",
    help: "Lists breakpoints and events.",
    group: Group::Stops,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let entries = ddb.debugger.stops.entries().to_vec();
        let breakpoints: Vec<Entry> =
            entries.into_iter().filter(|entry| !matches!(entry.kind, Kind::Watch(_))).collect();
        if breakpoints.is_empty() {
            ddb.out.push_str("No breakpoints set\n");
            return Ok(());
        }
        let _ = writeln!(ddb.out, " Number   Count    Hits    Address");
        for entry in breakpoints {
            let what = ddb.describe_kind(&entry.kind);
            let condition = entry.condition.map_or_else(String::new, |when| format!(" if {{{}}}", when.text));
            let _ = writeln!(
                ddb.out,
                "*{:<7} {:<8} {:<7} {what}{condition}",
                entry.number, entry.every, entry.hits
            );
        }
        Ok(())
    },
};

/// `show watches`
pub const WATCHES: Command = Command {
    names: &["show watches"],
    usage: "",
    help: "Lists watchpoints.",
    group: Group::Stops,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let entries = ddb.debugger.stops.entries().to_vec();
        let watches: Vec<Entry> =
            entries.into_iter().filter(|entry| matches!(entry.kind, Kind::Watch(_))).collect();
        if watches.is_empty() {
            ddb.out.push_str("No watchpoints set\n");
            return Ok(());
        }
        let _ = writeln!(ddb.out, " Number   Address                       Size  Access");
        for entry in watches {
            let Kind::Watch(watch) = entry.kind else { continue };
            let access = match (watch.read, watch.write) {
                (true, true) => "read-write",
                (true, false) => "read",
                _ => "write",
            };
            let name = match watch.space {
                Space::Linear => label(ddb.debugger.symbols(), watch.address, ddb.variables.max_offset),
                Space::Physical => format!("physical {:#x}", watch.address),
            };
            let _ = writeln!(ddb.out, "*{:<7} {name:<28} {:>5}  {access}", entry.number, watch.length_bytes);
        }
        Ok(())
    },
};

/// `show all cpus`
pub const ALL_CPUS: Command = Command {
    names: &["show all cpus", "show threads"],
    usage: "",
    help: "One line for each vCPU: what it does, its task, where it is.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        for vcpu in 0..ddb.debugger.machine().cpus().len() {
            let cpu = &ddb.debugger.machine().cpus()[vcpu];
            let doing = match cpu.activity {
                Activity::Running => "running",
                Activity::Halted => "halted",
                Activity::WaitForSipi => "not started",
                Activity::Shutdown => "shut down",
            };
            let at = label(ddb.debugger.symbols(), linear_rip(cpu), ddb.variables.max_offset);
            let task = crate::kernel::current_task(ddb.debugger.machine(), vcpu, ddb.debugger.symbols());
            let task = task.map_or_else(String::new, |task| format!("  {task}"));
            let current = if vcpu == ddb.debugger.vcpu { '*' } else { ' ' };
            let _ = writeln!(ddb.out, "{current}{vcpu:>3} {doing:<12} {at}{task}");
        }
        Ok(())
    },
};

/// `show msgbuf`
pub const MSGBUF: Command = Command {
    names: &["show msgbuf", "dmesg"],
    usage: "[,COUNT]",
    help: "Prints Linux's log as it is in the guest's memory here, also what its console has not shown; with COUNT only the last lines.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let count = if arguments.lexer.accept(",") { ddb.decimal(&mut arguments.lexer)? } else { None };
        ddb.end(&mut arguments.lexer)?;
        let log = printk::log(ddb.debugger.machine(), ddb.debugger.symbols())
            .ok_or_else(|| CommandError::said("No log of Linux is in memory here"))?;
        let skipped = count.map_or(0, |count| log.len().saturating_sub(count as usize));
        for line in log.iter().skip(skipped) {
            let _ = writeln!(ddb.out, "{line}");
        }
        Ok(())
    },
};

/// `show console`
pub const CONSOLE: Command = Command {
    names: &["show console"],
    usage: "[,COUNT]",
    help: "Prints the last COUNT lines (20, decimal) that the console had shown here.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let count = if arguments.lexer.accept(",") { ddb.decimal(&mut arguments.lexer)? } else { None };
        ddb.end(&mut arguments.lexer)?;
        let console = ddb.debugger.target.console()?;
        let text = String::from_utf8_lossy(&console).replace('\r', "");
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(count.unwrap_or(20) as usize);
        for line in &lines[skipped..] {
            let _ = writeln!(ddb.out, "{line}");
        }
        Ok(())
    },
};

/// `show checkpoints`
pub const CHECKPOINTS: Command = Command {
    names: &["show checkpoints"],
    usage: "",
    help: "Says how many checkpoints make going back fast, and what they cost.",
    group: Group::Time,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        ddb.end(&mut arguments.lexer)?;
        let past = ddb.debugger.target.past()?;
        let cost = past.checkpoint_cost();
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let _ = write!(ddb.out, "{} checkpoints, {} of memory", cost.count, megabytes(cost.memory_bytes));
        let disk = cost.disk_bytes.map_or(String::new(), |bytes| format!(", {} on disk", megabytes(bytes)));
        let _ = writeln!(ddb.out, "{disk}");
        if let Some(trouble) = past.checkpoint_trouble() {
            let _ = writeln!(ddb.out, "No more of them are kept on disk: {trouble}");
        }
        Ok(())
    },
};

impl Ddb<'_> {
    fn describe_kind(&self, kind: &Kind) -> String {
        match kind {
            Kind::Execute(places) => {
                let first = places.first().map_or_else(String::new, |place| self.code_label(*place));
                let more = places.len().saturating_sub(1);
                if more == 0 { first } else { format!("{first} and {more} more") }
            }
            Kind::Watch(watch) => label(self.debugger.symbols(), watch.address, self.variables.max_offset),
            Kind::Exceptions(u32::MAX) => "every exception".to_owned(),
            Kind::Exceptions(vectors) => {
                let vector = vectors.trailing_zeros() as u8;
                format!("exception {vector} ({})", exception_name(vector))
            }
            Kind::Interrupts(None) => "every interrupt".to_owned(),
            Kind::Interrupts(Some(vector)) => format!("interrupt {vector:#x}"),
            Kind::Syscalls(None) => "every system call".to_owned(),
            Kind::Syscalls(Some(number)) => format!("system call {number}"),
            Kind::Ports(first, last) => format!("ports {first:#x} to {last:#x}"),
            Kind::Msrs(first, last) => format!("MSRs {first:#x} to {last:#x}"),
            Kind::Text(regex) => format!("text /{regex}/"),
        }
    }
}
