//! `^\` on a real pseudo-terminal.

use super::with_a_race;
use crate::support::program::Sandbox;
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// `^\`
const ESCAPE: &str = "\x1c";
/// How long something may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program on a terminal of its own.
struct Session {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
    slave: OwnedFd,
    child: Child,
}

impl Session {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Session {
        Session::start_on("dumb", sandbox, arguments)
    }

    /// On a terminal of this kind: lines are edited on none that is dumb.
    fn start_on(terminal: &str, sandbox: &Sandbox, arguments: &[&str]) -> Session {
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("a pseudo-terminal");
        let end = || File::from(pair.slave.try_clone().expect("an end"));
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_vkernel")])
            .args(arguments)
            .env("VKERNEL_DIR", sandbox.store())
            .env("TERM", terminal)
            .stdin(Stdio::from(end()))
            .stdout(Stdio::from(end()))
            .stderr(Stdio::from(end()))
            .spawn()
            .expect("setsid is there");
        let keyboard = File::from(pair.master);
        let mut screen = keyboard.try_clone().expect("the other side");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Session { keyboard, screen: receiver, shown: String::new(), slave: pair.slave, child }
    }

    /// `^\\`, as soon as the terminal is the guest's: raw, but with that key alive. What is typed before, at the prompt,
    /// is not.
    fn escape(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let flags = tcgetattr(&self.slave).expect("modes").local_flags;
            if flags.contains(LocalFlags::ISIG) && !flags.contains(LocalFlags::ICANON) {
                return self.type_in(ESCAPE);
            }
            assert!(Instant::now() < deadline, "the guest does not go on: {:?}", self.shown);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("it takes what is typed");
    }

    /// Waits for a text behind what was waited for last, and gives what came before it.
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                let before = self.shown[..at].to_owned();
                self.shown.drain(..at + text.len());
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("`{text}` does not come; what came is {:?}", self.shown),
            }
        }
    }

    fn finish(mut self) -> i32 {
        self.child.wait().expect("a child").code().unwrap_or(-1)
    }
}

/// The digest at the end of the last recording, and its length in instructions.
fn end_of_latest(sandbox: &Sandbox) -> (String, String) {
    let ran = sandbox.run(["trace", "info", "--json", "latest"]);
    ran.expect(0, &[]);
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    (value["end"]["digest"].to_string(), value["end"]["place"].to_string())
}

#[test]
fn a_boot_that_was_entered_fifty_times_ends_as_one_that_never_was() {
    // The clock is virtual, so that nothing but the guest decides; the demonstration kernel needs no input. It runs for
    // longer than it is entered, to a limit.
    let mut arguments = ["boot", "--clock", "virtual", "--seed", "3", "-n", "2"].to_vec();
    arguments.extend(["--append", "fixed rounds=30000", "--limit", "600Mi", "demo:"]);
    let plain = Sandbox::new();
    let mut session = Session::start(&plain, &arguments);
    session.wait_for("recorded as");
    session.finish();

    let entered = Sandbox::new();
    let mut session = Session::start(&entered, &arguments);
    let before = tcgetattr(&session.slave).expect("modes");
    session.wait_for("demo: ");
    for entry in 1..=50 {
        session.escape();
        session.wait_for("Stopped at");
        session.wait_for("> ");
        match entry % 5 {
            0 => {
                session.type_in("rstep\r");
                session.wait_for("(past)> ");
                session.type_in("seek @50%\r");
                session.wait_for("(past)> ");
            }
            1 => {
                session.type_in("step\r");
                session.wait_for("Stopped at");
                session.wait_for("> ");
            }
            _ => {}
        }
        session.type_in("continue @+20000\r");
        session.wait_for("Stopped at");
        session.wait_for("> ");
        session.type_in("continue\r");
    }
    session.wait_for("recorded as");
    let after = tcgetattr(&session.slave).expect("modes");
    session.finish();
    assert_eq!(before.local_flags, after.local_flags, "the terminal is as before");
    assert_eq!(end_of_latest(&entered), end_of_latest(&plain));
    entered.run(["trace", "verify", "--full", "latest"]).expect(0, &[]);
}

#[test]
fn quit_asks_and_ends_the_guest_and_the_end_of_input_detaches() {
    let sandbox = Sandbox::new();
    let arguments = ["boot", "--clock", "virtual", "--seed", "3", "demo:"];
    let mut session = Session::start(&sandbox, &arguments);
    session.wait_for("demo: ");
    session.escape();
    session.wait_for("db{");
    session.type_in("quit\r");
    session.wait_for("(y or n)");
    session.type_in("n\r");
    session.wait_for("db{");
    // ^D on an empty line.
    session.type_in("\x04");
    session.escape();
    session.wait_for("Stopped at");
    session.wait_for("db{");
    session.type_in("quit\r");
    session.wait_for("(y or n)");
    session.type_in("y\r");
    session.wait_for("recorded as");
    let modes = tcgetattr(&session.slave).expect("modes");
    assert_eq!(session.finish(), 0);
    assert!(modes.local_flags.contains(LocalFlags::ICANON), "the terminal is as before");
    sandbox.run(["replay", "latest"]).expect(0, &[]);
}

#[test]
fn a_debugger_writes_only_where_it_may_and_what_it_wrote_replays() {
    let write = |options: &[&str]| {
        let sandbox = Sandbox::new();
        let mut arguments = vec!["boot", "--clock", "virtual", "-n", "1"];
        arguments.extend(options);
        arguments.push("demo:");
        let mut session = Session::start(&sandbox, &arguments);
        session.wait_for("demo: ");
        session.escape();
        session.wait_for("db> ");
        session.type_in("write shelves+20 12345678\r");
        let answer = session.wait_for("db> ");
        session.type_in("print {*(unsigned *)&shelves[0].weight}\r");
        let value = session.wait_for("db> ");
        session.type_in("quit\r");
        session.wait_for("(y or n)");
        session.type_in("y\r");
        session.wait_for("recorded as");
        session.finish();
        sandbox.run(["trace", "verify", "--full", "latest"]).expect(0, &[]);
        (answer, value)
    };
    let (answer, _) = write(&[]);
    assert!(answer.contains("boot it with -U"), "{answer}");
    let (answer, value) = write(&["-U"]);
    assert!(answer.contains("=       0x12345678"), "{answer}");
    assert!(value.contains(&0x1234_5678.to_string()), "{value}");
}

#[test]
fn a_tab_completes_and_an_arrow_brings_back_what_was_typed_also_in_another_session() {
    let sandbox = with_a_race();
    let mut session = Session::start_on("xterm", &sandbox, &["ddb", "latest-fail"]);
    session.wait_for("db{");
    // A command, a member, a member of a pointer, a variable of the frame, a symbol, a register. The line is drawn anew
    // when it was completed; what is typed behind that comes by itself.
    for (typed, line) in [
        ("pri\t {shelves[0].wei\t}\r", "print {shelves[0].weight"),
        ("p {shelves[1].books.next->ne\t}\r", "p {shelves[1].books.next->next"),
        ("p {forma\t}\r", "p {format"),
        ("x page_all\t\r", "x page_alloc"),
        ("p $rfl\t\r", "p $rflags"),
    ] {
        session.type_in(typed);
        session.wait_for(line);
        let answer = session.wait_for("db{");
        assert!(!answer.contains("no `") && !answer.contains("not found"), "{typed}: {answer}");
    }
    session.type_in("\x1b[A\x1b[A\x1b[A\r");
    session.wait_for("p {format}");
    session.wait_for("db{");
    session.type_in("quit\r");
    assert_eq!(session.finish(), 0);
    let mut session = Session::start_on("xterm", &sandbox, &["ddb", "latest-fail"]);
    session.wait_for("db{");
    session.type_in("\x1b[A\x1b[A\r");
    session.wait_for("p {format}");
    session.wait_for("db{");
    session.type_in("quit\r");
    assert_eq!(session.finish(), 0);
}
