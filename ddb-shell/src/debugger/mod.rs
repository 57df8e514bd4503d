//! One debugging session: a target, the symbols of its guest, what to stop at, and where one has been.
//!
//! The ddb prompt and the gdb server are two faces of it. It prints nothing and reads no commands.

mod c;
pub mod call;
pub mod diversion;
mod interrupts;
pub mod live;
pub mod place;
pub mod stepping;
pub mod stops;
pub mod target;

use crate::GuestInspector;
use crate::kernel::{find_module_symbols, kernel_memory};
use crate::symbols::Symbols;
use boundary::{Icount, Mark};
use machine::{Interrupt, Machine, StopReason};
use place::{Place, PlaceError};
use recorder::TraceWriter;
use replay::{Arrival, Query, settled};
use std::collections::BTreeMap;
use stops::StopList;
use target::{Target, TargetError};

/// Why a session cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DebugError {
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A place that is none.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Where there is no such thing.
    #[error("{0}")]
    Nothing(String),
}

/// Why the guest stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// An entry of the list of stops.
    Entry {
        /// Its number.
        number: u32,
        /// What the machine met.
        reason: Option<StopReason>,
    },
    /// What was asked for has been done.
    Done,
    /// The start of the recording.
    Start,
    /// The end of the recording, or of a live guest.
    End,
    /// Somebody interrupted it.
    Interrupted,
}

/// Begins a recording of a name, or says why not.
pub type Keeper<'a> = Box<dyn FnMut(&str) -> Result<TraceWriter, String> + 'a>;

/// Counts between two looks at the console of a run that waits for a text.
const TEXT_SLICE_COUNTS: u64 = 1 << 24;
/// How many places one can go back to.
const VISITED_MAX: usize = 1000;

/// A session.
pub struct Debugger<'a> {
    /// What is debugged.
    pub target: Box<dyn Target + 'a>,
    /// The vCPU that registers, steps and backtraces are about.
    pub vcpu: usize,
    /// Which of its frames variables are about; 0 is the innermost.
    pub frame: usize,
    /// What to stop at.
    pub stops: StopList,
    /// How many machines search at once.
    pub workers: usize,
    /// Ends whatever takes long, when it is raised.
    pub interrupt: Interrupt,
    /// Begins the recording that a diversion is kept in.
    pub keeper: Option<Keeper<'a>>,
    inspector: GuestInspector<'a>,
    bookmarks: BTreeMap<String, Mark>,
    failure: Option<(Mark, usize)>,
    /// Where the list of modules was read last.
    modules_read_at: Option<Mark>,
    /// Places stopped at, oldest first, and which of them the cursor is at.
    visited: Vec<Mark>,
    visiting: usize,
}

impl<'a> Debugger<'a> {
    /// A session on `target`; `failure` is where its guest failed, and which vCPU, if it did.
    #[must_use]
    pub fn new(
        target: Box<dyn Target + 'a>,
        inspector: GuestInspector<'a>,
        failure: Option<(Mark, usize)>,
        interrupt: Interrupt,
    ) -> Debugger<'a> {
        let here = target.machine().mark();
        Debugger {
            target,
            vcpu: 0,
            frame: 0,
            stops: StopList::default(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            interrupt,
            keeper: None,
            inspector,
            bookmarks: BTreeMap::new(),
            failure,
            modules_read_at: None,
            visited: vec![here],
            visiting: 0,
        }
    }

    /// The machine at the cursor.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.target.machine()
    }

    /// The place of the cursor.
    #[must_use]
    pub fn now(&self) -> Mark {
        self.machine().mark()
    }

    /// The symbols of the guest, as far as they are known.
    #[must_use]
    pub fn symbols(&self) -> &Symbols<'a> {
        self.inspector.known_symbols()
    }

    /// Looks for the guest's symbols if none are known yet, and for those of the modules that are loaded here.
    pub fn find_symbols(&mut self) {
        let machine = self.target.machine();
        let symbols = self.inspector.symbols(machine);
        let here = machine.mark();
        if self.modules_read_at != Some(here)
            && let Some(memory) = kernel_memory(machine, symbols)
        {
            find_module_symbols(symbols, &memory);
            self.modules_read_at = Some(here);
        }
    }

    /// The bookmarks.
    #[must_use]
    pub fn bookmarks(&self) -> &BTreeMap<String, Mark> {
        &self.bookmarks
    }

    /// Leaves the recording at the cursor: the guest goes its own way from here.
    ///
    /// # Errors
    /// The target's.
    pub fn divert(&mut self) -> Result<(), DebugError> {
        Ok(self.target.divert()?)
    }

    /// Leaves a diversion: the cursor is where it left the recording.
    ///
    /// # Errors
    /// There is none.
    pub fn drop_diversion(&mut self) -> Result<(), DebugError> {
        if !self.target.drop_diversion() {
            return Err(TargetError::NoDiversion.into());
        }
        self.arrived();
        Ok(())
    }

    /// Keeps a diversion, as far as it has come, as a recording.
    ///
    /// # Errors
    /// There is none, or it cannot be kept under this name.
    pub fn keep_diversion(&mut self, name: &str) -> Result<(), DebugError> {
        if self.target.diversion().is_none() {
            return Err(TargetError::NoDiversion.into());
        }
        let nowhere = || DebugError::Nothing("there is no store to keep it in".to_owned());
        let writer = self.keeper.as_mut().ok_or_else(nowhere)?(name).map_err(DebugError::Nothing)?;
        Ok(self.target.keep_diversion(writer)?)
    }

    /// Calls the place of the cursor `name`.
    pub fn set_bookmark(&mut self, name: &str) {
        let here = self.now();
        self.bookmarks.insert(name.to_owned(), here);
        self.target.note(boundary::Note::Bookmark(name.to_owned()));
    }

    /// Forgets a bookmark; whether there was one.
    pub fn remove_bookmark(&mut self, name: &str) -> bool {
        self.bookmarks.remove(name).is_some()
    }

    /// Goes on to the next stop, forwards; at most to `until`.
    ///
    /// # Errors
    /// The target's.
    pub fn run(&mut self, until: Option<Mark>) -> Result<Why, DebugError> {
        let why = self.run_forwards(until)?;
        self.arrived();
        Ok(why)
    }

    fn run_forwards(&mut self, until: Option<Mark>) -> Result<Why, DebugError> {
        let set = self.stops.set();
        let waits_for_text = self.stops.texts().next().is_some();
        loop {
            let slice = Mark::before(Icount(self.now().icount.0.saturating_add(TEXT_SLICE_COUNTS)));
            let until =
                if waits_for_text { Some(until.map_or(slice, |until| until.min(slice))) } else { until };
            let printed_bytes = if waits_for_text { self.target.console()?.len() } else { 0 };
            let stops = &self.stops;
            let condition = |machine: &Machine, vcpu: u8, reason: StopReason| {
                stops.entry_of(machine, vcpu, reason).is_some()
            };
            let arrival = self.target.run(until, Query { stops: &set, condition: &condition, workers: 1 })?;
            if let Some(why) = self.text_since(printed_bytes)? {
                return Ok(why);
            }
            match arrival {
                Arrival::Stopped { vcpu, reason } => {
                    let entry = self.stops.entry_of(self.target.machine(), vcpu, reason);
                    let number = entry.map_or(0, |entry| entry.number);
                    if self.stops.count(number) {
                        self.vcpu = usize::from(vcpu);
                        return Ok(Why::Entry { number, reason: Some(reason) });
                    }
                }
                Arrival::Reached if waits_for_text && until == Some(slice) => {}
                other => return Ok(why(other)),
            }
        }
    }

    /// Whether the console has printed a text to stop at since it had this length. Goes there if so.
    fn text_since(&mut self, printed_bytes: usize) -> Result<Option<Why>, DebugError> {
        if self.stops.texts().next().is_none() {
            return Ok(None);
        }
        let console = self.target.console()?;
        let ends = self.stops.texts().flat_map(|(number, regex)| {
            let found = regex.find_iter(&console).map(|found| found.end());
            found.filter(|end| *end > printed_bytes).map(move |end| (end, number))
        });
        let mut ends: Vec<(usize, u32)> = ends.collect();
        ends.sort_unstable();
        let Some((end, number)) = ends.into_iter().find(|(_, number)| self.stops.count(*number)) else {
            return Ok(None);
        };
        if let Some(place) = self.target.past()?.console_place(end - 1) {
            self.go_to_printed(place)?;
        }
        Ok(Some(Why::Entry { number, reason: None }))
    }

    /// Goes to where a text was printed, and looks at the vCPU that printed it.
    fn go_to_printed(&mut self, place: Mark) -> Result<(), DebugError> {
        self.target.past()?.seek(place)?;
        self.vcpu = self.machine().running_vcpu();
        Ok(())
    }

    /// Goes back to the last stop before the cursor.
    ///
    /// # Errors
    /// The target's.
    pub fn run_back(&mut self) -> Result<Why, DebugError> {
        let set = self.stops.set();
        let text = self.last_text()?;
        let workers = self.workers;
        let stops = &self.stops;
        let condition =
            |machine: &Machine, vcpu: u8, reason: StopReason| stops.entry_of(machine, vcpu, reason).is_some();
        let query = Query { stops: &set, condition: &condition, workers };
        let past = self.target.past()?;
        let (hit, interrupted) = past.last_hit(query)?;
        let why = match (hit, text) {
            (None, None) if interrupted => Why::Interrupted,
            (None, None) => {
                past.seek(Mark::default())?;
                Why::Start
            }
            (hit, Some((place, number))) if hit.is_none_or(|hit| hit.place < place) => {
                self.go_to_printed(place)?;
                Why::Entry { number, reason: None }
            }
            (Some(hit), _) => {
                past.seek(hit.place)?;
                self.vcpu = usize::from(hit.vcpu);
                let number = self.number_of(hit.vcpu, hit.reason);
                Why::Entry { number, reason: Some(hit.reason) }
            }
            (None, Some(_)) => Why::Interrupted,
        };
        self.arrived();
        Ok(why)
    }

    /// The number of the entry that a hit belongs to. Its condition held where it was found, which for all but breakpoints
    /// is behind the place that one goes back to.
    fn number_of(&self, vcpu: u8, reason: StopReason) -> u32 {
        let entry = self.stops.entry_of(self.machine(), vcpu, reason);
        let entry = entry.or_else(|| self.stops.entries_of(self.machine(), vcpu, reason).next());
        entry.map_or(0, |entry| entry.number)
    }

    /// The last text to stop at that was printed before the cursor.
    fn last_text(&mut self) -> Result<Option<(Mark, u32)>, DebugError> {
        if self.stops.texts().next().is_none() {
            return Ok(None);
        }
        let here = self.now();
        let console = self.target.console()?;
        let mut last = None;
        for (number, regex) in self.stops.texts() {
            let ends: Vec<usize> = regex.find_iter(&console).map(|found| found.end()).collect();
            let past = self.target.past()?;
            let place = ends.iter().rev().filter_map(|end| past.console_place(end - 1));
            let place = place.map(|mark| settled(mark.icount)).find(|mark| mark.icount < here.icount);
            last = last.max(place.map(|place| (place, number)));
        }
        Ok(last)
    }

    /// Goes to a place; where somebody failed or printed a text, to whoever did that.
    ///
    /// # Errors
    /// There is no such place, or the target's.
    pub fn seek(&mut self, place: &Place) -> Result<Why, DebugError> {
        let mark = self.find_place(place)?;
        match place {
            Place::Failure => self.vcpu = self.failure.map_or(self.vcpu, |(_, vcpu)| vcpu),
            Place::Text(_) => self.go_to_printed(Mark::before(mark.icount))?,
            _ => {}
        }
        let arrival = self.target.past()?.seek(mark)?;
        self.arrived();
        Ok(why(arrival))
    }

    /// Where a place is.
    ///
    /// # Errors
    /// There is no such place, or the target's.
    pub fn find_place(&mut self, place: &Place) -> Result<Mark, DebugError> {
        let here = self.now();
        Ok(match place {
            Place::At(mark) if mark.seq == 0 && mark.icount.0 > 0 => settled(mark.icount),
            Place::At(mark) => *mark,
            Place::Relative(counts) => settled(Icount(here.icount.0.saturating_add_signed(*counts))),
            Place::Fraction(fraction) => {
                let end = self.target.past()?.end().icount.0;
                settled(Icount((end as f64 * fraction) as u64))
            }
            Place::Start => Mark::default(),
            Place::End => self.target.past()?.end(),
            Place::Failure => self.failure.map(|(place, _)| place).ok_or_else(|| {
                DebugError::Nothing("this guest has not failed, so there is no @fail; see @end".to_owned())
            })?,
            Place::Bookmark(name) => {
                *self.bookmarks.get(name).ok_or_else(|| PlaceError::Bookmark(name.clone()))?
            }
            Place::Time(time) => self.find_time(*time)?,
            Place::Text(regex) => self.find_text(regex)?,
        })
    }

    /// The first place at which guest time has come so far. Time grows with places, so it is found by halving.
    fn find_time(&mut self, time: boundary::VirtualTime) -> Result<Mark, DebugError> {
        let here = self.now();
        let past = self.target.past()?;
        let (mut low, mut high) = (0, past.end().icount.0);
        while low < high {
            let middle = low + (high - low) / 2;
            self.target.past()?.seek(settled(Icount(middle)))?;
            if self.machine().now() >= time { high = middle } else { low = middle + 1 }
        }
        self.target.past()?.seek(here)?;
        Ok(settled(Icount(high)))
    }

    /// Where the console first matched behind the cursor, else the first time at all.
    fn find_text(&mut self, regex: &regex::bytes::Regex) -> Result<Mark, DebugError> {
        let here = self.now();
        loop {
            let past = self.target.past()?;
            let ends: Vec<usize> = regex.find_iter(past.console_seen()).map(|found| found.end()).collect();
            let places: Vec<Mark> = ends.iter().filter_map(|end| past.console_place(end - 1)).collect();
            let behind = places.iter().find(|place| **place > here).or(places.first());
            let end = past.end();
            let reached = self.now();
            if let Some(place) = behind {
                let place = settled(place.icount);
                self.target.past()?.seek(here)?;
                return Ok(place);
            }
            if reached >= end {
                self.target.past()?.seek(here)?;
                return Err(PlaceError::Nowhere(format!("the console never printed `{regex}`")).into());
            }
            let next = Mark::before(Icount(reached.icount.0 + TEXT_SLICE_COUNTS));
            if self.target.past()?.seek(next)? == Arrival::Interrupted {
                self.target.past()?.seek(here)?;
                return Err(PlaceError::Nowhere("interrupted".to_owned()).into());
            }
        }
    }

    /// Every place stopped at, oldest first, and which of them the cursor is at.
    #[must_use]
    pub fn visited(&self) -> (&[Mark], usize) {
        (&self.visited, self.visiting)
    }

    /// Goes to the place stopped at before (or after, if positive) this one.
    ///
    /// # Errors
    /// There is none, or the target's.
    pub fn revisit(&mut self, steps: isize) -> Result<Why, DebugError> {
        let index = self.visiting.checked_add_signed(steps).filter(|index| *index < self.visited.len());
        let direction = if steps < 0 { "earlier" } else { "later" };
        let index =
            index.ok_or_else(|| DebugError::Nothing(format!("no {direction} place in the history")))?;
        let arrival = self.target.past()?.seek(self.visited[index])?;
        self.visiting = index;
        Ok(why(arrival))
    }

    /// Notes that the cursor has come to stand somewhere.
    pub(crate) fn arrived(&mut self) {
        self.frame = 0;
        if self.symbols().is_empty() {
            self.find_symbols();
        }
        let here = self.now();
        if self.visited[self.visiting] == here {
            return;
        }
        self.visited.truncate(self.visiting + 1);
        self.visited.push(here);
        if self.visited.len() > VISITED_MAX {
            self.visited.remove(0);
        }
        self.visiting = self.visited.len() - 1;
    }
}

/// Why the guest stands still after a journey without stops of the list.
pub(crate) fn why(arrival: Arrival) -> Why {
    match arrival {
        Arrival::Reached | Arrival::Stopped { .. } => Why::Done,
        Arrival::Start => Why::Start,
        Arrival::End => Why::End,
        Arrival::Interrupted => Why::Interrupted,
    }
}
