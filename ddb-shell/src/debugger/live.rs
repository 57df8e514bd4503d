//! A live guest as a target: at its live end it is the machine that runs; before that, its recording so far.
//!
//! Going back freezes the live machine and opens a timeline over what is in the trace. Going on past the end of that
//! leaves the timeline, and the guest is live again, exactly where it was left: what happened in between is not known to
//! it.

use super::target::{Past, Target, TargetError, Tell};
use boundary::{Digest, Mark, Media, Note, Operator};
use machine::{EngineKind, Interrupt, Machine, StopReason, StopSet};
use recorder::TraceReader;
use replay::{Advance, Arrival, Budget, Live, Query, Timeline};
use std::rc::Rc;

/// A live guest, and its past while somebody is there.
pub struct LiveTarget<'a> {
    live: Live<'a>,
    /// The recording, as far as it had come when it was looked at last.
    recording: Option<Timeline<'a>>,
    /// Whether the cursor is in the recording, not at the live end.
    is_past: bool,
    media: &'a dyn Media,
    engine: EngineKind,
    interrupt: Interrupt,
    /// Whether a debugger may write to it.
    is_writable: bool,
    tell: Option<Tell>,
}

impl<'a> LiveTarget<'a> {
    /// A live guest that recorded with these images.
    #[must_use]
    pub fn new(
        live: Live<'a>,
        media: &'a dyn Media,
        engine: EngineKind,
        interrupt: Interrupt,
        is_writable: bool,
    ) -> LiveTarget<'a> {
        LiveTarget {
            live,
            recording: None,
            is_past: false,
            media,
            engine,
            interrupt,
            is_writable,
            tell: None,
        }
    }

    /// Lets the guest run until somebody asks for the debugger (true) or it ends.
    pub fn run_freely(&mut self) -> bool {
        self.go_live();
        self.live.advance(&StopSet::default(), None) == Advance::Asked
    }

    /// The live guest.
    pub fn live_mut(&mut self) -> &mut Live<'a> {
        &mut self.live
    }

    /// The live guest, to be ended.
    #[must_use]
    pub fn into_live(self) -> Live<'a> {
        self.live
    }

    /// Leaves the recording: the cursor is at the live end.
    fn go_live(&mut self) {
        if std::mem::take(&mut self.is_past) {
            self.live.note(Note::Detach);
        }
    }

    /// Puts the cursor into the recording so far, at its end if it was at the live end.
    fn timeline(&mut self) -> Result<&mut Timeline<'a>, TargetError> {
        if !self.is_past {
            if self.live.trace_path().is_none() {
                return Err(TargetError::NoPast);
            }
            // An event here, so that the recording reaches here.
            self.live.note(Note::Attach);
            let path = self.live.trace_path().ok_or(TargetError::NoPast)?;
            let reader = TraceReader::open(path)?;
            match &mut self.recording {
                Some(recording) => recording.extend(&reader)?,
                None => self.recording = Some(self.open(&reader)?),
            }
            self.is_past = true;
            let here = self.live.machine.mark();
            self.recording.as_mut().expect("it has just been opened").seek(here)?;
        }
        Ok(self.recording.as_mut().expect("the cursor is in it"))
    }

    fn open(&self, reader: &TraceReader) -> Result<Timeline<'a>, TargetError> {
        let interrupt = self.interrupt.clone();
        let mut timeline = Timeline::new(reader, self.media, self.engine, interrupt, Budget::default())?;
        if let Some(tell) = &self.tell {
            let tell = Rc::clone(tell);
            timeline.on_progress = Box::new(move |report| (tell.borrow_mut())(report));
        }
        Ok(timeline)
    }

    /// The recording, if the cursor is in it and before the live end.
    fn in_the_past(&mut self) -> Option<&mut Timeline<'a>> {
        let live_end = self.live.machine.mark();
        self.recording.as_mut().filter(|past| self.is_past && past.now() < live_end)
    }
}

fn arrival(advance: Advance) -> Arrival {
    match advance {
        Advance::Ended => Arrival::End,
        Advance::Stopped { vcpu, reason } => Arrival::Stopped { vcpu, reason },
        Advance::Reached => Arrival::Reached,
        Advance::Asked => Arrival::Interrupted,
    }
}

impl Target for LiveTarget<'_> {
    fn machine(&self) -> &Machine {
        match &self.recording {
            Some(recording) if self.is_past => recording.machine(),
            _ => &self.live.machine,
        }
    }

    fn end(&self) -> Mark {
        self.live.machine.mark()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn is_in_the_past(&self) -> bool {
        Target::machine(self).mark() < self.live.machine.mark()
    }

    fn run(&mut self, until: Option<Mark>, query: Query<'_>) -> Result<Arrival, TargetError> {
        let live_end = self.live.machine.mark();
        if let Some(past) = self.in_the_past() {
            let found = past.run_until(until.unwrap_or(live_end).min(live_end), query)?;
            let is_through = matches!(found, Arrival::End | Arrival::Reached) && past.now() >= live_end;
            if !is_through || until.is_some_and(|until| until <= live_end) {
                return Ok(found);
            }
        }
        self.go_live();
        loop {
            let advance = self.live.advance(query.stops, until);
            if let Advance::Stopped { vcpu, reason } = advance {
                let at_start =
                    self.live.machine.mark().icount == live_end.icount && reason == StopReason::Execute;
                if at_start || !(query.condition)(&self.live.machine, vcpu, reason) {
                    continue;
                }
            }
            return Ok(arrival(advance));
        }
    }

    fn step(&mut self, vcpu: u8, count: u64) -> Result<Arrival, TargetError> {
        let counts = Target::machine(self).cpus()[usize::from(vcpu)].own_counts.saturating_add(count);
        if let Some(past) = self.in_the_past() {
            let arrival = past.step(vcpu, count)?;
            if past.own_counts(vcpu) >= counts || arrival == Arrival::Interrupted {
                return Ok(arrival);
            }
        }
        self.go_live();
        let stops = StopSet { own_counts: Some((vcpu, counts)), ..StopSet::default() };
        match self.live.advance(&stops, None) {
            Advance::Stopped { reason: StopReason::OwnCounts, .. } => Ok(Arrival::Reached),
            other => Ok(arrival(other)),
        }
    }

    fn past(&mut self) -> Result<&mut dyn Past, TargetError> {
        Ok(self.timeline()?)
    }

    fn console(&mut self) -> Result<Vec<u8>, TargetError> {
        let timeline = self.timeline()?;
        let here = timeline.now();
        Ok(Timeline::console(timeline).shown_at(here).to_vec())
    }

    fn write(&mut self, operator: Operator) -> Result<(), TargetError> {
        if self.in_the_past().is_some() {
            return Err(TargetError::Unwritable);
        }
        if !self.is_writable {
            return Err(TargetError::Protected);
        }
        self.go_live();
        self.live.operate(operator);
        Ok(())
    }

    fn digest(&mut self) -> Digest {
        match &mut self.recording {
            Some(recording) if self.is_past => recording.digest(),
            _ => self.live.machine.digest(),
        }
    }

    fn note(&mut self, note: Note) {
        self.live.note(note);
    }

    fn on_progress(&mut self, tell: Tell) {
        self.tell = Some(tell);
    }
}
