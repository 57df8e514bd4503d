//! `--result FILE`: how a run ended, as JSON for scripts. docs/ci.md has every field; a test holds it to this.
//!
//! The file is written twice, each time whole: when the run begins, with the outcome `unfinished`, so that it says where
//! the recording is even if vkernel is killed; and at the end, whatever end that is. What is no ordinary file, such as a
//! pipe or /dev/fd/3, is written to at the end only.

use crate::exit::{ExitStatus, usage};
use anyhow::{Context, Result};
use recorder::{Ending, FailureKind};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Goes up when a field changes its meaning or is taken away. New fields do not change it.
pub const SCHEMA: u32 = 1;

const UNFINISHED: &str = "unfinished";

/// What scripts branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All went well.
    Good,
    /// The guest failed.
    Failed,
    /// The image cannot be judged.
    CannotJudge,
    /// The command line cannot be meant.
    Usage,
    /// The host is in trouble, or vkernel has a bug.
    HostTrouble,
    /// A signal ended the run.
    Signal,
    /// The run is not over, or vkernel was killed.
    Unfinished,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    pub schema: u32,
    pub vkernel: String,
    pub model: u32,
    pub command: Vec<String>,
    pub verdict: Verdict,
    pub outcome: String,
    pub exit_status: Option<u8>,
    pub title: String,
    pub place: Option<String>,
    pub cpu: Option<usize>,
    pub task: Option<String>,
    pub symbol: Option<String>,
    pub backtrace: Vec<String>,
    pub seed: u64,
    pub trace: Option<String>,
    pub trace_path: Option<String>,
    pub pack: Option<String>,
    pub replay: Option<String>,
    pub end: Option<String>,
    pub instructions: u64,
    pub guest_time_ns: u64,
    pub digest: Option<String>,
    pub console_bytes: u64,
    pub explored: Option<Explored>,
}

/// What `vkernel explore` adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explored {
    pub first_seed: u64,
    pub tries: u64,
    pub done: u64,
    pub good: u64,
    pub others: u64,
}

impl RunResult {
    /// Of a run that has not begun.
    #[must_use]
    pub fn new(seed: u64) -> RunResult {
        RunResult {
            schema: SCHEMA,
            vkernel: env!("CARGO_PKG_VERSION").to_owned(),
            model: machine::MODEL,
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            verdict: Verdict::Unfinished,
            outcome: UNFINISHED.to_owned(),
            exit_status: None,
            title: String::new(),
            place: None,
            cpu: None,
            task: None,
            symbol: None,
            backtrace: Vec::new(),
            seed,
            trace: None,
            trace_path: None,
            pack: None,
            replay: None,
            end: None,
            instructions: 0,
            guest_time_ns: 0,
            digest: None,
            console_bytes: 0,
            explored: None,
        }
    }

    /// Notes where the run is recorded.
    pub fn recorded(&mut self, name: &str, path: &Path) {
        self.trace = Some(name.to_owned());
        self.trace_path = Some(absolute(path));
        self.replay = Some(format!("vkernel replay {}", crate::text::shell(&[name.to_owned()])));
    }

    /// Notes that the recording is not there any more.
    pub fn not_kept(&mut self) {
        (self.trace, self.trace_path, self.replay) = (None, None, None);
    }

    /// Notes that there is a self-contained copy.
    pub fn packed(&mut self, path: &Path) {
        self.pack = Some(absolute(path));
    }

    /// Notes why the run ended.
    pub fn ended(&mut self, ending: &Ending) {
        self.outcome = outcome(ending).to_owned();
        self.title = match ending {
            Ending::Failure { title, .. } => title.clone(),
            Ending::HostTrouble { reason } => reason.clone(),
            other => other.to_string(),
        };
    }

    fn exited(&mut self, status: ExitStatus) {
        self.exit_status = Some(status.code());
        self.verdict = match status {
            ExitStatus::Good => Verdict::Good,
            ExitStatus::GuestFailed => Verdict::Failed,
            ExitStatus::CannotJudge => Verdict::CannotJudge,
            ExitStatus::Usage => Verdict::Usage,
            ExitStatus::HostTrouble => Verdict::HostTrouble,
            ExitStatus::Signal(_) => Verdict::Signal,
            // As `End::failed` has it: (v<<1)|1 is never 0.
            ExitStatus::DebugExit(_) => Verdict::Failed,
            ExitStatus::Recorded(0) => Verdict::Good,
            ExitStatus::Recorded(_) => Verdict::Failed,
        };
    }

    /// Notes that there is no ending but an error, perhaps only behind the ending.
    fn troubled(&mut self, error: &anyhow::Error) {
        let status = ExitStatus::of_error(error);
        self.exited(status);
        self.outcome = match status {
            ExitStatus::CannotJudge => "cannot-judge",
            ExitStatus::Usage => "usage",
            ExitStatus::Signal(_) => "signal",
            _ => "host-trouble",
        }
        .to_owned();
        self.title = crate::say::text_of(error);
    }
}

/// JSON is text and a path need not be; one that is none cannot be copied from the file.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn outcome(ending: &Ending) -> &'static str {
    match ending {
        Ending::PowerOff => "power-off",
        Ending::Reset => "reset",
        Ending::DebugExit(_) => "debug-exit",
        Ending::Failure { kind, .. } => match kind {
            FailureKind::Panic => "panic",
            FailureKind::Oops => "oops",
            FailureKind::Warn => "warning",
            FailureKind::TripleFault => "triple-fault",
            FailureKind::FailText => "fail-text",
            FailureKind::ExpectMissing => "expect-missing",
            FailureKind::Stuck => "stuck",
            FailureKind::Sanitizer => "sanitizer",
            FailureKind::Lockdep => "lockdep",
            FailureKind::ResetLoop => "reset-loop",
        },
        Ending::Limit => "limit",
        Ending::Hang => "hang",
        Ending::Quit => "quit",
        Ending::Signal(_) => "signal",
        Ending::HostTrouble { .. } => "host-trouble",
    }
}

/// The file of `--result`, if there is to be one, and what is to be in it.
#[derive(Debug)]
pub struct ResultFile {
    /// The content. Written by [`ResultFile::write`].
    pub result: RunResult,
    path: Option<PathBuf>,
}

impl ResultFile {
    /// Begins the file, so that one which cannot be written is found now and not after the run.
    ///
    /// # Errors
    /// Usage, if it cannot be written.
    pub fn begin(path: Option<PathBuf>, seed: u64) -> Result<ResultFile> {
        let file = ResultFile { result: RunResult::new(seed), path };
        file.write().map_err(|error| usage(crate::say::text_of(&error)))?;
        Ok(file)
    }

    /// Writes the file as it is now.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn write(&self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let is_ordinary = fs::metadata(path).map_or(true, |there| there.is_file());
        if !is_ordinary && self.result.verdict == Verdict::Unfinished {
            return Ok(());
        }
        let mut text = serde_json::to_string_pretty(&self.result).expect("strings and numbers serialize");
        text.push('\n');
        replace(path, &text, is_ordinary).with_context(|| format!("--result {}", path.display()))
    }

    /// Writes the file for the last time. An error of the run stays the error, and a file that cannot be written
    /// becomes one.
    ///
    /// # Errors
    /// The run's, or the host's.
    pub fn end(mut self, status: Result<ExitStatus>) -> Result<ExitStatus> {
        match &status {
            Ok(status) => self.result.exited(*status),
            Err(error) => self.result.troubled(error),
        }
        let written = self.write();
        let status = status?;
        written.map(|()| status)
    }
}

/// Writes a file that is whole under its name at every moment.
fn replace(path: &Path, text: &str, is_ordinary: bool) -> std::io::Result<()> {
    if !is_ordinary {
        return fs::write(path, text);
    }
    // A link stays one: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let temporary = target.with_file_name(name);
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &target));
    written.inspect_err(|_| {
        // Already failing; it may never have been made.
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// All that `outcome` can be.
    const OUTCOMES: [&str; 22] = [
        "power-off",
        "reset",
        "debug-exit",
        "panic",
        "oops",
        "warning",
        "triple-fault",
        "fail-text",
        "expect-missing",
        "stuck",
        "sanitizer",
        "lockdep",
        "reset-loop",
        "limit",
        "hang",
        "quit",
        "signal",
        "host-trouble",
        "cannot-judge",
        "usage",
        "no-failure",
        UNFINISHED,
    ];

    const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci.md"));

    /// The first cells, without their backquotes, of the table below a heading of the page.
    fn table(heading: &str) -> BTreeSet<String> {
        let (_, below) = PAGE.split_once(&format!("{heading}\n")).expect("the page has the heading");
        let below = below.split("\n#").next().unwrap_or_default();
        let cells = below.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        cells.map(|(cell, _)| cell.to_owned()).collect()
    }

    fn fields(value: &serde_json::Value, prefix: &str) -> BTreeSet<String> {
        value.as_object().expect("an object").keys().map(|key| format!("{prefix}{key}")).collect()
    }

    #[test]
    fn the_page_lists_every_field_and_outcome_and_no_others() {
        let mut result = RunResult::new(0);
        let explored = Explored { first_seed: 1, tries: 2, done: 0, good: 0, others: 0 };
        let mut expected = fields(&serde_json::to_value(&explored).unwrap(), "explored.");
        result.explored = Some(explored);
        expected.extend(fields(&serde_json::to_value(&result).unwrap(), ""));
        assert_eq!(table("### Fields"), expected);
        assert_eq!(table("### Outcomes"), OUTCOMES.into_iter().map(str::to_owned).collect());
    }

    #[test]
    fn every_end_has_an_outcome_of_the_list_and_a_verdict() {
        for error in [
            usage("what?"),
            crate::exit::cannot_judge("no kernel"),
            anyhow::anyhow!("disk full"),
            crate::exit::Refused { status: ExitStatus::Signal(13), message: "".into() }.into(),
        ] {
            let mut result = RunResult::new(0);
            result.troubled(&error);
            assert!(OUTCOMES.contains(&result.outcome.as_str()), "{error}");
            assert_ne!(result.verdict, Verdict::Unfinished);
            assert_eq!(result.exit_status, Some(ExitStatus::of_error(&error).code()));
        }
        let mut result = RunResult::new(0);
        result.ended(&Ending::DebugExit(5));
        result.exited(ExitStatus::DebugExit(5));
        assert_eq!((result.outcome.as_str(), result.verdict), ("debug-exit", Verdict::Failed));
    }

    #[test]
    fn the_file_is_there_from_the_beginning_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        let read = || serde_json::from_str::<RunResult>(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut file = ResultFile::begin(Some(path.clone()), 7).unwrap();
        assert_eq!((read().verdict, read().seed), (Verdict::Unfinished, 7));
        file.result.title = "quoted \"title\"\u{1b}".into();
        assert!(file.end(Err(anyhow::anyhow!("disk full"))).is_err());
        assert_eq!((read().title.as_str(), read().exit_status), ("disk full", Some(255)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no leftovers");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_usage_before_the_run() {
        let error = ResultFile::begin(Some("/nonexistent/r.json".into()), 0).unwrap_err();
        assert_eq!(ExitStatus::of_error(&error), ExitStatus::Usage);
        assert!(error.to_string().contains("--result /nonexistent/r.json"), "{error}");
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace(&link, "new", true).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert!(link.is_symlink());
    }
}
