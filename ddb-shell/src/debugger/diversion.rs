//! Diversions: what would have been, had somebody written to the guest here.
//!
//! A recording is as it was. A write in it, or in the past of a live guest, makes a machine that goes its own way from the
//! cursor on: with a virtual clock, and without any outside. It is a live guest in small, with a recording of its own in a
//! scratch folder, so that it has a past to go back to as any other; a write in that past diverts once more. It is
//! dropped, and the cursor is where it was before; or kept as a recording like any.

use super::live::LiveTarget;
use super::target::{Past, Target, TargetError, Tell};
use boundary::{Arrival as Arriving, Digest, Mark, Media, Note, Operator, Output, World};
use machine::{EngineKind, Interrupt, Machine};
use recorder::{TraceReader, TraceWriter};
use replay::{Arrival, Clock, FailOn, Live, LiveOptions, Query, Watch, copy_events};
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;

/// A target whose past can be written to.
pub struct Diverting<'a> {
    base: Box<dyn Target + 'a>,
    /// Each leaves the one before it.
    diversions: Vec<Diversion<'a>>,
    media: &'a dyn Media,
    engine: EngineKind,
    interrupt: Interrupt,
    tell: Option<Tell>,
}

struct Diversion<'a> {
    target: LiveTarget<'a>,
    left_at: Mark,
    /// Where its recording is.
    _scratch: TempDir,
}

impl<'a> Diverting<'a> {
    /// A target of a recording with these images.
    #[must_use]
    pub fn new(
        base: Box<dyn Target + 'a>,
        media: &'a dyn Media,
        engine: EngineKind,
        interrupt: Interrupt,
    ) -> Diverting<'a> {
        Diverting { base, diversions: Vec::new(), media, engine, interrupt, tell: None }
    }

    fn current(&self) -> &(dyn Target + 'a) {
        match self.diversions.last() {
            Some(diversion) => &diversion.target,
            None => &*self.base,
        }
    }

    fn current_mut(&mut self) -> &mut (dyn Target + 'a) {
        match self.diversions.last_mut() {
            Some(diversion) => &mut diversion.target,
            None => &mut *self.base,
        }
    }
}

impl Target for Diverting<'_> {
    fn machine(&self) -> &Machine {
        self.current().machine()
    }

    fn end(&self) -> Mark {
        self.current().end()
    }

    fn is_live(&self) -> bool {
        self.diversions.is_empty() && self.base.is_live()
    }

    fn is_in_the_past(&self) -> bool {
        self.current().is_in_the_past()
    }

    fn run(&mut self, until: Option<Mark>, query: Query<'_>) -> Result<Arrival, TargetError> {
        self.current_mut().run(until, query)
    }

    fn step(&mut self, vcpu: u8, count: u64) -> Result<Arrival, TargetError> {
        self.current_mut().step(vcpu, count)
    }

    fn past(&mut self) -> Result<&mut dyn Past, TargetError> {
        self.current_mut().past()
    }

    fn console(&mut self) -> Result<Vec<u8>, TargetError> {
        self.current_mut().console()
    }

    fn write(&mut self, operator: Operator) -> Result<(), TargetError> {
        match self.current_mut().write(operator.clone()) {
            Err(TargetError::Unwritable) => {
                self.divert()?;
                self.current_mut().write(operator)
            }
            other => other,
        }
    }

    fn digest(&mut self) -> Digest {
        self.current_mut().digest()
    }

    fn note(&mut self, note: Note) {
        self.current_mut().note(note);
    }

    fn on_progress(&mut self, tell: Tell) {
        self.base.on_progress(Rc::clone(&tell));
        self.tell = Some(tell);
    }

    fn divert(&mut self) -> Result<(), TargetError> {
        let scratch = tempfile::Builder::new().prefix("vkernel-diversion-").tempdir();
        let scratch = scratch.map_err(TargetError::Scratch)?;
        let past = self.current_mut().past()?;
        let left_at = past.now();
        let branch = past.branch(&scratch.path().join("diversion.vkt"))?;
        let world = Box::new(NoOutside(self.interrupt.clone()));
        let live =
            Live::new(branch.machine, world, self.media, Some(branch.writer), options(), Box::new(|_| {}));
        let live = live.continuing(branch.console);
        let mut target = LiveTarget::new(live, self.media, self.engine, self.interrupt.clone(), true);
        if let Some(tell) = &self.tell {
            target.on_progress(Rc::clone(tell));
        }
        self.diversions.push(Diversion { target, left_at, _scratch: scratch });
        Ok(())
    }

    fn diversion(&self) -> Option<(usize, Mark)> {
        self.diversions.last().map(|diversion| (self.diversions.len(), diversion.left_at))
    }

    fn drop_diversion(&mut self) -> bool {
        self.diversions.pop().is_some()
    }

    fn keep_diversion(&mut self, mut writer: TraceWriter) -> Result<(), TargetError> {
        let diversion = self.diversions.last_mut().ok_or(TargetError::NoDiversion)?;
        let live = diversion.target.live_mut();
        let end = live.end_here();
        let path = live.trace_path().ok_or(TargetError::NoPast)?;
        copy_events(&TraceReader::open(path)?, None, &mut writer)?;
        Ok(writer.finish(&end)?)
    }
}

/// A diversion goes on whatever its guest says, and ends only when that can.
fn options() -> LiveOptions {
    LiveOptions {
        clock: Clock::Virtual,
        limit: None,
        reboot: true,
        end_on_failure: false,
        watch: Watch::new(FailOn::Panic, None, None),
        has_debugger: true,
        // Nobody raises it: what is raised is looked at between slices, by the world.
        interrupt: Interrupt::default(),
    }
}

/// Nothing comes from outside but ^C, and nothing goes there.
struct NoOutside(Interrupt);

impl World for NoOutside {
    fn arrivals(&mut self, _: Duration) -> Vec<Arriving> {
        if !self.0.is_raised() {
            return Vec::new();
        }
        self.0.clear();
        vec![Arriving::Report]
    }

    fn emit(&mut self, _: &Output) {}

    fn notice(&mut self, _: &str) {}

    fn is_live(&self) -> bool {
        false
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn wall_clock_ns(&self) -> u64 {
        0
    }
}
