//! `vkernel` as a user runs it: with a store of its own, something on stdin, and a limit to everybody's patience.
//!
//! A test that fails keeps its store, where the recordings are, and prints the commands that were run.

use crate::console::{Collected, Step};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take. A boot takes seconds; a busy host ten times that.
const PATIENCE: Duration = Duration::from_secs(300);

/// The program and a store.
#[derive(Debug)]
pub struct Vkernel {
    program: PathBuf,
    folder: tempfile::TempDir,
    patience: Duration,
    /// Everything that was run, for the case of failure.
    commands: RefCell<Vec<String>>,
    /// Something went wrong, though nobody panics.
    is_kept: Cell<bool>,
}

/// What is on stdin.
#[derive(Clone, Copy, Debug)]
pub enum Typing<'a> {
    /// Nothing, and nothing will come.
    Nothing,
    /// A file, read from its start.
    File(&'a [u8]),
    /// A pipe that holds this, and then ends.
    Pipe(&'a str),
    /// A pipe that stays open.
    Live,
}

/// A run that is over.
#[derive(Debug)]
pub struct Run {
    /// The command, as a shell would take it.
    pub command: String,
    /// The exit status; for a process ended by a signal, minus its number.
    pub status: i32,
    /// Its stdout: the guest's console.
    pub stdout: Vec<u8>,
    /// Its stderr: what vkernel says.
    pub stderr: String,
}

impl Vkernel {
    /// This program, with a new and empty store.
    ///
    /// # Panics
    /// If there is no place for it.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Vkernel {
        let folder = tempfile::Builder::new().prefix("vkernel-test-").tempdir().expect("a store");
        Vkernel {
            program: program.into(),
            folder,
            patience: PATIENCE,
            commands: RefCell::default(),
            is_kept: Cell::default(),
        }
    }

    /// The same, with other patience.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Vkernel {
        self.patience = patience;
        self
    }

    /// A file of this name beside the store.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has the recordings kept and the commands printed in the end, as if the test had panicked.
    pub fn keep_recordings(&self) {
        self.is_kept.set(true);
    }

    /// Runs with nothing on stdin.
    #[must_use]
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Run {
        self.start(arguments, Typing::Nothing).finish()
    }

    /// Runs with something on stdin.
    #[must_use]
    pub fn run_with<S: AsRef<OsStr>>(&self, arguments: &[S], typing: Typing<'_>) -> Run {
        self.start(arguments, typing).finish()
    }

    /// Runs with somebody at the keyboard, who stays there.
    #[must_use]
    pub fn run_with_steps<S: AsRef<OsStr>>(&self, arguments: &[S], steps: &[Step<'_>]) -> Run {
        let mut session = self.start(arguments, Typing::Live);
        session.follow(steps);
        session.finish()
    }

    /// Starts with nothing on stdin and this niceness.
    #[must_use]
    pub fn start_nice<S: AsRef<OsStr>>(&self, arguments: &[S], niceness: u8) -> Session {
        let mut command = Command::new("nice");
        command.args(["-n", &niceness.to_string()]).arg(&self.program).stdin(Stdio::null());
        command.args(arguments.iter().map(AsRef::as_ref));
        self.launch(command, self.words(arguments))
    }

    /// Starts in the foreground of a terminal of its own (`slave` is its end), but with nothing
    /// on stdin: then the terminal's ^C is SIGINT.
    #[must_use]
    pub fn start_below_terminal<S: AsRef<OsStr>>(&self, arguments: &[S], slave: File) -> Session {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "sh", "-c", "exec \"$@\" </dev/null", "sh"]).arg(&self.program);
        command.args(arguments.iter().map(AsRef::as_ref)).stdin(slave);
        self.launch(command, self.words(arguments))
    }

    /// Starts.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S], typing: Typing<'_>) -> Session {
        let mut command = Command::new(&self.program);
        command.args(arguments.iter().map(AsRef::as_ref));
        let mut words = self.words(arguments);
        match typing {
            Typing::Nothing => {
                command.stdin(Stdio::null());
                words.push_str(" </dev/null");
            }
            Typing::File(script) => {
                let path = self.file("stdin");
                fs::write(&path, script).expect("a script written");
                command.stdin(File::open(&path).expect("the script again"));
                words.push_str(&format!(" <{}", path.display()));
            }
            Typing::Pipe(script) => {
                command.stdin(Stdio::piped());
                words = format!("printf %s {} | {words}", quoted(script));
            }
            Typing::Live => {
                command.stdin(Stdio::piped());
            }
        }
        let mut session = self.launch(command, words);
        if let Typing::Pipe(script) = typing {
            session.type_in(script);
            session.stdin = None;
        }
        session
    }

    fn words<S: AsRef<OsStr>>(&self, arguments: &[S]) -> String {
        let mut words = format!("VKERNEL_DIR={} {}", self.folder.path().display(), self.program.display());
        for argument in arguments {
            words.push(' ');
            words.push_str(&quoted(&argument.as_ref().to_string_lossy()));
        }
        words
    }

    fn launch(&self, mut command: Command, words: String) -> Session {
        self.commands.borrow_mut().push(words.clone());
        command.env("VKERNEL_DIR", self.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{words}: {error}"));
        Session {
            stdin: child.stdin.take(),
            stdout: Some(Collected::from(child.stdout.take().expect("a pipe"))),
            stderr: Some(Collected::from(child.stderr.take().expect("a pipe"))),
            child,
            words,
            deadline: Instant::now() + self.patience,
        }
    }
}

impl Drop for Vkernel {
    fn drop(&mut self) {
        if std::thread::panicking() || self.is_kept.get() {
            self.folder.disable_cleanup(true);
            eprintln!("the recordings are kept; this reproduces it:");
            self.commands.borrow().iter().for_each(|command| eprintln!("    {command}"));
        }
    }
}

/// A run that is not over. It is ended when dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Collected>,
    stderr: Option<Collected>,
    words: String,
    deadline: Instant,
}

impl Session {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a process id"))
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process cannot be signalled.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("a process of ours");
    }

    /// Waits until vkernel says this on stderr, after what was waited for before.
    pub fn wait_to_be_told(&mut self, text: &str) {
        let left = self.patience();
        if !self.stderr.as_mut().expect("a run that is not over").wait_for(text, left) {
            self.fail(&format!("vkernel never said {text:?}"));
        }
    }

    /// The same; gives the rest of the line that says it.
    #[must_use]
    pub fn wait_for_rest_of_line(&mut self, text: &str) -> String {
        let left = self.patience();
        let stderr = self.stderr.as_mut().expect("a run that is not over");
        match stderr.wait_for_rest_of_line(text, left) {
            Some(rest) => rest,
            None => self.fail(&format!("vkernel never said {text:?}")),
        }
    }

    /// What vkernel has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        let bytes = self.stderr.as_ref().map(Collected::so_far).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The most memory that it had at one time, in bytes; `None` once it has ended.
    #[must_use]
    pub fn peak_rss_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
    }

    /// Waits until the guest's console shows this, after what was waited for before.
    pub fn wait_for(&mut self, text: &str) {
        let left = self.patience();
        if !self.stdout.as_mut().expect("a run that is not over").wait_for(text, left) {
            self.fail(&format!("the console never showed {text:?}"));
        }
    }

    /// Types each step when its prompt has come.
    pub fn follow(&mut self, steps: &[Step<'_>]) {
        for step in steps {
            self.wait_for(step.prompt);
            self.type_in(step.typed);
        }
    }

    /// Types on the console.
    ///
    /// # Panics
    /// If stdin is not live.
    pub fn type_in(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("a live stdin");
        if let Err(error) = stdin.write_all(text.as_bytes()) {
            self.fail(&format!("{text:?} cannot be typed: {error}"));
        }
    }

    /// Whether it is over.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Waits for the end. stdin stays open until then.
    #[must_use]
    pub fn finish(mut self) -> Run {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            self.expect_patience();
            std::thread::sleep(Duration::from_millis(10));
        };
        Run {
            command: self.words.clone(),
            status: number(status),
            stdout: self.stdout.take().map(Collected::whole).unwrap_or_default(),
            stderr: String::from_utf8_lossy(&self.stderr.take().map(Collected::whole).unwrap_or_default())
                .into_owned(),
        }
    }

    /// Panics with everything that helps once it has taken too long.
    pub fn expect_patience(&mut self) {
        if self.patience().is_zero() {
            self.fail("it does not end");
        }
    }

    fn patience(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn fail(&mut self, reason: &str) -> ! {
        let text = |stream: &Option<Collected>| {
            let bytes = stream.as_ref().map(Collected::so_far).unwrap_or_default();
            last_lines(&String::from_utf8_lossy(&bytes))
        };
        panic!("{reason}\n{}\n{}\n{}", self.words, text(&self.stdout), text(&self.stderr));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Run {
    /// The console as text.
    #[must_use]
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Panics with everything that helps unless the exit status is this.
    #[track_caller]
    pub fn expect_status(&self, status: i32) {
        assert!(self.status == status, "exit status {} instead of {status}: {self}", self.status);
    }

    /// Panics with everything that helps unless the console shows this.
    #[track_caller]
    pub fn expect_console(&self, text: &str) {
        assert!(self.console().contains(text), "the console never showed {text:?}: {self}");
    }

    /// Panics with everything that helps unless vkernel said this.
    #[track_caller]
    pub fn expect_said(&self, text: &str) {
        assert!(self.stderr.contains(text), "vkernel never said {text:?}: {self}");
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\n{}", self.command, last_lines(&self.console()), self.stderr)
    }
}

/// The digest that `trace info` prints.
///
/// # Panics
/// If it prints none.
#[must_use]
pub fn reported_digest(info: &Run) -> String {
    reported(info, "digest")
}

/// The last place that `trace info` prints, as its instruction count.
///
/// # Panics
/// If it prints none.
#[must_use]
pub fn reported_icount(info: &Run) -> u64 {
    let place = reported(info, "last place");
    let digits: String = place.chars().skip(1).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{place} is no place: {info}"))
}

/// What `trace info` prints behind `name`.
///
/// # Panics
/// If it prints no such line.
#[must_use]
pub fn reported(info: &Run, name: &str) -> String {
    let text = info.console();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap_or_else(|| panic!("no {name}: {info}")).trim().to_owned()
}

fn number(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// As a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
