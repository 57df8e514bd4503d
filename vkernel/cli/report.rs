//! What is said of a machine and of a failure: symbols found where they can be, the rest is `ddb-shell`'s.

use crate::exit::usage;
use anyhow::{Context, Result};
use boundary::{BootProtocol, Mark, TripleFault};
use ddb_shell::kernel::KernelIdentity;
use ddb_shell::report::{FailureReport, Scene, failure_paragraph, vcpus_report};
use ddb_shell::symbols::{LineInfo, debug_link};
use ddb_shell::{Fault, GuestInspector, Symbols};
use host::debug_files::{Wanted, candidates, from_debuginfod, linked};
use host::mapping::map_file;
use machine::Machine;
use recorder::{Ending, FailureKind};
use replay::{Inspector, Outcome, Reporter};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Where the guest's symbols may come from. Read when a report is wanted, for a kernel's own table is in its
/// memory only once it has unpacked itself.
pub struct SymbolSource {
    /// The first file of `--symbols`, else the kernel: kept until the process ends, for a thread reads it in the background.
    image: &'static [u8],
    /// The files of `--symbols`.
    given: Vec<(PathBuf, &'static [u8])>,
}

impl SymbolSource {
    /// The files of `--symbols`, else the kernel itself, which may be an ELF with symbols.
    ///
    /// # Errors
    /// A file of `--symbols` that cannot be read, or has no symbols.
    pub fn open(files: &[PathBuf], kernel: &[u8]) -> Result<SymbolSource> {
        let mut given = Vec::new();
        for file in files {
            let image = map_file(file).with_context(|| format!("--symbols {}", file.display()))?;
            let image = linked_image(file, image).unwrap_or(image);
            Symbols::parse(image).map_err(|error| usage(format!("--symbols {}: {error}", file.display())))?;
            given.push((file.clone(), image));
        }
        let first = given.first().map(|(_, image)| *image);
        Ok(SymbolSource { image: first.unwrap_or_else(|| Vec::leak(kernel.to_vec())), given })
    }

    /// Of the files of `--symbols` the one that the guest's symbols are from.
    pub fn file_of(&self, symbols: &Symbols<'_>) -> Option<&Path> {
        let id = symbols.build_id();
        let is_it = |image: &[u8]| {
            id.is_some() && Symbols::parse(image).is_ok_and(|symbols| symbols.build_id() == id)
        };
        let (file, _) = self.given.iter().find(|(_, image)| is_it(image)).or(self.given.first())?;
        Some(file)
    }

    /// Somebody who looks at a guest with these symbols: the image's, moved to where the kernel is, else those in the
    /// kernel's memory.
    pub fn inspector(&self, protocol: BootProtocol, stops_at_warnings: bool) -> Inspected<'static> {
        let image = self.image;
        let inspector = GuestInspector::new(
            move || Symbols::of_kernel(image, protocol).ok(),
            is_linux(protocol),
            stops_at_warnings,
        );
        let others = self.others();
        Inspected(RefCell::new(inspector.with_debug_files(move |_| {
            others.iter().filter_map(|image| Symbols::of_kernel(image, protocol).ok()).collect()
        })))
    }

    /// The same for a debugger, which looks for separate debug information, too, and reads in the background what it will
    /// need.
    pub fn guest_inspector<'a>(&self, protocol: BootProtocol, stops_at_warnings: bool) -> GuestInspector<'a> {
        let image = self.image;
        let open = move |image| Some(prepared(image, Symbols::of_kernel(image, protocol).ok()?));
        let inspector = GuestInspector::new(move || open(image), is_linux(protocol), stops_at_warnings);
        if self.given.is_empty() {
            return inspector.with_debug_files(separate_debug_information);
        }
        let others = self.others();
        inspector.with_debug_files(move |_| others.iter().filter_map(|image| open(image)).collect())
    }

    /// The files of `--symbols` but for the first.
    fn others(&self) -> Vec<&'static [u8]> {
        self.given.iter().skip(1).map(|(_, image)| *image).collect()
    }
}

fn is_linux(protocol: BootProtocol) -> bool {
    matches!(protocol, BootProtocol::LinuxBzImage | BootProtocol::LinuxElf)
}

/// The debug information that a stripped file names, if it is there.
fn linked_image(file: &Path, image: &[u8]) -> Option<&'static [u8]> {
    let (name, crc) = debug_link(image)?;
    let images = linked(Path::new("/"), file, &name).into_iter().filter_map(|path| map_file(&path).ok());
    images.into_iter().find(|image| crc32fast::hash(image) == crc)
}

/// Symbols of an image, with a thread that lists the names in its DWARF.
fn prepared<'a>(image: &'static [u8], symbols: Symbols<'a>) -> Symbols<'a> {
    if symbols.line_info() == LineInfo::Present {
        std::thread::spawn(symbols.preparation(image));
    }
    symbols
}

/// What this host has of a kernel's debug information; if it has none, what a server has that the user has named.
fn separate_debug_information<'a>(identity: &KernelIdentity) -> Vec<Symbols<'a>> {
    let wanted = Wanted {
        build_id: identity.build_id.as_ref().map(|id| id.0.as_slice()),
        release: identity.release.as_deref(),
    };
    let symbols = |path: &PathBuf| {
        let image = map_file(path).ok()?;
        Some(prepared(image, Symbols::parse(image).ok()?))
    };
    let found: Vec<_> = candidates(Path::new("/"), &wanted).iter().filter_map(symbols).collect();
    let is_known = |symbols: &Symbols<'_>| symbols.build_id() == identity.build_id.as_ref();
    if found.iter().any(is_known) {
        return found;
    }
    let downloaded = identity.build_id.as_ref().and_then(|id| from_debuginfod(&id.0));
    downloaded.iter().filter_map(symbols).chain(found).collect()
}

/// What is known of a guest, shared between the timeline, which asks as it runs, and the report at its end.
pub struct Inspected<'a>(RefCell<GuestInspector<'a>>);

impl Inspected<'_> {
    /// Registers and backtrace of every vCPU.
    pub fn registers(&self, machine: &Machine) -> String {
        vcpus_report(machine, self.0.borrow_mut().symbols(machine))
    }

    /// A replay has printed something.
    pub fn printed(&self, bytes: &[u8]) {
        self.0.borrow_mut().printed(bytes);
    }

    /// A replay on its way there has stopped for an exception.
    pub fn note_fault(&self, fault: Fault) {
        self.0.borrow_mut().note_fault(fault);
    }

    /// The exception that the failure began with.
    pub fn fault(&self) -> Option<String> {
        self.0.borrow().fault()
    }

    /// A replay has come to the place of the failure.
    pub fn look_at_failure(&self, machine: &Machine) {
        self.0.borrow_mut().look_at_failure(machine);
    }
}

impl Inspector for &Inspected<'_> {
    fn reporters(&mut self, machine: &Machine) -> Vec<Reporter> {
        self.0.borrow_mut().reporters(machine)
    }

    fn entered(&mut self, machine: &Machine, vcpu: usize, reporter: &Reporter) -> String {
        self.0.borrow_mut().entered(machine, vcpu, reporter)
    }

    fn printed(&mut self, bytes: &[u8]) {
        self.0.borrow_mut().printed(bytes);
    }

    fn unprinted_log(&mut self, machine: &Machine) -> Vec<String> {
        self.0.borrow_mut().unprinted_log(machine)
    }

    fn whereabouts(&mut self, machine: &Machine) -> String {
        self.0.borrow_mut().whereabouts(machine)
    }
}

/// What is known of a failed run, live or replayed.
pub struct Failed<'a> {
    /// Why it ended.
    pub ending: &'a Ending,
    /// The faults, if it was a triple fault.
    pub triple_fault: Option<&'a TripleFault>,
    /// The machine as it ended.
    pub machine: &'a Machine,
    /// What a TRACE argument calls its recording.
    pub trace: Option<&'a str>,
}

impl<'a> Failed<'a> {
    /// What came of a live run.
    pub fn live(outcome: &'a Outcome, trace: Option<&'a str>) -> Failed<'a> {
        let triple_fault = outcome.triple_fault.as_ref();
        Failed { ending: &outcome.ending, triple_fault, machine: &outcome.machine, trace }
    }

    /// The faults that ended it, if that is what ended it.
    fn final_triple_fault(&self) -> Option<&'a TripleFault> {
        let is_end = matches!(self.ending, Ending::Failure { kind: FailureKind::TripleFault, .. });
        self.triple_fault.filter(|_| is_end)
    }

    /// The place of the failure.
    fn place(&self) -> Option<Mark> {
        match self.ending {
            Ending::Failure { place, .. } => Some(*place),
            _ => None,
        }
    }
}

/// What was to be seen where a run failed, or what is at its end.
pub fn scene(failed: &Failed<'_>, inspected: &Inspected<'_>) -> Scene {
    let mut inspector = inspected.0.borrow_mut();
    inspector.symbols(failed.machine);
    let seen = failed.place().and_then(|place| inspector.scene_at(place));
    seen.cloned().unwrap_or_else(|| {
        Scene::at_end(failed.final_triple_fault(), failed.machine, inspector.known_symbols())
    })
}

/// The paragraph that closes a failed run.
pub fn closing_paragraph(failed: &Failed<'_>, inspected: &Inspected<'_>) -> String {
    let mut inspector = inspected.0.borrow_mut();
    let log = inspector.unprinted_log(failed.machine);
    inspector.symbols(failed.machine);
    let report = FailureReport {
        ending: failed.ending,
        mark: failed.machine.mark(),
        virtual_time: failed.machine.now(),
        triple_fault: failed.final_triple_fault(),
        scene: failed.place().and_then(|place| inspector.scene_at(place)),
        log: &log,
        trace: failed.trace,
    };
    let mut text = failure_paragraph(&report, failed.machine, inspector.known_symbols());
    if let Some(refused) = inspector.refused() {
        text.push_str(&format!("vkernel: the file of --symbols is not used: {refused}\n"));
    }
    text
}
