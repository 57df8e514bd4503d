//! A host that is never quiet: busy processes, and a process that is stopped and continued at random moments.

use harness::{Dice, Run, Session};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

/// Processes that never rest. They end when this is dropped.
pub struct Load(Vec<Child>);

impl Load {
    /// Starts `processes` of them.
    ///
    /// # Panics
    /// If there is no shell.
    pub fn start(processes: usize) -> Load {
        let busy = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            shell.spawn().expect("a shell")
        };
        Load((0..processes).map(|_| busy()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have been ended by somebody else.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Stops and continues one process until it is told that the process is over.
pub struct Disturber {
    /// Held while a signal is sent, and while the process is reaped: a number that was reaped may be another's.
    is_over: Arc<Mutex<bool>>,
    thread: JoinHandle<u32>,
}

impl Disturber {
    /// Begins with `pid`.
    pub fn start(pid: Pid, mut dice: Dice) -> Disturber {
        let is_over = Arc::new(Mutex::new(false));
        let shared = Arc::clone(&is_over);
        let thread = spawn(move || {
            let mut stops = 0;
            loop {
                for (signal, longest_ms) in [(Signal::SIGCONT, 200), (Signal::SIGSTOP, 60)] {
                    let is_over = shared.lock().expect("nobody panics while holding it");
                    if *is_over {
                        return stops;
                    }
                    kill(pid, signal).expect("a process that is not reaped");
                    drop(is_over);
                    stops += u32::from(signal == Signal::SIGSTOP);
                    sleep(Duration::from_millis(1 + dice.below(longest_ms)));
                }
            }
        });
        Disturber { is_over, thread }
    }

    /// Waits for the end of the process; gives its run, and how often it was stopped.
    ///
    /// # Panics
    /// If it does not end, or could not be signalled.
    pub fn finish(self, mut session: Session) -> (Run, u32) {
        loop {
            let mut is_over = self.is_over.lock().expect("nobody panics while holding it");
            *is_over = session.is_over();
            if *is_over {
                break;
            }
            drop(is_over);
            session.expect_patience();
            sleep(Duration::from_millis(10));
        }
        (session.finish(), self.thread.join().expect("signals that arrive"))
    }
}
