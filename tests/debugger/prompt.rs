//! Commands of the prompt, each with what it prints, on a recording of the demonstration kernel that died of its race.

use super::with_a_race;
use crate::debian::prompt as linux;
use crate::support::program::Sandbox;
use ddb_shell::ddb::names_of_commands;
use harness::nonsense::{Scope, lines};
use harness::prompt::{answers, mismatches};
use harness::{Dice, guests};
use regex::Regex;
use std::collections::BTreeSet;

/// A command, and what it must print: a regular expression over all its lines.
type Case = (&'static str, &'static str);

/// In order: each begins where the one before has left the cursor.
const CASES: &[Case] = &[
    ("when", r"^@\d+: \d+\.\d\d% of @\d+, guest time \d\.\d{9}s\n  vCPU 0: \d+ instructions\n  vCPU 1: \d+"),
    ("thread", r"^\[ vCPU \d @\d+ \]\nStopped at +panic: +pushq +%rbp \[tests/guests/demo/panic.c:\d+\]\n$"),
    ("trace", r"(?s)^Tracing vCPU \d\n#0 panic\+0x0/0x\w+ \(tests/.*#1 .*thread_main"),
    ("bt ,1", r"^Tracing vCPU \d\n#0 panic[^\n]*\n$"),
    ("alltrace", r"(?s)Tracing vCPU 0\n#0 .*Tracing vCPU 1\n#0 "),
    ("frame 1", r"^#1 .*\(tests/guests/demo/work.c:\d+\)"),
    ("show locals", r"(?m)^worker = \(struct worker \*\) 0xf\w+ <workers.*>$"),
    ("print {worker->number}", r"^[01]\n$"),
    ("print/p {shelves[0].lock}", r"^\{\n  locked = 0\n\}\n$"),
    ("whatis {shelves[0].books}", r"struct list \{\n.*0 \*/ +struct list \*next;"),
    ("frame 0", r"^#0 panic"),
    ("print/x {sizeof(struct shelf)} + 2", r"^2a\n$"),
    ("print/d 0t10 + 10", r"^26\n$"),
    ("p 1 / 0", r"^Division by 0\n$"),
    ("p nobody", r"^Symbol `nobody` not found\n$"),
    ("p/a panic", r"^panic\n$"),
    ("set $radix 0t10", r"\$radix +0x10 = 0xa"),
    ("p/x 16", r"^10\n$"),
    ("set $radix 16", r"\$radix"),
    ("set", r"(?m)^\$lines = 0x14$"),
    ("x/i panic,2", r"^panic: +pushq +%rbp.*\npanic\+0x1: "),
    ("", r"^panic\+0x\w+: "),
    ("x/2i panic", r"^panic: +pushq +%rbp.*\npanic\+0x1: "),
    ("", r"^panic\+0x\w+: .*\n$"),
    ("x/2i panic,2", r"^A count stands before the format or behind the address, not both\n$"),
    ("x/I panic", r"^panic: +push +rbp"),
    ("x/gx $rsp,2", r"^0x[0-9a-f]+: +[0-9a-f]+ +[0-9a-f]+\n$"),
    ("xf", r"^0x[0-9a-f]+: "),
    ("xb", r"^0x[0-9a-f]+: "),
    ("x/s {format}", r"work: "),
    ("x/m $rsp", r"^0x\w+: +(\w{8} ){4} .{16}\n$"),
    ("x/a panic", r"^panic: += 0x"),
    ("x/S $rsp", r"^0x\w+: +work\+0x|^0x\w+: +\w+\+0x"),
    ("x 0x10", r"not mapped"),
    ("x/y", r"^Bad modifier `y`"),
    ("search/h panic 4855", r"^panic: +0xffffffff80\w{6}\n$"),
    (
        "pte panic",
        r"(?s)^PML4E \(level 4\) +at 0x.* P RW.*0x\w+ is at physical 0x\w+: supervisor only, read and write, execution\n$",
    ),
    ("keep kept", r"^this is no diversion: "),
    ("drop", r"^this is no diversion: "),
    ("write shelves 1", r"(?s)^shelves +0x0 += +0x1\n\(a diversion from @\d+: "),
    ("x/x shelves", r"^shelves: +1\n$"),
    ("set $rbx 77", r"^\$rbx +0x\w+ = 0x77\n$"),
    ("step", r"^\[ vCPU \d @\d+ \]\nStopped at +panic\+0x1: "),
    ("call page_alloc()", r"^= 0xffff8000\w{8}\n$"),
    ("call page_alloc", r"^= 0xffff8000\w{8}\n$"),
    ("p/x $rbx", r"^77\n$"),
    ("thread", r"^\[ vCPU \d @\d+\+\d+ \]\nStopped at +panic\+0x1: "),
    ("keep kept", r"^kept as kept: vkernel ddb kept\n$"),
    ("keep kept", r"^there is a recording called kept already"),
    ("keep ../kept", r"^.*cannot be the name of a recording: "),
    ("drop", r"^\[ vCPU \d @\d+ \]\nStopped at +panic: "),
    ("x/x shelves", r"^shelves: +0\n$"),
    ("divert", r"^\(a diversion from @\d+: "),
    ("drop", r"^\[ vCPU \d @\d+ \]\nStopped at +panic: "),
    ("show registers", r"(?s)^cs +0x8\n.*rax .*rip +0x\w+ +panic\nrflags.*panic: +pushq"),
    ("show sysregs", r"(?m)^cr3 +0x\w{16}$"),
    ("show idt", r"(?m)^ 14 \(0x0e\) interrupt 0x0008 DPL 0"),
    ("show gdt", r"(?m)^0x0008 code 64 +base 0x0 limit 0xffffffff DPL 0$"),
    ("print {x2apic} {deadline_mode}", r"^true\ntrue\n$"),
    (
        "show lapic",
        r"(?x)^Local\ APIC\ of\ vCPU\ ([01]):\ id\ [01],\ version\ 0x14,\ x2APIC\n
          SVR\ +enabled,\ spurious\ vector\ 0xff\n priority\ +TPR\ 0x00,\ PPR\ 0x00\n
          destination\ +logical\ 0x[12]\ \(cluster\ 0,\ mask\ 0x[12]\)\n ESR\ +0x0,\ since\ it\ was\ written\ 0x0\n
          LVT\ timer\ +vector\ 0x40,\ fixed\n LVT\ thermal\ +vector\ 0x00,\ fixed,\ masked\n
          LVT\ perfmon\ .*\n LVT\ LINT0\ +vector\ 0x00,\ fixed,\ edge,\ active\ high,\ masked\n
          LVT\ LINT1\ +vector\ 0x00,\ NMI,\ .*\n LVT\ error\ +.*,\ masked\n
          timer\ +TSC-deadline,\ expires\ at\ guest\ time\ 0\.\d{9}s,\ in\ 0\.00\d{7}s\n
          pending\ +none\n in\ service\ +none\n to\ be\ taken\ +nothing\n$",
    ),
    (
        "show lapic 1",
        r"(?s)^Local APIC of vCPU 1: id 1, .*logical 0x2 \(cluster 0, mask 0x2\)\n.*LVT timer +vector 0x40, fixed\n",
    ),
    ("show lapic 7", r"^There is no vCPU 7: they are 0 to 1\n$"),
    ("show apic", r"^I/O APIC at 0xfec00000: id 0, 24 pins\nEvery entry is as after reset: masked\n$"),
    (
        "show pciregs",
        r"^pci0:0:0:0: class=0x060000 card=0x00000000 chip=0x29c08086 rev=0x00 hdr=0x00\npci0:0:31:0: class=0x060100 card=0x00000000 chip=0x29188086 rev=0x02 hdr=0x00\n$",
    ),
    (
        "show rtc",
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, \w+day, the clock runs\nA 0x26 DV 2, RS 6\nB 0x02 24 hours\nC 0x40 PF\nD 0x80 VRT\n$",
    ),
    ("show all cpus", r"(?m)^\*? *\d running"),
    ("dmesg", r"^No log of Linux is in memory here\n$"),
    ("show console ,1", r"^work: phase \d of \d, "),
    ("show breaks", r"^No breakpoints set\n$"),
    ("show watches", r"^No watchpoints set\n$"),
    (
        "last {*(unsigned long *)$rsi}",
        r"(?s)^0x\w+: 0x\w+ becomes 0x\w+\n\[ vCPU \d @\d+ \]\nStopped at +work\+0x\w+:",
    ),
    ("step", r"(?s)^\[ vCPU \d @\d+ \]\nStopped at "),
    ("step/p ,2", r"(?s)^work\+.*work\+.*After \d+ instructions,\n\[ vCPU"),
    ("rstep ,3", r"^\[ vCPU \d @\d+ \]\nStopped at +work\+"),
    ("n", r"^\[ vCPU \d @\d+ \]"),
    ("rnext", r"^\[ vCPU \d @\d+ \]"),
    ("until", r"(?m)^Stopped at .* (call|ret|iret)"),
    ("mark here", r"^@:here is @\d+\n$"),
    ("mark", r"^@:here +@\d+\n$"),
    ("seek @50%", r"^\[ vCPU \d @\d+ \]"),
    ("continue/c @:here", r"^After \d+ instructions,\n\[ vCPU"),
    ("mark -d here", r"^$"),
    ("seek @:here", r"^there is no bookmark `here`"),
    ("history", r"(?m)^\* @\d+$"),
    ("back", r"^\[ vCPU"),
    ("forward", r"^\[ vCPU"),
    ("seek @/phase 2 of/", r"^\[ vCPU"),
    // A command is one journey, however many steps it makes.
    ("mark before", r"^@:before is @\d+\n$"),
    ("step/p ,20", r"(?s)After \d+ instructions,\n\[ vCPU"),
    ("until", r"(?m)^Stopped at "),
    ("back", r"^\[ vCPU"),
    ("back", r"^\[ vCPU"),
    ("continue/c @:before", r"^After 0 instructions,\n\[ vCPU"),
    ("mark -d before", r"^$"),
    ("show console ,1", r"^work: phase 2 of"),
    ("seek @0.01s", r"^\[ vCPU"),
    ("seek @nowhere", r"is no place; places are"),
    ("seek", r"^Where to\?"),
    ("writes {shelves[0].count} limit 2", r"(?s)^@\d+ +vCPU \d+ +\w+\+0x\w+ = 0x1\n@\d+ .*= 0x2\n2 of \d+; "),
    ("calls panic", r#"^@\d+ +vCPU \d +panic\(format=.*"work: "#),
    ("exceptions", r"^None in the whole recording.\n$"),
    ("exceptions 14 limit 2", r"^None in the whole recording.\n$"),
    ("exceptions #gp limit 2", r"^None in the whole recording.\n$"),
    ("exceptions 32", r"^Exceptions have the vectors 0 to 31, decimal\n$"),
    ("exceptions #nothing", r"^No exception has that name: #PF is one, #GP another\n$"),
    (
        "x {shelves[0]}",
        r"^`shelves\[0\]` is no number, but a whole object, which lies at `&\(shelves\[0\]\)`\n$",
    ),
    ("first shelves[0].count > 3", r"(?s)^\[ vCPU \d @\d+ \]"),
    ("first {shelves[0].count > 3}", r"(?s)^\[ vCPU \d @\d+ \]"),
    ("print {shelves[0].count}", r"^4\n$"),
    ("break page_alloc", r"^Breakpoint 1 at page_alloc \[tests/guests/demo/mm.c:\d+\]\n$"),
    ("break page_alloc", r"^Already set.\n$"),
    ("continue", r"^\[ vCPU \d @\d+ \]\nBreakpoint at +page_alloc: "),
    ("finish", r"^\[ vCPU \d @\d+ \]\nStopped at "),
    ("rfinish", r"^\[ vCPU"),
    ("continue", r"^\[ vCPU \d @\d+ \]\nBreakpoint at +page_alloc: "),
    ("continue", r"^\[ vCPU \d @\d+ \]\nBreakpoint at +page_alloc: "),
    ("rcontinue", r"^\[ vCPU \d @\d+ \]\nBreakpoint at +page_alloc: "),
    ("next", r"(?s)^\(next runs to the matching return.*Stopped at +page_alloc\+0x\w+: +ret"),
    ("delete page_alloc", r"^$"),
    ("delete page_alloc", r"^Not set.\n$"),
    ("break panic if {expected == 3}", r"^there is no `expected` here\n$"),
    ("break put_on_shelf,3 if {shelf == &shelves[1]}", r"^Breakpoint 2 at put_on_shelf \[.*work.c:\d+\]\n$"),
    ("c", r"(?s)Breakpoint at +put_on_shelf: "),
    ("print {shelf == &shelves[1]}", r"^1\n$"),
    ("show breaks", r"(?m)^\*2 +3 +3 +put_on_shelf \[.*\] if \{shelf == &shelves\[1\]\}$"),
    ("delete #2", r"^$"),
    (
        "break list_add_tail if {entry == 0 || entry != 0}",
        r"(?s)^Breakpoint 3 at \d+ places:\n.*  put_on_shelf\+0x\w+ \[tests/guests/demo/\w+\.[ch]:\d+\]\n",
    ),
    ("c", r"(?s)^\[ vCPU \d @\d+ \]\nBreakpoint at +\w+"),
    ("show breaks", r"(?m)^\*3 +1 +1 +\w+.* \[.*\] and \d+ more if"),
    (
        "calls list_add_tail limit 2",
        r"(?m)^@\d+ +vCPU \d +list_add_tail\(head=.*, entry=.*\) inlined in \w+$",
    ),
    ("delete list_add_tail", r"^$"),
    ("break work.c:73", r"^Breakpoint 4 at put_on_shelf\+0x\w+ \[tests/guests/demo/work.c:73\]\n$"),
    ("delete demo/work.c:73", r"^$"),
    ("break work.c:76", r"(?s)^Line 76 has no code, line \d+ has\nBreakpoint 5 at \w+"),
    ("delete #5", r"^$"),
    ("break nowhere.c:7", r"^nowhere.c:7: no code is from there\n$"),
    ("break work.c:99999", r"^work.c:99999: no code is from there\n$"),
    ("watch {shelves[2].weight}", r"^Watchpoint 6 at shelves\+0x70, 8 bytes\n$"),
    ("show watches", r"(?m)^\*6 +shelves\+0x70 +8  write$"),
    ("c", r"(?s)^Watchpoint 6: write of 8 bytes at shelves\+0x70\n.*Watchpoint at +\w+\+"),
    ("rc", r"(?s)^Watchpoint 6: write"),
    ("dwatch {shelves[2].weight}", r"^$"),
    ("dwatch {shelves[2].weight}", r"^Not set.\n$"),
    ("hwatch/r shelves,4", r"^Watchpoint 7 at shelves, 4 bytes\n$"),
    ("dhwatch shelves", r"^$"),
    ("stop interrupt", r"^Event 8\n$"),
    ("c", r"(?s)^Event 8: interrupt 0x"),
    ("show lapic", r"(?m)^priority +TPR 0x00, PPR 0x[4-f]0\n(.*\n)+in service +0x[4-f]\w\n"),
    ("delete #8", r"^$"),
    ("stop interrupt 40", r"^Event 9\n$"),
    ("c", r"(?s)^Event 9: interrupt 0x40\n"),
    (
        "show lapic",
        r"(?s)PPR 0x40\n.*LVT timer +vector 0x40, fixed\n.*TSC-deadline, not armed\n.*in service +0x40\n",
    ),
    ("delete all", r"^$"),
    ("stop port 3f8", r"^Event 10\n$"),
    ("c", r"(?s)^Event 10: write of 0x\w+ at port 0x3f8\n"),
    ("delete #10", r"^$"),
    ("stop text /phase 3 of/", r"^Event 11\n$"),
    ("seek @start", r"^\[ vCPU \d @0 \]\n"),
    ("c", r"(?s)^Event 11: the text was printed\n\[ vCPU \d @\d+ \]\nStopped at +serial_putc\+"),
    ("d all", r"^$"),
    ("show checkpoints", r"^\d+ checkpoints, \d+\.\d MB of memory, \d+\.\d MB on disk\n$"),
    ("digest", r"^[0-9a-f]{32}\n$"),
    ("script here=when; p/x 12", r"^$"),
    ("scripts", r"^here=when; p/x 12\n$"),
    ("run here", r"(?s)^db:0:here>  when\n@.*db:0:here>  p/x 12\n12\n$"),
    ("unscript here", r"^$"),
    ("unscript here", r"^script 'here' not found\n$"),
    ("capture on", r"^$"),
    ("p/x 77", r"^77\n$"),
    ("capture status", r"^\d+ bytes used\ncapture is on\n$"),
    ("capture off", r"^$"),
    ("capture show", r"(?s)^77\n"),
    ("help", r"(?s)^Going on:\n  continue, step"),
    ("help seek", r"(?s)^seek, goto PLACE\nGoes to a place"),
    ("show", r"(?s)breaks .*registers .*sysregs"),
    ("nonsense", r"^No such command: nonsense; `help` lists them\n$"),
    ("info reg", r"^No such command: info; here it is `show registers`\n$"),
    ("reverse-stepi", r"^No such command: reverse; here it is `rstep`\n$"),
    ("help disas", r"^No such command: disas; here it is `x/i`\n$"),
    ("last shelves[0].count", r"takes; C stands in braces: \{shelves\[0\]\.count\}\n$"),
    ("print (long)in_use", r"^Symbol `long` not found; C stands in braces: \{\(long\)in_use\}\n$"),
    ("finish 5", r"^\?  `5` is more than the command takes\n$"),
    ("se", r"^Ambiguous: se could be search, seek, set"),
    ("5", r"^\?  A line begins with a command"),
    ("step x y", r"^\?  `y` is more than the command takes|not found"),
    ("gdb /nowhere/gate", r"^gdb /nowhere/gate: No such file"),
    ("quit", r"^$"),
];

/// A session on the recording that failed last.
fn session(sandbox: &Sandbox, commands: &[&str]) -> String {
    let script = sandbox.write("commands", commands.join("\n") + "\n");
    let ran = sandbox.script(&format!("exec \"$VKERNEL\" ddb latest-fail <{}", script.display()));
    ran.expect(0, &[]);
    ran.stdout
}

#[test]
fn every_command_answers_as_it_should() {
    let sandbox = with_a_race();
    let commands: Vec<&str> = CASES.iter().map(|(command, _)| *command).collect();
    assert_eq!(mismatches(&session(&sandbox, &commands), CASES.iter().copied()), "");
}

#[test]
fn a_stripped_file_of_symbols_leads_to_its_debug_information() {
    let sandbox = with_a_race();
    let kernel = guests::built("demo");
    let made = sandbox.script(&format!(
        "cp '{}' whole && objcopy --only-keep-debug whole apart.debug && strip -o stripped whole && \
         objcopy --add-gnu-debuglink=apart.debug stripped && mkdir .debug",
        kernel.display()
    ));
    made.expect(0, &[]);
    let place = |folder: &str| {
        let moved = sandbox.script(&format!("mv apart.debug '{folder}' 2>/dev/null; true"));
        moved.expect(0, &[]);
        let ran =
            sandbox.run(["ddb", "--symbols", "stripped", "latest-fail", "-e", "trace ,1", "-e", "quit"]);
        ran.expect(0, &[]);
        ran.stdout
    };
    let line = Regex::new(r"#0 panic\+0x0/0x\w+ \(.*panic\.c:\d+\)").expect("a pattern");
    for folder in [".", ".debug"] {
        let printed = place(folder);
        assert!(line.is_match(&printed), "in {folder}: {printed}");
    }
    // Another file of that name is not taken.
    sandbox.script("echo >>.debug/apart.debug").expect(0, &[]);
    let refused = sandbox.run(["ddb", "--symbols", "stripped", "latest-fail", "-e", "quit"]);
    refused.expect(129, &["--symbols stripped: "]);
}

#[test]
fn a_diversion_that_is_kept_is_a_recording_like_any() {
    let sandbox = with_a_race();
    let commands = ["seek @50%", "set $rax 1", "continue @+300000", "digest", "keep what-if", "quit"];
    let digest = answers(&session(&sandbox, &commands), &commands)[3].trim().to_owned();
    let says = |arguments: &[&str], text: &str| {
        let ran = sandbox.run(arguments);
        ran.expect(0, &[]);
        assert!(ran.stdout.contains(text), "{arguments:?} should print {text}: {ran}");
    };
    says(&["ls"], "what-if");
    says(&["trace", "verify", "--full", "what-if"], "every landmark and digest agrees");
    says(&["trace", "info", "what-if"], &digest);
    says(&["trace", "events", "what-if"], "operator set register 0 of vcpu");
}

#[test]
fn every_command_is_asked_of_the_demonstration_kernel_or_of_linux() {
    let commands = CASES.iter().map(|(command, _)| *command);
    // What only Linux has is asked of Debian's kernel.
    let shown: BTreeSet<&str> = commands.chain(linux::commands()).collect();
    let first_words = |text: &str| text.split(['/', ' ', ',']).next().unwrap_or_default().to_owned();
    let tested: BTreeSet<String> = shown.iter().map(|command| first_words(command)).collect();
    for names in names_of_commands() {
        let is_tested = names.iter().any(|name| {
            (!name.contains(' ') && tested.contains(*name))
                || shown.iter().any(|command| command.starts_with(name) && name.contains(' '))
        });
        assert!(is_tested, "no case for {names:?}");
    }
}

#[test]
fn lines_of_noise_neither_panic_nor_hang() {
    let sandbox = with_a_race();
    let noise = lines(&mut Dice::new(1), 1500, Scope::Here).join(&b'\n');
    let script = sandbox.write("noise", [&noise, &b"\nquit\n"[..]].concat());
    let ran = sandbox.script(&format!("exec \"$VKERNEL\" ddb latest-fail <{}", script.display()));
    ran.expect(0, &[]);
}
