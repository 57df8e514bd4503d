//! Signals: which are caught, what their handlers may do, and how they reach the polling loop (signal(7)).
//!
//! A handler counts its signal, raises the machine's interrupt flag and writes to an eventfd that the host
//! polls; the rest happens in the open. Two kinds do more, because they cannot wait: a signal that ends or
//! stops the process first restores the terminal. Handlers use only system calls and atomics, and everything
//! they look at lives as long as the process.
//!
//! Ignored signals stay ignored (`nohup`), except SIGQUIT, which shells ignore for what they start with `&`
//! and which here only asks for a report. Left out: real-time signals, which nothing sends.

use crate::error::HostError;
use crate::terminal;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Signals that become arrivals, with their names.
const CAUGHT: [(i32, &str); 7] = [
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGWINCH, "SIGWINCH"),
    (libc::SIGCONT, "SIGCONT"),
    (libc::SIGTSTP, "SIGTSTP"),
];

/// Signals that end the process: it dies of them as it would have, but with the terminal restored.
const FATAL: [i32; 16] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGXCPU,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
];

/// So many requests to end that nobody looked at end the process from within the handler.
const PATIENCE: u32 = 3;
const SIGNALS: usize = 32;

static IS_OPEN: AtomicBool = AtomicBool::new(false);
/// Whether a count is not zero, so that looking for signals costs one load.
static ANY: AtomicBool = AtomicBool::new(false);
static COUNTS: [AtomicU32; SIGNALS] = [const { AtomicU32::new(0) }; SIGNALS];
static UNANSWERED: AtomicU32 = AtomicU32::new(0);
static WAKE_FD: AtomicI32 = AtomicI32::new(-1);
/// The flag to raise, or null. Never freed: a handler may be at it on another thread.
static INTERRUPT: AtomicPtr<AtomicBool> = AtomicPtr::new(ptr::null_mut());
static PREVIOUS: [Previous; SIGNALS] = [const { Previous(UnsafeCell::new(MaybeUninit::zeroed())) }; SIGNALS];

/// What was done about a signal before.
struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written only while IS_OPEN is being taken and before the signal's handler is installed; from then
// on until the handler is removed it is only read.
unsafe impl Sync for Previous {}

impl Previous {
    fn get(&self) -> *mut libc::sigaction {
        self.0.get().cast()
    }
}

/// The number of a signal that a stop names (`SIGTERM` is 15): such a run ends with status 128 plus it.
#[must_use]
pub fn number(name: &str) -> Option<i32> {
    CAUGHT.iter().find(|(_, caught)| *caught == name).map(|(signal, _)| *signal)
}

/// The signals of this process, caught until this is dropped.
#[derive(Debug)]
pub(crate) struct Signals {
    wake: &'static EventFd,
    installed: Vec<i32>,
}

impl Signals {
    /// Catches the signals of this process. Each raises `interrupt`.
    pub(crate) fn open(interrupt: Option<Arc<AtomicBool>>) -> Result<Signals, HostError> {
        let wake = wake()?;
        if IS_OPEN.swap(true, Ordering::AcqRel) {
            return Err(HostError::AlreadyOpen);
        }
        COUNTS.iter().chain([&UNANSWERED]).for_each(|count| count.store(0, Ordering::Relaxed));
        ANY.store(false, Ordering::Relaxed);
        let flag = interrupt.map_or(ptr::null_mut(), |flag| Arc::into_raw(flag).cast_mut());
        INTERRUPT.store(flag, Ordering::Release);
        WAKE_FD.store(wake.as_fd().as_raw_fd(), Ordering::Release);
        // From here on dropping it undoes what was done.
        let mut signals = Signals { wake, installed: Vec::new() };
        for (signal, _) in CAUGHT {
            signals.install(signal, caught as *const () as usize)?;
        }
        for signal in FATAL {
            signals.install(signal, fatal as *const () as usize)?;
        }
        // A trace that reaches `ulimit -f` is as a full disk: the write fails, the recording ends, the guest goes on.
        signals.install(libc::SIGXFSZ, libc::SIG_IGN)?;
        Ok(signals)
    }

    fn install(&mut self, signal: i32, handler: usize) -> Result<(), HostError> {
        let previous = PREVIOUS[signal as usize].get();
        let action = action(handler);
        // SAFETY: `previous` is a place for one sigaction that no handler reads yet; `action` is complete and
        // its handler is a function with the signature SA_SIGINFO asks for.
        let result = unsafe {
            let result = libc::sigaction(signal, ptr::null(), previous);
            let is_ignored = (*previous).sa_sigaction == libc::SIG_IGN;
            if result == 0 && is_ignored && signal != libc::SIGQUIT {
                return Ok(());
            }
            if result == 0 { libc::sigaction(signal, &action, ptr::null_mut()) } else { result }
        };
        if result == -1 {
            return Err(HostError::System { doing: "catch signals", source: io::Error::last_os_error() });
        }
        self.installed.push(signal);
        Ok(())
    }

    /// How often each signal came since the last call, if any did.
    pub(crate) fn take(&mut self) -> Option<Counts> {
        if !ANY.load(Ordering::Acquire) {
            return None;
        }
        self.quiet();
        ANY.store(false, Ordering::Release);
        UNANSWERED.store(0, Ordering::Relaxed);
        Some(Counts(COUNTS.each_ref().map(|count| count.swap(0, Ordering::AcqRel))))
    }

    /// How often each came, to be taken later.
    pub(crate) fn peek(&self) -> Counts {
        Counts(COUNTS.each_ref().map(|count| count.load(Ordering::Acquire)))
    }

    /// Becomes readable when a signal comes.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes [`Signals::wake`] unreadable until the next signal.
    pub(crate) fn quiet(&self) {
        // It does not block: an error says that there was nothing to read.
        let _ = self.wake.read();
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for signal in &self.installed {
            reinstate(*signal);
        }
        WAKE_FD.store(-1, Ordering::Release);
        INTERRUPT.store(ptr::null_mut(), Ordering::Release);
        IS_OPEN.store(false, Ordering::Release);
    }
}

/// Somebody other than a signal asks for the debugger.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Asks whoever drives the guest for the debugger, as SIGQUIT does; from any thread. Unlike a signal it is kept while the
/// guest stands still.
pub fn ask_for_debugger() {
    ASKED.store(true, Ordering::Release);
    wake_up();
}

/// Whether somebody has asked; not any more after this.
pub fn take_asked() -> bool {
    ASKED.swap(false, Ordering::AcqRel)
}

/// How often each signal came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts([u32; SIGNALS]);

impl Counts {
    pub(crate) fn of(&self, signal: i32) -> u32 {
        self.0[signal as usize]
    }
}

/// The one eventfd. It is never closed, so a late handler cannot write into another file.
fn wake() -> Result<&'static EventFd, HostError> {
    static WAKE: OnceLock<EventFd> = OnceLock::new();
    if let Some(wake) = WAKE.get() {
        return Ok(wake);
    }
    let made = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
        .map_err(|errno| HostError::System { doing: "make an eventfd", source: errno.into() })?;
    Ok(WAKE.get_or_init(|| made))
}

/// A handler's action: on the alternate stack, because a stack overflow is one of the ends, and restarting
/// system calls, because the rest of the process did not ask for signals. `SIG_IGN` is taken as it is.
///
/// One handler at a time: a process that was stopped gets all that came meanwhile at once, and the alternate stack
/// has room for two or three frames with the vector registers of a large processor in them. Faults are not held
/// back, for they cannot be.
fn action(handler: usize) -> libc::sigaction {
    // SAFETY: all-zero bytes are a valid sigaction with an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    for (signal, _) in CAUGHT {
        // SAFETY: the set is complete, and the signal's number is one of the system's.
        unsafe { libc::sigaddset(&mut action.sa_mask, signal) };
    }
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    action
}

/// Puts back what was done about a signal before. Async-signal-safe.
fn reinstate(signal: i32) {
    // SAFETY: called only for installed signals, whose previous action is complete.
    unsafe { libc::sigaction(signal, PREVIOUS[signal as usize].get(), ptr::null_mut()) };
}

extern "C" fn caught(signal: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: errno is this thread's own; the handler leaves it as it was.
    let errno = unsafe { *libc::__errno_location() };
    if signal == libc::SIGTSTP {
        stop();
        // In an orphaned process group nothing stops and no SIGCONT comes.
        count(libc::SIGCONT);
    } else if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGHUP)
        && UNANSWERED.fetch_add(1, Ordering::AcqRel) + 1 >= PATIENCE
    {
        terminal::restore_and_hold();
        reinstate(signal);
        // SAFETY: raise is async-signal-safe. The signal is blocked here and comes after the handler.
        unsafe { libc::raise(signal) };
        exit_if_init(signal);
    }
    count(signal);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Notes that a signal came and wakes whoever should know.
fn count(signal: i32) {
    COUNTS[signal as usize].fetch_add(1, Ordering::AcqRel);
    ANY.store(true, Ordering::Release);
    wake_up();
}

/// Raises the interrupt flag, and wakes the polling loop. Async-signal-safe.
fn wake_up() {
    let interrupt = INTERRUPT.load(Ordering::Acquire);
    if !interrupt.is_null() {
        // SAFETY: it came from Arc::into_raw and that reference is never given back.
        unsafe { (*interrupt).store(true, Ordering::Relaxed) };
    }
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the eventfd is never closed (or -1, an error), and the buffer is of the length given.
    unsafe { libc::write(WAKE_FD.load(Ordering::Acquire), one.as_ptr().cast(), one.len()) };
}

/// Stops the process as SIGTSTP would have, with the terminal restored. Returns when it is continued.
fn stop() {
    terminal::restore_and_hold();
    let mut stop_signal = MaybeUninit::<libc::sigset_t>::uninit();
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    reinstate(libc::SIGTSTP);
    // SAFETY: all these are async-signal-safe; sigemptyset and pthread_sigmask complete the sets before they
    // are read. The signal raised is blocked until pthread_sigmask lets it in, and stops the process there.
    unsafe {
        libc::sigemptyset(stop_signal.as_mut_ptr());
        libc::sigaddset(stop_signal.as_mut_ptr(), libc::SIGTSTP);
        libc::raise(libc::SIGTSTP);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, stop_signal.as_ptr(), mask.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), ptr::null_mut());
        libc::sigaction(libc::SIGTSTP, &action(caught as *const () as usize), ptr::null_mut());
    }
    terminal::release();
}

extern "C" fn fatal(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    terminal::restore_and_hold();
    // SAFETY: the kernel passes a complete siginfo_t.
    let code = unsafe { (*info).si_code };
    let is_fault = code > 0 && matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE);
    if is_fault {
        // It comes again by itself, with its address, when the instruction is repeated; the handler that was
        // there before knows a stack overflow when it sees one.
        reinstate(signal);
        return;
    }
    // SAFETY: both are async-signal-safe. The signal is blocked here and comes after the handler; the action is
    // the default one because that earlier handler takes a signal that was sent for a fault, and returns.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    exit_if_init(signal);
}

/// Process 1 of a container does not die of a signal whose action is the default one. Async-signal-safe.
fn exit_if_init(signal: i32) {
    // SAFETY: both are async-signal-safe.
    unsafe {
        if libc::getpid() == 1 {
            libc::_exit(128 + signal);
        }
    }
}
