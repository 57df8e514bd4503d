//! One run of an exploration, in a process of its own: how it is started, and how it knows.
//!
//! The command line of such a run is what a user would type, since the recording keeps it; what else it must know is in its
//! environment. It ends with the process that started it, even if that is killed.

use crate::boot::SELF;
use crate::result::{RunResult, Verdict};
use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Process id of the exploration.
const PARENT: &str = "VKERNEL_EXPLORED_BY";
/// Where the run's result goes.
const RESULT: &str = "VKERNEL_EXPLORED_RESULT";
/// How long a run may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// In a run of an exploration: where its result goes. Ties the run to its parent.
///
/// # Errors
/// When the parent is gone already.
pub fn result_of_exploration() -> Result<Option<PathBuf>> {
    let (Some(parent), Some(result)) = (std::env::var_os(PARENT), std::env::var_os(RESULT)) else {
        return Ok(None);
    };
    set_pdeathsig(Signal::SIGINT).context("cannot be tied to vkernel explore")?;
    // It may have ended before the line above; then this process has another parent.
    if OsString::from(getppid().to_string()) != parent {
        anyhow::bail!("vkernel explore, which started this run, has ended");
    }
    Ok(Some(result.into()))
}

/// A run that has been started.
pub struct Run {
    /// Its seed.
    pub seed: u64,
    child: Child,
    files: Files,
    asked_to_end: Option<Instant>,
}

/// Where a run leaves what it has to say.
struct Files {
    result: PathBuf,
    stderr: PathBuf,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its seed.
    pub seed: u64,
    /// Its result, if it wrote one.
    pub result: Option<RunResult>,
    /// What it said on stderr.
    pub said: String,
    /// How the process ended.
    pub status: ExitStatus,
}

impl Run {
    /// Starts a run.
    ///
    /// # Errors
    /// When the host does not let another process be.
    pub fn start(seed: u64, boot: &[OsString], directory: &Path) -> Result<Run> {
        let file = |extension| directory.join(format!("{seed}.{extension}"));
        let files = Files { result: file("json"), stderr: file("stderr") };
        let start = || -> std::io::Result<Child> {
            Command::new(SELF)
                .arg0("vkernel")
                .args(["boot", "--seed", &seed.to_string(), "--keep", "failed"])
                .args(boot)
                .env(PARENT, std::process::id().to_string())
                .env(RESULT, &files.result)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(File::create(&files.stderr)?)
                .spawn()
        };
        let child = start().with_context(|| format!("cannot start a run with seed {seed}"))?;
        Ok(Run { seed, child, files, asked_to_end: None })
    }

    /// Asks the run to end, and no longer asks if it does not listen.
    pub fn end(&mut self) {
        match self.asked_to_end {
            None => {
                self.asked_to_end = Some(Instant::now());
                // It can only be gone, which is what is wanted.
                let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT);
            }
            Some(since) if since.elapsed() > PATIENCE => {
                let _ = self.child.kill();
            }
            Some(_) => {}
        }
    }

    /// Whether its outcome is of no interest any more.
    #[must_use]
    pub fn is_asked_to_end(&self) -> bool {
        self.asked_to_end.is_some()
    }

    /// What it left behind, once it has ended. Its files go.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn ended(&mut self) -> Result<Option<Ended>> {
        let Some(status) = self.child.try_wait().context("cannot wait for a run")? else { return Ok(None) };
        let text = fs::read_to_string(&self.files.result).ok();
        let result = text.and_then(|text| serde_json::from_str(&text).ok());
        let said = fs::read(&self.files.stderr).unwrap_or_default();
        for file in [&self.files.result, &self.files.stderr] {
            // The directory goes in the end, with whatever is left in it.
            let _ = fs::remove_file(file);
        }
        Ok(Some(Ended { seed: self.seed, result, said: String::from_utf8_lossy(&said).into_owned(), status }))
    }
}

impl Drop for Run {
    /// A run that nobody will ask about any more, because of an error.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Ended {
    /// Its result, if the process lived to the end.
    pub fn lived(&self) -> Option<&RunResult> {
        self.result.as_ref().filter(|result| result.verdict != Verdict::Unfinished)
    }

    /// How a process ended that did not live to write its result.
    pub fn death(&self) -> String {
        let how = match (self.status.signal(), self.status.code()) {
            (Some(signal), _) => format!("was killed by signal {signal}"),
            (None, Some(code)) => format!("ended with status {code} and no result"),
            (None, None) => "ended".to_owned(),
        };
        let trace = self.result.as_ref().and_then(|result| result.trace.as_ref());
        let trace = trace.map_or_else(String::new, |trace| format!("; its recording so far is {trace}"));
        format!("the process of seed {} {how}{trace}", self.seed)
    }
}
