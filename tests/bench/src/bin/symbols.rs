//! `symbols`: how long a debugger waits for a kernel's debug information.
//!
//! ```sh
//! cargo run --release -p bench --bin symbols -- /usr/lib/debug/boot/vmlinux-6.1.0-56-cloud-amd64
//! ```
//!
//! Every step is timed in a process that has not seen the file yet, one after another: opening it (the symbol table), the
//! first source line, the first line in another unit, the list of all names, a type, a variable. The file should be in the
//! page cache, so run it twice and take the second.

use anyhow::{Context, Result};
use ddb_shell::expression::{NameScope, compile, print_type};
use ddb_shell::symbols::Symbols;
use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<()> {
    let path = PathBuf::from(std::env::args().nth(1).context("usage: symbols VMLINUX")?);
    let mut started = Instant::now();
    let mut step = |what: &str, found: String| {
        println!("{:>8.3} s  {what}: {found}", started.elapsed().as_secs_f64());
        started = Instant::now();
    };
    let bytes = host::mapping::map_file(&path)?;
    let symbols = Symbols::parse(bytes)?;
    step("opened", format!("{} MB", bytes.len() / 1_000_000));
    let line = |name: &str| -> Result<String> {
        let vaddr = symbols.address_of(name).with_context(|| format!("no {name}"))?;
        let lines = symbols.lines_at(vaddr);
        Ok(lines.last().map_or("no line".to_owned(), ToString::to_string))
    };
    step("the first source line", line("panic")?);
    step("another", line("do_idle")?);
    let scope = NameScope::at(&symbols, symbols.address_of("do_exit").context("no do_exit")? + 1);
    step("the variables of a function", format!("{} scopes", scope.scopes().len()));
    symbols.preparation()();
    step("all names", String::new());
    let program = compile("init_task.comm[0]", &NameScope::global(), &symbols)?;
    step("an expression", symbols.types().name(program.type_ref()));
    let task = compile("init_task", &NameScope::global(), &symbols)?;
    let lines = print_type(task.type_ref(), &symbols).lines().count();
    step("a structure", format!("{lines} lines"));
    Ok(())
}
