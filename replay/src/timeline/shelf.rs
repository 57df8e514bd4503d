//! The sparse checkpoints on disk, for this session and for later ones.
//!
//! What cannot be written or read costs time and nothing else: the checkpoint is made again by replaying. Why there are
//! none is kept, for whoever asks.

use super::console::ConsoleLog;
use crate::player::{Checkpoint, PlayerState};
use boundary::Mark;
use machine::Saved;
use recorder::{CheckpointFile, NewCheckpoint, PageTable, codec};
use std::io;
use std::sync::Arc;

/// A file of checkpoints, and how far it goes.
#[derive(Debug)]
pub(super) struct Shelf {
    file: CheckpointFile,
    /// The console is kept up to here.
    furthest: Option<Mark>,
    trouble: Option<String>,
}

impl Shelf {
    pub(super) fn new(file: CheckpointFile) -> Shelf {
        let furthest = file.records().last().map(|(mark, _)| mark);
        Shelf { file, furthest, trouble: None }
    }

    /// What the console showed up to the furthest checkpoint.
    pub(super) fn console(&self) -> impl Iterator<Item = &(Mark, Vec<u8>)> {
        self.file.console()
    }

    /// The places of the checkpoints, and how many counts each vCPU had executed.
    pub(super) fn contents(&self) -> Vec<(Mark, Vec<u64>)> {
        let about = |bytes: &[u8]| codec::decode::<PlayerState>(bytes).ok();
        let records = self.file.records();
        records.filter_map(|(mark, record)| Some((mark, about(&record.about)?.own_counts))).collect()
    }

    pub(super) fn contains(&self, mark: Mark) -> bool {
        self.file.contains(mark)
    }

    pub(super) fn length_bytes(&self) -> u64 {
        self.file.length_bytes()
    }

    /// Why checkpoints are no longer kept.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Keeps a checkpoint. Of `base`, if that is kept, only what differs is written.
    pub(super) fn keep(&mut self, checkpoint: &Checkpoint, base: Option<&Checkpoint>, console: &ConsoleLog) {
        if self.trouble.is_some() || !self.file.is_writable() || self.contains(checkpoint.mark()) {
            return;
        }
        let kept = self.append(checkpoint, base, console);
        let kept = kept.and_then(|()| if self.file.is_over_limit() { self.file.thin_out() } else { Ok(()) });
        match kept {
            Ok(()) => self.furthest = self.furthest.max(Some(checkpoint.mark())),
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    fn append(
        &mut self,
        checkpoint: &Checkpoint,
        base: Option<&Checkpoint>,
        console: &ConsoleLog,
    ) -> io::Result<()> {
        let base = base.filter(|base| self.contains(base.mark()));
        let nothing = Default::default();
        let before = base.map_or(&nothing, |base| base.machine().pages());
        let pages = checkpoint.machine().pages();
        let differing = pages.differing(before);
        let differing = differing.into_iter().filter_map(|page| {
            let (now, then) = (pages.get(page), before.get(page));
            (now != then).then(|| (page, now.map(|bytes| &**bytes)))
        });
        let mark = checkpoint.mark();
        self.file.append(NewCheckpoint {
            mark,
            base: base.map(Checkpoint::mark),
            about: codec::encode(checkpoint.player()),
            state: checkpoint.machine().state(),
            pages: differing.collect(),
            console: console.between(self.furthest, mark),
        })
    }

    /// The checkpoint at a place, sharing the pages of `near` that are the same; `None` if it cannot be read.
    pub(super) fn load(&self, mark: Mark, near: Option<&Checkpoint>) -> Option<Checkpoint> {
        self.read(mark, near.filter(|near| self.contains(near.mark()))).ok()
    }

    fn read(&self, mark: Mark, near: Option<&Checkpoint>) -> io::Result<Checkpoint> {
        let record = self.file.records().find(|(place, _)| *place == mark);
        let player = record.and_then(|(_, record)| codec::decode(&record.about).ok());
        let player = player.ok_or(io::ErrorKind::InvalidData)?;
        let state = self.file.state(mark)?;
        let table = self.file.page_table(mark);
        let (shared, mut pages) = match near {
            Some(near) => (self.file.page_table(near.mark()), near.machine().pages().clone()),
            None => (PageTable::new(), Default::default()),
        };
        let mut reader = self.file.page_reader()?;
        for page in 0..table.len().max(shared.len()) {
            let entry = |table: &PageTable| table.get(page).copied().flatten();
            match (entry(&table), entry(&shared)) {
                (at, shared) if at == shared => {}
                (Some(at), _) => pages.set(page, Some(Arc::new(reader.read(at)?))),
                (None, _) => pages.set(page, None),
            }
        }
        Ok(Checkpoint::from_parts(Saved::from_parts(mark, state, pages), player))
    }
}
