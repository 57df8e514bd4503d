//! `print`, `write`, `search`, `pte`.

use super::super::lexer::Token;
use super::super::symbolic::label;
use super::super::{CommandError, Ddb};
use super::examine::print_letter;
use super::{Command, Group, Repeats};
use crate::expression::PrintStyle;
use boundary::Operator;
use machine::WalkStep;
use std::fmt::Write as _;

/// `print`
pub const PRINT: Command = Command {
    names: &["print", "p"],
    usage: "[/axzodurcp] [EXPRESSION ...]",
    help: "Prints values: a as symbol, x z o d u r c as in examine; dot without an expression. An expression of C in braces is printed by its type, structures with their members; /p a member a line.",
    group: Group::Memory,
    repeats: Repeats::Again,
    run: |ddb, mut arguments| {
        let is_pretty = arguments.modifier == Some("p");
        let letter = if is_pretty { ddb.print_format } else { print_letter(&arguments, ddb.print_format) };
        ddb.formatted(0, letter)?;
        ddb.print_format = letter;
        if arguments.lexer.rest().is_empty() {
            let text = ddb.formatted(ddb.dot, letter)?;
            let _ = writeln!(ddb.out, "{}", text.trim_start());
            return Ok(());
        }
        while arguments.lexer.peek()? != Token::End {
            // Braces alone are C by type; within a larger expression they are a number.
            let mut ahead = arguments.lexer.clone();
            if let Token::Braces(text) = ahead.next()?
                && (arguments.modifier.is_none() || is_pretty)
                && matches!(ahead.peek(), Ok(Token::End | Token::Braces(_)))
            {
                let style = PrintStyle { is_pretty, ..PrintStyle::default() };
                let value = ddb.debugger.c_print(&text, style).map_err(CommandError::Said)?;
                let _ = writeln!(ddb.out, "{value}");
                arguments.lexer = ahead;
                continue;
            }
            let value = ddb.value(&mut arguments.lexer, "print")?;
            let text = ddb.formatted(value, letter)?;
            let _ = writeln!(ddb.out, "{}", text.trim_start());
            ddb.dot = value;
        }
        Ok(())
    },
};

/// `write`
pub const WRITE: Command = Command {
    names: &["write", "w"],
    usage: "[/bhlg] ADDRESS VALUE [VALUE ...]",
    help: "Writes values of 1, 2, 4 (without a modifier) or 8 bytes. In a live guest that was booted with -U the write is recorded as an operator's input; in a recording, and in the past of a live guest, it opens a diversion.",
    group: Group::Memory,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let size_bytes = size(arguments.modifier, 4)?;
        let mut address = ddb.value(&mut arguments.lexer, "write")?;
        if arguments.lexer.peek()? == Token::End {
            return Err(CommandError::said("Nothing written."));
        }
        while arguments.lexer.peek()? != Token::End {
            let value = ddb.value(&mut arguments.lexer, "write")?;
            let old = ddb.store(address, size_bytes, value)?;
            let name = label(ddb.debugger.symbols(), address, ddb.variables.max_offset);
            let _ = writeln!(ddb.out, "{name}\t\t{old:#x}\t=\t{value:#x}");
            address = address.wrapping_add(size_bytes as u64);
            ddb.dot = address;
        }
        Ok(())
    },
};

/// `search`
pub const SEARCH: Command = Command {
    names: &["search"],
    usage: "[/bhlg] ADDRESS VALUE [MASK][,COUNT]",
    help: "Finds VALUE under MASK (all ones) in at most COUNT items (2^20) from ADDRESS on, and leaves dot there.",
    group: Group::Memory,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let size_bytes = size(arguments.modifier, 4)?;
        let mut at = ddb.value(&mut arguments.lexer, "search")?;
        let value = ddb.value(&mut arguments.lexer, "search")?;
        let mask = super::super::expr::optional(&mut arguments.lexer, ddb)?.unwrap_or(u64::MAX);
        let count = if arguments.lexer.accept(",") { ddb.value(&mut arguments.lexer, ",")? } else { 1 << 20 };
        ddb.end(&mut arguments.lexer)?;
        for _ in 0..count {
            let mut bytes = [0; 8];
            let read = ddb.debugger.machine().peek_virtual(ddb.debugger.vcpu, at, &mut bytes[..size_bytes]);
            read.map_err(|error| CommandError::said(format!("Not found before this: {error}")))?;
            let kept = u64::MAX >> (64 - 8 * size_bytes);
            if (u64::from_le_bytes(bytes) ^ value) & mask & kept == 0 {
                ddb.dot = at;
                ddb.next = at.wrapping_add(size_bytes as u64);
                let name = label(ddb.debugger.symbols(), at, ddb.variables.max_offset);
                let _ = writeln!(ddb.out, "{name}: {at:#x}");
                return Ok(());
            }
            at = at.wrapping_add(size_bytes as u64);
        }
        Err(CommandError::said(format!("Not found before {at:#x}")))
    },
};

/// `pte`
pub const PTE: Command = Command {
    names: &["pte"],
    usage: "ADDRESS",
    help: "Walks the page tables of this vCPU: prints the entry of each level with its bits, where it leads, and why an access would fault.",
    group: Group::Memory,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let range = ddb.range(&mut arguments)?;
        let (steps, outcome) = ddb.debugger.machine().page_walk(ddb.debugger.vcpu, range.address);
        for step in &steps {
            let at = step.paddr.map_or_else(|| "a register".to_owned(), |paddr| format!("{paddr:#x}"));
            let bits = entry_bits(step);
            let _ = writeln!(ddb.out, "{:<17} at {at:<12} {:#018x} {bits}", step.name(), step.entry);
        }
        match outcome {
            Ok(paddr) => {
                let _ = writeln!(ddb.out, "{:#x} is at physical {paddr:#x}{}", range.address, access(&steps));
            }
            Err(error) => {
                let _ = writeln!(ddb.out, "{error}");
            }
        }
        Ok(())
    },
};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const EXECUTE_DISABLE: u64 = 1 << 63;

/// The bits of an entry, by the manual's letters.
fn entry_bits(step: &WalkStep) -> String {
    let names = [(0, "P"), (1, "RW"), (2, "US"), (3, "PWT"), (4, "PCD"), (5, "A"), (63, "XD")];
    let leaf = [(6, "D"), (8, "G")];
    let mut bits: Vec<&str> =
        names.iter().filter(|(bit, _)| step.entry >> bit & 1 != 0).map(|(_, name)| *name).collect();
    if step.is_leaf && step.entry & PRESENT != 0 {
        bits.extend(leaf.iter().filter(|(bit, _)| step.entry >> bit & 1 != 0).map(|(_, name)| *name));
        if step.level > 1 {
            bits.push("PS");
        }
    }
    bits.join(" ")
}

/// Who may do what, by all levels together.
fn access(steps: &[WalkStep]) -> String {
    if steps.is_empty() {
        return " (no paging)".to_owned();
    }
    let all = |bit: u64| steps.iter().all(|step| step.paddr.is_none() || step.entry & bit != 0);
    let any = |bit: u64| steps.iter().any(|step| step.paddr.is_some() && step.entry & bit != 0);
    let who = if all(USER) { "user and supervisor" } else { "supervisor only" };
    let write = if all(WRITABLE) { "read and write" } else { "read only" };
    let execute = if any(EXECUTE_DISABLE) { "no execution" } else { "execution" };
    format!(": {who}, {write}, {execute}")
}

fn size(modifier: Option<&str>, default_bytes: usize) -> Result<usize, CommandError> {
    match modifier {
        None => Ok(default_bytes),
        Some("b") => Ok(1),
        Some("h") => Ok(2),
        Some("l") => Ok(4),
        Some("g" | "q" | "L") => Ok(8),
        Some(other) => Err(CommandError::said(format!("Unknown size `{other}`: b, h, l and g are known"))),
    }
}

impl Ddb<'_> {
    /// Writes to the guest; gives what was there.
    fn store(&mut self, address: u64, size_bytes: usize, value: u64) -> Result<u64, CommandError> {
        let machine = self.debugger.machine();
        let mut bytes = [0; 8];
        let read = machine.peek_virtual(self.debugger.vcpu, address, &mut bytes[..size_bytes]);
        read.map_err(|error| CommandError::said(error.to_string()))?;
        let old = u64::from_le_bytes(bytes);
        let kept = 4096 - (address & 4095);
        let new = value.to_le_bytes();
        // What crosses into another page may lie elsewhere in physical memory.
        let mut done = 0usize;
        while done < size_bytes {
            let length = (size_bytes - done).min(if done == 0 { kept as usize } else { size_bytes });
            let at = address.wrapping_add(done as u64);
            let paddr = self.debugger.machine().physical_address(self.debugger.vcpu, at);
            let paddr = paddr.map_err(|error| CommandError::said(error.to_string()))?;
            let bytes = new[done..done + length].to_vec();
            self.debugger.target.write(Operator::WriteMemory { paddr, bytes })?;
            done += length;
        }
        Ok(old)
    }
}
