//! What a debugger drives: a recording, or a live guest with its recording so far.
//!
//! A debugger asks for movement and looks at the machine; which of the two stands behind it shows only in what is
//! refused.

use boundary::{Mark, Note, Operator};
use machine::Machine;
use recorder::TraceWriter;
use replay::{Arrival, Branch, CheckpointCost, Hit, Hits, PlayError, ProgressReport, Query, Timeline};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

/// Why a target does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The recording cannot be replayed.
    #[error(transparent)]
    Play(#[from] PlayError),
    /// The recording of a live guest cannot be read.
    #[error(transparent)]
    Trace(#[from] recorder::TraceError),
    /// A live guest without a recording has no past.
    #[error(
        "there is no way back: this guest is not being recorded (--no-record, or the recording has broken off)"
    )]
    NoPast,
    /// A live guest that is not to be written to.
    #[error("this guest is protected from the debugger; boot it with -U to let the debugger write")]
    Protected,
    /// The past is as it was.
    #[error("the past is as it was")]
    Unwritable,
    /// There is no room for the recording of a diversion.
    #[error("a diversion needs a folder for its recording: {0}")]
    Scratch(std::io::Error),
    /// There is nothing to drop or keep.
    #[error("this is no diversion: a write in the past opens one, and so does `divert`")]
    NoDiversion,
}

/// Somebody who is told how far long work has come.
pub type Tell = Rc<RefCell<dyn FnMut(ProgressReport)>>;

/// Something with a cursor that moves.
pub trait Target {
    /// The machine at the cursor.
    fn machine(&self) -> &Machine;

    /// The last place there is: the end of the recording, or where a live guest is.
    fn end(&self) -> Mark;

    /// Whether going on at the end lets a live guest run.
    fn is_live(&self) -> bool;

    /// Whether the cursor is in the past of a live guest, or at the live end: what the prompt says.
    fn is_in_the_past(&self) -> bool;

    /// Runs forwards to the first stop behind the cursor, at most to `until`.
    ///
    /// # Errors
    /// A divergence, or a trace that can no longer be read.
    fn run(&mut self, until: Option<Mark>, query: Query<'_>) -> Result<Arrival, TargetError>;

    /// Lets a vCPU execute so many instructions, iterations or deliveries.
    ///
    /// # Errors
    /// As [`Target::run`].
    fn step(&mut self, vcpu: u8, count: u64) -> Result<Arrival, TargetError>;

    /// The recording, to go anywhere in the past.
    ///
    /// # Errors
    /// There is none.
    fn past(&mut self) -> Result<&mut dyn Past, TargetError>;

    /// The console up to the cursor.
    ///
    /// # Errors
    /// As [`Target::past`].
    fn console(&mut self) -> Result<Vec<u8>, TargetError>;

    /// Writes to the machine.
    ///
    /// # Errors
    /// It may not be written to.
    fn write(&mut self, operator: Operator) -> Result<(), TargetError>;

    /// The digest of the machine at the cursor.
    fn digest(&mut self) -> boundary::Digest;

    /// Writes a note into the recording that is being made, if one is.
    fn note(&mut self, note: Note);

    /// Told about long work from now on.
    fn on_progress(&mut self, tell: Tell);

    /// Leaves the recording at the cursor: from now on the guest goes its own way.
    ///
    /// # Errors
    /// As [`Target::past`], or there is no room for it.
    fn divert(&mut self) -> Result<(), TargetError> {
        Err(TargetError::Unwritable)
    }

    /// In a diversion, how many lie in each other, and where this one left.
    fn diversion(&self) -> Option<(usize, Mark)> {
        None
    }

    /// Leaves a diversion: the cursor is where it left the recording. Whether there was one.
    fn drop_diversion(&mut self) -> bool {
        false
    }

    /// Copies a diversion, as far as it has come, into a new recording.
    ///
    /// # Errors
    /// There is none, or the copy cannot be written.
    fn keep_diversion(&mut self, writer: TraceWriter) -> Result<(), TargetError> {
        drop(writer);
        Err(TargetError::NoDiversion)
    }
}

impl<T: Target + ?Sized> Target for &mut T {
    fn machine(&self) -> &Machine {
        (**self).machine()
    }

    fn end(&self) -> Mark {
        (**self).end()
    }

    fn is_live(&self) -> bool {
        (**self).is_live()
    }

    fn is_in_the_past(&self) -> bool {
        (**self).is_in_the_past()
    }

    fn run(&mut self, until: Option<Mark>, query: Query<'_>) -> Result<Arrival, TargetError> {
        (**self).run(until, query)
    }

    fn step(&mut self, vcpu: u8, count: u64) -> Result<Arrival, TargetError> {
        (**self).step(vcpu, count)
    }

    fn past(&mut self) -> Result<&mut dyn Past, TargetError> {
        (**self).past()
    }

    fn console(&mut self) -> Result<Vec<u8>, TargetError> {
        (**self).console()
    }

    fn write(&mut self, operator: Operator) -> Result<(), TargetError> {
        (**self).write(operator)
    }

    fn digest(&mut self) -> boundary::Digest {
        (**self).digest()
    }

    fn note(&mut self, note: Note) {
        (**self).note(note);
    }

    fn on_progress(&mut self, tell: Tell) {
        (**self).on_progress(tell);
    }

    fn divert(&mut self) -> Result<(), TargetError> {
        (**self).divert()
    }

    fn diversion(&self) -> Option<(usize, Mark)> {
        (**self).diversion()
    }

    fn drop_diversion(&mut self) -> bool {
        (**self).drop_diversion()
    }

    fn keep_diversion(&mut self, writer: TraceWriter) -> Result<(), TargetError> {
        (**self).keep_diversion(writer)
    }
}

/// The ways that lead back.
pub trait Past {
    /// Goes to a place.
    ///
    /// # Errors
    /// A divergence, or a trace that can no longer be read.
    fn seek(&mut self, to: Mark) -> Result<Arrival, TargetError>;

    /// Goes back to the last stop before the cursor.
    ///
    /// # Errors
    /// As [`Past::seek`].
    fn run_back(&mut self, query: Query<'_>) -> Result<Arrival, TargetError>;

    /// Takes back the last instructions, iterations or deliveries of a vCPU, so many of them.
    ///
    /// # Errors
    /// As [`Past::seek`].
    fn step_back(&mut self, vcpu: u8, count: u64) -> Result<Arrival, TargetError>;

    /// The last stop before the cursor, which does not move; and whether the search was interrupted.
    ///
    /// # Errors
    /// As [`Past::seek`].
    fn last_hit(&mut self, query: Query<'_>) -> Result<(Option<Hit>, bool), TargetError>;

    /// Every stop between two places, and the first `limit` of them. The cursor does not move.
    ///
    /// # Errors
    /// As [`Past::seek`].
    fn all_hits(&mut self, from: Mark, to: Mark, query: Query<'_>, limit: usize)
    -> Result<Hits, TargetError>;

    /// The place of the cursor.
    fn now(&self) -> Mark;

    /// The last place of the recording so far.
    fn end(&self) -> Mark;

    /// Makes a machine that goes its own way from the cursor on, with a new recording at `path`.
    ///
    /// # Errors
    /// As [`Past::seek`], or the new recording cannot be written.
    fn branch(&mut self, path: &Path) -> Result<Branch, TargetError>;

    /// What checkpoints cost.
    fn checkpoint_cost(&self) -> CheckpointCost;

    /// Why checkpoints are no longer kept on disk, if they are not.
    fn checkpoint_trouble(&self) -> Option<&str>;

    /// The place at which the byte of the console at `offset` was printed, if that has been passed.
    fn console_place(&self, offset: usize) -> Option<Mark>;

    /// The console up to the furthest place that was passed.
    fn console_seen(&self) -> &[u8];
}

impl Past for Timeline<'_> {
    fn seek(&mut self, to: Mark) -> Result<Arrival, TargetError> {
        Ok(Timeline::seek(self, to)?)
    }

    fn run_back(&mut self, query: Query<'_>) -> Result<Arrival, TargetError> {
        Ok(Timeline::run_back(self, query)?)
    }

    fn step_back(&mut self, vcpu: u8, count: u64) -> Result<Arrival, TargetError> {
        Ok(Timeline::step_back(self, vcpu, count)?)
    }

    fn last_hit(&mut self, query: Query<'_>) -> Result<(Option<Hit>, bool), TargetError> {
        Ok(Timeline::last_hit(self, query)?)
    }

    fn all_hits(
        &mut self,
        from: Mark,
        to: Mark,
        query: Query<'_>,
        limit: usize,
    ) -> Result<Hits, TargetError> {
        Ok(Timeline::all_hits(self, from, to, query, limit)?)
    }

    fn now(&self) -> Mark {
        Timeline::now(self)
    }

    fn end(&self) -> Mark {
        Timeline::end(self)
    }

    fn branch(&mut self, path: &Path) -> Result<Branch, TargetError> {
        Ok(Timeline::branch(self, path)?)
    }

    fn checkpoint_cost(&self) -> CheckpointCost {
        Timeline::checkpoint_cost(self)
    }

    fn checkpoint_trouble(&self) -> Option<&str> {
        Timeline::checkpoint_trouble(self)
    }

    fn console_place(&self, offset: usize) -> Option<Mark> {
        self.console().place_of(offset)
    }

    fn console_seen(&self) -> &[u8] {
        self.console().bytes()
    }
}

/// A recording.
impl Target for Timeline<'_> {
    fn machine(&self) -> &Machine {
        Timeline::machine(self)
    }

    fn end(&self) -> Mark {
        Timeline::end(self)
    }

    fn is_live(&self) -> bool {
        false
    }

    fn is_in_the_past(&self) -> bool {
        false
    }

    fn run(&mut self, until: Option<Mark>, query: Query<'_>) -> Result<Arrival, TargetError> {
        let until = until.unwrap_or(Timeline::end(self));
        Ok(self.run_until(until, query)?)
    }

    fn step(&mut self, vcpu: u8, count: u64) -> Result<Arrival, TargetError> {
        Ok(Timeline::step(self, vcpu, count)?)
    }

    fn past(&mut self) -> Result<&mut dyn Past, TargetError> {
        Ok(self)
    }

    fn console(&mut self) -> Result<Vec<u8>, TargetError> {
        Ok(Timeline::console(self).shown_at(self.now()).to_vec())
    }

    fn write(&mut self, _: Operator) -> Result<(), TargetError> {
        Err(TargetError::Unwritable)
    }

    fn digest(&mut self) -> boundary::Digest {
        Timeline::digest(self)
    }

    fn note(&mut self, _: Note) {}

    fn on_progress(&mut self, tell: Tell) {
        self.on_progress = Box::new(move |report| (tell.borrow_mut())(report));
    }
}
