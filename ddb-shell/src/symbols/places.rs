//! Where code is that people name: a function with all its copies, a source line.

use super::Symbols;
use super::dwarf::DebugInfo;
use super::modules::ModuleSymbols;
use super::relocation::Relocation;
use std::collections::HashSet;

/// The code of a source line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineCode {
    /// The line: the one that was asked for, or the next one that has code.
    pub line: u64,
    /// Where it begins, in each function that has it.
    pub starts: Vec<u64>,
}

impl Symbols<'_> {
    /// Where functions of a name begin: those that have the symbol, clones that the compiler made, and every place at which
    /// one was inlined; in the kernel and in its modules, or in one module only. Sorted.
    #[must_use]
    pub fn function_starts(&self, name: &str, module: Option<&str>) -> Vec<u64> {
        let modules = self.modules();
        let named: Vec<_> =
            modules.iter().filter(|known| module.is_none_or(|name| known.key().name == name)).collect();
        let mut starts = Vec::new();
        for module in &named {
            starts.extend(module.code_addresses(name));
            if let Some((dwarf, relocation)) = module.dwarf() {
                starts
                    .extend(dwarf.function_starts(name).into_iter().map(|start| relocation.relocate(start)));
            }
        }
        // What stands there may be the name of the kernel's table, too.
        if named.is_empty() || module.is_none() {
            let own = self.table.code_addresses(name);
            let described = self.dwarf.iter().flat_map(|dwarf| dwarf.function_starts(name));
            starts.extend(own.chain(described).map(|start| self.relocation.relocate(start)));
        }
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    /// The code of a line of a source file, which is named by the end of its path.
    #[must_use]
    pub fn line_code(&self, file: &str, line: u64) -> Option<LineCode> {
        let of_kernel =
            self.dwarf.as_ref().and_then(|dwarf| line_starts(dwarf, &self.relocation, file, line));
        let modules = self.modules();
        let of_module = |module: &ModuleSymbols| {
            let (dwarf, relocation) = module.dwarf()?;
            line_starts(dwarf, relocation, file, line)
        };
        let found: Vec<_> =
            of_kernel.into_iter().chain(modules.iter().filter_map(|module| of_module(module))).collect();
        let nearest = found.iter().map(|(line, _)| *line).min()?;
        let all = found.into_iter().filter(|(line, _)| *line == nearest).flat_map(|(_, starts)| starts);
        let mut seen = HashSet::new();
        // A line is compiled to several pieces; it is entered at the first in each copy of its function.
        let starts = all.filter(|start| seen.insert(self.copy_at(*start))).collect();
        Some(LineCode { line: nearest, starts })
    }

    /// Tells apart the copies of a function: by the function around, and the lines at which it was inlined.
    fn copy_at(&self, vaddr: u64) -> (u64, Vec<(String, u32)>) {
        let function = self.function_at(vaddr).map_or(vaddr, |function| vaddr - function.offset);
        let callers = self.lines_at(vaddr).into_iter().skip(1).map(|line| (line.file, line.line));
        (function, callers.collect())
    }
}

fn line_starts(
    dwarf: &DebugInfo<'_>,
    relocation: &Relocation,
    file: &str,
    line: u64,
) -> Option<(u64, Vec<u64>)> {
    let (line, starts) = dwarf.line_starts(file, line)?;
    Some((line, starts.into_iter().map(|start| relocation.relocate(start)).collect()))
}
