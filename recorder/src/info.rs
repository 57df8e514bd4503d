//! What `vkernel trace info` says about a trace.

use crate::error::TraceError;
use crate::event::Event;
use crate::reader::{Tail, TraceReader};
use boundary::Mark;
use std::collections::BTreeMap;

/// A summary of a trace.
#[derive(Debug)]
pub struct TraceInfo {
    /// Length of the file.
    pub file_bytes: u64,
    /// Length of the file without embedded images.
    pub trace_bytes: u64,
    /// Chunks of events.
    pub event_chunks: usize,
    /// How many events there are of each kind ([`Event::kind`]).
    pub events: BTreeMap<&'static str, u64>,
    /// Place of the last event, or of the ending. Its icount is the length of the run in instructions.
    pub last_mark: Mark,
    /// How the file ends.
    pub tail: Tail,
    /// What stopped the reading, if the trace is damaged. The counts are of the events before.
    pub damage: Option<TraceError>,
}

impl TraceInfo {
    /// Reads the whole trace.
    ///
    /// # Errors
    /// When the host does not give the length of the file. Damage is part of the answer.
    pub fn of(reader: &TraceReader) -> Result<TraceInfo, TraceError> {
        let file_bytes = reader.length_bytes()?;
        let trace_bytes = reader.image_chunks.first().map_or(file_bytes, |chunk| chunk.offset_bytes);
        let mut info = TraceInfo {
            file_bytes,
            trace_bytes,
            event_chunks: reader.event_chunks.len(),
            events: BTreeMap::new(),
            last_mark: Mark::default(),
            tail: reader.tail(),
            damage: None,
        };
        for item in reader.events() {
            match item {
                Ok((mark, event)) => info.count(mark, &event),
                Err(error) => info.damage = Some(error),
            }
        }
        if let Some(end) = reader.ending() {
            info.last_mark = info.last_mark.max(end.mark);
        }
        Ok(info)
    }

    fn count(&mut self, mark: Mark, event: &Event) {
        *self.events.entry(event.kind()).or_default() += 1;
        self.last_mark = mark;
    }

    /// How many landmarks there are.
    #[must_use]
    pub fn landmarks(&self) -> u64 {
        self.events.get("landmark").copied().unwrap_or(0)
    }
}
