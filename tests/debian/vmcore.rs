//! A place of a recording as a crash dump: its headers and bytes, and the real drgn on it.
//!
//! drgn gets no debug information here, which is 800 MB for this kernel: what it finds with that, and what crash does, shows
//! `cargo run --release -p kernels -- vmcore`.

use super::crash::{crashed, line, with_module};
use crate::support::program::VKERNEL;
use crate::vkernel;
use harness::prompt::answers;
use harness::{Run, Typing, Vkernel, must, once};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, elf};
use regex::Regex;
use std::path::PathBuf;
use std::process::Command;

const RAM_BYTES: u64 = 96 << 20;

/// What a session of ddb answers at the same place.
fn ask(vkernel: &Vkernel, commands: &[&str]) -> Vec<String> {
    let script = commands.join("\n") + "\n";
    let run = vkernel.run_with(&["ddb", "--at", PLACE, "latest"], Typing::File(script.as_bytes()));
    run.expect_status(0);
    answers(&run.console(), commands)
}

/// When the guest has long been up.
const PLACE: &str = "@99%";

#[test]
fn a_dump_has_the_ram_the_registers_and_vmcoreinfo_and_drgn_reads_it() {
    let vkernel = vkernel();
    let linux = with_module(&vkernel);
    let run = crashed(&vkernel, &linux, &["-m", "96m"]);
    let path = vkernel.file("vmcore");
    let output = path.display().to_string();
    vkernel.run(&["trace", "vmcore", "--at", PLACE, "-o", &output, "latest"]).expect_status(0);
    let dump = std::fs::read(&path).expect("the dump");
    let file = ElfFile64::<Endianness>::parse(&*dump).expect("an ELF file");
    let header = file.elf_header();
    assert_eq!(header.e_type(Endianness::Little), elf::ET_CORE);
    assert_eq!(header.e_machine(Endianness::Little), elf::EM_X86_64);
    expect_notes(&file, &dump, &run);
    expect_ram(&file, &dump, &vkernel);
    expect_drgn(&vkernel, &run);
}

/// The notes are those of both vCPUs and VMCOREINFO, which names the guest's release.
fn expect_notes(file: &ElfFile64<'_, Endianness>, dump: &[u8], run: &Run) {
    let endian = Endianness::Little;
    let segment = file.elf_program_headers().iter().find(|header| header.p_type(endian) == elf::PT_NOTE);
    let mut notes = segment.expect("a PT_NOTE").notes(endian, dump).expect("readable").expect("notes");
    let mut names = Vec::new();
    let mut text = String::new();
    while let Some(note) = notes.next().expect("a sound note") {
        names.push((
            String::from_utf8_lossy(note.name()).into_owned(),
            note.n_type(endian).0,
            note.desc().len(),
        ));
        text = String::from_utf8_lossy(note.desc()).into_owned();
    }
    let [core, qemu] = [("CORE".to_owned(), elf::NT_PRSTATUS.0, 336), ("QEMU".to_owned(), 0, 440)];
    let vmcoreinfo = ("VMCOREINFO".to_owned(), 0, text.len());
    assert_eq!(names, [core.clone(), core, qemu.clone(), qemu, vmcoreinfo]);
    let release = text.lines().find_map(|line| line.strip_prefix("OSRELEASE=")).expect("a release");
    let console = run.console();
    assert!(console.lines().any(|line| line.trim() == release), "{release}: {run}");
}

/// The segments are the RAM, and hold what the prompt shows at the same place.
fn expect_ram(file: &ElfFile64<'_, Endianness>, dump: &[u8], vkernel: &Vkernel) {
    let endian = Endianness::Little;
    let loads = file.elf_program_headers().iter().filter(|header| header.p_type(endian) == elf::PT_LOAD);
    let loads: Vec<_> = loads.collect();
    let extents: Vec<_> = loads.iter().map(|load| (load.p_paddr(endian), load.p_memsz(endian))).collect();
    assert_eq!(extents, [(0, RAM_BYTES)]);
    let ram = loads[0].data(endian, dump).expect("within the file");
    assert_eq!(ram.len() as u64, RAM_BYTES);
    let found = ask(vkernel, &["pte linux_banner", "x/s linux_banner", "pte init_task", "x/gx init_task,4"]);
    let paddr = |text: &str| {
        let found = Regex::new(r"is at physical 0x(\w+)").expect("a pattern").captures(text);
        usize::from_str_radix(&found.unwrap_or_else(|| panic!("{text}"))[1], 16).expect("hexadecimal")
    };
    let banner = &ram[paddr(&found[0])..][..14];
    assert!(banner == b"Linux version " && found[1].contains("Linux version "), "{banner:?} {found:?}");
    let task = paddr(&found[2]);
    let word = |index: usize| u64::from_le_bytes(ram[task + 8 * index..][..8].try_into().expect("8 bytes"));
    let shown: Vec<u64> = found[3]
        .lines()
        .flat_map(|line| line.split_once(':').expect("an address").1.split_whitespace())
        .map(|word| u64::from_str_radix(word, 16).expect("hexadecimal"))
        .collect();
    assert_eq!(shown, (0..4).map(word).collect::<Vec<_>>(), "{found:?}");
    assert!(shown.iter().any(|word| *word != 0), "{found:?}");
}

/// drgn finds its way through the guest's page tables and symbols.
fn expect_drgn(vkernel: &Vkernel, run: &Run) {
    let script = vkernel.file("script.py");
    std::fs::write(&script, SCRIPT).expect("a script");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folder = drgn();
    let path = [folder.join("bin")].into_iter().chain(std::env::split_paths(&path));
    let path = format!("PATH={}", std::env::join_paths(path).expect("no colon in it").to_string_lossy());
    let python_path = format!("PYTHONPATH={}", folder.display());
    let mut command = Command::new("env");
    command.args([&path, &python_path, &format!("VKERNEL_DIR={}", vkernel.file("").display())]);
    command.args([VKERNEL, "drgn", "--at", PLACE, "latest", "--", "-q", "--no-default-symbols"]);
    let said = must(command.arg(&script));
    let console = run.console();
    let task = line(&console, " D init_task").split_whitespace().next().expect("an address");
    let release = console.lines().find(|line| line.starts_with("6.1.0-")).expect("a release").trim();
    for text in [
        format!("release {release} 4096"),
        format!("banner Linux version {release} "),
        format!("init_task {task}"),
    ] {
        assert!(said.lines().any(|line| line.starts_with(&text)), "{text}: {said}");
    }
}

/// What needs no debug information.
const SCRIPT: &str = "\
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms
prog.register_symbol_finder('kallsyms', load_vmlinux_kallsyms(prog), enable_index=0)
print('release', prog['UTS_RELEASE'].string_().decode(), prog['PAGE_SIZE'].value_())
print('banner', prog.read_c_string(prog.symbol('linux_banner').address).decode())
print('init_task', format(prog.symbol('init_task').address, '016x'))
";

/// The drgn of PyPI, in target/.
fn drgn() -> PathBuf {
    once("drgn", |scratch| {
        let folder = scratch.join("drgn");
        let mut pip = Command::new("python3");
        must(pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(&folder).arg("drgn"));
        folder
    })
}
