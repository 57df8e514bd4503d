//! What stands around a process under test: its stdin and stdout, its log, and a pseudo-terminal.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{PipeWriter, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Environment variables that say what the child is, and which terminal is to control it.
pub(super) const ROLE: &str = "VKERNEL_HOST_TEST_ROLE";
pub(super) const TERMINAL: &str = "VKERNEL_HOST_TEST_TERMINAL";
pub(super) const CHILD_ARGUMENTS: [&str; 4] =
    ["--ignored", "--exact", "live_tests::child::child", "--nocapture"];

/// How long anything may take before a test fails; nothing should take a tenth of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A file with these contents, at its start.
pub(super) fn stdin_from(contents: &[u8]) -> Stdio {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(contents).unwrap();
    file.rewind().unwrap();
    file.into()
}

/// A process under test. It dies with the test.
pub(super) struct Session {
    child: Child,
    log: String,
    /// How much of the log was expected so far.
    read: usize,
}

impl Session {
    pub(super) fn start(role: &str, stdin: Stdio, stdout: Stdio) -> Session {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(CHILD_ARGUMENTS);
        // A group of its own below a parent in another one: job control works as under a shell.
        command.process_group(0);
        Session::spawn(command, role, stdin, stdout)
    }

    /// Starts any command that in the end runs this test binary.
    pub(super) fn spawn(mut command: Command, role: &str, stdin: Stdio, stdout: Stdio) -> Session {
        let command = command.env(ROLE, role).stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        Session { child: command.spawn().unwrap(), log: String::new(), read: 0 }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub(super) fn signal(&self, name: &str) {
        kill(self.pid(), format!("SIG{name}").parse::<Signal>().unwrap()).unwrap();
    }

    pub(super) fn take_stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Everything the process writes until it ends.
    pub(super) fn read_stdout(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        output
    }

    /// Waits until the log says this, after what was expected before.
    pub(super) fn expect(&mut self, text: &str) {
        self.expect_all(&[text]);
    }

    /// Waits until the log says all of these, in any order, after what was expected before.
    pub(super) fn expect_all(&mut self, texts: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = &self.log[self.read..];
            let ends: Option<Vec<usize>> =
                texts.iter().map(|text| Some(log.find(text)? + text.len())).collect();
            if let Some(end) = ends.and_then(|ends| ends.into_iter().max()) {
                self.read += end;
                return;
            }
            let stderr = self.child.stderr.as_mut().unwrap();
            let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(deadline - Instant::now()).unwrap();
            let ready = poll(&mut ready, timeout).unwrap();
            let mut bytes = vec![0; 65536];
            let length = if ready > 0 { stderr.read(&mut bytes).unwrap() } else { 0 };
            assert!(length > 0, "not all of {texts:?} behind byte {} of {:?}", self.read, self.log);
            self.log.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    /// Waits until the process ends.
    pub(super) fn end(&mut self) -> ExitStatus {
        wait_until("the end of the process", || self.child.try_wait().unwrap())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls for something that is not announced.
pub(super) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a pipe has no reader. Whoever drops the last one is not yet through with it: processes that other tests start at
/// that moment have it as well, from their fork to their exec.
pub(super) fn wait_until_nobody_reads(pipe: PipeWriter) {
    wait_until("a pipe without a reader", || {
        let mut events = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
        poll(&mut events, PollTimeout::ZERO).unwrap();
        events[0].any().unwrap().then_some(())
    });
}

/// A pseudo-terminal, seen from the side of its keyboard and screen.
pub(super) struct Pseudoterminal {
    pub(super) keyboard: File,
    pub(super) device: File,
    /// Its modes at the start.
    pub(super) original: Termios,
}

impl Pseudoterminal {
    /// Opens one of 80 by 24, after the user's changes to its modes.
    pub(super) fn open(stty: impl FnOnce(&mut Termios)) -> Pseudoterminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let mut modes = tcgetattr(&slave).unwrap();
        stty(&mut modes);
        tcsetattr(&slave, SetArg::TCSANOW, &modes).unwrap();
        let original = tcgetattr(&slave).unwrap();
        Pseudoterminal { keyboard: master.into(), device: slave.into(), original }
    }

    pub(super) fn stdio(&self) -> Stdio {
        self.device.try_clone().unwrap().into()
    }

    /// A process on this terminal, in a session that the terminal does not control.
    pub(super) fn start(&self, role: &str) -> Session {
        Session::start(role, self.stdio(), self.stdio())
    }

    /// A process that leads a session which this terminal controls, so that its keys send signals.
    pub(super) fn start_controlled(&self, role: &str) -> Session {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(CHILD_ARGUMENTS).env(TERMINAL, self.path());
        Session::spawn(command, role, self.stdio(), self.stdio())
    }

    pub(super) fn path(&self) -> PathBuf {
        nix::unistd::ttyname(&self.device).unwrap()
    }

    pub(super) fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    pub(super) fn modes(&self) -> Termios {
        tcgetattr(&self.device).unwrap()
    }

    pub(super) fn is_restored(&self) -> bool {
        self.modes() == self.original
    }

    /// What the screen shows next, up to and with this text.
    pub(super) fn shown_until(&mut self, text: &str) -> String {
        let mut shown = String::new();
        while !shown.contains(text) {
            let mut ready = [PollFd::new(self.keyboard.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(PATIENCE).unwrap();
            assert!(poll(&mut ready, timeout).unwrap() > 0, "no {text:?} after {shown:?}");
            let mut bytes = [0; 4096];
            let length = self.keyboard.read(&mut bytes).unwrap();
            shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        shown
    }
}
