//! Where a guest's symbols come from: the files of `--symbols`, the kernel itself, what distributions have installed.

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
    /// The first kernel's file of `--symbols`, else the kernel: kept until the process ends, for a thread reads it in the
    /// background.
    image: &'static [u8],
    /// The kernels' files of `--symbols`.
    given: Vec<(PathBuf, &'static [u8])>,
    /// The modules' files of `--symbols`.
    modules: Vec<PathBuf>,
    /// Folders that modules' files lie below: of `--symbols`, and the build trees of the kernels' files.
    folders: Vec<PathBuf>,
}

/// Files of modules by the modules' names.
type ModulesByName = HashMap<String, Vec<PathBuf>>;

impl SymbolSource {
    /// The files and folders of `--symbols`, else the kernel itself, which may be an ELF with symbols.
    ///
    /// # Errors
    /// A file of `--symbols` that cannot be read, or has no symbols; a folder without any.
    pub fn open(paths: &[PathBuf], kernel: &[u8]) -> Result<SymbolSource> {
        let mut source =
            SymbolSource { image: &[], given: Vec::new(), modules: Vec::new(), folders: Vec::new() };
        for path in paths {
            if path.is_dir() {
                source.add_folder(path)?;
            } else {
                source.add_file(path)?;
            }
        }
        let first = source.given.first().map(|(_, image)| *image);
        source.image = first.unwrap_or_else(|| Vec::leak(kernel.to_vec()));
        Ok(source)
    }

    fn add_file(&mut self, file: &Path) -> Result<()> {
        let image = map_file(file).with_context(|| format!("--symbols {}", file.display()))?;
        if is_module(image) {
            self.modules.push(file.to_path_buf());
            return Ok(());
        }
        let image = linked_image(file, image).unwrap_or(image);
        Symbols::parse(image).map_err(|error| usage(format!("--symbols {}: {error}", file.display())))?;
        self.given.push((file.to_path_buf(), image));
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
        let inspector = inspector.with_debug_files(move |_| {
            others.iter().filter_map(|image| Symbols::of_kernel(image, protocol).ok()).collect()
        });
        Inspected::new(inspector.with_module_files(self.module_files(false)))
    }

    /// The same for a debugger, which looks for separate debug information, too, and reads in the background what it will
    /// need.
    pub fn guest_inspector<'a>(&self, protocol: BootProtocol, stops_at_warnings: bool) -> GuestInspector<'a> {
        let image = self.image;
        let open = move |image| Some(prepared(image, Symbols::of_kernel(image, protocol).ok()?));
        let inspector = GuestInspector::new(move || open(image), is_linux(protocol), stops_at_warnings);
        let inspector = inspector.with_module_files(self.module_files(true));
        if self.given.is_empty() {
            return inspector.with_debug_files(separate_debug_information);
        }
        let others = self.others();
        inspector.with_debug_files(move |_| others.iter().filter_map(|image| open(image)).collect())
    }

    /// The kernels' files of --symbols but for the first.
    fn others(&self) -> Vec<&'static [u8]> {
        self.given.iter().skip(1).map(|(_, image)| *image).collect()
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
            let kept = |path: PathBuf| map_file(&path).ok().map(|bytes| KeptFile { path, bytes });
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
