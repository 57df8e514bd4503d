//! The terminal on stdin as the guest's console: raw mode, its size, and its restoration (termios(3)).
//!
//! The guest gets every key except one: signals stay on, but only VQUIT is live, with whatever key the user's
//! `stty quit` gave it; ^C and ^Z go to the guest. Output processing stays as it was, so that NL becomes CRNL.
//! What the terminal was like before is kept in a static, because the places that must put it back are a panic
//! hook, an exit handler and signal handlers, on any thread. Only SIGKILL and SIGSTOP cannot be helped: a shell
//! with job control puts its terminal right after those itself, else `stty sane` does.
//!
//! A process in the background must not touch the terminal; it would be stopped. So a machine that is sent to
//! the background runs on without input, and takes the terminal again when it is back in the foreground.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// A terminal in raw mode, and how it was before.
#[derive(Clone, Copy)]
struct Entered {
    fd: RawFd,
    original: libc::termios,
}

/// The terminal that is to be put back.
struct Shared {
    entered: Option<Entered>,
    /// The process ends or stops: nothing may enter raw mode any more.
    is_held: bool,
}

/// [`Shared`], behind a lock that signal handlers may take.
struct Lock {
    is_locked: AtomicBool,
    /// A copy of whether a terminal is entered, to be had without the lock.
    is_entered: AtomicBool,
    shared: UnsafeCell<Shared>,
}

static LOCK: Lock = Lock {
    is_locked: AtomicBool::new(false),
    is_entered: AtomicBool::new(false),
    shared: UnsafeCell::new(Shared { entered: None, is_held: false }),
};

// SAFETY: `shared` is reached through `with` only, which excludes other threads by the lock and signal handlers
// on this thread by blocking signals.
unsafe impl Sync for Lock {}

impl Lock {
    /// Runs something with the lock held. No signal handler runs on this thread meanwhile, so none can wait
    /// for itself; one on another thread waits for a few system calls. Async-signal-safe if `act` is.
    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset completes `all` before it is read, and pthread_sigmask `before`.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        }
        while self.is_locked.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: this thread holds the lock and lets no handler in, so the reference is the only one.
        let shared = unsafe { &mut *self.shared.get() };
        let result = act(shared);
        self.is_entered.store(shared.entered.is_some(), Ordering::Release);
        self.is_locked.store(false, Ordering::Release);
        // SAFETY: `before` was completed above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
        result
    }
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowSize {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

/// The terminal on stdin. Dropping it restores its modes.
#[derive(Debug)]
pub(crate) struct Terminal {
    fd: OwnedFd,
    /// What raises SIGQUIT, if not what the user's modes say.
    quit_character: Option<u8>,
}

impl Terminal {
    /// Takes a terminal over. In the background it is left alone until [`Terminal::take_over`] finds itself
    /// in the foreground.
    pub(crate) fn open(fd: OwnedFd, quit_character: Option<u8>) -> io::Result<Terminal> {
        restore_at_the_end();
        let terminal = Terminal { fd, quit_character };
        terminal.take_over()?;
        Ok(terminal)
    }

    /// Enters raw mode if this process is in the foreground, again if something else changed the modes.
    pub(crate) fn take_over(&self) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        LOCK.with(|shared| {
            if shared.is_held || !is_foreground(fd) {
                return Ok(());
            }
            let original = match shared.entered {
                Some(entered) => entered.original,
                None => attributes(fd)?,
            };
            shared.entered = Some(Entered { fd, original });
            set_attributes(fd, &raw_mode(original, self.quit_character))
        })
    }

    /// Whether the terminal is in raw mode, and so the guest's.
    pub(crate) fn is_taken(&self) -> bool {
        LOCK.is_entered.load(Ordering::Acquire)
    }

    /// The size, if the terminal knows it.
    pub(crate) fn size(&self) -> Option<WindowSize> {
        let mut size = MaybeUninit::<libc::winsize>::zeroed();
        // SAFETY: TIOCGWINSZ writes one winsize; all-zero bytes are a valid winsize if it does not.
        let size = unsafe {
            libc::ioctl(self.fd.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr());
            size.assume_init()
        };
        (size.ws_col != 0 && size.ws_row != 0)
            .then_some(WindowSize { columns: size.ws_col, rows: size.ws_row })
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was found, if it is in raw mode and still ours. Async-signal-safe.
pub(crate) fn restore() {
    LOCK.with(restore_locked);
}

/// The same, and nothing enters raw mode until [`release`]: the process is about to stop or to end.
pub(crate) fn restore_and_hold() {
    LOCK.with(|shared| {
        shared.is_held = true;
        restore_locked(shared);
    });
}

/// Lets raw mode be entered again. Async-signal-safe.
pub(crate) fn release() {
    LOCK.with(|shared| shared.is_held = false);
}

fn restore_locked(shared: &mut Shared) {
    if let Some(terminal) = shared.entered.take().filter(|terminal| is_foreground(terminal.fd)) {
        // There is nobody left to tell: a terminal that hung up needs no restoring.
        let _ = set_attributes(terminal.fd, &terminal.original);
    }
}

/// Sees to it that a panic (before its message is printed) and `exit` restore the terminal.
fn restore_at_the_end() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        // SAFETY: `restore_at_exit` is a function for the whole run that takes and returns nothing. A failure
        // means that there is no memory; ends other than `exit` still restore.
        unsafe { libc::atexit(restore_at_exit) };
    });
}

extern "C" fn restore_at_exit() {
    restore_and_hold();
}

/// Whether this process may use the terminal: it is in its foreground process group, or the terminal is not
/// the one that controls this process, so that there is no job control.
fn is_foreground(fd: RawFd) -> bool {
    // SAFETY: both calls take and return plain numbers and are async-signal-safe.
    let (foreground, own) = unsafe { (libc::tcgetpgrp(fd), libc::getpgrp()) };
    foreground == -1 || foreground == own
}

fn attributes(fd: RawFd) -> io::Result<libc::termios> {
    let mut attributes = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: tcgetattr writes one termios, completely if it succeeds.
    unsafe {
        if libc::tcgetattr(fd, attributes.as_mut_ptr()) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(attributes.assume_init())
    }
}

/// At once: waiting for output to drain could wait for ever, and output processing never changes.
fn set_attributes(fd: RawFd, attributes: &libc::termios) -> io::Result<()> {
    // SAFETY: the pointer is to a whole termios.
    match unsafe { libc::tcsetattr(fd, libc::TCSANOW, attributes) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The guest's modes, made from the user's.
fn raw_mode(original: libc::termios, quit_character: Option<u8>) -> libc::termios {
    let mut raw = original;
    raw.c_iflag &= !(libc::IGNBRK
        | libc::BRKINT
        | libc::PARMRK
        | libc::INPCK
        | libc::ISTRIP
        | libc::INLCR
        | libc::IGNCR
        | libc::ICRNL
        | libc::IXON
        | libc::IXOFF);
    raw.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::IEXTEN);
    // NOFLSH: ^\ must not throw away output that the terminal has not shown yet.
    raw.c_lflag |= libc::ISIG | libc::NOFLSH;
    raw.c_cflag = (raw.c_cflag & !(libc::CSIZE | libc::PARENB)) | libc::CS8;
    let quit = quit_character.unwrap_or(original.c_cc[libc::VQUIT]);
    raw.c_cc = [libc::_POSIX_VDISABLE; libc::NCCS];
    raw.c_cc[libc::VQUIT] = quit;
    raw.c_cc[libc::VMIN] = 1;
    raw.c_cc[libc::VTIME] = 0;
    raw
}
