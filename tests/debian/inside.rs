//! What a stripped kernel tells a debugger of itself: its types, its stacks, its modules, its build. The guest prints the same
//! things from inside, and the two must agree.

use super::crash::{crashed, line, with_module};
use crate::vkernel;
use boundary::Mark;
use ddb_shell::expression::{NameScope, PrintStyle, compile, print, print_type};
use ddb_shell::symbols::Symbols;
use ddb_shell::{Found, Frame, VcpuMemory, backtrace, kernel};
use machine::{EngineKind, Interrupt, Machine, StopSet};
use recorder::{ImageSet, Store, StoreRoot, TraceReader, gather_images};
use replay::{Arrival, Budget, Query, Timeline};
use std::path::PathBuf;

/// A recording, to be looked at in this process.
struct Recording {
    reader: TraceReader,
    images: ImageSet,
}

impl Recording {
    fn latest(store: PathBuf) -> Recording {
        let root = StoreRoot::choose(Some(store.as_os_str()), None, None).expect("a root");
        let store = Store::at(root);
        let reader = TraceReader::open(&store.resolve("latest").expect("a recording")).expect("a trace");
        let images = gather_images(&reader, Some(&store.images()), &[]).expect("its images");
        Recording { reader, images }
    }

    fn timeline(&self) -> Timeline<'_> {
        let budget = Budget::default();
        Timeline::new(&self.reader, &self.images, EngineKind::Interp, Interrupt::default(), budget)
            .expect("a timeline")
    }
}

fn symbols_of(machine: &Machine) -> Symbols<'static> {
    let mem = &machine.system().mem;
    Symbols::from_kernel_memory(mem).expect("kallsyms")
}

fn names(frames: &[Frame]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| frame.function.as_ref().map_or("-", |function| function.name.as_str()))
        .collect()
}

/// The last frame is the program that asked for it; every other was found by Linux's own tables.
fn expect_described(frames: &[Frame]) {
    let (program, kernel) = frames.split_last().expect("frames");
    assert!(program.registers.is_user && program.is_interrupted, "{frames:#?}");
    for frame in &kernel[1..] {
        assert_eq!(frame.found, Found::Orc, "{frame} in {frames:#?}");
        assert!(frame.function.is_some(), "{frame}");
    }
}

#[test]
fn a_stripped_kernel_tells_its_types_stacks_modules_and_build() {
    let vkernel = vkernel();
    let linux = with_module(&vkernel);
    let run = crashed(&vkernel, &linux, &[]);
    let console = run.console();
    let recording = Recording::latest(vkernel.file(""));
    let mut timeline = recording.timeline();
    let Some(recorder::Ending::Failure { place, .. }) = recording.reader.ending().map(|end| &end.ending)
    else {
        panic!("{run}")
    };
    timeline.seek(*place).expect("the place of the failure");
    let machine = timeline.machine();
    let symbols = symbols_of(machine);
    let is_here =
        |vcpu: &usize| symbols.function_at(machine.cpus()[*vcpu].rip).is_some_and(|at| at.name == "panic");
    let vcpu = (0..2).find(is_here).expect("a vCPU in panic");
    let memory = VcpuMemory { machine, vcpu };

    let frames = backtrace(machine, vcpu, &symbols);
    let expected = [
        "panic",
        "sysrq_handle_crash",
        "__handle_sysrq.cold",
        "write_sysrq_trigger",
        "proc_reg_write",
        "vfs_write",
        "ksys_write",
        "do_syscall_64",
        "entry_SYSCALL_64_after_hwframe",
        "-",
    ];
    assert_eq!(names(&frames), expected, "{frames:#?}");
    expect_described(&frames);

    let identity = kernel::kernel_identity(&symbols, &memory);
    let release = identity.release.expect("a release");
    assert!(console.lines().any(|line| line.trim() == release), "{release}: {console}");
    assert_eq!(identity.build_id.expect("a build id").0.len(), 20);

    expect_types(machine, vcpu, &symbols, &frames);
    expect_module(&console, &symbols, &memory);

    let set_up = symbols.address_of("dummy_dev_init").expect("a function of the module");
    timeline.seek(Mark::default()).expect("the start");
    let stops = StopSet { execute: vec![set_up], ..StopSet::default() };
    let arrival = timeline.run(Query::new(&stops)).expect("no divergence");
    let Arrival::Stopped { vcpu, .. } = arrival else { panic!("{arrival:?}") };
    let frames = backtrace(timeline.machine(), usize::from(vcpu), &symbols);
    let names = names(&frames);
    assert_eq!(names[..2], ["dummy_dev_init", "register_netdevice"], "{frames:#?}");
    assert!(names.contains(&"do_one_initcall") && names.contains(&"do_syscall_64"), "{names:?}");
    assert!(frames[0].to_string().ends_with(" [dummy]"), "{}", frames[0]);
    assert!(frames[2..].iter().any(|frame| frame.to_string().ends_with(" [dummy]")), "{frames:#?}");
    expect_described(&frames);
}

/// Values by the kernel's own type information.
fn expect_types(machine: &Machine, vcpu: usize, symbols: &Symbols<'_>, frames: &[Frame]) {
    let memory = VcpuMemory { machine, vcpu };
    assert!(kernel::find_types(symbols, &memory));
    let printed = |text: &str| {
        let program =
            compile(text, &NameScope::global(), symbols).unwrap_or_else(|error| panic!("{text}: {error}"));
        let value = program.evaluate(&memory, &frames[0].registers);
        let value = value.unwrap_or_else(|error| panic!("{text}: {error}"));
        print(&value, symbols, &memory, PrintStyle::default())
    };
    assert_eq!(printed("((struct task_struct *)&init_task)->comm"), "\"swapper/0\"");
    assert_eq!(printed("current->comm"), "\"sh\"");
    assert_eq!(printed("current->pid"), "1");
    assert_eq!(printed("per_cpu(current_task, $cpu) == current"), "1");
    assert_eq!(printed("per_cpu(current_task, 1 - $cpu)->pid"), "0");
    assert_eq!(printed("current->mm == current->active_mm && current->mm->owner == current"), "1");
    assert_eq!(printed("current->__state"), "0");
    let first = "container_of(((struct list_head *)&modules)->next, struct module, list)";
    assert_eq!(printed(&format!("{first}->name")), "\"dummy\"");
    assert_eq!(printed(&format!("{first}->state")), "MODULE_STATE_LIVE");
    assert_eq!(printed("PIDTYPE_SID"), "PIDTYPE_SID");
    let list = symbols.types().structure("list_head").expect("list_head");
    let text = print_type(&list, symbols);
    assert!(text.contains("struct list_head *next;") && text.ends_with("/* 16 bytes */"), "{text}");
}

/// The module as it was listed inside.
fn expect_module(console: &str, symbols: &Symbols<'_>, memory: &VcpuMemory<'_>) {
    let modules = kernel::modules(symbols, memory).expect("a list");
    assert_eq!(modules.len(), 1);
    let module = &modules[0];
    let listed: Vec<&str> = line(console, "dummy 16384").split_whitespace().collect();
    assert_eq!(
        (listed[0], listed[5]),
        (module.name.as_str(), format!("{:#018x}", module.parts[0].0).as_str())
    );
    assert_eq!(module.parts[0].1.to_string(), listed[1]);
    let (_, text) = module.sections.iter().find(|(name, _)| name == ".text").expect("its code");
    assert!(console.lines().any(|line| line.trim() == format!("{text:#018x}")), "{text:#x}: {console}");

    kernel::find_module_symbols(symbols, memory);
    let mut functions = 0;
    for line in console.lines().filter(|line| line.trim_end().ends_with("[dummy]")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, kind, name, _] = words[..] else { panic!("{line}") };
        let address = u64::from_str_radix(address, 16).expect("an address");
        if kind == "t" && name.starts_with("dummy_") {
            functions += 1;
            assert_eq!(symbols.address_of(name), Some(address), "{line}");
            let function = symbols.function_at(address + 1).expect(name).to_string();
            assert!(
                function.starts_with(&format!("{name}+0x1/")) && function.ends_with(" [dummy]"),
                "{function}"
            );
        }
    }
    assert!(functions > 5, "{console}");
}
