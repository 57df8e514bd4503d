//! Commands of the prompt that are about Linux, each with what it prints, on a recording of Debian's stripped kernel that
//! was crashed by sysrq-c. What the guest had said of itself, from inside, must be what they say.

use super::crash::{crashed, line, with_module};
use crate::vkernel;
use harness::prompt::{answers, mismatches};
use harness::{Run, Typing, Vkernel};
use regex::Regex;

/// As in tests/debugger/prompt.rs. `DUMMY` is where the guest has its module, `SLEEPER` the number of the process that sleeps.
const CASES: &[(&str, &str)] = &[
    ("thread", r"^\[ vCPU \d sh \(pid 1\) @\d+ \]\nStopped at +panic: +nopl"),
    (
        "trace",
        r"(?x)^Tracing\ vCPU\ \d,\ sh\ \(pid\ 1\)\n \#0\ panic\+0x0/0x\w+\n \#1\ sysrq_handle_crash\+0x\w+/0x\w+\n
          \#2\ __handle_sysrq\.cold\+.*\n \#3\ write_sysrq_trigger\+.*\n \#4\ proc_reg_write\+.*\n \#5\ vfs_write\+.*\n
          \#6\ ksys_write\+.*\n \#7\ do_syscall_64\+.*\n \#8\ entry_SYSCALL_64_after_hwframe\+.*\n
          \#9\ 0x\w{16}\ \(a\ program\)\n$",
    ),
    ("trace 1", r"^Tracing pid 1 sh\n#0 panic\+0x0/0x\w+\n(#\d \w.*\n){8}#9 0x\w{16} \(a program\)\n$"),
    (
        "trace SLEEPER",
        r"(?x)^Tracing\ pid\ SLEEPER\ sleep\n \#0\ __schedule\+.*\n \#1\ schedule\+.*\n \#2\ do_nanosleep\+.*\n
          \#3\ hrtimer_nanosleep\+.*\n (\#\d\ [^?\n]+\+.*\n)* \#\d\ do_syscall_64\+.*\n
          \#\d\ entry_SYSCALL_64_after_hwframe\+.*\n \#\d\ 0x\w{16}\ \(a\ program\)\n$",
    ),
    ("trace 2,3", r"^Tracing pid 2 kthreadd\n#0 __schedule\+.*\n#1 schedule\+.*\n#2 kthreadd\+.*\n$"),
    ("trace 99999", r"^There is no task 99999; `ps` lists them\n$"),
    (
        "alltrace",
        r"(?s)^Tracing vCPU 0, \w.*\n\nTracing vCPU 1, \w.*\n\nTracing pid 0 swapper/[01]\n#0 __schedule.*\n\nTracing pid 2 kthreadd\n#0 __schedule.*#3 ret_from_fork\+\S+\n\n.*\n\nTracing pid SLEEPER sleep\n#0 __schedule.*\(a program\)\n",
    ),
    ("alltrace/c", r"(?s)^Tracing vCPU 0, .*\n#0 .*\n\nTracing vCPU 1, .*\n#0 .*$"),
    (
        "ps",
        r"(?x)^\ +pid\ +tgid\ +ppid\ S\ cpu\ wait\ +cmd\n \ {6}0\ {6}0\ {6}0\ R\ .*\[swapper/0\]\n
          \ {6}0\ {6}0\ {6}\d\ R\ .*\[swapper/1\]\n \ {6}1\ {6}1\ {6}0\ R\ {3}\d\ {26}sh\n
          \ {6}2\ {6}2\ {6}0\ S\ {5}kthreadd\ {17}\[kthreadd\]\n \ {6}3\ {6}3\ {6}2\ I\ {5}rescuer_thread\ {11}\[rcu_gp\]\n",
    ),
    (
        "show thread 1",
        r"^Task 1 at 0xffff\w{12}:\n name: sh \(thread\)\n process: 1, parent: 0\n state: R\n runs on vCPU \d\n$",
    ),
    (
        "show proc 2",
        r"^Task 2 at 0xffff\w{12}:\n name: kthreadd \(kernel thread\)\n process: 2, parent: 0\n state: S\n waits in kthreadd\n$",
    ),
    (
        "show thread SLEEPER",
        r"\n name: sleep \(thread\)\n process: SLEEPER, parent: 1\n state: S\n waits in do_nanosleep\n$",
    ),
    ("show modules", r"^DUMMY +16384 dummy\n$"),
    ("show all cpus", r"(?m)^\*  \d running +panic  sh \(pid 1\)$"),
    (
        "show lapic 0",
        r"(?x)^Local\ APIC\ of\ vCPU\ 0:\ id\ 0,\ version\ 0x14,\ x2APIC\n SVR\ +enabled,\ spurious\ vector\ 0xff\n
          priority\ +TPR\ 0x10,\ PPR\ 0x\w0\n destination\ +logical\ 0x1\ \(cluster\ 0,\ mask\ 0x1\)\n (.*\n){4}
          LVT\ LINT0\ +vector\ 0x00,\ ExtINT,\ edge,\ active\ high,\ masked\n LVT\ LINT1\ +vector\ 0x00,\ NMI,.*\n",
    ),
    ("show lapic 2", r"^There is no vCPU 2: they are 0 to 1\n$"),
    (
        "show ioapic",
        r"(?x)^I/O\ APIC\ at\ 0xfec00000:\ id\ 0,\ 24\ pins\n
          pin\ \ 1:\ vector\ 0x\w\w,\ fixed,\ edge,\ active\ high,\ to\ physical\ 0x0[01];\ not\ asserted\n
          pin\ \ 2:\ vector\ 0x30,\ fixed,\ edge,.*\n pin\ \ 4:\ .*,\ edge,.*\n pin\ \ 8:\ .*,\ edge,.*\n
          pin\ \ 9:\ vector\ 0x\w\w,\ fixed,\ level,\ active\ high,\ to\ physical\ 0x0[01];\ not\ asserted\n$",
    ),
    ("dmesg ,3", r"^(\[ +\d+\.\d{6}\] .*\n){2}\[ +\d+\.\d{6}\] sysrq: Trigger a crash\n$"),
    ("print {current->comm}", "^\"sh\"\n$"),
    ("print current->comm", r"^Symbol `current` not found; C stands in braces: \{current->comm\}\n$"),
    ("x/s current->comm,2", r"; C stands in braces: \{current->comm\}\n$"),
    ("print {current->pid} {current->real_parent->comm}", "^1\n\"swapper/0\"\n$"),
    ("print {((struct task_struct *)&init_task)->comm}", "^\"swapper/0\"\n$"),
    ("print {per_cpu(current_task, 1 - $cpu)->pid}", "^0\n$"),
    ("print {((struct module *)&__this_module)->name}", "^\"dummy\"\n$"),
    ("whatis task_struct", r"^struct task_struct \{\n"),
    ("ptype struct list_head", r"^struct list_head \{\n(.*\n){2}\} /\* 16 bytes \*/\n$"),
    ("whatis current->comm", r"^char \[16\]\n$"),
    ("whatis nothing_of_the_kind", r"^there is no `nothing_of_the_kind` here\n$"),
    ("show registers", r"(?m)^cs +0x10\n"),
    ("whatis {*current->thread_pid}", r"(?s)^struct pid \{\n.*/\* +\d+ bytes \*/\n$"),
    (
        "whatis {struct list_head}",
        r"(?s)^struct list_head \{\n.*struct list_head \*next;.*/\* 16 bytes \*/\n$",
    ),
    ("whatis {struct nobody}", "nobody"),
    ("show list {&modules} {struct module} list {$it->name}", "^0x\\w{16} \"dummy\"\n$"),
    (
        "show list {&((struct task_struct *)&init_task)->tasks} {struct task_struct} tasks {$it->comm}",
        "(?s)^0x\\w{16} \"sh\"\n0x\\w{16} \"kthreadd\"\n.*\"sleep\"\n$",
    ),
    ("show list {0x10} {struct module} list", "^The list is broken at 0x10: "),
    ("show percpu {current_task->pid}", r"^vCPU 0: \d\nvCPU 1: \d\n$"),
    ("show percpu {nobody}", r"^vCPU 0: <.*nobody.*>\nvCPU 1: "),
    ("show locals", "^No debug information says what is here; --symbols gives a file that has it\n$"),
    ("x/s linux_banner", r"^linux_banner: +Linux version 6\.1\.0-\d+-cloud-amd64 "),
    ("x/i sysrq_handle_crash,2", r"^sysrq_handle_crash: +nopl .*\nsysrq_handle_crash\+0x\w+: "),
    ("x/S $rsp", r"^0xffff\w+: +sysrq_handle_crash\+0x16\n"),
    (
        "pte dummy_xmit",
        r"(?s)^PML4E .*\n0x\w+ is at physical 0x\w+: supervisor only, read only, execution\n$",
    ),
    ("calls sysrq_handle_crash", r"^@\d+ +vCPU \d +sysrq_handle_crash\(0x63\)\n$"),
    (
        "last {*(unsigned long *)&jiffies}",
        r"^jiffies\w*: 0x(\w+) becomes 0x\w+\n\[ vCPU \d .*\(pid \d+\) @\d+ \]\nStopped at +tick_do_update_jiffies64\+0x\w+: +addq",
    ),
    (
        "trace ,2",
        r"^Tracing vCPU \d, .*\n#0 tick_do_update_jiffies64\+.*\n#1 tick_(sched_do_timer|irq_enter|nohz\w*)\+.*\n$",
    ),
    // The write may have been another vCPU's, and seeking stays with that.
    ("seek @fail", r"^\[ vCPU \d sh \(pid 1\) @\d+ \]\nStopped at +panic: "),
    ("break ksys_write if {current->pid == 1 && $rdx == 2}", r"^Breakpoint 1 at ksys_write\n$"),
    ("rc", r"^\[ vCPU \d sh \(pid 1\) @\d+ \]\nBreakpoint at +ksys_write: "),
    ("x/s $rsi", r"^0x\w+: +c\\012"),
    ("delete all", "^$"),
    ("stop syscall 1 if {$rdx == 2}", "^Event 2\n$"),
    ("rc", r"^Event 2: system call 1\n\[ vCPU \d sh \(pid 1\) @\d+ \]\nStopped at +0x\w+: +syscall\n"),
    ("delete all", "^$"),
    ("stop exception #PF", "^Event 3\n$"),
    ("show breaks", r"exception 14 \(#PF\)"),
    ("rc", r"^Event 3: exception 14 \(#PF\), error code 0x\w+ at .*\n\[ vCPU \d .*\]\nStopped at +\w+"),
    ("delete all", "^$"),
    ("exceptions 14 limit 1", r"^@\d+ .*#PF error code 0x\w+ at .*\n1 of \d+; `limit COUNT` shows more\.\n$"),
    (
        "print {init_task}",
        "^the type of `init_task` is not known; give it one, as in `\\(int\\)init_task`\n$",
    ),
    ("print {((struct task_struct)init_task).comm}", r#"^"swapper/0"\n$"#),
    ("seek @/told-42/", r"^\[ vCPU \d "),
    ("show modules", r"^DUMMY +16384 dummy\n$"),
    ("seek @/Run .init as init process/", r"^\[ vCPU \d "),
    ("show modules", "^No module is loaded\n$"),
    ("dmesg ,1", r"^\[ +\d+\.\d{6}\] "),
    ("seek @start", r"^\[ vCPU \d @0 \]\n"),
    ("ps", "^No tasks of Linux are to be found here\n$"),
    ("show thread 1", "^No tasks of Linux are to be found here\n$"),
    ("show modules", "^No list of Linux's modules is to be found here\n$"),
    ("dmesg", "^No log of Linux is in memory here\n$"),
];

/// The commands that are tested here.
pub fn commands() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|(command, _)| *command)
}

fn session(vkernel: &Vkernel, commands: &[&str]) -> String {
    let run =
        vkernel.run_with(&["ddb", "latest-fail"], Typing::File((commands.join("\n") + "\n").as_bytes()));
    run.expect_status(0);
    run.console()
}

#[test]
fn every_command_about_linux_answers_as_the_guest_said_of_itself() {
    let vkernel = vkernel();
    let linux = with_module(&vkernel);
    let run = crashed(&vkernel, &linux, &[]);
    let console = run.console();
    let dummy = line(&console, "dummy 16384").split_whitespace().nth(5).expect("where it is");
    let sleeper = Regex::new(r"sleeper=(\d+)").expect("a pattern");
    let sleeper = &sleeper.captures(&console).unwrap_or_else(|| panic!("{run}"))[1];
    let filled = |text: &str| text.replace("DUMMY", dummy).replace("SLEEPER", sleeper);
    let cases: Vec<(String, String)> =
        CASES.iter().map(|(command, pattern)| (filled(command), filled(pattern))).collect();
    let commands: Vec<&str> = cases.iter().map(|(command, _)| command.as_str()).collect();
    let shown = session(&vkernel, &commands);
    let cases = cases.iter().map(|(command, pattern)| (command.as_str(), pattern.as_str()));
    assert_eq!(mismatches(&shown, cases), "");

    let commands = ["ps", "dmesg"];
    let told = session(&vkernel, &commands);
    let [ps, dmesg] = &answers(&told, &commands)[..] else { panic!("{told}") };
    expect_the_processes_of_proc(ps, &run);
    expect_the_lines_of_the_console(dmesg, &run);
    expect_the_devices_of_the_log(&vkernel, dmesg);
    expect_the_interrupts_of_the_kernel(&vkernel);
}

/// The PCI functions and the time of the clock are those that Linux had found.
fn expect_the_devices_of_the_log(vkernel: &Vkernel, dmesg: &str) {
    let commands = ["show pciregs", "seek @/setting system clock to .* UTC/", "show rtc"];
    let told = session(vkernel, &commands);
    let [functions, _, clock] = &answers(&told, &commands)[..] else { panic!("{told}") };
    let shown =
        Regex::new(r"(?m)^pci0:0:(\d+):(\d): class=0x(\w{6}) .*chip=0x(\w{4})(\w{4}) .*hdr=0x(\w\w)$");
    let shown: Vec<String> = (shown.expect("a pattern").captures_iter(functions))
        .map(|function| {
            let [device, number, class, chip, vendor, header] = function.extract().1;
            let device: u8 = device.parse().expect("a number");
            format!("pci 0000:00:{device:02x}.{number}: [{vendor}:{chip}] type {header} class 0x{class}")
        })
        .collect();
    let found = Regex::new(r"pci 0000:.*: \[\w{4}:\w{4}\] type .*").expect("a pattern");
    let found: Vec<&str> = found.find_iter(dmesg).map(|line| line.as_str()).collect();
    assert_eq!(shown, found, "{functions}");
    let set = Regex::new(r"setting system clock to (\S+)T(\S+) UTC").expect("a pattern");
    let set = set.captures(dmesg).unwrap_or_else(|| panic!("{dmesg}"));
    assert!(clock.starts_with(&format!("{} {}, ", &set[1], &set[2])), "{} but {clock}", &set[0]);
}

/// The vectors that the APICs send are those for which Linux has a handler: in its IDT, and for each pin in its table of
/// vectors, which leads to the number of the interrupt.
fn expect_the_interrupts_of_the_kernel(vkernel: &Vkernel) {
    let commands = ["show lapic", "show idt", "show ioapic"];
    let told = session(vkernel, &commands);
    let [lapic, idt, ioapic] = &answers(&told, &commands)[..] else { panic!("{told}") };
    for (name, handler) in [
        ("LVT timer", "asm_sysvec_apic_timer_interrupt"),
        ("LVT error", "asm_sysvec_error_interrupt"),
        ("spurious", "asm_sysvec_spurious_apic_interrupt"),
    ] {
        let vector = Regex::new(&format!(r"{name} +vector 0x(\w\w)\b")).expect("a pattern");
        let vector = &vector.captures(lapic).unwrap_or_else(|| panic!("{lapic}"))[1];
        let gate = line(idt, &format!("(0x{vector})"));
        assert!(gate.ends_with(&format!(" {handler}")), "{name}: {gate}");
    }
    let pins = Regex::new(r"(?m)^pin +(\d+): vector (0x\w\w), .* to physical (0x\w\w);").expect("a pattern");
    let pins: Vec<_> = pins.captures_iter(ioapic).map(|pin| pin.extract::<3>().1).collect();
    assert!(pins.len() >= 5, "{ioapic}");
    let asked: Vec<String> = (pins.iter())
        .map(|[_, vector, vcpu]| format!("print {{per_cpu(vector_irq, {vcpu})[{vector}]->irq_data.irq}}"))
        .collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let irqs = answers(&session(vkernel, &asked), &asked);
    for ([pin, ..], irq) in pins.iter().zip(irqs) {
        // IRQ 0 comes in at pin 2, as the ACPI tables say.
        let expected = if *pin == "2" { "0" } else { pin };
        assert_eq!(irq.trim(), expected, "pin {pin}: {ioapic}");
    }
}

/// `90 (sleep) S 1 …` inside is `     90     90      1 S …sleep` at the prompt.
fn expect_the_processes_of_proc(ps: &str, run: &Run) {
    let stat = Regex::new(r"(?m)^(\d+) \((.*)\) \w (\d+) \d+ \d+ ").expect("a pattern");
    let listed = Regex::new(r"(?m)^ *(\d+) +(\d+) +(\d+) \w .{29}\[?([^\]\n]*)\]?$").expect("a pattern");
    let rows: Vec<_> = listed.captures_iter(ps).map(|row| row.extract::<4>().1).collect();
    let console = run.console();
    let mut compared = 0;
    for [pid, name, parent] in stat.captures_iter(&console).map(|found| found.extract().1) {
        let row = rows.iter().find(|row| row[0] == pid);
        if name == "cat" {
            assert!(row.is_none(), "it has ended: {ps}");
            continue;
        }
        let row = row.unwrap_or_else(|| panic!("{pid} ({name}) is missing: {ps}"));
        assert_eq!([row[1], row[2]], [pid, parent], "{ps}");
        // /proc adds to a worker's name what it works at.
        assert!(name.starts_with(row[3]) && !row[3].is_empty(), "{name} in {ps}");
        compared += 1;
    }
    assert!(compared > 30, "{run}");
}

/// Every line with a time that the console had shown before the crash is in the log. The prompt makes blanks of tabs.
fn expect_the_lines_of_the_console(dmesg: &str, run: &Run) {
    let stamped = Regex::new(r"(?m)^\[ *\d+\.\d{6}\] [^\r\n]+$").expect("a pattern");
    let lines = |text: &str| -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        stamped.find_iter(&text.replace('\r', "")).map(|line| words(line.as_str())).collect()
    };
    let console = run.console();
    let (shown, log) = (lines(&console), lines(dmesg));
    let crash = shown.iter().position(|line| line.ends_with("sysrq: Trigger a crash")).expect("a crash");
    for line in &shown[..=crash] {
        assert!(log.contains(line), "{line} is not in the log: {dmesg}");
    }
    assert!(crash > 100, "{run}");
}
