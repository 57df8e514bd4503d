//! Expressions over a program that gcc compiled, in the memory that it starts with.

use super::*;
use crate::memory::GuestMemory;
use crate::registers::Registers;
use crate::testing::{Pieces, compile as build};
use machine::cpu::state::{RDI, RSI, RSP, Vcpu};

const SOURCE: &str = r#"
typedef unsigned char u8;
enum state { IDLE, RUNNING = 1, STOPPED = 4 };
struct list { struct list *next, *prev; };
struct item {
    int number;
    unsigned small : 3, wide : 12;
    int below : 4;
    const char *name;
    char text[16];
    struct list link;
    enum state state;
    union { long whole; u8 bytes[8]; };
    struct item *peer;
    void (*handler)(struct item *);
    short table[4];
    _Bool is_ready;
};
extern struct item second;
__attribute__((noinline)) void handle(struct item *item) { item->number++; }
struct item first = { 42, 5, 1000, -3, "first\n", "hello", { &second.link, &first.link }, STOPPED,
                      { 0x1122334455667788 }, &second, handle, { 1, -2, 3, 4 }, 1 };
struct item second = { .number = -7, .state = 5, .peer = &first };
struct item *items[2] = { &first, &second };
int zeros[40];
unsigned long counter = 0xfffffffffffffff0;
static volatile int hidden = 9;
double ratio = 1.5;
__attribute__((noinline)) long worker(struct item *item, int count)
{
    static int calls = 3;
    long sum = hidden + calls;
    for (int i = 0; i < count; i++) {
        handle(item);
        sum += item->table[i & 3];
    }
    return sum;
}
void _start(void) { ratio = worker(&first, 2); for (;;) ; }
"#;

struct Bench {
    bytes: Vec<u8>,
}

impl Bench {
    fn new(arguments: &[&str]) -> Bench {
        Bench { bytes: build(SOURCE, arguments) }
    }

    fn symbols(&self) -> Symbols<'_> {
        Symbols::parse(&self.bytes).expect("symbols")
    }
}

fn registers() -> Registers {
    let mut cpu = Vcpu::new(3);
    cpu.code_bits = 64;
    cpu.gpr[RDI] = 0x1234;
    cpu.rip = 0x100_0000;
    Registers::of(&cpu)
}

/// What `{text}` prints.
fn printed(bench: &Bench, text: &str) -> String {
    let symbols = bench.symbols();
    let memory = Pieces::of_elf(&bench.bytes);
    let value = compile(text, &NameScope::global(), &symbols)
        .and_then(|program| program.evaluate(&memory, &registers()));
    match value {
        Ok(value) => print(&value, &symbols, &memory, PrintStyle::default()),
        Err(error) => format!("error: {error}"),
    }
}

fn check(bench: &Bench, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(printed(bench, text), *expected, "{{{text}}}");
    }
}

#[test]
fn members_elements_and_pointers_are_followed() {
    check(
        &Bench::new(&["-g", "-O1"]),
        &[
            ("first.number", "42"),
            ("items[1]->number", "-7"),
            ("(*items)->peer->peer->number", "42"),
            ("items[1].peer->wide", "1000"),
            ("first.small + first.below", "2"),
            ("first.below < 0", "1"),
            ("first.bytes[1]", "119 'w'"),
            ("first.whole == 0x1122334455667788", "1"),
            ("first.table", "{1, -2, 3, 4}"),
            ("*first.table@2", "{1, -2}"),
            ("first.text", "\"hello\""),
            ("first.text[1]", "101 'e'"),
            ("&first.text[1] - first.text", "1"),
            ("first.is_ready", "true"),
            ("first.state", "STOPPED"),
            ("second.state", "(RUNNING | STOPPED)"),
            ("STOPPED + 1", "5"),
            ("hidden", "9"),
            ("ratio", "1.5"),
            ("zeros", "{0 <repeats 40 times>}"),
        ],
    );
}

#[test]
fn numbers_have_the_types_and_conversions_of_c() {
    check(
        &Bench::new(&["-g", "-O1"]),
        &[
            ("1 + 2 * 3 - 4 / 2", "5"),
            ("-7 / 2", "-3"),
            ("-7 % 3", "-1"),
            ("1u - 2", "4294967295"),
            ("1 - 2", "-1"),
            ("2147483647 + 1", "-2147483648"),
            ("2147483648 + 1", "2147483649"),
            ("0xffffffff + 1", "0"),
            ("0x10 | 010 | 0b1", "25"),
            ("counter + 0x10", "0"),
            ("(int)counter", "-16"),
            ("(unsigned char)counter", "240 '\\360'"),
            ("(_Bool)counter", "true"),
            ("~0 & 0xf0", "240"),
            ("1 << 4 >> 2", "4"),
            ("'a' == 97 && !0 || 0", "1"),
            ("1 ? 2 : 3", "2"),
            ("0 ? 1 : 0 ? 2 : 3", "3"),
            ("0 && 1 / 0", "0"),
            ("'\\n'", "10 '\\n'"),
            ("5 > 3 == 1", "1"),
            ("-1 < 0u", "0"),
            ("sizeof(struct item)", "96"),
            ("sizeof first.table / sizeof(short)", "4"),
            ("sizeof(u8 *[3])", "24"),
        ],
    );
}

#[test]
fn casts_registers_and_the_macros_of_kernels_are_understood() {
    let bench = Bench::new(&["-g", "-O1"]);
    let first = bench.symbols().address_of("first").expect("first");
    check(
        &bench,
        &[
            ("$rdi", "4660"),
            ("$edi + 1", "4661"),
            ("(u8)$dil", "error: there is no register `$dil`"),
            ("$pc", "(void *) 0x1000000 <handle>"),
            ("$cpu", "3"),
            (&format!("((struct item *){first:#x})->number"), "42"),
            (&format!("*(int *){first:#x}"), "42"),
            ("container_of(first.link.prev, struct item, link)->number", "42"),
            ("container_of(&first.bytes[2], struct item, bytes[2])->number", "42"),
            ("offsetof(struct item, bytes[3])", "59"),
            ("handle", "{void (struct item *)} 0x1000000 <handle>"),
            ("first.handler == handle", "1"),
            ("first.handler", "(void (*)(struct item *)) 0x1000000 <handle>"),
            ("first.name", &format!("{:#x} \"first\\n\"", name_address(&bench))),
            ("second.name", "0x0"),
            ("&first", &format!("(struct item *) {first:#x} <first>")),
        ],
    );
}

fn name_address(bench: &Bench) -> u64 {
    let memory = Pieces::of_elf(&bench.bytes);
    let program = compile("(long)first.name", &NameScope::global(), &bench.symbols()).expect("it compiles");
    program.evaluate(&memory, &registers()).expect("a value").as_u64(&bench.symbols()).expect("a number")
}

#[test]
fn structures_are_printed_with_their_members() {
    let bench = Bench::new(&["-g", "-O1"]);
    let address = |name: &str| bench.symbols().address_of(name).expect(name);
    let (first, second) = (address("first"), address("second"));
    let expected = format!(
        "{{number = 42, small = 5, wide = 1000, below = -3, name = {:#x} \"first\\n\", text = \"hello\", \
         link = {{next = {:#x} <second+32>, prev = {:#x} <first+32>}}, state = STOPPED, \
         {{whole = 1234605616436508552, bytes = \"\\210wfUD3\\\"\\021\"}}, peer = {second:#x} <second>, \
         handler = 0x1000000 <handle>, table = {{1, -2, 3, 4}}, is_ready = true}}",
        name_address(&bench),
        second + 32,
        first + 32,
    );
    assert_eq!(printed(&bench, "first"), expected);
    let symbols = bench.symbols();
    let memory = Pieces::of_elf(&bench.bytes);
    let program = compile("first.link", &NameScope::global(), &symbols).expect("it compiles");
    let value = program.evaluate(&memory, &registers()).expect("a value");
    let pretty = PrintStyle { is_pretty: true, ..PrintStyle::default() };
    let text = print(&value, &symbols, &memory, pretty);
    assert_eq!(
        text,
        format!("{{\n  next = {:#x} <second+32>,\n  prev = {:#x} <first+32>\n}}", second + 32, first + 32)
    );
    let shallow = PrintStyle { depth_max: 0, ..PrintStyle::default() };
    assert_eq!(print(&value, &symbols, &memory, shallow), "{...}");
}

#[test]
fn a_value_says_where_it_lies_for_watchpoints() {
    let bench = Bench::new(&["-g", "-O1"]);
    let symbols = bench.symbols();
    let memory = Pieces::of_elf(&bench.bytes);
    let first = symbols.address_of("first").expect("first");
    let place = |text: &str| {
        let program = compile(text, &NameScope::global(), &symbols).expect(text);
        let value = program.evaluate(&memory, &registers()).expect(text);
        assert_eq!(program.place(&memory, &registers()), Ok(value.place), "{text}");
        value.place
    };
    assert_eq!(place("first"), Some((first, 96)));
    assert_eq!(place("first.table[2]"), Some((first + 84, 2)));
    assert_eq!(place("items[0]->wide"), Some((first + 4, 2)), "the two bytes that have bits 3 to 14");
    assert_eq!(place("first.number + 1"), None);
}

#[test]
fn what_is_wrong_with_an_expression_is_said() {
    check(
        &Bench::new(&["-g", "-O1"]),
        &[
            ("first.missing", "error: `struct item` has no member `missing`"),
            ("nothing", "error: there is no `nothing` here"),
            ("(struct nothing *)0", "error: there is no `struct nothing`"),
            ("first + 1", "error: a `struct item` is no number to compute with"),
            ("*first.number", "error: `*` needs a pointer, and this is a `int`"),
            ("1 +", "error: a value is missing at `the end`"),
            ("(1", "error: `)` is missing at `the end`"),
            ("1 2", "error: the expression should end at `2`"),
            ("08", "error: this is no number at `08`"),
            ("handle(1)", "error: functions of the guest cannot be called at `(1)`"),
            ("1 / zeros[0]", "error: division by zero"),
            ("&first.wide", "error: a bit-field has no address"),
            ("second.name[0]", "error: 0x0 is not mapped: the PTE (level 1) is 0x0, not present"),
            ("per_cpu(first, 1)", "error: `first` is no per-CPU variable"),
        ],
    );
    let deep = "(".repeat(200) + "1";
    assert!(printed(&Bench::new(&["-g"]), &deep).contains("nested too deeply"));
}

#[test]
fn what_would_make_too_deep_a_tree_is_refused() {
    let bench = Bench::new(&["-g"]);
    let symbols = bench.symbols();
    for (start, repeated, end) in [
        ("", "1+", "1"),
        ("", "1?1:", "1"),
        ("", "1,", "1"),
        ("first", ".peer", ""),
        ("&first", "->peer", ""),
        ("items", "[0]", ""),
        ("", "(long)", "1"),
        ("", "sizeof ", "1"),
        ("(int ", "*", ")0"),
        ("sizeof(int ", "[2]", ")"),
    ] {
        let text = format!("{start}{}{end}", repeated.repeat(100_000));
        let error = compile(&text, &NameScope::global(), &symbols).map(|_| ()).expect_err(&text[..40]);
        assert!(error.to_string().len() < 200, "{error}");
    }
}

#[test]
fn symbols_without_types_have_addresses_only() {
    let bench = Bench::new(&["-O1"]);
    let first = bench.symbols().address_of("first").expect("first");
    let advice = "error: the type of `first` is not known; give it one, as in `(int)first`";
    check(
        &bench,
        &[
            ("first", advice),
            ("*(int *)&first", "42"),
            ("(int)first + 1", "43"),
            ("(long)&first == &first", "1"),
        ],
    );
    assert_eq!(printed(&bench, "&first"), format!("(void *) {first:#x} <first>"));
}

/// The value of a local variable at an address.
fn local(bench: &Bench, memory: &Pieces, registers: &Registers, text: &str) -> String {
    let symbols = bench.symbols();
    let scope = NameScope::at(&symbols, registers.rip);
    match compile(text, &scope, &symbols).and_then(|program| program.evaluate(memory, registers)) {
        Ok(value) => print(&value, &symbols, memory, PrintStyle::default()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn arguments_in_registers_are_seen_from_where_they_are() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        let bench = Bench::new(&[version, "-O2"]);
        let symbols = bench.symbols();
        let address = |name: &str| symbols.address_of(name).expect(name);
        let memory = Pieces::of_elf(&bench.bytes);
        let mut registers = Registers { rip: address("worker"), ..registers() };
        registers.gpr[RDI] = Some(address("second"));
        registers.gpr[RSI] = Some(0xffff_0000_0000_0002);
        let seen = |text: &str| local(&bench, &memory, &registers, text);
        assert_eq!(seen("item->number"), "-7", "{version}");
        assert_eq!((seen("count"), seen("calls")), ("2".to_owned(), "3".to_owned()));
        registers.gpr[RDI] = None;
        let unknown = local(&bench, &memory, &registers, "item");
        assert_eq!(unknown, "`item`: <not saved: it was in a register that nobody saved>");
        registers.rip = address("_start");
        assert_eq!(local(&bench, &memory, &registers, "item"), "there is no `item` here");
    }
}

#[test]
fn variables_on_the_stack_are_found_from_the_frame_address() {
    // Without optimisation every variable has a place in the frame, which DW_OP_fbreg and the CFA lead to.
    let bench = Bench::new(&["-g", "-O0", "-fomit-frame-pointer"]);
    let symbols = bench.symbols();
    let worker = symbols.address_of("worker").expect("worker");
    let function = symbols.function_at(worker).expect("worker");
    let line = SOURCE.lines().position(|line| line.contains("handle(item);")).expect("the call") as u32 + 1;
    let inside = (worker..worker + function.length_bytes)
        .find(|vaddr| symbols.lines_at(*vaddr).last().is_some_and(|at| at.line == line))
        .expect("the call's first instruction");
    let scopes = NameScope::at(&symbols, inside);
    let names: Vec<Vec<&str>> = scopes
        .scopes()
        .iter()
        .map(|scope| scope.variables.iter().map(|variable| variable.name.as_str()).collect())
        .collect();
    assert_eq!(names, [vec!["i"], vec!["item", "count", "calls", "sum"]]);
    assert!(scopes.scopes()[1].variables[0].is_argument);

    let mut memory = Pieces::of_elf(&bench.bytes);
    const STACK: u64 = 0x7000_0000;
    let frame: Vec<u8> = (0..64_u8).collect();
    memory.put(STACK, &frame);
    let mut registers = Registers { rip: inside, ..registers() };
    registers.gpr[RSP] = Some(STACK);
    let program = compile("&count", &scopes, &symbols).expect("it compiles");
    let address = program.evaluate(&memory, &registers).expect("a value").as_u64(&symbols).expect("a number");
    assert!((STACK..STACK + 60).contains(&address), "{address:#x}");
    let expected = memory.read_number(address, 4).expect("mapped");
    assert_eq!(local(&bench, &memory, &registers, "count"), expected.to_string());
}

#[test]
fn a_program_can_be_evaluated_by_several_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let bench = Bench::new(&["-g"]);
    let program = compile("first.number", &NameScope::global(), &bench.symbols()).expect("it compiles");
    shared(&program);
}

#[test]
fn of_static_variables_of_the_same_name_that_of_the_code_is_meant() {
    let directory = tempfile::tempdir().expect("a directory");
    let other = directory.path().join("other.c");
    let source = "static volatile int hidden = 77;\nint peek(void) { return hidden; }\n";
    std::fs::write(&other, source).expect("written");
    let bench = Bench::new(&["-g", "-O1", other.to_str().expect("a path")]);
    let symbols = bench.symbols();
    let memory = Pieces::of_elf(&bench.bytes);
    let seen_from = |name: &str| {
        let rip = symbols.address_of(name).expect(name);
        local(&bench, &memory, &Registers { rip, ..registers() }, "hidden")
    };
    assert_eq!((seen_from("peek"), seen_from("worker")), ("77".to_owned(), "9".to_owned()));
}
