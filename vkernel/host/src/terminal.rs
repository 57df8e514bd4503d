//! The terminal on stdin as the guest's console: raw mode, its size, and its restoration (termios(3)).
//!
//! The guest gets every key except one: signals stay on, but only VQUIT is live, with whatever key the user's
//! `stty quit` gave it; ^C and ^Z go to the guest. Output processing stays as it was, so that NL becomes CRNL.
//! What the terminal was like before hangs on a static pointer, because the places that must put it back are
//! a panic hook, an exit handler and signal handlers. Only SIGKILL and SIGSTOP cannot be helped: a shell with
//! job control puts its terminal right after those itself, else `stty sane` does.
//!
//! A process in the background must not touch the terminal; it would be stopped. So a machine that is sent to
//! the background runs on without input, and takes the terminal again when it is back in the foreground.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A terminal in raw mode, and how it was before.
struct Entered {
    fd: RawFd,
    original: libc::termios,
}

/// The terminal that is to be put back, or null. What it points to is never freed, because a signal handler
/// on another thread may be reading it; that costs 64 bytes for each time the process is continued.
static ENTERED: AtomicPtr<Entered> = AtomicPtr::new(ptr::null_mut());

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
}

impl Terminal {
    /// Takes a terminal over. In the background it is left alone until [`Terminal::take_over`] finds itself
    /// in the foreground.
    pub(crate) fn open(fd: OwnedFd) -> io::Result<Terminal> {
        restore_at_the_end();
        let terminal = Terminal { fd };
        terminal.take_over()?;
        Ok(terminal)
    }

    /// Enters raw mode if this process is in the foreground, again if something else changed the modes.
    pub(crate) fn take_over(&self) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        if !is_foreground(fd) {
            return Ok(());
        }
        let mut entered = ENTERED.load(Ordering::Acquire);
        if entered.is_null() {
            let original = attributes(fd)?;
            entered = Box::into_raw(Box::new(Entered { fd, original }));
            ENTERED.store(entered, Ordering::Release);
        }
        // SAFETY: the pointer came from Box::into_raw, here or in an earlier call, and is never freed.
        let original = unsafe { (*entered).original };
        set_attributes(fd, &raw_mode(original))?;
        if ENTERED.load(Ordering::Acquire) != entered {
            // A signal came between and restored the terminal: it must stay so.
            set_attributes(fd, &original)?;
        }
        Ok(())
    }

    /// Whether the terminal is in raw mode, and so the guest's.
    pub(crate) fn is_taken(&self) -> bool {
        !ENTERED.load(Ordering::Acquire).is_null()
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
    let entered = ENTERED.load(Ordering::Acquire);
    if entered.is_null() {
        return;
    }
    // SAFETY: the pointer came from Box::into_raw and what it points to is never freed or changed.
    let terminal = unsafe { &*entered };
    if is_foreground(terminal.fd) {
        // There is nobody left to tell: a terminal that hung up needs no restoring.
        let _ = set_attributes(terminal.fd, &terminal.original);
    }
    // Another thread may have done the same; only the one that entered this terminal is to be forgotten.
    let _ = ENTERED.compare_exchange(entered, ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire);
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
    restore();
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
fn raw_mode(original: libc::termios) -> libc::termios {
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
    let quit = original.c_cc[libc::VQUIT];
    raw.c_cc = [libc::_POSIX_VDISABLE; libc::NCCS];
    raw.c_cc[libc::VQUIT] = quit;
    raw.c_cc[libc::VMIN] = 1;
    raw.c_cc[libc::VTIME] = 0;
    raw
}
