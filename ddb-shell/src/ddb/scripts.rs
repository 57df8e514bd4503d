//! Scripts, as FreeBSD's ddb(4) has them: commands by name, run at entry by the reason for it.

use super::Ddb;
use crate::debugger::stops::Kind;
use crate::debugger::{Debugger, Why};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How deep scripts may run scripts.
const DEPTH_MAX: usize = 3;

/// All scripts, and how deep one is in them.
#[derive(Debug, Default)]
pub struct Scripts {
    /// Commands by name, separated by semicolons.
    pub named: BTreeMap<String, String>,
    depth: usize,
}

/// What follows `kdb.enter.` in the name of the script for a stop.
pub fn reason(why: &Why, debugger: &Debugger<'_>) -> &'static str {
    let Why::Entry { number, .. } = why else {
        return match why {
            Why::Interrupted => "interrupt",
            _ => "unknown",
        };
    };
    let entry = debugger.stops.entries().iter().find(|entry| entry.number == *number);
    match entry.map(|entry| &entry.kind) {
        Some(Kind::Execute(_)) => "break",
        Some(Kind::Watch(_)) => "watch",
        _ => "unknown",
    }
}

impl Ddb<'_> {
    /// Runs the script for an entry of this kind, else the default one, if there is any.
    pub(super) fn run_entry_script(&mut self, reason: &str) {
        for name in [format!("kdb.enter.{reason}"), "kdb.enter.default".to_owned()] {
            if self.scripts.named.contains_key(&name) {
                self.run_script(&name);
                return;
            }
        }
    }

    /// Runs a script, showing each command.
    pub(super) fn run_script(&mut self, name: &str) {
        let Some(text) = self.scripts.named.get(name).cloned() else {
            let _ = writeln!(self.out, "script '{name}' not found");
            return;
        };
        if self.scripts.depth >= DEPTH_MAX {
            self.out.push_str("Script stack too deep\n");
            return;
        }
        self.scripts.depth += 1;
        for command in text.split(';').map(str::trim).filter(|command| !command.is_empty()) {
            let _ = writeln!(self.out, "db:{}:{name}>  {command}", self.scripts.depth - 1);
            self.execute_line(command);
            if self.left.is_some() {
                break;
            }
            if let Err(error) = self.go_on() {
                let _ = writeln!(self.out, "{error}");
                break;
            }
        }
        self.scripts.depth -= 1;
    }
}
