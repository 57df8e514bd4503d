//! Where a guest's symbols come from: the files of `--symbols`, the kernel itself, what distributions have installed.

use crate::config::ReplayConfig;
use crate::exit::usage;
use crate::report::Inspected;
use anyhow::{Context, Result};
use boundary::BootProtocol;
use ddb_shell::kernel::KernelIdentity;
use ddb_shell::symbols::{KeptFile, LineInfo, ModuleFiles, WantedModule, debug_link, is_module};
use ddb_shell::{GuestInspector, Symbols};
use host::debug_files::{Wanted, candidates, from_debuginfod, linked, module_candidates, modules_below};
use host::mapping::map_file;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

/// Where the guest's symbols may come from. Read when a report is wanted, for a kernel's own table is in its
/// memory only once it has unpacked itself.
pub struct SymbolSource {
    /// The kernels' files of `--symbols`; if there are none, the kernel itself.
    kernels: Vec<KernelFile>,
    /// The modules' files of `--symbols`.
    modules: Vec<PathBuf>,
    /// Folders that modules' files lie below: of `--symbols`, and the build trees of the kernels' files.
    folders: Vec<PathBuf>,
}

/// A kernel with its symbols. The bytes are kept until the process ends, for a thread reads them in the background.
#[derive(Clone)]
struct KernelFile {
    /// Where it is; `None` for the kernel that was booted, of which there are only the bytes.
    path: Option<PathBuf>,
    bytes: &'static [u8],
}

impl KernelFile {
    fn symbols<'a>(&self, protocol: BootProtocol) -> Option<Symbols<'a>> {
        let symbols = Symbols::of_kernel(self.bytes, protocol).ok()?;
        Some(match &self.path {
            Some(path) => symbols.from_file(path),
            None => symbols,
        })
    }

    /// The same for a debugger, with a thread that lists the names in its DWARF.
    fn prepared_symbols<'a>(&self, protocol: BootProtocol) -> Option<Symbols<'a>> {
        Some(prepared(self.bytes, self.symbols(protocol)?))
    }
}

/// Files of modules by the modules' names.
type ModulesByName = HashMap<String, Vec<PathBuf>>;

impl SymbolSource {
    /// The files and folders of `--symbols`, else the kernel itself, which may be an ELF with symbols.
    ///
    /// # Errors
    /// A file of `--symbols` that cannot be read, or has no symbols; a folder without any.
    pub fn open(paths: &[PathBuf], kernel: &[u8]) -> Result<SymbolSource> {
        let mut source = SymbolSource { kernels: Vec::new(), modules: Vec::new(), folders: Vec::new() };
        for path in paths {
            if path.is_dir() {
                source.add_folder(path)?;
            } else {
                source.add_file(path)?;
            }
        }
        if source.kernels.is_empty() {
            source.kernels.push(KernelFile { path: None, bytes: Vec::leak(kernel.to_vec()) });
        }
        Ok(source)
    }

    /// The same for a recording: the files and folders that were named for it, and those that it carries.
    ///
    /// # Errors
    /// As [`SymbolSource::open`].
    pub fn of_replay(replay: &ReplayConfig) -> Result<SymbolSource> {
        SymbolSource::open(&replay.all_symbols(), &replay.kernel())
    }

    fn add_file(&mut self, file: &Path) -> Result<()> {
        let image = map_file(file).with_context(|| format!("--symbols {}", file.display()))?;
        if is_module(image) {
            self.modules.push(file.to_path_buf());
            return Ok(());
        }
        let image = linked_image(file, image).unwrap_or(image);
        Symbols::parse(image).map_err(|error| usage(format!("--symbols {}: {error}", file.display())))?;
        self.kernels.push(KernelFile { path: Some(file.to_path_buf()), bytes: image });
        // Where a kernel was built with modules, they lie below, and so says this file.
        let folder = file.parent().filter(|folder| folder.join("modules.order").is_file());
        self.folders.extend(folder.map(Path::to_path_buf));
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path) -> Result<()> {
        let vmlinux = folder.join("vmlinux");
        if vmlinux.is_file() {
            self.add_file(&vmlinux)?;
        } else if modules_below(folder).is_empty() {
            return Err(usage(format!(
                "--symbols {}: there is no vmlinux in this folder, and no module (*.ko) below it",
                folder.display()
            )));
        }
        if !self.folders.iter().any(|known| known == folder) {
            self.folders.push(folder.to_path_buf());
        }
        Ok(())
    }

    /// The file that the guest's symbols are from. As long as they are not known, the first of `--symbols`.
    pub fn file_of<'s>(&'s self, symbols: &'s Symbols<'_>) -> Option<&'s Path> {
        let first = self.kernels.first().and_then(|kernel| kernel.path.as_deref());
        symbols.path().or(first.filter(|_| symbols.is_empty()))
    }

    /// Somebody who looks at a guest with these symbols: the first file's, moved to where the kernel is, those of the file
    /// that is of its build, else those in the kernel's memory.
    pub fn inspector(&self, protocol: BootProtocol, stops_at_warnings: bool) -> Inspected<'static> {
        let (first, others) = self.kernels();
        let image = move || first.symbols(protocol);
        let inspector = GuestInspector::new(image, is_linux(protocol), stops_at_warnings)
            .with_debug_files(move |_| others.iter().filter_map(|file| file.symbols(protocol)).collect())
            .with_module_files(self.module_files(false));
        Inspected::new(inspector)
    }

    /// The same for a debugger, which looks for separate debug information, too, and reads in the background what it will
    /// need.
    pub fn guest_inspector<'a>(&self, protocol: BootProtocol, stops_at_warnings: bool) -> GuestInspector<'a> {
        let (first, others) = self.kernels();
        let is_given = first.path.is_some();
        let image = move || first.prepared_symbols(protocol);
        let inspector = GuestInspector::new(image, is_linux(protocol), stops_at_warnings)
            .with_module_files(self.module_files(true));
        if !is_given {
            return inspector.with_debug_files(separate_debug_information);
        }
        inspector.with_debug_files(move |_| {
            others.iter().filter_map(|file| file.prepared_symbols(protocol)).collect()
        })
    }

    /// The first kernel, and the others.
    fn kernels(&self) -> (KernelFile, Vec<KernelFile>) {
        let (first, others) = self.kernels.split_first().expect("the kernel itself, if no other");
        (first.clone(), others.to_vec())
    }

    /// What modules are debugged by: what was given, and, if asked for, what this host has.
    fn module_files(&self, looks_at_host: bool) -> Arc<ModuleFiles> {
        let (given, folders) = (by_name(self.modules.clone()), self.folders.clone());
        let below =
            LazyLock::new(move || by_name(folders.iter().flat_map(|folder| modules_below(folder)).collect()));
        let installed: Mutex<HashMap<String, ModulesByName>> = Mutex::default();
        Arc::new(ModuleFiles::new(move |wanted| {
            let named = |files: &ModulesByName| files.get(wanted.name).cloned().unwrap_or_default();
            let mut paths = [named(&given), named(&below)].concat();
            if looks_at_host {
                paths.extend(installed_for(wanted, &installed));
            }
            let kept = |path: PathBuf| {
                // gdb may look from another folder.
                let path = std::path::absolute(&path).unwrap_or(path);
                map_file(&path).ok().map(|bytes| KeptFile { path, bytes })
            };
            paths.into_iter().filter_map(kept).collect()
        }))
    }
}

/// What this host has of a module's debug information. The folders of a release are listed once.
fn installed_for(wanted: &WantedModule<'_>, listed: &Mutex<HashMap<String, ModulesByName>>) -> Vec<PathBuf> {
    let root = Path::new("/");
    let on_host = Wanted { build_id: wanted.build_id.map(|id| id.0.as_slice()), release: None };
    let mut paths = candidates(root, &on_host);
    if let (Some(release), Ok(mut listed)) = (wanted.release, listed.lock()) {
        let of_release =
            listed.entry(release.to_owned()).or_insert_with(|| by_name(module_candidates(root, release)));
        paths.extend(of_release.get(wanted.name).into_iter().flatten().cloned());
    }
    paths
}

fn by_name(paths: Vec<PathBuf>) -> ModulesByName {
    let mut files = ModulesByName::new();
    for path in paths {
        files.entry(module_name(&path)).or_default().push(path);
    }
    files
}

/// The name of the module that a file is of: `nf-tables.ko.debug` is of `nf_tables`.
fn module_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".debug").unwrap_or(&name);
    name.strip_suffix(".ko").unwrap_or(name).replace('-', "_")
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
        Some(prepared(image, Symbols::parse(image).ok()?.from_file(path)))
    };
    let found: Vec<_> = candidates(Path::new("/"), &wanted).iter().filter_map(symbols).collect();
    let is_known = |symbols: &Symbols<'_>| symbols.build_id() == identity.build_id.as_ref();
    if found.iter().any(is_known) {
        return found;
    }
    let downloaded = identity.build_id.as_ref().and_then(|id| from_debuginfod(&id.0));
    downloaded.iter().filter_map(symbols).chain(found).collect()
}
