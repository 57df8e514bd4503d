//! What Linux has loaded: `show modules`.

use super::super::CommandError;
use super::{Command, Group, Repeats};
use crate::kernel::{Module, modules};
use crate::memory::VcpuMemory;
use crate::symbols::{LineInfo, Symbols};

/// Where gdb has what the kernel has freed behind the initialisation, or has not loaded: nothing can be there.
const NOWHERE: u64 = 1 << 62;

/// `show modules`
pub const MODULES: Command = Command {
    names: &["show modules"],
    usage: "[/g]",
    help: "Lists the modules that a Linux has loaded here: address and length of the code, name, and the file that has their debug information. That is looked for where --symbols says, and where distributions install it, by build id. /g: as gdb's commands that load the files.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let for_gdb = match arguments.modifier {
            None => false,
            Some("g") => true,
            Some(wrong) => return Err(CommandError::said(format!("Bad modifier `{wrong}`: g is known"))),
        };
        ddb.end(&mut arguments.lexer)?;
        let memory = VcpuMemory { machine: ddb.debugger.machine(), vcpu: ddb.debugger.vcpu };
        let symbols = ddb.debugger.symbols();
        let found = modules(symbols, &memory)
            .ok_or_else(|| CommandError::said("No list of Linux's modules is to be found here"))?;
        if for_gdb {
            let lines: Vec<String> = found.iter().filter_map(|module| gdb_line(symbols, module)).collect();
            ddb.out.push_str(&lines.concat());
            return Ok(());
        }
        if found.is_empty() {
            ddb.out.push_str("No module is loaded\n");
        }
        let lines = found.iter().map(|module| {
            let (start, length) = module.parts.first().copied().unwrap_or_default();
            format!("{start:#018x} {length:>8} {}{}\n", module.name, file_text(symbols, module))
        });
        let lines: Vec<String> = lines.collect();
        ddb.out.push_str(&lines.concat());
        Ok(())
    },
};

/// What is known of the file that a module is debugged by.
fn file_text(symbols: &Symbols<'_>, module: &Module) -> String {
    let Some(known) = symbols.modules().into_iter().find(|known| known.key().vaddr == module.vaddr) else {
        return String::new();
    };
    match (known.debug(), known.others().first()) {
        (Some(debug), _) => {
            let stripped =
                if debug.file.line_info() == LineInfo::Present { "" } else { " (no debug information)" };
            format!("  {}{stripped}", debug.file.path().display())
        }
        (None, Some(other)) => format!("  ({} is of another build)", other.display()),
        (None, None) => String::new(),
    }
}

/// gdb's command that loads the file of a module where it is.
fn gdb_line(symbols: &Symbols<'_>, module: &Module) -> Option<String> {
    let known = symbols.modules().into_iter().find(|known| known.key().vaddr == module.vaddr)?;
    let path = known.debug()?.file.path().display().to_string();
    // Names are the guest's: one that is no name of a section would be another word, or another line.
    let is_name = |name: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !name.is_empty() && name.bytes().all(is_part)
    };
    let is_there = |vaddr: u64| known.holds(vaddr) || symbols.is_per_cpu(vaddr);
    let sections: Vec<String> = module
        .sections
        .iter()
        .filter(|(name, _)| is_name(name))
        .map(|(name, vaddr)| {
            let vaddr = if is_there(*vaddr) { *vaddr } else { vaddr % NOWHERE + NOWHERE };
            format!(" -s {name} {vaddr:#x}")
        })
        .collect();
    (!sections.is_empty())
        .then(|| format!("add-symbol-file \"{path}\" -o {NOWHERE:#x}{}\n", sections.concat()))
}
