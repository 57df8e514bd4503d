//! Many seeds in parallel until the lowest one that fails is known.
//!
//! Seeds are begun in order. One that decides (a failure that is looked for, or trouble of the host) ends all higher
//! ones, and the lower ones are waited for; so the answer does not depend on how many run at a time or which is fast.

use super::child::{Ended, Run};
use crate::config::Pattern;
use crate::result::{Explored, RunResult, Verdict};
use crate::say;
use anyhow::{Context, Result};
use boundary::{Arrival, World};
use host::{Host, HostOptions};
use recorder::Store;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often is looked whether a run has ended.
const POLL: Duration = Duration::from_millis(5);
/// How often the progress line is drawn.
const PROGRESS: Duration = Duration::from_millis(200);

/// What to search.
#[derive(Debug)]
pub struct Space {
    /// The first seed.
    pub first_seed: u64,
    /// How many seeds.
    pub tries: u64,
    /// How many at a time.
    pub jobs: usize,
    /// Which failures are looked for; all without it.
    pub only: Option<Pattern>,
    /// The arguments of each boot, without seed.
    pub boot: Vec<OsString>,
    /// Where they record.
    pub store: Store,
}

/// A run that failed.
#[derive(Debug)]
pub struct Failure {
    /// Its result.
    pub result: RunResult,
    /// What it said on stderr.
    pub said: String,
}

/// What the search came to.
#[derive(Debug)]
pub enum Answer {
    /// The lowest seed with a failure that is looked for.
    Found(Box<Failure>),
    /// None has one.
    Nothing,
    /// The lowest seed with anything to say could not be run to its end.
    Trouble(Trouble),
    /// A signal of this number ended the search; a failure may have been found, but not as the lowest.
    Interrupted(u8, Option<Box<Failure>>),
}

/// Why a run says nothing about the guest.
#[derive(Debug)]
pub struct Trouble {
    /// In a line.
    pub message: String,
    /// What the run said on stderr.
    pub said: String,
    /// The run's own exit status, if it had one.
    pub exit_status: Option<u8>,
}

/// A search that is over.
#[derive(Debug)]
pub struct Searched {
    /// The answer.
    pub answer: Answer,
    /// What it took.
    pub explored: Explored,
    /// The lowest seed with a failure that is not looked for.
    pub other: Option<Box<Failure>>,
}

/// What a run decides.
enum Decision {
    Wanted(Box<Failure>),
    Trouble(Trouble),
}

/// What a run was, for the count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Other,
    Decisive,
}

/// The search while it goes on.
struct Search<'a> {
    space: &'a Space,
    running: Vec<Run>,
    next_seed: u64,
    decision: Option<(u64, Decision)>,
    other: Option<Box<Failure>>,
    /// Every seed whose run came to an end that was waited for, and what that was.
    ended: BTreeMap<u64, Kind>,
    drawn: Option<Instant>,
}

/// Searches.
///
/// # Errors
/// When the host refuses processes, files or signals.
pub fn search(space: &Space) -> Result<Searched> {
    let mut host = Host::open(HostOptions { inputs: false, ..HostOptions::default() })?;
    let directory = tempfile::Builder::new().prefix("vkernel-explore-").tempdir();
    let directory = directory.context("cannot make a directory for the runs' results")?;
    let mut search = Search::new(space);
    let mut signal = None;
    loop {
        if signal.is_none() {
            search.start_runs(directory.path())?;
        }
        if search.running.is_empty() {
            break;
        }
        for arrival in host.arrivals(POLL) {
            match arrival {
                Arrival::Stop { signal: number, .. } => signal = Some(number),
                Arrival::Report => search.draw(true),
                // Neither console nor disk is open here.
                Arrival::Input(_) | Arrival::Note(_) | Arrival::Trouble { .. } => {}
            }
        }
        search.end_runs(signal.is_some());
        search.collect()?;
        search.draw(false);
    }
    search.clear();
    search.forget_the_rest()?;
    Ok(search.over(signal))
}

impl Search<'_> {
    fn new(space: &Space) -> Search<'_> {
        Search {
            space,
            running: Vec::new(),
            next_seed: space.first_seed,
            decision: None,
            other: None,
            ended: BTreeMap::new(),
            drawn: None,
        }
    }

    /// The seed that decides so far; higher ones are of no interest.
    fn bound(&self) -> u64 {
        let end = self.space.first_seed.saturating_add(self.space.tries);
        self.decision.as_ref().map_or(end, |(seed, _)| *seed)
    }

    fn start_runs(&mut self, directory: &std::path::Path) -> Result<()> {
        while self.running.len() < self.space.jobs && self.next_seed < self.bound() {
            self.running.push(Run::start(self.next_seed, &self.space.boot, directory)?);
            self.next_seed += 1;
        }
        Ok(())
    }

    fn end_runs(&mut self, all: bool) {
        let bound = self.bound();
        self.running.iter_mut().filter(|run| all || run.seed > bound).for_each(Run::end);
    }

    /// Takes what the runs that have ended left behind.
    fn collect(&mut self) -> Result<()> {
        let mut index = 0;
        while let Some(run) = self.running.get_mut(index) {
            let Some(ended) = run.ended()? else {
                index += 1;
                continue;
            };
            let is_unwanted = run.is_asked_to_end();
            self.running.swap_remove(index);
            if is_unwanted { self.discard(ended.result)? } else { self.judge(ended)? }
        }
        Ok(())
    }

    fn judge(&mut self, ended: Ended) -> Result<()> {
        let seed = ended.seed;
        self.ended.insert(seed, Kind::Decisive);
        let Some(result) = ended.lived().cloned() else {
            let message = ended.death();
            return self
                .decide(seed, Decision::Trouble(Trouble { message, said: ended.said, exit_status: None }));
        };
        match result.verdict {
            Verdict::Good => {
                self.ended.insert(seed, Kind::Good);
                Ok(())
            }
            Verdict::Failed => {
                let failure = Box::new(Failure { result, said: ended.said });
                let title = failure.result.title.as_bytes();
                if self.space.only.as_ref().is_none_or(|only| only.regex.is_match(title)) {
                    self.decide(seed, Decision::Wanted(failure))
                } else {
                    self.ended.insert(seed, Kind::Other);
                    self.keep_lowest_other(failure)
                }
            }
            Verdict::CannotJudge
            | Verdict::Usage
            | Verdict::HostTrouble
            | Verdict::Signal
            | Verdict::Unfinished => {
                let message = format!("seed {seed}: {}", result.title);
                let exit_status = result.exit_status;
                self.decide(seed, Decision::Trouble(Trouble { message, said: ended.said, exit_status }))
            }
        }
    }

    /// Takes a decision unless there is one of a lower seed.
    fn decide(&mut self, seed: u64, decision: Decision) -> Result<()> {
        let superseded = match &self.decision {
            Some((lower, _)) if *lower < seed => Some(decision),
            _ => self.decision.replace((seed, decision)).map(|(_, decision)| decision),
        };
        match superseded {
            Some(Decision::Wanted(failure)) => self.discard(Some(failure.result)),
            Some(Decision::Trouble(_)) | None => Ok(()),
        }
    }

    fn keep_lowest_other(&mut self, failure: Box<Failure>) -> Result<()> {
        let superseded = match &self.other {
            Some(lower) if lower.result.seed < failure.result.seed => Some(failure),
            _ => self.other.replace(failure),
        };
        self.discard(superseded.map(|failure| failure.result))
    }

    /// Removes the recording of a run that is of no interest.
    fn discard(&self, result: Option<RunResult>) -> Result<()> {
        let Some(name) = result.and_then(|result| result.trace) else { return Ok(()) };
        match self.space.store.remove(&name) {
            Ok(_) | Err(recorder::StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Draws the progress line, if somebody sees it.
    fn draw(&mut self, at_once: bool) {
        let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= PROGRESS);
        if !std::io::stderr().is_terminal() || !(at_once || is_due) {
            return;
        }
        self.drawn = Some(Instant::now());
        let found = match &self.decision {
            Some((seed, _)) => format!("seed {seed} fails, waiting for lower ones"),
            None => "no failure yet".to_owned(),
        };
        let others = match self.count(Kind::Other) {
            0 => String::new(),
            others => format!(", {others} with another"),
        };
        say::raw(&format!(
            "\r\x1b[Kvkernel: {} of {} seeds tried, {} running, {found}{others}",
            self.ended.len(),
            self.space.tries,
            self.running.len()
        ));
    }

    fn clear(&self) {
        if self.drawn.is_some() {
            say::raw("\r\x1b[K");
            // Nobody can be told that stderr is closed.
            let _ = std::io::stderr().flush();
        }
    }

    fn count(&self, kind: Kind) -> u64 {
        self.ended.values().filter(|ended| **ended == kind).count() as u64
    }

    /// Forgets what happened to be run above the seed that decides.
    fn forget_the_rest(&mut self) -> Result<()> {
        let Some((decisive, _)) = self.decision else { return Ok(()) };
        self.ended.retain(|seed, _| *seed <= decisive);
        match self.other.take_if(|other| other.result.seed > decisive) {
            Some(other) => self.discard(Some(other.result)),
            None => Ok(()),
        }
    }

    fn over(self, signal: Option<u8>) -> Searched {
        let explored = Explored {
            first_seed: self.space.first_seed,
            tries: self.space.tries,
            done: self.ended.len() as u64,
            good: self.count(Kind::Good),
            others: self.count(Kind::Other),
        };
        let answer = match (signal, self.decision) {
            (Some(signal), Some((_, Decision::Wanted(failure)))) => {
                Answer::Interrupted(signal, Some(failure))
            }
            (Some(signal), _) => Answer::Interrupted(signal, None),
            (None, Some((_, Decision::Wanted(failure)))) => Answer::Found(failure),
            (None, Some((_, Decision::Trouble(trouble)))) => Answer::Trouble(trouble),
            (None, None) => Answer::Nothing,
        };
        Searched { answer, explored, other: self.other }
    }
}
