//! The process under test: this test binary again, running only [`child`]. It logs what arrives on stderr and
//! obeys single letters (or two) typed at its console.

use super::session::{ROLE, TERMINAL};
use crate::{Host, HostOptions};
use boundary::{Arrival, Input, Output, World};
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// More than any pipe holds.
pub(super) fn flood() -> Vec<u8> {
    (0..1_u32 << 18).flat_map(|index| index.to_le_bytes()).collect()
}

#[test]
#[ignore = "is started by the other tests"]
fn child() {
    if let Some(path) = std::env::var_os(TERMINAL) {
        // The first terminal that a new session opens becomes the one that controls it.
        nix::unistd::setsid().unwrap();
        OpenOptions::new().read(true).write(true).open(path).unwrap();
    }
    match std::env::var(ROLE).as_deref() {
        Ok("console") => console(true, b""),
        Ok("console-with-end") => console(true, b"\x04"),
        Ok("hurried") => console(true, b""),
        Ok("replay") => console(false, b"\x04"),
        Ok("shell") => shell(),
        // Somebody runs the ignored tests, too.
        _ => {}
    }
}

fn console(inputs: bool, at_end: &[u8]) {
    let interrupt = Arc::new(AtomicBool::new(false));
    let options = HostOptions {
        inputs,
        at_end_of_input: at_end.to_vec(),
        interrupt: Some(Arc::clone(&interrupt)),
        shutdown_grace: match std::env::var(ROLE).as_deref() {
            Ok("hurried") => Duration::from_millis(200),
            _ => HostOptions::default().shutdown_grace,
        },
        ..HostOptions::default()
    };
    let mut host = match Host::open(options) {
        Ok(host) => host,
        Err(error) => return eprintln!("{error}"),
    };
    eprintln!("open live={} terminal={}", host.is_live(), host.has_terminal());
    let mut poll = 0;
    let mut is_over = false;
    while !is_over {
        let was_live = host.is_live();
        let arrivals = host.arrivals(Duration::from_secs(60));
        for arrival in &arrivals {
            match arrival {
                Arrival::Input(input) => eprintln!("poll {poll}: {input:?}"),
                other => eprintln!("poll {poll}: {other:?}"),
            }
        }
        for arrival in arrivals {
            match arrival {
                Arrival::Stop { .. } | Arrival::Trouble { .. } => is_over = true,
                Arrival::Input(Input::Console(bytes)) if bytes.len() < 3 => {
                    is_over |= bytes.into_iter().any(|command| obey(command, &mut host, &interrupt));
                }
                _ => {}
            }
        }
        poll += usize::from(poll == 0);
        if was_live && !host.is_live() {
            eprintln!("live=false");
        }
    }
}

/// Does what a letter says; true if the run is over.
fn obey(command: u8, host: &mut Host, interrupt: &AtomicBool) -> bool {
    match command {
        b'q' => return true,
        b'x' => std::process::exit(3),
        b'p' => panic!("asked for"),
        b'a' => std::process::abort(),
        b'o' => eprintln!("{}", overflow(1)),
        b'l' => host.emit(&Output::Console(b"line\n".to_vec())),
        b'f' => {
            eprintln!("flooding");
            host.emit(&Output::Console(flood()));
            eprintln!("flooded");
        }
        b'i' => {
            eprintln!("running");
            while !interrupt.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            eprintln!("interrupted");
        }
        b's' => {
            eprintln!("sleeping");
            std::thread::sleep(Duration::from_secs(60));
        }
        _ => {}
    }
    false
}

/// Uses up the stack.
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if frame[0] == u64::MAX {
        return 0;
    }
    overflow(depth + 1) + frame[depth as usize % 64]
}

/// A shell that starts a machine in the background and brings it to the foreground on a newline.
fn shell() {
    let mut machine = Command::new(std::env::current_exe().unwrap())
        .args(super::session::CHILD_ARGUMENTS)
        .env(ROLE, "console")
        .env_remove(TERMINAL)
        .process_group(0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let group = nix::unistd::Pid::from_raw(machine.id() as i32);
    nix::unistd::tcsetpgrp(std::io::stdin(), group).unwrap();
    eprintln!("in the foreground");
    machine.wait().unwrap();
}
