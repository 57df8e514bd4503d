//! The file of a kernel module, or of its debug information, and where such files come from.

use super::dwarf::DebugInfo;
use super::lines::{self, LineInfo};
use super::relocation::Relocation;
use super::sections::{DebugSections, Loaded, lay_out};
use super::types::Source;
use super::{BuildId, SymbolError};
use object::read::elf::ElfFile64;
use object::{Architecture, Endianness, Object, ObjectKind};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// A file that is kept until the process ends, since debug information borrows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    /// Where it is, for people and for gdb.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: &'static [u8],
}

/// Which module's debug information is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedModule<'a> {
    /// Its name, with underscores.
    pub name: &'a str,
    /// The identity that the linker gave it.
    pub build_id: Option<&'a BuildId>,
    /// The release of the kernel, as `uname -r` says it.
    pub release: Option<&'a str>,
}

/// Gives the files that may be a module's, the best first.
pub type FindModuleFiles = dyn Fn(&WantedModule<'_>) -> Vec<KeptFile> + Send + Sync;

/// Where modules' files come from, and those that have been opened: a module that goes and comes as the cursor moves in time
/// is read once.
pub struct ModuleFiles {
    find: Box<FindModuleFiles>,
    opened: Mutex<HashMap<PathBuf, Option<Arc<ModuleFile>>>>,
}

impl fmt::Debug for ModuleFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleFiles").finish_non_exhaustive()
    }
}

impl ModuleFiles {
    /// Files that `find` gives.
    pub fn new(find: impl Fn(&WantedModule<'_>) -> Vec<KeptFile> + Send + Sync + 'static) -> ModuleFiles {
        ModuleFiles { find: Box::new(find), opened: Mutex::default() }
    }

    /// The file of a module: of those found that are of the same build the first with source lines, else the first. One
    /// without an identity is taken by its name. If there is none, those that are of another build.
    pub(crate) fn file_of(&self, wanted: &WantedModule<'_>) -> Result<Arc<ModuleFile>, Vec<PathBuf>> {
        let (mut others, mut stripped) = (Vec::new(), None);
        for file in (self.find)(wanted) {
            let Some(opened) = self.open(&file) else { continue };
            match (wanted.build_id, &opened.build_id) {
                (Some(running), Some(id)) if running != id => others.push(file.path),
                _ if opened.line_info() == LineInfo::Present => return Ok(opened),
                _ => {
                    stripped.get_or_insert(opened);
                }
            }
        }
        stripped.ok_or(others)
    }

    fn open(&self, file: &KeptFile) -> Option<Arc<ModuleFile>> {
        let mut opened = self.opened.lock().ok()?;
        let open = || ModuleFile::open(file).ok().map(Arc::new);
        opened.entry(file.path.clone()).or_insert_with(open).clone()
    }
}

/// The file of a module.
pub(crate) struct ModuleFile {
    path: PathBuf,
    elf: ElfFile64<'static, Endianness>,
    build_id: Option<BuildId>,
    layout: Vec<Loaded>,
    source: Source,
    dwarf: OnceLock<Option<Arc<DebugInfo<'static>>>>,
}

impl fmt::Debug for ModuleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Whether the bytes are a file that a kernel of x86-64 loads as a module, or its debug information.
#[must_use]
pub fn is_module(bytes: &[u8]) -> bool {
    ElfFile64::<Endianness>::parse(bytes).is_ok_and(|elf| is_relocatable(&elf))
}

fn is_relocatable(elf: &ElfFile64<'_, Endianness>) -> bool {
    elf.kind() == ObjectKind::Relocatable && elf.architecture() == Architecture::X86_64
}

impl ModuleFile {
    /// Opens a file; its debug information is read when it is wanted.
    fn open(file: &KeptFile) -> Result<ModuleFile, SymbolError> {
        let elf = ElfFile64::<Endianness>::parse(file.bytes).map_err(SymbolError::NotElf)?;
        if !is_relocatable(&elf) {
            return Err(SymbolError::NotModule);
        }
        let build_id = elf.build_id().ok().flatten().map(|id| BuildId(id.to_vec()));
        let layout = lay_out(&elf);
        let (path, source) = (file.path.clone(), Source::another());
        Ok(ModuleFile { path, elf, build_id, layout, source, dwarf: OnceLock::new() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells its types from those of others.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether it can say source lines.
    pub fn line_info(&self) -> LineInfo {
        lines::line_info(&self.elf)
    }

    /// Its debug information, if it has any.
    pub fn dwarf(&self) -> Option<&Arc<DebugInfo<'static>>> {
        let read = || {
            let has_dwarf = self.line_info() == LineInfo::Present;
            let sections = has_dwarf.then(|| DebugSections::of_module(&self.elf, &self.layout))?;
            DebugInfo::new(&sections, self.source).map(Arc::new)
        };
        self.dwarf.get_or_init(read).as_ref()
    }

    /// Where its sections are, if each is where `sections` of the running module say.
    pub fn relocation(&self, sections: &[(String, u64)]) -> Relocation {
        Relocation::of_sections(self.layout.iter().filter_map(|section| {
            let (_, vaddr) = sections.iter().find(|(name, _)| *name == section.name)?;
            Some((section.linked.clone(), *vaddr))
        }))
    }
}
