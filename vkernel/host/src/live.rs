//! [`Host`]: the live end of a timeline, made of stdin, stdout, signals and clocks.
//!
//! Signals, as in vkernel(7): SIGTERM presses the guest's power button the first time and ends the run the
//! second time, or when the guest has not shut down after a while; SIGINT and SIGHUP end it; SIGQUIT (`^\` at the terminal) asks for a report; SIGWINCH is a new
//! window size. While a debugger has the terminal, ^C and `^\` are its own. Left out: networks and disks.

use crate::clock::Clock;
use crate::console::{ConsoleInput, ConsoleOutput, OutputEnded};
use crate::error::HostError;
use crate::signal::{Counts, Signals, take_asked};
use crate::terminal::{Terminal, WindowSize};
use boundary::{Arrival, Input, Output, World};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a machine in the background looks whether it is in the foreground again.
const BACKGROUND_POLL: Duration = Duration::from_millis(100);

/// How a [`Host`] behaves.
pub struct HostOptions {
    /// Whether the outside may change the machine: console input, window sizes, the power button. Off for a
    /// replay, where stdin and the terminal are left alone and SIGTERM ends the run the first time.
    pub inputs: bool,
    /// The control character that raises SIGQUIT, if it is not the terminal's own.
    pub quit_character: Option<u8>,
    /// Typed to the guest when stdin ends. Empty for nothing: most guests are better left alone.
    pub at_end_of_input: Vec<u8>,
    /// Raised by every signal, from within its handler, so that a running machine comes back at once. It is
    /// the driver's to lower. It lives as long as the process.
    pub interrupt: Option<Arc<AtomicBool>>,
    /// How long a guest may take to shut down when SIGTERM asked it to. A guest that does not listen to its power
    /// button must not outlive `timeout`.
    pub shutdown_grace: Duration,
    /// Told what the program says to the person in front of it. By default that goes to stderr.
    pub message: Box<dyn FnMut(&str) + Send>,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        let message = |text: &str| {
            // A closed stderr is no reason to end a run.
            let _ = writeln!(io::stderr(), "vkernel: {text}");
        };
        HostOptions {
            inputs: true,
            quit_character: None,
            at_end_of_input: Vec::new(),
            interrupt: None,
            shutdown_grace: Duration::from_secs(10),
            message: Box::new(message),
        }
    }
}

/// The process's terminal, signals and clocks as the outside of one machine. Dropping it gives them back.
pub struct Host {
    // Dropped in this order: the terminal is restored before signals kill again.
    input: ConsoleInput,
    output: ConsoleOutput,
    signals: Signals,
    clock: Clock,
    inputs: bool,
    interrupt: Option<Arc<AtomicBool>>,
    /// To be typed yet when stdin ends.
    at_end_of_input: Vec<u8>,
    message: Box<dyn FnMut(&str) + Send>,
    /// The last size that was reported.
    window_size: Option<WindowSize>,
    /// When SIGTERM pressed the power button: from then on the guest has `shutdown_grace`.
    power_button_pressed_ns: Option<u64>,
    shutdown_grace: Duration,
    /// Known already, for the next call: the first window size, and that output failed.
    ready: Vec<Arrival>,
    next_foreground_check_ns: u64,
}

impl Host {
    /// Takes over the signals of the process and, unless inputs are off, stdin. One at a time can be open.
    ///
    /// # Errors
    ///
    /// If another is open, or the host refuses the terminal, stdin or signal handlers.
    pub fn open(options: HostOptions) -> Result<Host, HostError> {
        let signals = Signals::open(options.interrupt.clone())?;
        let output = ConsoleOutput::open(io::stdout().as_fd())?;
        let input = if options.inputs {
            ConsoleInput::open(io::stdin().as_fd(), options.quit_character)?
        } else {
            ConsoleInput::none()
        };
        let mut host = Host {
            input,
            output,
            signals,
            clock: Clock::new(),
            inputs: options.inputs,
            interrupt: options.interrupt,
            at_end_of_input: options.at_end_of_input,
            message: options.message,
            window_size: None,
            power_button_pressed_ns: None,
            shutdown_grace: options.shutdown_grace,
            ready: Vec::new(),
            next_foreground_check_ns: 0,
        };
        host.ready = host.new_window_size().into_iter().collect();
        Ok(host)
    }

    /// Whether the console is a terminal, so that somebody can press `^\`.
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        self.input.terminal().is_some()
    }

    /// Everything that is known without asking the system.
    fn collect(&mut self, arrivals: &mut Vec<Arrival>) {
        arrivals.append(&mut self.ready);
        if let Some(counts) = self.signals.take() {
            self.signalled(&counts, arrivals);
        }
        if self.shutdown_grace_left().is_some_and(|left| left.is_zero()) {
            arrivals.push(stop(libc::SIGTERM, "SIGTERM, and the guest did not shut down"));
        }
        arrivals.extend(self.input.take().into_iter().map(|bytes| Arrival::Input(Input::Console(bytes))));
        if self.inputs && !self.input.is_live() && !self.at_end_of_input.is_empty() {
            let bytes = std::mem::take(&mut self.at_end_of_input);
            arrivals.push(Arrival::Input(Input::Console(bytes)));
        }
    }

    fn signalled(&mut self, counts: &Counts, arrivals: &mut Vec<Arrival>) {
        if counts.of(libc::SIGCONT) > 0 {
            self.take_terminal_over();
        }
        if counts.of(libc::SIGCONT) + counts.of(libc::SIGWINCH) > 0 {
            arrivals.extend(self.new_window_size());
        }
        if counts.of(libc::SIGQUIT) > 0 {
            arrivals.push(Arrival::Report);
        }
        if counts.of(libc::SIGTERM) > 0 && self.may_press_power_button() {
            self.power_button_pressed_ns = Some(self.clock.monotonic_ns());
            (self.message)(&format!(
                "caught SIGTERM: the guest is asked to shut down within {} s; another one ends it at once",
                self.shutdown_grace.as_secs_f32()
            ));
            arrivals.push(Arrival::Input(Input::PowerButton));
            arrivals.extend((counts.of(libc::SIGTERM) > 1).then(|| stop(libc::SIGTERM, "SIGTERM")));
        } else if counts.of(libc::SIGTERM) > 0 {
            arrivals.push(stop(libc::SIGTERM, "SIGTERM"));
        }
        for (signal, name) in [(libc::SIGINT, "SIGINT"), (libc::SIGHUP, "SIGHUP")] {
            arrivals.extend((counts.of(signal) > 0).then(|| stop(signal, name)));
        }
    }

    /// How long the guest may still take to shut down, if SIGTERM asked it to.
    fn shutdown_grace_left(&self) -> Option<Duration> {
        let pressed_ns = self.power_button_pressed_ns?;
        let passed_ns = self.clock.monotonic_ns().saturating_sub(pressed_ns);
        Some(self.shutdown_grace.saturating_sub(Duration::from_nanos(passed_ns)))
    }

    fn may_press_power_button(&self) -> bool {
        self.inputs && self.power_button_pressed_ns.is_none()
    }

    /// The window size if it is not the one reported last.
    fn new_window_size(&mut self) -> Option<Arrival> {
        let size = self.input.terminal().and_then(Terminal::size)?;
        let WindowSize { columns, rows } = size;
        (self.window_size.replace(size) != Some(size))
            .then_some(Arrival::Input(Input::WindowSize { columns, rows }))
    }

    fn take_terminal_over(&mut self) {
        let Some(Err(error)) = self.input.terminal().map(Terminal::take_over) else { return };
        (self.message)(&format!("the terminal on stdin cannot be taken over: {error}"));
    }

    /// Waits for input or a signal, and reads the input.
    fn wait(&mut self, wait: Duration) {
        let mut wait = wait;
        if self.input.terminal().is_some_and(|terminal| !terminal.is_taken()) {
            wait = wait.min(BACKGROUND_POLL);
            self.check_foreground();
        }
        let console = self.input.pollable();
        if wait.is_zero() && console.is_none() {
            return;
        }
        let wake = self.signals.wake();
        let mut sources = [wake, console.unwrap_or(wake)].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let sources = &mut sources[..1 + usize::from(console.is_some())];
        if ppoll(sources, Some(TimeSpec::from_duration(wait)), None).is_err() {
            // EINTR: a signal came, which is looked at next.
            return;
        }
        let [is_signalled, is_console_ready] =
            [0, 1].map(|index| sources.get(index).and_then(PollFd::any) == Some(true));
        if is_signalled {
            self.signals.quiet();
        }
        if is_console_ready {
            self.input.receive();
        }
    }

    fn check_foreground(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        if now_ns >= self.next_foreground_check_ns {
            self.next_foreground_check_ns = now_ns.saturating_add(BACKGROUND_POLL.as_nanos() as u64);
            self.take_terminal_over();
        }
    }
}

/// The end of a run, by a signal.
fn stop(signal: i32, reason: &str) -> Arrival {
    Arrival::Stop { signal: signal as u8, reason: reason.to_owned() }
}

impl World for Host {
    fn notice(&mut self, message: &str) {
        (self.message)(message);
    }

    fn arrivals(&mut self, wait: Duration) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        self.collect(&mut arrivals);
        let wait = self.shutdown_grace_left().map_or(wait, |left| left.min(wait));
        self.wait(if arrivals.is_empty() { wait } else { Duration::ZERO });
        self.collect(&mut arrivals);
        if take_asked() {
            arrivals.push(Arrival::Report);
        }
        arrivals
    }

    fn stand_still(&mut self, stands: bool) {
        if stands {
            crate::terminal::restore_and_hold();
            return;
        }
        crate::terminal::release();
        self.take_terminal_over();
        // ^C and ^\ in the meantime were for the debugger.
        let mut arrivals = Vec::new();
        self.collect(&mut arrivals);
        let is_for_debugger = |arrival: &Arrival| match arrival {
            Arrival::Report => true,
            Arrival::Stop { signal, .. } => i32::from(*signal) == libc::SIGINT,
            _ => false,
        };
        self.ready.extend(arrivals.into_iter().filter(|arrival| !is_for_debugger(arrival)));
    }

    fn emit(&mut self, output: &Output) {
        match output {
            Output::Console(bytes) => {
                let terminations_that_stop = if self.may_press_power_button() { 2 } else { 1 };
                let signals = &self.signals;
                let give_up = || {
                    let counts = signals.peek();
                    counts.of(libc::SIGINT) + counts.of(libc::SIGHUP) > 0
                        || counts.of(libc::SIGTERM) >= terminations_that_stop
                };
                match self.output.write(bytes, signals, give_up) {
                    Ok(()) => return,
                    Err(OutputEnded::Closed) => self.ready.push(stop(libc::SIGPIPE, "stdout was closed")),
                    Err(OutputEnded::Failed(reason)) => self.ready.push(Arrival::Trouble { reason }),
                }
                // A replay does not look for arrivals until it is interrupted.
                if let Some(interrupt) = &self.interrupt {
                    interrupt.store(true, Ordering::Relaxed);
                }
            }
            // No cable is plugged in. A panic and POST codes are for the timeline and its report.
            Output::Frame { .. } | Output::Pvpanic(_) | Output::PostCode(_) => {}
        }
    }

    fn is_live(&self) -> bool {
        self.input.is_live()
    }

    fn monotonic_ns(&self) -> u64 {
        self.clock.monotonic_ns()
    }

    fn wall_clock_ns(&self) -> u64 {
        self.clock.wall_clock_ns()
    }
}
