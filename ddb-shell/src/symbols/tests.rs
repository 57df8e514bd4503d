//! Real ELF files, made by the system's compiler, and what can be said of them.

use super::*;
use crate::testing::Pieces;
use std::path::Path;

const SOURCE: &str = r#"
int counter;
static inline __attribute__((always_inline)) int twice(int value)
{
    counter += value;
    return value * 2;
}

__attribute__((noinline)) int worker(int value)
{
    return twice(value) + 1;
}

void _start(void)
{
    counter = worker(counter);
    for (;;)
        ;
}
"#;

fn compile(arguments: &[&str]) -> Vec<u8> {
    crate::testing::compile(SOURCE, &[&["-O1"], arguments].concat())
}

fn line_of(text: &str) -> u32 {
    SOURCE.lines().position(|line| line.contains(text)).expect("a line of the source") as u32 + 1
}

#[test]
fn functions_data_and_lines_of_a_64_bit_program() {
    let bytes = compile(&["-g"]);
    let symbols = Symbols::parse(&bytes).expect("symbols");
    let worker = symbols.address_of("worker").expect("worker");
    assert!(worker >= 0x100_0000 && symbols.address_of("counter").is_some());
    let function = symbols.function_at(worker + 2).expect("a function");
    assert_eq!((function.name.as_str(), function.offset), ("worker", 2));
    assert!(function.length_bytes > 2 && function.length_bytes < 100);
    assert_eq!(symbols.line_info(), LineInfo::Present);
    let lines = symbols.lines_at(symbols.address_of("_start").expect("_start"));
    assert_eq!(lines.last().and_then(|line| line.function.as_deref()), Some("_start"));
    assert!(lines.last().is_some_and(|line| Path::new(&line.file).ends_with("guest.c")));
}

#[test]
fn an_inlined_function_is_told_from_the_one_around_it() {
    let bytes = compile(&["-g"]);
    let symbols = Symbols::parse(&bytes).expect("symbols");
    let worker = symbols.address_of("worker").expect("worker");
    let length = symbols.function_at(worker).expect("worker").length_bytes;
    let inlined =
        (worker..worker + length).map(|vaddr| symbols.lines_at(vaddr)).find(|lines| lines.len() == 2);
    let inlined = inlined.expect("an instruction of twice");
    let names: Vec<_> = inlined.iter().map(|line| line.function.as_deref()).collect();
    assert_eq!(names, [Some("twice"), Some("worker")]);
    assert_eq!(inlined[1].line, line_of("return twice(value)"));
    assert!((line_of("counter += value")..=line_of("return value * 2")).contains(&inlined[0].line));
}

/// Its code is described in a unit that names the descriptions of others.
#[test]
fn what_link_time_optimisation_has_moved_between_units_is_found() {
    let bytes = compile(&["-g", "-flto"]);
    let symbols = Symbols::parse(&bytes).expect("symbols");
    let worker = symbols.address_of("worker").expect("worker");
    let length = symbols.function_at(worker).expect("worker").length_bytes;
    assert_eq!(symbols.function_starts("worker", None), [worker]);
    let copies = symbols.function_starts("twice", None);
    assert!(!copies.is_empty(), "twice was inlined");
    assert!(copies.iter().all(|copy| (worker..worker + length).contains(copy)), "{copies:x?}, {worker:#x}");
    let counter = symbols.global("counter", None).and_then(|counter| counter.type_ref).expect("a type");
    assert_eq!(symbols.types().name(&counter), "int");
    let arguments = symbols.scopes_at(worker).pop().expect("the function").variables;
    assert_eq!(arguments[0].name, "value");
}

#[test]
fn a_32_bit_program_is_read_too() {
    let bytes = compile(&["-g", "-m32"]);
    assert_eq!(bytes[4], 1, "ELFCLASS32");
    let symbols = Symbols::parse(&bytes).expect("symbols");
    let start = symbols.address_of("_start").expect("_start");
    assert!(symbols.is_code(start) && !symbols.is_code(start - 0x10_0000));
    assert!(!symbols.lines_at(start).is_empty());
}

#[test]
fn without_debug_information_there_are_names_and_no_lines() {
    let bytes = compile(&[]);
    let symbols = Symbols::parse(&bytes).expect("symbols");
    let start = symbols.address_of("_start").expect("_start");
    assert_eq!(symbols.line_info(), LineInfo::Absent);
    assert!(symbols.lines_at(start).is_empty());
    assert!(matches!(Symbols::parse(&compile(&["-s"])), Err(SymbolError::Stripped)));
}

#[test]
fn compressed_debug_information_is_said_to_be_compressed() {
    let bytes = compile(&["-g", "-gz=zlib"]);
    let symbols = Symbols::parse(&bytes).expect("symbols");
    assert_eq!(symbols.line_info(), LineInfo::Compressed);
    assert!(symbols.address_of("worker").is_some());
}

#[test]
fn a_slide_moves_everything_and_can_be_taken_from_the_running_kernel() {
    let bytes = compile(&["-g"]);
    let linked = Symbols::parse(&bytes).expect("symbols");
    let worker = linked.address_of("worker").expect("worker");
    let slid = Symbols::parse(&bytes).expect("symbols").with_slide(-0x20_0000);
    assert_eq!(slid.address_of("worker"), Some(worker - 0x20_0000));
    assert_eq!(slid.function_at(worker - 0x20_0000), linked.function_at(worker));
    assert_eq!(slid.lines_at(worker - 0x20_0000), linked.lines_at(worker));
    assert_eq!(slid.function_at(worker), None);

    let kernel = |text| Symbols::of_functions(&[("_text", text, 0)]);
    let aligned = kernel(0xffff_ffff_8100_0000).aligned_with(&kernel(0xffff_ffff_9b40_0000));
    assert_eq!(aligned.slide(), 0x1a40_0000);
    assert_eq!(aligned.address_of("_text"), Some(0xffff_ffff_9b40_0000));
    assert_eq!(linked.aligned_with(&kernel(0x1000)).slide(), 0, "nothing in common");
}

#[test]
fn what_is_no_linked_elf_file_is_refused_with_advice() {
    let refusal = |bytes: &[u8]| Symbols::parse(bytes).map(|_| ()).expect_err("refused").to_string();
    assert!(refusal(b"MZ is how a bzImage begins").contains("vmlinux"));
    let bytes = compile(&["-g"]);
    let mut object_file = bytes.clone();
    object_file[16] = 1;
    assert!(refusal(&object_file).contains("linked"));
    for length in (0..bytes.len()).step_by(97) {
        // A cut file is refused or gives less; it never panics.
        if let Ok(symbols) = Symbols::parse(&bytes[..length]) {
            let _ = symbols.lines_at(0x100_0000);
        }
    }
}

#[test]
fn a_file_of_another_build_than_the_running_kernel_is_refused() {
    const NOTES: u64 = 0xffff_ffff_8200_0000;
    let bytes = compile(&["-Wl,--build-id=0x0102030405060708"]);
    let file = Symbols::parse(&bytes).expect("symbols");
    let id = file.build_id().expect("a build id").clone();
    assert_eq!(id.to_string(), "0102030405060708");
    let running = Symbols::of_functions(&[("__start_notes", NOTES, 1), ("__stop_notes", NOTES + 24, 1)]);
    let memory_of = |last: u8| {
        let mut memory = Pieces::default();
        let note = [4, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, 1, 2, 3, 4, 5, 6, 7, last];
        memory.put(NOTES, &note);
        memory
    };
    assert_eq!(file.check_build(&running, &memory_of(8)), Ok(()));
    let refusal = file.check_build(&running, &memory_of(9)).expect_err("another build").to_string();
    assert!(refusal.contains(&id.to_string()) && refusal.contains("0102030405060709"), "{refusal}");
    assert_eq!(file.check_build(&running, &Pieces::default()), Ok(()), "nothing to compare with");
    let without = compile(&[]);
    let without = Symbols::parse(&without).expect("symbols");
    assert_eq!(without.check_build(&running, &memory_of(9)), Ok(()));
}
