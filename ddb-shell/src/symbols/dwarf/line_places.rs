//! From a source line to the addresses of its code (DWARF 5 ch. 6.2).

use super::{DebugInfo, Section};
use gimli::{IncompleteLineProgram, LineProgramHeader, Unit};
use std::path::Path;

/// Rows of one line of a file, each the first of a run of rows of that line.
struct Rows<'f> {
    file: &'f Path,
    line: u64,
    /// The line that is nearest so far, not above the wanted one, with the addresses that it begins at.
    found: Option<(u64, Vec<u64>)>,
}

impl<'data> DebugInfo<'data> {
    /// The link addresses at which the code of a line begins: of every copy of it, sorted, with the number of the line. If it has
    /// no code, that of the next one that has. `file` is the end of a path, in whole components.
    pub(in crate::symbols) fn line_starts(&self, file: &str, line: u64) -> Option<(u64, Vec<u64>)> {
        let mut rows = Rows { file: Path::new(file), line, found: None };
        for number in 0..self.units().len() {
            let program = self.unit(number).and_then(|unit| Some((unit, unit.line_program.clone()?)));
            if let Some((unit, program)) = program {
                // What follows damage is not found.
                let _ = self.read_rows(unit, program, &mut rows);
            }
        }
        let (line, mut starts) = rows.found?;
        starts.sort_unstable();
        starts.dedup();
        Some((line, starts))
    }

    fn read_rows(
        &self,
        unit: &Unit<Section<'data>>,
        program: IncompleteLineProgram<Section<'data>>,
        wanted: &mut Rows<'_>,
    ) -> gimli::Result<()> {
        let header = program.header().clone();
        let count = header.file_names().len() as u64 + 1;
        let is_file: Vec<bool> =
            (0..=count).map(|index| self.is_file(unit, &header, index, wanted.file)).collect();
        if !is_file.contains(&true) {
            return Ok(());
        }
        let mut rows = program.rows();
        // Whether the row before was of the same line: its code goes on.
        let mut before = None;
        while let Some((_, row)) = rows.next_row()? {
            let line = row.line().map_or(0, std::num::NonZero::get);
            let is_wanted = is_file.get(row.file_index() as usize) == Some(&true) && line >= wanted.line;
            let here = (!row.end_sequence() && is_wanted).then_some(line);
            if row.is_stmt() && here.is_some() && here != before && row.address() != 0 {
                wanted.add(line, row.address());
            }
            if row.is_stmt() || row.end_sequence() {
                before = here;
            }
        }
        Ok(())
    }

    /// Whether a file of a unit's list is the wanted one.
    fn is_file(
        &self,
        unit: &Unit<Section<'data>>,
        header: &LineProgramHeader<Section<'data>>,
        index: u64,
        wanted: &Path,
    ) -> bool {
        let Some(file) = header.file(index) else { return false };
        let text =
            |value| self.dwarf.attr_string(unit, value).ok().map(|text| text.to_string_lossy().into_owned());
        let Some(name) = text(file.path_name()) else { return false };
        // The last component decides for nearly all of them.
        if Path::new(&name).file_name() != wanted.file_name() {
            return false;
        }
        let directory = file.directory(header).and_then(text).unwrap_or_default();
        Path::new(&directory).join(name).ends_with(wanted)
    }
}

impl Rows<'_> {
    fn add(&mut self, line: u64, address: u64) {
        match &mut self.found {
            Some((nearest, starts)) if *nearest == line => starts.push(address),
            Some((nearest, _)) if *nearest < line => {}
            found => *found = Some((line, vec![address])),
        }
    }
}
