//! `symbols`: how long a debugger waits for a kernel's debug information.
//!
//! ```sh
//! cargo run --release -p bench --bin symbols -- /usr/lib/debug/boot/vmlinux-6.1.0-56-cloud-amd64
//! ```
//!
//! Then every structure of the kernel's BTF is compared with what DWARF says of it, and those that differ are listed: of
//! Debian's 6.1, 15 of 7336, which are declared within a function or by several files in different ways.
//!
//! Every step is timed in a process that has not seen the file yet, one after another: opening it (the symbol table), the
//! first source line, the first line in another unit, the list of all names, a type, a variable. The file should be in the
//! page cache, so run it twice and take the second.

use anyhow::{Context, Result};
use ddb_shell::expression::{NameScope, compile, print_type};
use ddb_shell::symbols::Symbols;
use ddb_shell::symbols::types::{Keyword, NameKind};
use object::{Object, ObjectSection};
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
    symbols.preparation(bytes)();
    step("all names", String::new());
    let program = compile("init_task.comm[0]", &NameScope::global(), &symbols)?;
    step("an expression", symbols.types().name(program.type_ref()));
    let task = compile("init_task", &NameScope::global(), &symbols)?;
    let lines = print_type(task.type_ref(), &symbols).lines().count();
    step("a structure", format!("{lines} lines"));
    let (count, differing) = compared(bytes, &symbols)?;
    step(
        "described twice",
        format!("{count} structures, {} differ: {}", differing.len(), differing.join(" ")),
    );
    Ok(())
}

/// How many structures both DWARF and BTF describe, and which they describe differently.
fn compared(bytes: &'static [u8], symbols: &Symbols<'_>) -> Result<(usize, Vec<String>)> {
    let file = object::File::parse(bytes)?;
    let section = file.section_by_name(".BTF").context("no BTF")?;
    let stripped = Symbols::none();
    anyhow::ensure!(stripped.types().add_btf(section.data()?.to_vec()), "damaged BTF");
    let described = |symbols: &Symbols<'_>, name: &str| {
        let found = symbols.types().find(NameKind::Tag(Keyword::Struct), name, None);
        // BTF does not tell `[]` from `[0]`, and pahole, which writes it, makes all dimensions one.
        found.map(|type_ref| flattened(&print_type(&type_ref, symbols).replace("[]", "[0]")))
    };
    let names = stripped.types().structures();
    let differs = |name: &&String| described(symbols, name) != described(&stripped, name);
    Ok((names.len(), names.iter().filter(differs).cloned().collect()))
}

/// The text with `[2][3]` written as `[6]`.
fn flattened(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(seam) = text.find("][") {
        let start = text[..seam].rfind('[').unwrap_or(0);
        let end = seam + 2 + text[seam + 2..].find(']').unwrap_or(0);
        let count = |digits: &str| digits.parse::<u64>().unwrap_or(0);
        let product = count(&text[start + 1..seam]) * count(&text[seam + 2..end]);
        text.replace_range(start..=end, &format!("[{product}]"));
    }
    text
}
