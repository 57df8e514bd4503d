//! The console of a running program: what it printed so far, and typing that waits for a prompt, as a person does.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

/// One thing that a person at the console does.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What has to be printed first, after what the step before waited for.
    pub prompt: &'a str,
    /// What is typed then.
    pub typed: &'a str,
}

/// Collects everything a stream delivers, while others wait for some of it.
#[derive(Debug)]
pub(crate) struct Collected {
    state: Arc<(Mutex<State>, Condvar)>,
    reader: JoinHandle<()>,
    /// How much of it was waited for already.
    seen: usize,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    is_at_end: bool,
}

impl Collected {
    pub(crate) fn from(mut stream: impl Read + Send + 'static) -> Collected {
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        let reader = spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                // A stream that fails is one at its end: a pseudo-terminal ends so.
                let length = stream.read(&mut chunk).unwrap_or(0);
                let mut state = shared.0.lock().expect("no reader panics");
                state.bytes.extend_from_slice(&chunk[..length]);
                state.is_at_end = length == 0;
                shared.1.notify_all();
                if state.is_at_end {
                    return;
                }
            }
        });
        Collected { state, reader, seen: 0 }
    }

    /// Waits for `text`, after what was waited for before; false if the stream ends or the time is over first.
    pub(crate) fn wait_for(&mut self, text: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.state.0.lock().expect("no reader panics");
        loop {
            let unseen = &state.bytes[self.seen..];
            if let Some(at) = unseen.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen += at + text.len();
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.is_at_end || left.is_zero() {
                return false;
            }
            state = self.state.1.wait_timeout(state, left).expect("no reader panics").0;
        }
    }

    /// Waits for `text` as [`Collected::wait_for`] does, and for the end of its line; gives what is between.
    pub(crate) fn wait_for_rest_of_line(&mut self, text: &str, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        if !self.wait_for(text, patience) {
            return None;
        }
        let start = self.seen;
        let is_there = self.wait_for("\n", deadline.saturating_duration_since(Instant::now()));
        is_there.then(|| String::from_utf8_lossy(&self.so_far()[start..self.seen - 1]).into_owned())
    }

    /// What there is so far.
    pub(crate) fn so_far(&self) -> Vec<u8> {
        self.state.0.lock().expect("no reader panics").bytes.clone()
    }

    /// Everything, once the stream has ended.
    pub(crate) fn whole(self) -> Vec<u8> {
        self.reader.join().expect("no reader panics");
        std::mem::take(&mut self.state.0.lock().expect("no reader panics").bytes)
    }
}
