//! The live end of a timeline: drives a machine beside the real world, and writes down what passes.

mod ending;

use crate::inspect::{Blind, Inspector, Search};
use crate::silence::{Moment, Silence};
use crate::watch::{Failure, Watch};
use boundary::{Arrival, Icount, Input, Mark, Media, Note, Operator, Output, PowerEvent, VirtualTime, World};
use machine::{Event, Exit, Interrupt, Machine, Mismatch, StopReason, StopSet};
use recorder::{ConsoleState, Ending, FailureKind, TraceError, TraceWriter};
use std::path::Path;
use std::time::Duration;

/// How guest time relates to the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Idle time is skipped at once.
    Virtual,
    /// Idle time passes as the host's does.
    Host,
}

/// When to end a run that does not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// At this guest time.
    Time(VirtualTime),
    /// At this count.
    Icount(Icount),
}

/// Counts between two looks at the world: about ten milliseconds of the interpreter.
const SLICE_COUNTS: u64 = 1 << 20;
/// Counts between two digests.
const DIGEST_COUNTS: u64 = 1 << 28;
/// What was written down reaches the file at least this often.
const FLUSH_NS: u64 = 100_000_000;
const WALL_CLOCK_NS: u64 = 1_000_000_000;
/// How long, in guest time, a dying kernel may go on reporting its failure.
const LAST_WORDS_NS: u64 = 2_000_000_000;
/// Jumps to a deadline in a row, without a count in between, after which no timer is going to wake anybody: seventeen
/// minutes of one that ticks a thousand times a second and is masked, or a second or two of ours.
const IDLE_JUMPS_MAX: u32 = 1 << 20;
/// Resets in a row without a byte on the console that are enough to call it a loop.
const SILENT_RESETS_MAX: u32 = 3;

/// How a live run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Why.
    pub ending: Ending,
    /// Where.
    pub mark: Mark,
    /// Guest time there.
    pub virtual_time: VirtualTime,
    /// Digest of the machine there, from scratch.
    pub digest: boundary::Digest,
    /// All that was printed, as length and hash.
    pub console: ConsoleState,
    /// The task that was running when the guest failed, if its report named it.
    pub task: Option<String>,
    /// The machine as it ended, to be looked at.
    pub machine: Machine,
    /// Faults of a triple fault.
    pub triple_fault: Option<boundary::TripleFault>,
    /// In lockstep, where the engines disagreed.
    pub mismatch: Option<Box<Mismatch>>,
    /// Why recording ended before the run did.
    pub trace_trouble: Option<TraceError>,
}

/// Why a live run returned to whoever drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// It is over, for a reason that [`Live::finish`] gives.
    Ended,
    /// At a stop.
    Stopped {
        /// The vCPU that met it.
        vcpu: u8,
        /// Which.
        reason: StopReason,
    },
    /// At the place asked for.
    Reached,
    /// Somebody at the terminal asks for the debugger.
    Asked,
}

/// How a live run is to go.
#[derive(Debug)]
pub struct LiveOptions {
    /// How guest time relates to the host's.
    pub clock: Clock,
    /// Where to end a run that does not end by itself.
    pub limit: Option<Limit>,
    /// Whether a reset restarts the guest or ends the run.
    pub reboot: bool,
    /// Whether a failure ends the run.
    pub end_on_failure: bool,
    /// What is a failure.
    pub watch: Watch,
    /// Whether [`Live::advance`] is to return when somebody asks, rather than print a report.
    pub has_debugger: bool,
    /// What the host raises to be looked at.
    pub interrupt: Interrupt,
}

/// A machine running live.
pub struct Live<'a> {
    /// The machine.
    pub machine: Machine,
    world: Box<dyn World + 'a>,
    media: &'a dyn Media,
    writer: Option<TraceWriter>,
    trace_trouble: Option<TraceError>,
    options: LiveOptions,
    console: ConsoleState,
    console_written: ConsoleState,
    /// Host time at which guest time was 0.
    host_origin_ns: u64,
    flushed_ns: u64,
    wall_noted_ns: u64,
    next_digest: u64,
    /// Guest time after which a failing guest is ended.
    last_words: Option<VirtualTime>,
    /// The failure is in the trace.
    failure_noted: bool,
    /// Called when registers and backtraces are wanted.
    report: Box<dyn FnMut(&Machine) + 'a>,
    inspector: Box<dyn Inspector + 'a>,
    search: Search,
    /// Where the machine stops for the inspector.
    stops: StopSet,
    silence: Silence,
    /// Resets since the console last said something, and how long it was then.
    silent_resets: u32,
    printed_at_reset_bytes: u64,
    /// Somebody asks for the debugger.
    is_asked: bool,
    /// Host time at which whoever drives this was returned to.
    left_ns: Option<u64>,
    /// Why it ended, once it has.
    finale: Option<Ending>,
    triple_fault: Option<boundary::TripleFault>,
    mismatch: Option<Box<Mismatch>>,
    /// Idle jumps in a row, and at which count.
    idle_jumps: (u32, Icount),
}

impl<'a> Live<'a> {
    /// A live run of `machine`, which may have come some way already, recorded by `writer`.
    #[must_use]
    pub fn new(
        machine: Machine,
        world: Box<dyn World + 'a>,
        media: &'a dyn Media,
        writer: Option<TraceWriter>,
        options: LiveOptions,
        report: Box<dyn FnMut(&Machine) + 'a>,
    ) -> Live<'a> {
        let now_ns = world.monotonic_ns();
        let icount = machine.mark().icount.0;
        Live {
            machine,
            world,
            media,
            writer,
            trace_trouble: None,
            options,
            console: ConsoleState::default(),
            console_written: ConsoleState::default(),
            host_origin_ns: now_ns,
            flushed_ns: now_ns,
            wall_noted_ns: 0,
            next_digest: (icount / DIGEST_COUNTS + 1) * DIGEST_COUNTS,
            last_words: None,
            failure_noted: false,
            report,
            inspector: Box::new(Blind),
            search: Search::default(),
            stops: StopSet::default(),
            silence: Silence::default(),
            silent_resets: 0,
            printed_at_reset_bytes: 0,
            is_asked: false,
            left_ns: None,
            finale: None,
            triple_fault: None,
            mismatch: None,
            idle_jumps: (0, Icount(0)),
        }
    }

    /// With somebody who knows the guest's symbols.
    #[must_use]
    pub fn inspected_by(self, inspector: Box<dyn Inspector + 'a>) -> Live<'a> {
        Live { inspector, ..self }
    }

    /// With a console that has shown something, which is written down already.
    #[must_use]
    pub fn continuing(self, console: ConsoleState) -> Live<'a> {
        Live { console, console_written: console, ..self }
    }

    /// Runs to the end and finishes the trace. `judge` says the exit status of an ending.
    pub fn run(mut self, judge: impl FnOnce(&Ending) -> u8) -> Outcome {
        let nothing = StopSet::default();
        while self.advance(&nothing, None) != Advance::Ended {}
        self.finish(judge)
    }

    /// Runs on to the first of `stops`, to `until`, to the end, or until somebody asks for the debugger. Guest time
    /// stands still from then until this is called again, and all that has passed is in the trace.
    pub fn advance(&mut self, stops: &StopSet, until: Option<Mark>) -> Advance {
        if let Some(left_ns) = self.left_ns.take() {
            self.host_origin_ns += self.world.monotonic_ns() - left_ns;
            self.world.stand_still(false);
        }
        while self.finale.is_none() {
            match self.slice(stops, until) {
                Ok(None) => {}
                Ok(Some(advance)) => {
                    self.left_ns = Some(self.world.monotonic_ns());
                    self.flush_all();
                    self.world.stand_still(true);
                    return advance;
                }
                Err(ending) => self.finale = Some(ending),
            }
        }
        Advance::Ended
    }

    /// A debugger comes or goes: noted in the trace.
    pub fn note(&mut self, note: Note) {
        self.write(&recorder::Event::Note(note));
        self.flush_all();
    }

    /// Writes to the machine, as a debugger does. The write is an input of the recording.
    pub fn operate(&mut self, operator: Operator) {
        self.input(&Input::Operator(operator));
        self.flush_all();
    }

    /// The recording so far, unless there is none or it has broken off.
    #[must_use]
    pub fn trace_path(&self) -> Option<&Path> {
        self.writer.as_ref().map(TraceWriter::path)
    }

    /// Looks outside, then runs the machine once. An ending is the error.
    fn slice(&mut self, stops: &StopSet, asked_for: Option<Mark>) -> Result<Option<Advance>, Ending> {
        if let Some(ending) = self.look_outside(Duration::ZERO) {
            return Err(ending);
        }
        if std::mem::take(&mut self.is_asked) {
            return Ok(Some(Advance::Asked));
        }
        self.find_reporters();
        self.combine(stops);
        let until = asked_for.map_or(self.until(), |asked_for| asked_for.min(self.until()));
        let exit = self.machine.run(until, &self.stops, &self.options.interrupt);
        self.options.interrupt.clear();
        self.drain();
        let mut advance = None;
        if let Exit::Stop { vcpu, rip, reason } = exit {
            self.entered(usize::from(vcpu), rip);
            let is_wanted = reason != StopReason::Execute || stops.execute.contains(&rip);
            advance = is_wanted.then_some(Advance::Stopped { vcpu, reason });
        }
        // Not where a signal or a full buffer made it return: equal runs must end at equal places.
        let is_derived = matches!(exit, Exit::Budget | Exit::Idle { .. } | Exit::Power(_));
        if let Some(ending) = self.failed().filter(|_| is_derived) {
            return Err(ending);
        }
        let is_through = matches!(exit, Exit::Budget) && asked_for == Some(until);
        match exit {
            Exit::Budget => self.digest_if_due(),
            Exit::Output | Exit::Interrupted | Exit::Stop { .. } => {}
            Exit::Idle { next_deadline } => self.idle(next_deadline).map_or(Ok(()), Err)?,
            Exit::Power(event) => {
                self.write(&recorder::Event::Power(event.clone()));
                if let PowerEvent::TripleFault(fault) = &event {
                    self.triple_fault = Some(fault.clone());
                }
                self.power(event).map_or(Ok(()), Err)?;
            }
            Exit::Mismatch(found) => {
                self.mismatch = Some(found);
                let reason = "the engines in lockstep disagree".to_owned();
                return Err(Ending::HostTrouble { reason });
            }
        }
        // A guest that resets itself again and again may never come to the end of a slice.
        if let Some(ending) = self.limit_reached().filter(|_| is_derived) {
            return Err(ending);
        }
        // At a settled place the machine's own place is before it.
        let is_there = is_through || asked_for.is_some_and(|asked_for| self.machine.mark() >= asked_for);
        Ok(advance.or(is_there.then_some(Advance::Reached)))
    }

    /// Stops where `stops` say, and where failures are reported.
    fn combine(&mut self, stops: &StopSet) {
        if !stops.is_empty() || !self.stops.is_empty() {
            self.stops.clone_from(stops);
            self.stops.execute.extend(self.search.reporters().iter().map(|reporter| reporter.vaddr));
        }
    }

    /// Looks for the functions that report failures, to be told when one is entered.
    fn find_reporters(&mut self) {
        let has_said_its_name = self.options.watch.take_linux_banner();
        let inspector = self.inspector.as_mut();
        if self.search.look(inspector, &self.machine, has_said_its_name, DIGEST_COUNTS) {
            self.stops.execute = self.search.reporters().iter().map(|reporter| reporter.vaddr).collect();
        }
    }

    /// A function that reports failures is about to be executed.
    fn entered(&mut self, vcpu: usize, rip: u64) {
        let Some(reporter) = self.search.reporters().iter().find(|reporter| reporter.vaddr == rip) else {
            return;
        };
        let title = self.inspector.entered(&self.machine, vcpu, reporter);
        self.options.watch.entered(self.machine.mark(), reporter.kind, &title);
    }

    /// Says where the guest is when it has not printed anything for long.
    fn say_if_silent(&mut self, host_ns: u64) {
        let moment = Moment {
            now: self.machine.now(),
            icount: self.machine.mark().icount.0,
            host_ns: (self.options.clock == Clock::Host).then_some(host_ns),
        };
        if let Some(whose) = self.silence.is_long(moment) {
            let whereabouts = self.inspector.whereabouts(&self.machine);
            let place = self.machine.mark();
            self.world.notice(&format!("no output for 5 s of {whose} time, at {place}: {whereabouts}"));
        }
    }

    /// The next place at which to look around: chosen by counts alone, so that equal runs stay equal.
    fn until(&self) -> Mark {
        let icount = self.machine.mark().icount.0;
        let mut until = ((icount / SLICE_COUNTS) + 1) * SLICE_COUNTS;
        until = until.min(self.next_digest);
        if let Some(Limit::Icount(limit)) = self.options.limit {
            until = until.min(limit.0);
        }
        Mark::before(Icount(until))
    }

    fn limit_reached(&self) -> Option<Ending> {
        let reached = match self.options.limit? {
            Limit::Time(time) => self.machine.now() >= time,
            Limit::Icount(icount) => self.machine.mark().icount >= icount,
        };
        reached.then_some(Ending::Limit)
    }

    /// Takes what arrived, waiting up to `wait` for something, and flushes the trace when it is time.
    fn look_outside(&mut self, wait: Duration) -> Option<Ending> {
        let arrivals = self.world.arrivals(wait.min(self.time_to_flush()));
        let woken_early =
            !wait.is_zero() && arrivals.iter().any(|arrival| matches!(arrival, Arrival::Input(_)));
        if woken_early && self.options.clock == Clock::Host {
            let now = self.host_time();
            if now > self.machine.now() {
                self.input(&Input::Wake(now));
            }
        }
        for arrival in arrivals {
            match arrival {
                Arrival::Input(input) => self.input(&input),
                Arrival::Note(note) => self.write(&recorder::Event::Note(note)),
                Arrival::Report if self.options.has_debugger => self.is_asked = true,
                Arrival::Report => {
                    self.write(&recorder::Event::Note(Note::Quit));
                    self.flush_all();
                    (self.report)(&self.machine);
                }
                Arrival::Stop { signal, .. } => return Some(Ending::Signal(signal)),
                Arrival::Trouble { reason } => return Some(Ending::HostTrouble { reason }),
            }
        }
        self.keep_time();
        None
    }

    fn keep_time(&mut self) {
        let now_ns = self.world.monotonic_ns();
        // The host's time without that in which a debugger had the guest stand still.
        self.say_if_silent(self.host_time().0);
        if self.options.clock == Clock::Host && now_ns - self.wall_noted_ns >= WALL_CLOCK_NS {
            self.wall_noted_ns = now_ns;
            let wall_ns = self.world.wall_clock_ns();
            self.write(&recorder::Event::Note(Note::WallClock(wall_ns)));
        }
        if now_ns - self.flushed_ns >= FLUSH_NS {
            self.flush_all();
        }
    }

    /// How long what is not in the file yet may wait for it.
    fn time_to_flush(&self) -> Duration {
        let is_pending = self.writer.as_ref().is_some_and(|writer| {
            writer.has_unflushed() || (self.console != self.console_written && !writer.has_failed())
        });
        let passed_ns = self.world.monotonic_ns() - self.flushed_ns;
        if is_pending { Duration::from_nanos(FLUSH_NS.saturating_sub(passed_ns)) } else { Duration::MAX }
    }

    fn flush_all(&mut self) {
        self.flushed_ns = self.world.monotonic_ns();
        self.write_console_state();
        self.flush();
    }

    fn input(&mut self, input: &Input) {
        self.write(&recorder::Event::Input(input.clone()));
        self.machine.apply(input);
    }

    /// Guest time that the host's clock asks for.
    fn host_time(&self) -> VirtualTime {
        VirtualTime(self.world.monotonic_ns() - self.host_origin_ns)
    }

    /// All vCPUs wait. Jumps, sleeps, or finds that nothing can ever happen.
    fn idle(&mut self, next_deadline: Option<VirtualTime>) -> Option<Ending> {
        let live = self.world.is_live() && self.machine.can_wake();
        let deadline = next_deadline.filter(|_| self.machine.can_wake());
        let here = self.machine.mark().icount;
        self.idle_jumps = if self.idle_jumps.1 == here { (self.idle_jumps.0 + 1, here) } else { (1, here) };
        if !live && (deadline.is_none() || self.idle_jumps.0 > IDLE_JUMPS_MAX) {
            return Some(Ending::Hang);
        }
        // Under a virtual clock no time passes while only an input can wake the machine.
        let limit = match self.options.limit {
            Some(Limit::Time(limit)) if deadline.is_some() || self.options.clock == Clock::Host => {
                Some(limit)
            }
            _ => None,
        };
        let is_limit = limit.is_some_and(|limit| deadline.is_none_or(|deadline| deadline > limit));
        let Some(deadline) = deadline.into_iter().chain(limit).min() else {
            return self.look_outside(Duration::from_secs(1));
        };
        let ahead_ns = match self.options.clock {
            Clock::Virtual => 0,
            Clock::Host => deadline.0.saturating_sub(self.host_time().0),
        };
        if ahead_ns > 0 {
            let before = self.machine.mark();
            if let Some(ending) = self.look_outside(Duration::from_nanos(ahead_ns.min(1_000_000_000))) {
                return Some(ending);
            }
            if self.machine.mark() != before || self.host_time() < deadline {
                return None;
            }
        }
        self.machine.advance_idle(deadline);
        is_limit.then_some(Ending::Limit)
    }

    /// The machine switched itself off or wants to be reset; `None` to go on.
    fn power(&mut self, event: PowerEvent) -> Option<Ending> {
        match event {
            PowerEvent::Off => Some(Ending::PowerOff),
            PowerEvent::DebugExit(value) => Some(Ending::DebugExit(value)),
            PowerEvent::Reset => self.reset(),
            PowerEvent::TripleFault(fault) => {
                let first = fault.steps.first();
                let title = first.map_or_else(String::new, |step| {
                    format!("triple fault on vCPU {}: vector {} at {:#x}", fault.vcpu, step.vector, step.rip)
                });
                Some(Ending::Failure { kind: FailureKind::TripleFault, title, place: self.machine.mark() })
            }
        }
    }

    /// The guest wants to be reset: it is, unless that would go on for ever, or hide a failure.
    fn reset(&mut self) -> Option<Ending> {
        let has_printed = self.console.length_bytes > self.printed_at_reset_bytes;
        self.printed_at_reset_bytes = self.console.length_bytes;
        self.silent_resets = if has_printed { 0 } else { self.silent_resets + 1 };
        // `finish` makes a failure of it.
        let has_failed = self.options.watch.failure().is_some() && self.options.end_on_failure;
        if has_failed || !self.options.reboot {
            return Some(Ending::Reset);
        }
        if self.silent_resets >= SILENT_RESETS_MAX {
            let title = format!("{SILENT_RESETS_MAX} resets in a row, and nothing was printed in between");
            let place = self.machine.mark();
            return Some(Ending::Failure { kind: FailureKind::ResetLoop, title, place });
        }
        // The next kernel lies elsewhere.
        self.search = Search::default();
        self.stops = StopSet::default();
        let result = self.machine.reset(self.media);
        result.err().map(|error| Ending::HostTrouble { reason: error.to_string() })
    }

    /// Passes on what the machine did.
    fn drain(&mut self) {
        for (mark, event) in self.machine.take_events() {
            match event {
                Event::Landmark(landmark) => self.write_at(mark, &recorder::Event::Landmark(landmark)),
                Event::Output(output) => {
                    if let Output::Console(bytes) = &output {
                        self.console.absorb(bytes);
                        self.options.watch.print(mark, bytes);
                        self.silence.printed(bytes);
                        self.inspector.printed(bytes);
                    }
                    self.world.emit(&output);
                }
            }
        }
        self.note_failure();
    }

    /// A failure is written down as soon as it is seen: a recorder that dies afterwards has kept it.
    fn note_failure(&mut self) {
        let watch = &self.options.watch;
        let is_due = !self.failure_noted && !watch.is_wordless();
        let Some(failure) = watch.failure().filter(|_| is_due) else { return };
        self.failure_noted = true;
        let title = failure.title.clone();
        self.write(&recorder::Event::Note(Note::Failure(title)));
        self.flush_all();
    }

    /// Whether a failure has been seen and the guest has had time for its last words.
    fn failed(&mut self) -> Option<Ending> {
        let Failure { kind, title, place } = self.options.watch.failure()?.clone();
        if !self.options.end_on_failure {
            return None;
        }
        let now = self.machine.now();
        let deadline = *self.last_words.get_or_insert(now.plus(LAST_WORDS_NS));
        (self.options.watch.is_complete() || now >= deadline).then_some(Ending::Failure {
            kind,
            title,
            place,
        })
    }

    fn digest_if_due(&mut self) {
        let icount = self.machine.mark().icount.0;
        if icount >= self.next_digest {
            self.next_digest = (icount / DIGEST_COUNTS + 1) * DIGEST_COUNTS;
            let digest = self.machine.digest();
            self.write(&recorder::Event::Digest(digest));
        }
    }

    fn write(&mut self, event: &recorder::Event) {
        self.write_at(self.machine.mark(), event);
    }

    fn write_at(&mut self, mark: Mark, event: &recorder::Event) {
        let result = self.writer.as_mut().map(|writer| writer.event(mark, event));
        self.note_trouble(result);
    }

    fn write_console_state(&mut self) {
        if self.console != self.console_written {
            self.console_written = self.console;
            self.write(&recorder::Event::Console(self.console));
        }
    }

    fn flush(&mut self) {
        let result = self.writer.as_mut().map(TraceWriter::flush);
        self.note_trouble(result);
    }

    /// A trace that cannot be written any more ends; the guest goes on.
    fn note_trouble(&mut self, result: Option<Result<(), TraceError>>) {
        if let Some(Err(error)) = result {
            self.world.notice(&format!("recording has ended, the guest goes on: {error}"));
            self.trace_trouble.get_or_insert(error);
            // A trace with a gap in it would be replayed to a wrong answer.
            self.writer = None;
        }
    }
}
