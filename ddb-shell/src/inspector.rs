//! Eyes for a timeline: where the guest's kernel reports failures, and what is to be seen there.
//!
//! Serves a live run (as [`replay::Inspector`]) and a replay, so that both say the same of a failure.

use crate::fault::Fault;
use crate::kernel::{KernelIdentity, kernel_identity, kernel_memory, printk};
use crate::memory::VcpuMemory;
use crate::registers::KERNEL_SPACE;
use crate::report::{Scene, failing_vcpu};
use crate::symbols::{Function, LineInfo, ModuleFiles, OtherBuild, Symbols};
use boundary::Mark;
use machine::Machine;
use machine::cpu::state::{Activity, Mode, RDI, Vcpu};
use recorder::FailureKind;
use replay::{Inspector, Reporter};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

/// The functions at whose start a failure is known: for Linux (kernel/panic.c, arch/x86/kernel/dumpstack.c) and for
/// whoever else calls his `panic`.
const REPORTERS: [(&str, FailureKind); 3] =
    [("panic", FailureKind::Panic), ("oops_begin", FailureKind::Oops), ("__warn", FailureKind::Warn)];
/// How much of the console is kept, to know what it has shown of the log.
const CONSOLE_BYTES: usize = 64 << 10;
/// How many exceptions are kept: other vCPUs take theirs meanwhile.
const FAULTS_MAX: usize = 64;
/// The longest reason that is read from a format string.
const REASON_BYTES: usize = 160;

/// Gives the debug information that may belong to a build.
type FindDebugFiles<'a> = dyn Fn(&KernelIdentity) -> Vec<Symbols<'a>> + 'a;

/// Looks at one guest.
pub struct GuestInspector<'a> {
    /// The symbols of the kernel's image or of `--symbols`, if it has any.
    image: Box<dyn Fn() -> Option<Symbols<'a>> + 'a>,
    /// Where warnings are failures, they are worth a stop.
    stops_at_warnings: bool,
    is_linux: bool,
    /// Finds separate debug information of a kernel.
    debug_files: Option<Box<FindDebugFiles<'a>>>,
    /// Where the debug information of modules comes from.
    module_files: Option<Arc<ModuleFiles>>,
    /// Why that of the image was not used.
    refused: Option<OtherBuild>,
    symbols: Symbols<'a>,
    console: VecDeque<u8>,
    scenes: Vec<(Mark, Scene)>,
    /// The one that the failure began with.
    fault: Option<Fault>,
    /// The last exceptions before a failure that is being looked for.
    faults: VecDeque<Fault>,
}

impl<'a> GuestInspector<'a> {
    /// For a guest whose kernel's file has the symbols that `image` gives. A Linux has its own in memory, too.
    pub fn new(
        image: impl Fn() -> Option<Symbols<'a>> + 'a,
        is_linux: bool,
        stops_at_warnings: bool,
    ) -> GuestInspector<'a> {
        GuestInspector {
            image: Box::new(image),
            stops_at_warnings,
            is_linux,
            debug_files: None,
            module_files: None,
            refused: None,
            symbols: Symbols::none(),
            console: VecDeque::new(),
            scenes: Vec::new(),
            fault: None,
            faults: VecDeque::new(),
        }
    }

    /// The same, with separate debug information for a Linux that has none of its own: `find` gives what may be it, for a
    /// build. Of several the first with the running kernel's build id is taken.
    #[must_use]
    pub fn with_debug_files(
        self,
        find: impl Fn(&KernelIdentity) -> Vec<Symbols<'a>> + 'a,
    ) -> GuestInspector<'a> {
        GuestInspector { debug_files: Some(Box::new(find)), ..self }
    }

    /// The same, with the debug information of a Linux's modules.
    #[must_use]
    pub fn with_module_files(self, files: Arc<ModuleFiles>) -> GuestInspector<'a> {
        GuestInspector { module_files: Some(files), ..self }
    }

    /// Why debug information that was given or found is not used.
    #[must_use]
    pub fn refused(&self) -> Option<&OtherBuild> {
        self.refused.as_ref()
    }

    /// The best symbols for the guest as it is.
    pub fn symbols(&mut self, machine: &Machine) -> &Symbols<'a> {
        if self.symbols.is_empty() {
            self.find_symbols(machine);
        }
        &self.symbols
    }

    /// The symbols as they were found last.
    #[must_use]
    pub fn known_symbols(&self) -> &Symbols<'a> {
        &self.symbols
    }

    fn find_symbols(&mut self, machine: &Machine) {
        let mem = &machine.system().mem;
        let memory = kernel_memory(machine, &Symbols::none()).unwrap_or(VcpuMemory { machine, vcpu: 0 });
        let (mut found, refused) = Symbols::of_guest((self.image)(), mem, &memory);
        self.refused = refused;
        if let Some(better) = self.separate_symbols(machine, &found) {
            found = better;
        }
        // A kernel that its decompressor has not moved yet has its tables in memory, with addresses of nowhere.
        let is_usable = !self.is_linux || is_in_place(machine, &found);
        self.symbols = if is_usable { found } else { Symbols::none() };
        if let Some(files) = &self.module_files {
            self.symbols.set_module_files(Arc::clone(files));
        }
    }

    /// Symbols with debug information for a kernel that `running` has the names of only.
    fn separate_symbols(&mut self, machine: &Machine, running: &Symbols<'_>) -> Option<Symbols<'a>> {
        let find = self.debug_files.as_ref().filter(|_| running.line_info() == LineInfo::Absent)?;
        let memory = kernel_memory(machine, running)?;
        let identity = kernel_identity(running, &memory);
        let build_id = identity.build_id.clone()?;
        for candidate in find(&identity) {
            match candidate.build_id() {
                Some(id) if *id == build_id => {
                    self.refused = None;
                    return Some(candidate.aligned_with(running));
                }
                Some(id) => self.refused = Some(OtherBuild { file: id.clone(), running: build_id.clone() }),
                None => {}
            }
        }
        None
    }

    /// What was seen when a reporter was entered at `place`.
    #[must_use]
    pub fn scene_at(&self, place: Mark) -> Option<&Scene> {
        self.scenes.iter().find(|(mark, _)| *mark == place).map(|(_, scene)| scene)
    }

    /// For a replay on its way to the place of a failure: an exception was delivered.
    pub fn note_fault(&mut self, fault: Fault) {
        self.faults.push_front(fault);
        self.faults.truncate(FAULTS_MAX);
    }

    /// The exception that the failure began with, in words, once a replay has looked there.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.map(|fault| fault.describe(&self.symbols))
    }

    /// For a replay that has come to the place of a failure: keeps what is to be seen, as the live run did, if a
    /// reporter is being entered.
    pub fn look_at_failure(&mut self, machine: &Machine) {
        if let Some(vcpu) = self.reporting_vcpu(machine) {
            let scene = Scene::of(machine, vcpu, &self.symbols);
            self.fault = self.faults.iter().find(|fault| fault.explains(&scene)).copied();
            self.scenes.push((machine.mark(), scene));
        }
    }

    /// The vCPU that is entering a reporter.
    pub fn reporting_vcpu(&mut self, machine: &Machine) -> Option<usize> {
        let symbols = self.symbols(machine);
        let enters = |vcpu: &usize| {
            let at = symbols.function_at(machine.cpus()[*vcpu].rip);
            at.is_some_and(|at| at.offset == 0 && REPORTERS.iter().any(|(name, _)| *name == at.name))
        };
        (0..machine.cpus().len()).filter(enters).min_by_key(|vcpu| *vcpu != failing_vcpu(machine, symbols))
    }

    /// Forgets what a kernel before a reset had.
    fn forget(&mut self) {
        self.symbols = Symbols::none();
    }
}

impl Inspector for GuestInspector<'_> {
    fn reporters(&mut self, machine: &Machine) -> Vec<Reporter> {
        self.forget();
        // Linux has nothing in memory before it has executed anything.
        if self.is_linux && machine.mark().icount.0 == 0 {
            return Vec::new();
        }
        self.find_symbols(machine);
        let wanted = |kind: FailureKind| kind != FailureKind::Warn || self.stops_at_warnings;
        REPORTERS
            .iter()
            .filter(|(_, kind)| wanted(*kind))
            .filter_map(|(name, kind)| {
                let vaddr = self.symbols.address_of(name).filter(|vaddr| self.symbols.is_code(*vaddr))?;
                Some(Reporter { vaddr, kind: *kind })
            })
            .collect()
    }

    fn entered(&mut self, machine: &Machine, vcpu: usize, reporter: &Reporter) -> String {
        let scene = Scene::of(machine, vcpu, &self.symbols);
        self.scenes.push((machine.mark(), scene));
        match reporter.kind {
            FailureKind::Panic => match reason(machine, vcpu) {
                Some(reason) => format!("panic: {reason}"),
                None => "panic, for a reason that cannot be read".to_owned(),
            },
            FailureKind::Warn => "a warning".to_owned(),
            _ => "an exception that the kernel cannot handle".to_owned(),
        }
    }

    fn printed(&mut self, bytes: &[u8]) {
        self.console.extend(bytes);
        let surplus = self.console.len().saturating_sub(CONSOLE_BYTES);
        self.console.drain(..surplus);
    }

    fn unprinted_log(&mut self, machine: &Machine) -> Vec<String> {
        if !self.is_linux {
            return Vec::new();
        }
        self.symbols(machine);
        let console = String::from_utf8_lossy(self.console.make_contiguous());
        let log = printk::log(machine, &self.symbols).unwrap_or_default();
        printk::unprinted(log, &console)
    }

    fn whereabouts(&mut self, machine: &Machine) -> String {
        let is_linux = self.is_linux;
        let symbols = self.symbols(machine);
        let mut text = String::new();
        for (index, cpu) in machine.cpus().iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            let _ = write!(text, "{separator}vCPU {index} ");
            match cpu.activity {
                Activity::WaitForSipi => text.push_str("not started"),
                Activity::Shutdown => text.push_str("shut down"),
                Activity::Halted if is_idle(cpu, symbols) => text.push_str("idle"),
                Activity::Halted | Activity::Running => {
                    let halted = if cpu.activity == Activity::Halted { "halted " } else { "" };
                    let _ = write!(text, "{halted}in {}", place(cpu, symbols, is_linux));
                }
            }
        }
        text
    }
}

/// Whether Linux runs where its symbols say that it is.
fn is_in_place(machine: &Machine, symbols: &Symbols<'_>) -> bool {
    const BANNER: &[u8] = b"Linux version ";
    let mut vcpus = 0..machine.cpus().len();
    match symbols.address_of("linux_banner") {
        Some(vaddr) => vcpus.any(|vcpu| {
            let mut bytes = [0; BANNER.len()];
            machine.peek_virtual(vcpu, vaddr, &mut bytes).is_ok() && bytes == *BANNER
        }),
        // Only kernels that list their data, too, have that symbol.
        None => machine.cpus().iter().any(|cpu| cpu.cpl == 3 || cpu.rip >= KERNEL_SPACE),
    }
}

/// Halted until an interrupt comes.
fn is_idle(cpu: &Vcpu, symbols: &Symbols<'_>) -> bool {
    const INTERRUPTS_ENABLED: u64 = 1 << 9;
    cpu.rflags & INTERRUPTS_ENABLED != 0 && (symbols.is_empty() || symbols.is_code(cpu.rip))
}

/// Phase of the boot and function: `the kernel, do_init_module+0x12/0x240`.
fn place(cpu: &Vcpu, symbols: &Symbols<'_>, is_linux: bool) -> String {
    let phase = match cpu.mode {
        Mode::Real | Mode::Virtual8086 => "real mode",
        _ if cpu.cpl == 3 => "a program",
        _ if is_linux && cpu.rip < KERNEL_SPACE => "the decompressor",
        _ => "the kernel",
    };
    let function: Option<Function> = symbols.function_at(cpu.rip).filter(|_| cpu.cpl != 3);
    match function {
        Some(function) => format!("{phase}, {function}"),
        None => format!("{phase}, at {:#x}", cpu.rip),
    }
}

/// The format string that `panic` is called with, a single line.
fn reason(machine: &Machine, vcpu: usize) -> Option<String> {
    let cpu = &machine.cpus()[vcpu];
    let mut bytes = [0; REASON_BYTES];
    // Fewer bytes are enough at the end of what is mapped.
    if cpu.code_bits != 64 || machine.peek_virtual(vcpu, cpu.gpr[RDI], &mut bytes[..1]).is_err() {
        return None;
    }
    let _ = machine.peek_virtual(vcpu, cpu.gpr[RDI], &mut bytes);
    let end = bytes.iter().position(|&byte| byte == 0 || byte == b'\n').unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let is_text = !text.is_empty() && text.chars().all(|c| !c.is_control());
    is_text.then(|| text.to_owned())
}
