//! A machine as a whole: saving, loading and digesting it.
//!
//! A saved machine is RAM as a persistent map of pages, shared with whatever was saved before, and everything
//! else as bytes. Both going back and going forth cost what was written in between.

use crate::archive::{Archive, Persist};
use crate::machine::Machine;
use crate::mem::PageMap;
use boundary::{Digest, Mark, TripleFault, TripleFaultStep};
use xxhash_rust::xxh3::xxh3_128;

/// A whole machine, saved.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Everything but RAM.
    state: Vec<u8>,
    /// RAM.
    pages: PageMap,
    mark: Mark,
}

impl Saved {
    /// The place it was saved at.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// RAM, for measuring what savings share.
    #[must_use]
    pub fn pages(&self) -> &PageMap {
        &self.pages
    }

    /// The size of everything but RAM.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.state.len()
    }

    /// Everything but RAM, in the private format of this build.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// What [`Saved::state`] and [`Saved::pages`] gave, put together again.
    #[must_use]
    pub fn from_parts(mark: Mark, state: Vec<u8>, pages: PageMap) -> Saved {
        Saved { state, pages, mark }
    }
}

impl Machine {
    /// The digest of the whole machine, RAM by what changed since the last digest.
    pub fn digest(&mut self) -> Digest {
        let ram = self.sys.digest_ram();
        self.combine_digest(ram)
    }

    /// The digest of the whole machine, RAM read whole.
    pub fn digest_from_scratch(&mut self) -> Digest {
        let ram = self.sys.mem.digest_from_scratch();
        self.combine_digest(ram)
    }

    fn combine_digest(&mut self, ram: u128) -> Digest {
        let mut archive = Archive::writer();
        self.persist_state(&mut archive);
        Digest(xxh3_128(&archive.finish()) ^ ram)
    }

    /// All state but RAM, in one order for saving, loading and digesting.
    fn persist_state(&mut self, archive: &mut Archive) {
        let Machine { cpus, sys, engine: _, schedule, mark, timer_ordinal, events: _, shadow: _ } = self;
        cpus.iter_mut().for_each(|cpu| archive.field(cpu));
        archive.field(&mut sys.platform);
        archive.field(&mut sys.clock);
        archive.field(&mut sys.icount);
        archive.field(&mut sys.triple_fault);
        archive.field(schedule);
        archive.field(&mut mark.icount.0);
        archive.field(&mut mark.seq);
        archive.field(timer_ordinal);
    }

    /// Saves everything. Outputs and landmarks not yet taken are not part of it.
    #[must_use]
    pub fn save(&mut self) -> Saved {
        let mut writer = Archive::writer();
        self.persist_state(&mut writer);
        Saved { state: writer.finish(), pages: self.sys.capture_ram(), mark: self.mark }
    }

    /// Replaces everything by what was saved from a machine of the same description.
    pub fn load(&mut self, saved: &Saved) {
        if let Some(shadow) = &mut self.shadow {
            shadow.machine().load(saved);
        }
        let mut reader = Archive::reader(saved.state.clone());
        self.persist_state(&mut reader);
        let _ = reader.finish();
        self.sys.restore_ram(&saved.pages);
        self.sys.tlbs.switch(self.schedule.current);
        self.sys.leave = Default::default();
        self.sys.stops.forget();
        self.events.clear();
    }
}

impl Persist for TripleFault {
    fn persist(&mut self, archive: &mut Archive) {
        let TripleFault { vcpu, steps } = self;
        archive.field(vcpu);
        archive.field(steps);
    }
}

impl Persist for TripleFaultStep {
    fn persist(&mut self, archive: &mut Archive) {
        let TripleFaultStep { vector, error_code, rip, cr2, reason } = self;
        archive.field(vector);
        archive.field(error_code);
        archive.field(rip);
        archive.field(cr2);
        archive.field(reason);
    }
}
