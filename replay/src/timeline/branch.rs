//! Leaving a recording: a machine that goes its own way from the cursor of a timeline on, in a recording of its own.
//!
//! What happened before is copied, so that the new recording stands alone: it begins at power-on and replays like any.

use super::Timeline;
use crate::player::PlayError;
use boundary::Mark;
use machine::Machine;
use recorder::{ConsoleState, TraceError, TraceReader, TraceWriter};
use std::path::Path;

/// A machine that has left a recording, and the recording that it goes on with.
#[derive(Debug)]
pub struct Branch {
    /// The machine, where it left.
    pub machine: Machine,
    /// What its console had shown.
    pub console: ConsoleState,
    /// Its recording, which reaches to where it left.
    pub writer: TraceWriter,
}

impl Timeline<'_> {
    /// Leaves the recording at the cursor, which stays where it is; `path` is for the new recording.
    ///
    /// # Errors
    /// As [`Timeline::seek`], or the new recording cannot be written.
    pub fn branch(&mut self, path: &Path) -> Result<Branch, PlayError> {
        let here = self.player.save()?;
        let mut machine = Machine::new(self.reader.power_on(), self.media, self.engine)?;
        machine.load(here.machine());
        let mut writer = TraceWriter::create(path, self.reader.power_on(), self.reader.meta())?;
        let left_at = (here.mark(), here.player().passed_here);
        copy_events(&self.reader, Some(left_at), &mut writer)?;
        writer.flush()?;
        Ok(Branch { machine, console: here.player().console, writer })
    }
}

/// Copies the events of a trace: all of them, or those before a place and the first few at it.
///
/// # Errors
/// The trace cannot be read, or the copy not be written.
pub fn copy_events(
    reader: &TraceReader,
    to: Option<(Mark, usize)>,
    writer: &mut TraceWriter,
) -> Result<(), TraceError> {
    let mut copied_there = 0;
    for event in reader.events() {
        let (mark, event) = event?;
        if let Some((place, count)) = to {
            if mark > place || (mark == place && copied_there == count) {
                break;
            }
            copied_there += usize::from(mark == place);
        }
        writer.event(mark, &event)?;
    }
    Ok(())
}
