//! `$radix` and its kin, and the registers, which are variables too.

use super::{CommandError, Ddb};
use machine::cpu::state::{CS, DS, ES, FS, GS, SS, Vcpu};

/// Scratch variables: `$work0` to `$work31`.
const WORK: usize = 32;

/// What `set` sets.
#[derive(Clone, Debug)]
pub struct Variables {
    /// For input and output.
    pub radix: u64,
    /// The largest offset that is shown as symbol+offset.
    pub max_offset: u64,
    /// Columns of a line.
    pub max_width: u64,
    /// Columns between tabulator stops.
    pub tab_stops: u64,
    /// Lines of a page; 0 turns the pager off.
    pub lines: u64,
    work: [u64; WORK],
}

impl Default for Variables {
    fn default() -> Variables {
        Variables { radix: 16, max_offset: 0x10000, max_width: 79, tab_stops: 8, lines: 20, work: [0; WORK] }
    }
}

impl Variables {
    fn slot(&mut self, name: &str) -> Option<&mut u64> {
        Some(match name {
            "radix" => &mut self.radix,
            "maxoff" => &mut self.max_offset,
            "maxwidth" => &mut self.max_width,
            "tabstops" => &mut self.tab_stops,
            "lines" => &mut self.lines,
            _ => {
                let number = name.strip_prefix("work")?;
                let number: usize = number.parse().ok()?;
                self.work.get_mut(number)?
            }
        })
    }

    /// All but the scratch variables that are zero, with their values.
    #[must_use]
    pub fn list(&self) -> Vec<(String, u64)> {
        let named = [
            ("radix", self.radix),
            ("maxoff", self.max_offset),
            ("maxwidth", self.max_width),
            ("tabstops", self.tab_stops),
            ("lines", self.lines),
        ];
        let named = named.into_iter().map(|(name, value)| (name.to_owned(), value));
        let work = self.work.iter().enumerate().filter(|(_, value)| **value != 0);
        named.chain(work.map(|(number, value)| (format!("work{number}"), *value))).collect()
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.clone().slot(name).copied()
    }

    /// Sets a variable; gives its old value.
    ///
    /// # Errors
    /// There is none of this name, or it cannot have this value.
    pub fn set(&mut self, name: &str, value: u64) -> Result<u64, CommandError> {
        let range = match name {
            "radix" => 8..=16,
            "maxwidth" => 20..=1000,
            "tabstops" => 1..=16,
            _ => 0..=u64::MAX,
        };
        if !range.contains(&value) {
            return Err(CommandError::said(format!(
                "${name} is from 0t{} to 0t{}, not 0t{value}",
                range.start(),
                range.end()
            )));
        }
        let slot = self.slot(name).ok_or_else(|| {
            CommandError::said(format!("Unknown variable ${name}; `set` alone lists those there are"))
        })?;
        Ok(std::mem::replace(slot, value))
    }
}

/// General registers in the order of `show registers` on FreeBSD, with their number in encoding order.
pub const GENERAL: [(&str, usize); 16] = [
    ("rax", 0),
    ("rcx", 1),
    ("rdx", 2),
    ("rbx", 3),
    ("rsp", 4),
    ("rbp", 5),
    ("rsi", 6),
    ("rdi", 7),
    ("r8", 8),
    ("r9", 9),
    ("r10", 10),
    ("r11", 11),
    ("r12", 12),
    ("r13", 13),
    ("r14", 14),
    ("r15", 15),
];

/// Segment registers in the order of `show registers`.
pub const SEGMENTS: [(&str, usize); 6] =
    [("cs", CS), ("ds", DS), ("es", ES), ("fs", FS), ("gs", GS), ("ss", SS)];

/// The value of a register, by its name.
#[must_use]
pub fn register(cpu: &Vcpu, name: &str) -> Option<u64> {
    if let Some((_, number)) = GENERAL.iter().find(|(known, _)| *known == name) {
        return Some(cpu.gpr[*number]);
    }
    if let Some((_, number)) = SEGMENTS.iter().find(|(known, _)| *known == name) {
        return Some(u64::from(cpu.segments[*number].selector));
    }
    Some(match name {
        "rip" | "pc" => cpu.rip,
        "sp" => cpu.gpr[4],
        "fp" => cpu.gpr[5],
        "rflags" | "rfl" | "eflags" => cpu.rflags,
        "fs_base" => cpu.segments[FS].base,
        "gs_base" => cpu.segments[GS].base,
        _ => return super::commands::system::system_register(cpu, name),
    })
}

impl Ddb<'_> {
    /// The value of a variable or register.
    pub(super) fn variable(&self, name: &str) -> Option<u64> {
        match name {
            "curcpu" | "db_cpu" => return Some(self.debugger.vcpu as u64),
            "icount" => return Some(self.debugger.now().icount.0),
            _ => {}
        }
        let cpu = &self.debugger.machine().cpus()[self.debugger.vcpu];
        self.variables.get(name).or_else(|| register(cpu, name))
    }
}
