//! Modules: one that was built here with debug information, by Debian's kbuild, and one of Debian's, of which there are only
//! the types that it was loaded with.

use super::crash::{debian_module, with_files};
use crate::vkernel;
use harness::guests::{self, PROMPT};
use harness::prompt::{first_missing, mismatches};
use harness::{Run, Step, Typing, Vkernel, kbuild};
use std::fs;
use std::path::{Path, PathBuf};

/// `LEDGER` is the folder with the module.
const CASES: &[(&str, &str)] = &[
    (
        "where,3",
        r"(?m)^#0 ledger_follow\S*\+0x\w+/0x\w+ \[ledger\] \(.*/ledger\.c:\d+\)\n#1 ledger_command\+.* \[ledger\] \(.*/ledger\.c:\d+\)\n#2 param_attr_store\+",
    ),
    ("show modules", r"(?m)^0xffffffff\w{8} +\d+ ledger  LEDGER/ledger\.ko\n0xffffffff\w{8} +\d+ sch_fq$"),
    ("show modules/g", r#"^add-symbol-file "LEDGER/ledger\.ko" -o 0x4000000000000000 (-s \S+ 0x\w+ ?)+\n$"#),
    ("frame 1", r"^#1 ledger_command"),
    ("locals", r#"(?m)^text = 0xffff\w{12} "fault\\n"$"#),
    ("frame 0", r"^#0 ledger_follow"),
    ("print {depth} {head}", r"^21\n\(struct list_head \*\) 0x0\n$"),
    ("print {ledger_total} {ledger_state}", r"^85\nLEDGER_BROKEN\n$"),
    ("show percpu {ledger_added}", r"^vCPU 0: [0-4]\nvCPU 1: [0-4]\n$"),
    ("print {per_cpu(ledger_added, 0) + per_cpu(ledger_added, 1)}", r"^4\n$"),
    (
        "show list {&ledger_entries} {struct ledger_entry} link {$it->amount}",
        r"^0x\w+ 1\n0x\w+ 7\n0x\w+ 35\n$",
    ),
    ("print {(enum ledger_state)1} {LEDGER_EMPTY}", r"^LEDGER_OPEN\nLEDGER_EMPTY\n$"),
    (
        "whatis {struct ledger_entry}",
        r"(?s)^struct ledger_entry \{\n.*char note\[8\];\n\} /\* 32 bytes \*/\n$",
    ),
    ("whatis {struct nowhere}", r"^there is no `struct nowhere`\n$"),
    ("calls ledger_count", r"^(@\d+ +vCPU \d +ledger_count\(amount=\d+\) inlined in ledger_\S+\n){4}$"),
    ("calls ledger:ledger_add", r"^(@\d+ +vCPU \d +ledger_add\(amount=(1|7|35)\)\n){3}$"),
    ("last {ledger_total}", r"(?s)^ledger_total: 0x2b becomes 0x55\n.*ledger_follow"),
    (
        "where,1",
        r"(?m)^#0 ledger_count \[inlined\] \(.*ledger\.c:\d+\)\n +ledger_follow\S* \[ledger\] \(.*ledger\.c:\d+\)$",
    ),
    ("break ledger_count if {amount == 7}", r"(?s)^Breakpoint 1 at 2 places:\n.*ledger\.c:\d+\]\n$"),
    ("rcontinue", r"(?s)Breakpoint at +ledger_add\+0x\w+:.*\[.*ledger\.c:\d+\]\n$"),
    ("delete all", r"^$"),
    ("break ledger.c:LINE", r"^Breakpoint 2 at ledger_add\+0x\w+ \[.*ledger\.c:LINE\]\n$"),
    ("seek @fail", r"Stopped at +ledger_follow"),
    // Types of Debian's module, from what the kernel keeps of it, beside the kernel's own.
    (
        "whatis {struct fq_sched_data}",
        r"(?s)^struct fq_sched_data \{\n.*struct fq_flow_head new_flows;\n.*struct rb_root \*fq_root;\n",
    ),
    ("whatis {fq_dequeue}", r"^struct sk_buff \*\(struct Qdisc \*\)\n$"),
];

/// Boots Debian with both modules, and has the first fault.
fn faulted(vkernel: &Vkernel, ledger: &Path) -> Run {
    let linux = with_files(vkernel, &[&ledger.join("ledger.ko"), &debian_module("net/sched/sch_fq.ko")]);
    let steps = [
        Step {
            prompt: PROMPT,
            typed: "insmod /sch_fq.ko; insmod /ledger.ko; cd /sys/module/ledger/parameters\n",
        },
        Step {
            prompt: "parameters # ",
            typed: "echo add 7 >command; echo add 35 >command; echo fault >command\n",
        },
    ];
    let symbols = ledger.display().to_string();
    let options = ["-e", "cryptomgr.notests=1", "-n", "2", "--symbols", &symbols];
    let run = vkernel.run_with_steps(&linux.boot(&options), &steps);
    run.expect_status(1);
    run
}

/// The number of the line that has a text.
fn line_of(source: &Path, text: &str) -> usize {
    let source = fs::read_to_string(source).expect("the source");
    source.lines().position(|line| line.contains(text)).expect("a line") + 1
}

fn ddb(vkernel: &Vkernel, arguments: &[&str], commands: &[&str]) -> String {
    let script = commands.join("\n") + "\n";
    let run = vkernel.run_with(&[&["ddb"], arguments].concat(), Typing::File(script.as_bytes()));
    run.expect_status(0);
    run.console()
}

#[test]
fn a_module_is_debugged_like_the_kernel() {
    let vkernel = vkernel();
    let ledger = kbuild::module("ledger");
    let folder = ledger.display().to_string();
    let run = faulted(&vkernel, &ledger);
    assert!(run.stderr.contains("in ledger_follow") && run.stderr.contains("/ledger.c:"), "{run}");

    let line = line_of(&ledger.join("ledger.c"), "ledger_state = LEDGER_OPEN").to_string();
    let filled = |text: &str| text.replace("LEDGER/", &format!("{folder}/")).replace("LINE", &line);
    let cases: Vec<_> = CASES.iter().map(|(command, pattern)| (filled(command), filled(pattern))).collect();
    let commands: Vec<&str> = cases.iter().map(|(command, _)| command.as_str()).collect();
    let shown = ddb(&vkernel, &["--symbols", &folder, "latest"], &commands);
    let pairs = cases.iter().map(|(command, pattern)| (command.as_str(), pattern.as_str()));
    assert_eq!(mismatches(&shown, pairs), "");

    expect_gdb(&vkernel, &folder);
    expect_packed(&vkernel, &ledger);
    expect_other_build(&vkernel, &ledger);
}

/// gdb has the module's symbols where it is loaded, and forgets them where it is not yet.
fn expect_gdb(vkernel: &Vkernel, folder: &str) {
    let run = vkernel.run(&[
        "gdb",
        "--symbols",
        folder,
        "latest",
        "--",
        "-nx",
        "-batch",
        "-ex",
        "bt 2",
        "-ex",
        "print ledger_total",
        "-ex",
        "print *(struct ledger_entry *)ledger_entries.prev",
        "-ex",
        "break ledger_count",
        "-ex",
        "reverse-continue",
        "-ex",
        "reverse-continue",
        "-ex",
        "info locals",
        "-ex",
        "delete",
        "-ex",
        "reverse-continue",
        "-ex",
        "print ledger_total",
        // What fails last is gdb's status.
        "-ex",
        "monitor when",
    ]);
    run.expect_status(0);
    let expected = [
        "#0  ledger_follow (head=head@entry=0x0, depth=21) at ",
        "#1  0xffffffff",
        "in ledger_command (text=0xffff",
        "$1 = 85",
        "amount = 35, note = \"paid",
        "ledger_count. (2 locations)",
        "ledger_count (amount=42) at ",
        "ledger_count (amount=35) at ",
        "No more reverse-execution history",
        "No symbol table is loaded.",
    ];
    let said = format!("{}{}", run.console(), run.stderr);
    // Errors come on another stream than answers.
    let (error, answers) = expected.split_last().expect("some");
    assert_eq!(first_missing(&said, answers), None, "{run}");
    assert!(said.contains(error), "{run}");
}

/// What was packed as symbols is there without being named.
fn expect_packed(vkernel: &Vkernel, ledger: &Path) {
    let (packed, module) = (vkernel.file("packed.vkt"), ledger.join("ledger.ko"));
    let (packed, module) = (packed.display().to_string(), module.display().to_string());
    vkernel.run(&["trace", "pack", "--symbols", &module, "-o", &packed, "latest"]).expect_status(0);
    let shown = ddb(vkernel, &[&packed], &["where,1"]);
    assert!(shown.contains("[ledger] (") && shown.contains("/ledger.c:"), "{shown}");
}

/// A file of another build is named and not used.
fn expect_other_build(vkernel: &Vkernel, ledger: &Path) {
    let other: PathBuf = vkernel.file("other/ledger.ko");
    fs::create_dir_all(other.parent().expect("a folder")).expect("made");
    let mut bytes = fs::read(ledger.join("ledger.ko")).expect("the module");
    let note = bytes.windows(8).position(|window| window == b"\x03\0\0\0GNU\0").expect("its build id");
    bytes[note + 8] ^= 1;
    fs::write(&other, bytes).expect("written");
    let shown =
        ddb(vkernel, &["--symbols", &other.display().to_string(), "latest"], &["show modules", "where,1"]);
    assert!(shown.contains("/other/ledger.ko is of another build)"), "{shown}");
    assert!(!shown.contains("ledger.c:"), "{shown}");
}

#[test]
fn a_folder_without_symbols_is_a_mistake() {
    let vkernel = vkernel();
    let empty = vkernel.file("empty");
    fs::create_dir(&empty).expect("made");
    let kernel = guests::debian().kernel;
    let words = ["--symbols", &empty.display().to_string(), &kernel.display().to_string()].map(str::to_owned);
    let run = vkernel.run(&words);
    run.expect_status(129);
    run.expect_said("there is no vmlinux in this folder, and no module (*.ko) below it");
}
