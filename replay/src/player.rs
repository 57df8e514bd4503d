//! Replaying: a timeline whose inputs come from a trace, checking everything the trace says on the way.

use crate::divergence::{Divergence, Evidence};
use crate::plausible::{flaw_of_power_on, is_possible};
use boundary::{Input, Landmark, Mark, Media, Output, PowerEvent, TripleFault};
use machine::{EngineKind, Event, Exit, Interrupt, Machine, Mismatch, Saved, StopReason, StopSet};
use recorder::{ConsoleState, End, Events, Tail, TraceError, TraceReader, as_recorded};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Why a replay could not go on.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The machine cannot be built: an image is missing or not what it was.
    #[error(transparent)]
    Boot(#[from] machine::boot::BootError),
    /// The trace was recorded under another behaviour.
    #[error(
        "the trace is of model {trace}, this vkernel is of model {ours}: replay it with the vkernel {version} that recorded it"
    )]
    Model {
        /// Of the trace.
        trace: u32,
        /// Of this machine.
        ours: u32,
        /// The recorder's version.
        version: String,
    },
    /// The trace describes a machine that no vkernel of this model records.
    #[error(
        "the trace describes a machine that cannot be: {0}; it is forged, or damaged in a way that its checks miss"
    )]
    PowerOn(&'static str),
    /// The trace holds an input that its machine cannot take.
    #[error(
        "the trace holds an input at {place} that its machine cannot take ({input}): it is forged, or of a newer vkernel"
    )]
    Input {
        /// Where.
        place: Mark,
        /// What.
        input: &'static str,
    },
    /// The trace is damaged. Everything before the damage was replayed, and agrees.
    #[error("{error}; what lies before that agrees, up to {place}")]
    Damaged {
        /// The last place before the damage.
        place: Mark,
        /// The damage.
        error: TraceError,
    },
    /// The engines in lockstep disagree.
    #[error("{0}; this is a bug in vkernel")]
    Mismatch(Box<Mismatch>),
    /// A device outside the machine took part in the run.
    #[error(
        "this trace uses an external device (device {device}, first at {place}), which this vkernel cannot replay"
    )]
    ExternalDevice {
        /// Which device.
        device: u16,
        /// Where it acted for the first time.
        place: Mark,
    },
    /// The replay disagrees with the trace.
    #[error(transparent)]
    Divergence(#[from] Box<Divergence>),
}

/// How far a replay came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// To the place asked for.
    Reached,
    /// To the end of what the trace holds.
    Ended,
    /// Somebody raised the interrupt.
    Interrupted,
    /// To a stop.
    Stopped {
        /// The vCPU that met it.
        vcpu: u8,
        /// Which.
        reason: StopReason,
    },
}

/// A player as it was at one place. Belongs to the player that saved it, and to others of the same trace.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    machine: Saved,
    player: PlayerState,
}

/// A player but for its machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlayerState {
    agreed: Mark,
    /// What the console had shown.
    pub console: ConsoleState,
    power: Option<(Mark, PowerEvent)>,
    triple_fault: Option<TripleFault>,
    /// How many events were passed at the very place.
    pub passed_here: usize,
    /// How many counts each vCPU had executed.
    pub own_counts: Vec<u64>,
}

impl Checkpoint {
    /// Its place.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.machine.mark()
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Saved {
        &self.machine
    }

    /// All else.
    pub(crate) fn player(&self) -> &PlayerState {
        &self.player
    }

    /// What [`Checkpoint::machine`] and [`Checkpoint::player`] gave, put together again.
    pub(crate) fn from_parts(machine: Saved, player: PlayerState) -> Checkpoint {
        Checkpoint { machine, player }
    }
}

/// A replay of one trace.
pub struct Player<'a> {
    /// The machine being replayed.
    pub machine: Machine,
    media: &'a dyn Media,
    reader: TraceReader,
    events: Events,
    /// Events read ahead, up to and including the next one that is no landmark.
    ahead: VecDeque<(Mark, recorder::Event)>,
    end: Option<End>,
    /// What stops the reading, and where: offset in the file and reason.
    damage: Option<(u64, &'static str)>,
    /// The place of the ending, else of the last event that can be read.
    last: Mark,
    agreed: Mark,
    console: ConsoleState,
    interrupt: Interrupt,
    derived: VecDeque<(Mark, Landmark)>,
    power: Option<(Mark, PowerEvent)>,
    /// The place of the last event passed, and how many were passed there.
    passed: (Mark, usize),
    /// What to stop at.
    pub stops: StopSet,
    /// The faults of the triple fault it ended with.
    pub triple_fault: Option<TripleFault>,
    /// Check every digest from scratch too, trusting no bookkeeping.
    pub full: bool,
}

impl<'a> Player<'a> {
    /// Builds the machine of a trace, at its start.
    ///
    /// # Errors
    /// The trace cannot be read, is of another model, or an image is missing.
    pub fn new(
        reader: &TraceReader,
        media: &'a dyn Media,
        engine: EngineKind,
        interrupt: Interrupt,
    ) -> Result<Player<'a>, PlayError> {
        let power_on = reader.power_on();
        if power_on.model != machine::MODEL {
            let version = reader.meta().vkernel_version.clone();
            return Err(PlayError::Model { trace: power_on.model, ours: machine::MODEL, version });
        }
        if let Some(flaw) = flaw_of_power_on(power_on) {
            return Err(PlayError::PowerOn(flaw));
        }
        let (last_event, damage) = extent(reader)?;
        // What stands behind damage says nothing about what lies before it. Damage that the walk over the chunks ran
        // into is the last thing it saw, so that the ending lies before that.
        let is_behind_end = |(offset_bytes, _): (u64, _)| matches!(reader.tail(), Tail::Damaged { offset_bytes: tail, .. } if tail == offset_bytes);
        let end = reader.ending().filter(|_| damage.is_none_or(is_behind_end)).cloned();
        Ok(Player {
            machine: Machine::new(power_on, media, engine)?,
            media,
            reader: reader.clone(),
            events: reader.events(),
            ahead: VecDeque::new(),
            last: end.as_ref().map_or(last_event, |end| end.mark),
            end,
            damage,
            agreed: Mark::default(),
            console: ConsoleState::default(),
            interrupt,
            derived: VecDeque::new(),
            power: None,
            passed: (Mark::default(), 0),
            stops: StopSet::default(),
            triple_fault: None,
            full: false,
        })
    }

    /// The trace has grown since it was opened: `reader` is of the same one.
    ///
    /// # Errors
    /// The trace can no longer be read.
    pub fn extend(&mut self, reader: &TraceReader) -> Result<(), PlayError> {
        let here = self.save()?;
        let (last_event, damage) = extent(reader)?;
        self.reader = reader.clone();
        self.damage = damage;
        self.end = reader.ending().cloned();
        self.last = self.end.as_ref().map_or(last_event, |end| end.mark);
        // The events behind here are read anew.
        self.load(&here)
    }

    /// The last place the trace knows.
    #[must_use]
    pub fn last_mark(&self) -> Mark {
        self.last
    }

    /// Saves the player where it is.
    ///
    /// # Errors
    /// The landmarks since the last event disagree with the trace.
    pub fn save(&mut self) -> Result<Checkpoint, PlayError> {
        let here = self.machine.mark();
        self.next_stop()?;
        self.compare_landmarks(here)?;
        let player = PlayerState {
            agreed: self.agreed,
            console: self.console,
            power: self.power.clone(),
            triple_fault: self.triple_fault.clone(),
            own_counts: self.machine.cpus().iter().map(|cpu| cpu.own_counts).collect(),
            passed_here: if self.passed.0 == here { self.passed.1 } else { 0 },
        };
        Ok(Checkpoint { machine: self.machine.save(), player })
    }

    /// Goes to the place of a checkpoint, forwards or backwards.
    ///
    /// # Errors
    /// The trace can no longer be read.
    pub fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), PlayError> {
        let Checkpoint { machine, player } = checkpoint;
        let PlayerState { agreed, console, power, triple_fault, passed_here, own_counts: _ } = player;
        self.machine.load(machine);
        self.agreed = *agreed;
        self.console = *console;
        self.power.clone_from(power);
        self.triple_fault.clone_from(triple_fault);
        self.passed = (machine.mark(), *passed_here);
        self.derived.clear();
        self.ahead.clear();
        self.events = self.reader.events_from(machine.mark());
        for _ in 0..*passed_here {
            self.events.next().transpose()?;
        }
        Ok(())
    }

    /// Replays up to `until`, printing outputs to `emit`, checking everything.
    ///
    /// # Errors
    /// A divergence, or a damaged trace, when all before the damage is replayed.
    pub fn play(&mut self, until: Mark, emit: &mut dyn FnMut(Mark, &Output)) -> Result<Progress, PlayError> {
        loop {
            let next = self.next_stop()?;
            let target = next.unwrap_or_else(|| self.last_target()).min(until);
            if let Some(progress) = self.run_to(target, emit)? {
                return Ok(progress);
            }
            // At a settled place, an interrupt that is taken there has not been taken yet.
            self.compare_landmarks(self.machine.mark().min(target))?;
            if target >= until && next.is_none_or(|mark| mark >= until) {
                return Ok(Progress::Reached);
            }
            match next {
                Some(_) => self.pass_event()?,
                None => {
                    self.check_end()?;
                    return self.damaged().map_or(Ok(Progress::Ended), Err);
                }
            }
        }
    }

    /// Replays to the end of the trace.
    ///
    /// # Errors
    /// As [`Player::play`].
    pub fn play_to_end(&mut self, emit: &mut dyn FnMut(Mark, &Output)) -> Result<Progress, PlayError> {
        self.play(Mark { icount: boundary::Icount(u64::MAX), seq: u32::MAX }, emit)
    }

    /// Reads ahead to the next event that is no landmark and gives its place.
    fn next_stop(&mut self) -> Result<Option<Mark>, PlayError> {
        let is_landmark = |event: &recorder::Event| matches!(event, recorder::Event::Landmark(_));
        while self.ahead.back().is_none_or(|(_, event)| is_landmark(event)) {
            match self.events.next() {
                Some(Ok((mark, event))) => {
                    self.ahead.push_back((mark, event));
                }
                // Known since the player was made, and reported when all before it is replayed.
                Some(Err(TraceError::Damaged { .. })) => return Ok(None),
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(None),
            }
        }
        Ok(self.ahead.back().map(|(mark, _)| *mark))
    }

    /// How far to run when only landmarks are left: to the ending, or over the last landmark of a trace without one.
    fn last_target(&self) -> Mark {
        match &self.end {
            Some(end) => end.mark,
            None if self.ahead.is_empty() => self.last,
            None => behind(self.last),
        }
    }

    /// The damage, to be reported when all before it is replayed.
    fn damaged(&self) -> Option<PlayError> {
        let (offset_bytes, reason) = self.damage?;
        let path = self.reader.path().to_owned();
        let error = TraceError::Damaged { path, offset_bytes, reason };
        Some(PlayError::Damaged { place: self.last, error })
    }

    /// Runs the machine to `target`, jumping over idle time as the live timeline did.
    fn run_to(
        &mut self,
        target: Mark,
        emit: &mut dyn FnMut(Mark, &Output),
    ) -> Result<Option<Progress>, PlayError> {
        loop {
            let exit = self.machine.run(target, &self.stops, &self.interrupt);
            self.drain(emit);
            match exit {
                Exit::Budget => return Ok(None),
                Exit::Interrupted => return Ok(Some(Progress::Interrupted)),
                Exit::Stop { vcpu, reason, .. } => return Ok(Some(Progress::Stopped { vcpu, reason })),
                Exit::Mismatch(mismatch) => return Err(PlayError::Mismatch(mismatch)),
                Exit::Output => {}
                Exit::Idle { next_deadline } => {
                    // The last jump of a run that reached its limit while idle went only so far.
                    let limit = self.end.as_ref().filter(|end| end.mark == next_seq(self.machine.mark()));
                    let limit = limit.map(|end| end.virtual_time);
                    match next_deadline.into_iter().chain(limit).min() {
                        Some(to) => self.machine.advance_idle(to),
                        None => return Err(self.diverged(target, Evidence::Stuck)),
                    }
                }
                Exit::Power(event) => {
                    self.power = Some((self.machine.mark(), event.clone()));
                    if self.machine.mark() < target {
                        let evidence = Evidence::Power { recorded: None, replayed: Some(event) };
                        return Err(self.diverged(self.machine.mark(), evidence));
                    }
                }
            }
        }
    }

    fn drain(&mut self, emit: &mut dyn FnMut(Mark, &Output)) {
        for (mark, event) in self.machine.take_events() {
            match event {
                Event::Landmark(landmark) => self.derived.push_back((mark, as_recorded(landmark))),
                Event::Output(output) => {
                    if let Output::Console(bytes) = &output {
                        self.console.absorb(bytes);
                    }
                    emit(mark, &output);
                }
            }
        }
    }

    /// Compares the landmarks before `target`, recorded and derived, one by one.
    fn compare_landmarks(&mut self, target: Mark) -> Result<(), PlayError> {
        loop {
            let recorded = match self.ahead.front() {
                Some((mark, recorder::Event::Landmark(landmark))) if *mark < target => {
                    Some((*mark, *landmark))
                }
                _ => None,
            };
            let replayed = self.derived.front().copied();
            // Behind the last event of a trace whose recorder died there is nothing to compare with.
            let unwritten = recorded.is_none() && self.end.is_none() && self.ahead.is_empty();
            match (recorded, replayed) {
                (None, None) => return Ok(()),
                _ if unwritten => {
                    self.derived.clear();
                    return Ok(());
                }
                _ if recorded == replayed => {
                    self.agreed = recorded.map_or(self.agreed, |(mark, _)| mark);
                    self.ahead.pop_front();
                    self.derived.pop_front();
                }
                _ => {
                    let place =
                        recorded.iter().chain(&replayed).map(|(mark, _)| *mark).min().unwrap_or(target);
                    return Err(self.diverged(place, Evidence::Landmark { recorded, replayed }));
                }
            }
        }
    }

    /// Passes the next event, which is no landmark and lies where the machine is.
    fn pass_event(&mut self) -> Result<(), PlayError> {
        let Some((mark, event)) = self.ahead.pop_front() else { return Ok(()) };
        match event {
            recorder::Event::Landmark(landmark) => {
                // A landmark at the very place of the event behind it: derived only by going on.
                let evidence = Evidence::Landmark { recorded: Some((mark, landmark)), replayed: None };
                return Err(self.diverged(mark, evidence));
            }
            recorder::Event::Input(input) => {
                if let Input::External(external) = &input {
                    return Err(PlayError::ExternalDevice { device: external.device(), place: mark });
                }
                if !is_possible(&input, self.machine.cpus().len()) {
                    return Err(PlayError::Input {
                        place: mark,
                        input: recorder::Event::Input(input).kind(),
                    });
                }
                self.machine.apply(&input);
            }
            recorder::Event::Digest(recorded) => self.check_digest(mark, recorded)?,
            recorder::Event::Console(recorded) => self.check_console(mark, recorded)?,
            recorder::Event::Power(recorded) => self.check_power(mark, recorded)?,
            recorder::Event::Note(_) => {}
        }
        self.agreed = mark;
        self.passed = if self.passed.0 == mark { (mark, self.passed.1 + 1) } else { (mark, 1) };
        Ok(())
    }

    fn check_digest(&mut self, mark: Mark, recorded: boundary::Digest) -> Result<(), PlayError> {
        let mut replayed = self.machine.digest();
        if self.full && replayed == recorded {
            replayed = self.machine.digest_from_scratch();
        }
        if replayed == recorded {
            return Ok(());
        }
        Err(self.diverged(mark, Evidence::Digest { recorded, replayed }))
    }

    fn check_console(&mut self, mark: Mark, recorded: ConsoleState) -> Result<(), PlayError> {
        let replayed = self.console;
        if replayed == recorded {
            return Ok(());
        }
        Err(self.diverged(mark, Evidence::Console { recorded, replayed }))
    }

    fn check_power(&mut self, mark: Mark, recorded: PowerEvent) -> Result<(), PlayError> {
        let replayed = self.power.take().filter(|(at, _)| *at == mark).map(|(_, event)| event);
        if replayed.as_ref() != Some(&recorded) {
            return Err(self.diverged(mark, Evidence::Power { recorded: Some(recorded), replayed }));
        }
        if let PowerEvent::TripleFault(fault) = &recorded {
            self.triple_fault = Some(fault.clone());
        }
        let goes_on = self.end.as_ref().is_none_or(|end| end.mark > mark);
        if recorded == PowerEvent::Reset && goes_on {
            self.machine.reset(self.media)?;
        }
        Ok(())
    }

    /// At the end of the trace: the final digest, from scratch, and the whole console.
    fn check_end(&mut self) -> Result<(), PlayError> {
        let Some(end) = self.end.clone() else { return Ok(()) };
        self.check_console(end.mark, end.console)?;
        if let Some(recorded) = end.digest {
            let replayed = self.machine.digest_from_scratch();
            if replayed != recorded {
                return Err(self.diverged(end.mark, Evidence::Digest { recorded, replayed }));
            }
        }
        Ok(())
    }

    fn diverged(&self, place: Mark, evidence: Evidence) -> PlayError {
        PlayError::Divergence(Box::new(Divergence { agreed: self.agreed, place, evidence }))
    }
}

/// The place of the last event that can be read, and the damage that stops the reading.
#[expect(clippy::type_complexity, reason = "a place, and where and why the reading stops")]
fn extent(reader: &TraceReader) -> Result<(Mark, Option<(u64, &'static str)>), TraceError> {
    let mut last = Mark::default();
    for event in reader.events() {
        match event {
            Ok((mark, _)) => last = mark,
            Err(TraceError::Damaged { offset_bytes, reason, .. }) => {
                return Ok((last, Some((offset_bytes, reason))));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((last, None))
}

/// The place behind everything that happens at the count of `mark`.
pub(crate) fn behind(mark: Mark) -> Mark {
    Mark::before(boundary::Icount(mark.icount.0.saturating_add(1)))
}

/// The place after the next happening without a count.
fn next_seq(mark: Mark) -> Mark {
    match mark.seq.checked_add(1) {
        Some(seq) => Mark { seq, ..mark },
        None => Mark::before(boundary::Icount(mark.icount.0.saturating_add(1))),
    }
}
