//! What is printed of a machine for people: registers and backtraces of its vCPUs, and the paragraph that closes
//! a failed run.
//!
//! The shape is that of Linux's own reports (arch/x86/kernel/process_64.c), which kernel people read without
//! thinking.

use crate::backtrace::{Frame, backtrace};
use crate::exceptions::exception_name;
use crate::kernel::{Task, current_task};
use crate::symbols::Symbols;
use boundary::{Mark, TripleFault, TripleFaultStep, VirtualTime};
use machine::Machine;
use machine::cpu::state::{
    Activity, CS, DS, ES, FS, GS, Mode, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, SS, Vcpu,
};
use recorder::{Ending, FailureKind};
use std::fmt::Write as _;

/// Registers and backtrace of every vCPU: what SIGQUIT prints.
#[must_use]
pub fn vcpus_report(machine: &Machine, symbols: &Symbols<'_>) -> String {
    let mut text = format!("{} at {}\n", machine.now(), machine.mark());
    for vcpu in 0..machine.cpus().len() {
        text.push('\n');
        text.push_str(&vcpu_report(machine, vcpu, symbols));
    }
    text
}

/// Registers and backtrace of one vCPU. Empty if there is no such vCPU.
#[must_use]
pub fn vcpu_report(machine: &Machine, vcpu: usize, symbols: &Symbols<'_>) -> String {
    let Some(cpu) = machine.cpus().get(vcpu) else { return String::new() };
    let frames = backtrace(machine, vcpu, symbols);
    let mut text = format!("vCPU {vcpu}: {}\n", activity(cpu));
    text.push_str(&registers(cpu, frames.first()));
    text.push_str("Call Trace:\n");
    text.push_str(&indented(frames.get(1..).unwrap_or_default(), " "));
    text
}

fn activity(cpu: &Vcpu) -> String {
    let doing = match cpu.activity {
        Activity::Running => "running",
        Activity::Halted => "halted",
        Activity::WaitForSipi => "waiting for its start-up IPI",
        Activity::Shutdown => "shut down by a third fault",
    };
    let mode = match cpu.mode {
        Mode::Real => "real mode".to_owned(),
        Mode::Protected => format!("{}-bit protected mode", cpu.code_bits),
        Mode::Virtual8086 => "virtual-8086 mode".to_owned(),
        Mode::Compatibility => format!("{}-bit compatibility mode", cpu.code_bits),
        Mode::Long64 => "64-bit mode".to_owned(),
    };
    format!("{doing}, {mode}, CPL {}", cpu.cpl)
}

/// The registers, in Linux's order.
fn registers(cpu: &Vcpu, frame: Option<&Frame>) -> String {
    let selector = |index: usize| cpu.segments[index].selector;
    let base = |index: usize| cpu.segments[index].base;
    let mut text = format!("RIP: {:04x}:", selector(CS));
    match frame {
        Some(frame) if frame.function.is_some() => {
            let place = frame.to_string();
            let _ = writeln!(text, "{} [{:#x}]", place.lines().last().unwrap_or_default(), cpu.rip);
        }
        _ => {
            let _ = writeln!(text, "{:#018x}", cpu.rip);
        }
    }
    let _ = writeln!(text, "RSP: {:04x}:{:016x} EFLAGS: {:08x}", selector(SS), cpu.gpr[RSP], cpu.rflags);
    let general = [
        ("RAX", RAX),
        ("RBX", RBX),
        ("RCX", RCX),
        ("RDX", RDX),
        ("RSI", RSI),
        ("RDI", RDI),
        ("RBP", RBP),
        ("R08", 8),
        ("R09", 9),
        ("R10", 10),
        ("R11", 11),
        ("R12", 12),
        ("R13", 13),
        ("R14", 14),
        ("R15", 15),
    ];
    for row in general.chunks(3) {
        let row: Vec<String> =
            row.iter().map(|(name, index)| format!("{name}: {:016x}", cpu.gpr[*index])).collect();
        let _ = writeln!(text, "{}", row.join(" "));
    }
    let _ = writeln!(
        text,
        "FS:  {:016x}({:04x}) GS:{:016x}({:04x}) knlGS:{:016x}",
        base(FS),
        selector(FS),
        base(GS),
        selector(GS),
        cpu.msrs.kernel_gs_base
    );
    let (cs, ds, es) = (selector(CS), selector(DS), selector(ES));
    let _ = writeln!(text, "CS:  {cs:04x} DS: {ds:04x} ES: {es:04x} CR0: {:016x}", cpu.cr0);
    let _ = writeln!(text, "CR2: {:016x} CR3: {:016x} CR4: {:016x}", cpu.cr2, cpu.cr3, cpu.cr4);
    text
}

fn indented(frames: &[Frame], indent: &str) -> String {
    let mut text = String::new();
    for line in frames.iter().map(Frame::to_string).collect::<Vec<_>>().iter().flat_map(|frame| frame.lines())
    {
        let _ = writeln!(text, "{indent}{line}");
    }
    text
}

/// What is known of a run that ended.
#[derive(Clone, Copy, Debug)]
pub struct FailureReport<'a> {
    /// Why it ended.
    pub ending: &'a Ending,
    /// Where it ended.
    pub mark: Mark,
    /// Guest time there.
    pub virtual_time: VirtualTime,
    /// The faults of a triple fault.
    pub triple_fault: Option<&'a TripleFault>,
    /// What was to be seen at the place of the failure, if the caller has looked there. Else the machine is looked at
    /// as it is now, and the vCPU is the one that executes the kernel's panic or oops.
    pub scene: Option<&'a Scene>,
    /// The last lines of the kernel's log, as far as the console has not shown them.
    pub log: &'a [String],
    /// The name of the recording, if there is one.
    pub trace: Option<&'a str>,
}

/// What is to be seen of a failure at its place: who was doing what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// The vCPU.
    pub vcpu: usize,
    /// What the kernel calls the task it was executing.
    pub task: Option<Task>,
    /// Who called whom, the innermost first.
    pub frames: Vec<Frame>,
}

impl Scene {
    /// What `vcpu` is doing now.
    #[must_use]
    pub fn of(machine: &Machine, vcpu: usize, symbols: &Symbols<'_>) -> Scene {
        let task = current_task(machine, vcpu, symbols);
        Scene { vcpu, task, frames: backtrace(machine, vcpu, symbols) }
    }

    /// What is left to be seen of a failure that nobody looked at when it happened: on the vCPU that shut down, or the
    /// one that looks like it failed.
    #[must_use]
    pub fn at_end(triple_fault: Option<&TripleFault>, machine: &Machine, symbols: &Symbols<'_>) -> Scene {
        let vcpu = match triple_fault {
            Some(fault) => usize::from(fault.vcpu),
            None => failing_vcpu(machine, symbols),
        };
        Scene::of(machine, vcpu, symbols)
    }

    /// What an exception broke into, as the registers say that the kernel has saved.
    #[must_use]
    pub fn broken_into(&self) -> Option<&Frame> {
        let is_exception = |frame: &Frame| {
            frame.function.as_ref().is_some_and(|function| function.name.starts_with("asm_exc_"))
        };
        let pair = self.frames.windows(2).find(|pair| is_exception(&pair[0]) && pair[1].is_certain());
        pair.map(|pair| &pair[1])
    }

    /// The frame to be blamed: what an exception broke into, else who called the function that reports failures.
    fn culprit(&self) -> Option<&Frame> {
        let is_reporter = |frame: &Frame| {
            let function = frame.function.as_ref();
            function.is_some_and(|function| function.offset == 0 && DYING.contains(&function.name.as_str()))
        };
        match self.broken_into() {
            Some(frame) => Some(frame),
            None if self.frames.first().is_some_and(is_reporter) => self.frames.get(1),
            None => self.frames.first(),
        }
    }
}

/// Lines of the log that are printed at most.
const LOG_LINES_MAX: usize = 60;

/// The closing words on a failed run: one paragraph that says what, where, and how to look at it; then the
/// faults of a triple fault, what the log has and the console has not, and the backtrace, all indented.
#[must_use]
pub fn failure_paragraph(report: &FailureReport<'_>, machine: &Machine, symbols: &Symbols<'_>) -> String {
    let now;
    let scene = match report.scene {
        Some(scene) => scene,
        None => {
            now = Scene::at_end(report.triple_fault, machine, symbols);
            &now
        }
    };
    let place = match report.ending {
        Ending::Failure { place, .. } => *place,
        _ => report.mark,
    };
    let mut text = format!("vkernel: {} That was at {place}", what(report.ending));
    if place != report.mark {
        let _ = write!(text, "; the run ended at {}", report.mark);
    }
    let _ = write!(text, ", guest time {}, with vCPU {}", report.virtual_time, scene.vcpu);
    if let Some(frame) = scene.culprit() {
        let frame = frame.to_string();
        let _ = write!(text, " in {}", frame.lines().last().unwrap_or_default().trim_start_matches("? "));
    }
    if let Some(task) = &scene.task {
        let _ = write!(text, ", task {task}");
    }
    text.push('.');
    match report.trace {
        Some(trace) => {
            let _ = writeln!(text, " The run is recorded as {trace}; `vkernel ddb {trace}` opens it there.");
        }
        None => text.push_str(" The run was not recorded.\n"),
    }
    for (ordinal, step) in report.triple_fault.iter().flat_map(|fault| &fault.steps).enumerate() {
        let _ = writeln!(text, "    fault {}: {}", ordinal + 1, fault(step, symbols));
    }
    text.push_str(&unprinted(report.log));
    text.push_str(&indented(&scene.frames, "    "));
    text
}

/// The end of the kernel's log.
fn unprinted(log: &[String]) -> String {
    let mut text = String::new();
    if log.is_empty() {
        return text;
    }
    let left_out = log.len().saturating_sub(LOG_LINES_MAX);
    text.push_str("    In the kernel's log, but not on the console");
    if left_out > 0 {
        let _ = write!(text, " (the last {LOG_LINES_MAX} of {} lines)", log.len());
    }
    text.push_str(":\n");
    for line in &log[left_out..] {
        let _ = writeln!(text, "      {line}");
    }
    text.push_str("    Call trace:\n");
    text
}

/// What happened, as a sentence.
fn what(ending: &Ending) -> String {
    match ending {
        Ending::Failure { kind, title, .. } => {
            let what = match kind {
                FailureKind::Panic => "the guest's kernel panicked",
                FailureKind::Oops => "the guest's kernel failed",
                FailureKind::Warn => "the guest's kernel warned",
                FailureKind::TripleFault => "a vCPU shut down after a third fault",
                FailureKind::FailText => "the guest printed what --fail asked for",
                FailureKind::ExpectMissing => "the guest ended without the text of --expect",
                FailureKind::Stuck => "the guest is stuck",
                FailureKind::Sanitizer => "a checker in the guest's kernel found a fault",
                FailureKind::Lockdep => "the guest's lock validator complained",
                FailureKind::ResetLoop => "the guest resets for ever",
            };
            match title.trim_end_matches('.') {
                "" => format!("{what}."),
                title => format!("{what}: {title}."),
            }
        }
        Ending::PowerOff => "the guest powered off.".to_owned(),
        Ending::Reset => "the guest asked for a reset.".to_owned(),
        Ending::DebugExit(value) => format!("the guest wrote {value:#x} to the debug-exit port."),
        Ending::Limit => "the run reached its --limit.".to_owned(),
        Ending::Hang => {
            "the guest hangs: every vCPU is halted, nothing is pending, and nothing can come in.".to_owned()
        }
        Ending::Quit => "the operator ended the run.".to_owned(),
        Ending::Signal(signal) => format!("signal {signal} ended the run."),
        Ending::HostTrouble { reason } => {
            format!("the host stopped the run: {}.", reason.trim_end_matches('.'))
        }
    }
}

/// One fault of a triple fault: `#PF, error code 0x2, at memset+0x12/0x40 [0x...], CR2 0xdead: reason`.
fn fault(step: &TripleFaultStep, symbols: &Symbols<'_>) -> String {
    let mut text = exception_name(step.vector);
    if let Some(error_code) = step.error_code {
        let _ = write!(text, ", error code {error_code:#x}");
    }
    match symbols.function_at(step.rip) {
        Some(function) => {
            let _ = write!(text, ", at {function} [{:#x}]", step.rip);
        }
        None => {
            let _ = write!(text, ", at {:#x}", step.rip);
        }
    }
    if let Some(line) = symbols.lines_at(step.rip).last() {
        let _ = write!(text, " ({line})");
    }
    if let Some(cr2) = step.cr2 {
        let _ = write!(text, ", CR2 {cr2:#x}");
    }
    let _ = write!(text, ": {}", step.reason);
    text
}

/// The functions in which kernels die: Linux's, and the BSDs' `panic` and `vpanic`.
const DYING: [&str; 8] =
    ["panic", "vpanic", "oops_begin", "oops_end", "die", "die_addr", "page_fault_oops", "__warn"];

/// The vCPU that a failure belongs to: the one that is dying, else one that runs, else the first.
pub(crate) fn failing_vcpu(machine: &Machine, symbols: &Symbols<'_>) -> usize {
    let is_dying = |vcpu: &usize| {
        let frames = backtrace(machine, *vcpu, symbols);
        frames.iter().filter_map(|frame| frame.function.as_ref()).any(|at| DYING.contains(&at.name.as_str()))
    };
    let runs = |vcpu: &usize| machine.cpus()[*vcpu].activity == Activity::Running;
    let vcpus = 0..machine.cpus().len();
    vcpus.clone().find(is_dying).or_else(|| vcpus.clone().find(runs)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
