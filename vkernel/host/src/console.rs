//! stdin and stdout as the guest's console: bytes in both directions, untouched.
//!
//! stdin may be a terminal, a pipe, a socket, a file, /dev/null or closed. A file is read whole at the start,
//! because a run that reads a file must be equal to the next; everything else is read as it comes. The end of
//! input does not end the guest. stdin's own flags are never changed: its open file is shared with the shell
//! and with whatever else has it.
//!
//! A stdout that takes nothing holds the machine up, as it does any program; only a signal ends that.

use crate::error::HostError;
use crate::signal::Signals;
use crate::terminal::Terminal;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most that one arrival carries.
pub(crate) const CHUNK_BYTES: usize = 4096;
/// The longest file that is taken as typing.
const FILE_LIMIT_BYTES: u64 = 64 << 20;

/// Where console input comes from.
#[derive(Debug)]
enum Source {
    Terminal(Terminal),
    /// A pipe, a socket, or a device that is no terminal.
    Stream(OwnedFd),
    /// A file that was read, /dev/null, or anything at its end.
    Ended,
}

/// The guest's keyboard.
#[derive(Debug)]
pub(crate) struct ConsoleInput {
    source: Source,
    /// Read already, for the next arrivals.
    ready: Vec<Vec<u8>>,
}

impl ConsoleInput {
    /// No input at all.
    pub(crate) fn none() -> ConsoleInput {
        ConsoleInput { source: Source::Ended, ready: Vec::new() }
    }

    /// Takes over what stdin is; puts a terminal into raw mode.
    pub(crate) fn open(stdin: BorrowedFd<'_>, quit_character: Option<u8>) -> Result<ConsoleInput, HostError> {
        let fail = |source| HostError::Stdin { source };
        let file = match stdin.try_clone_to_owned() {
            Ok(fd) => File::from(fd),
            // A closed stdin is one at its end.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Ok(ConsoleInput::none()),
            Err(source) => return Err(fail(source)),
        };
        let mut input = ConsoleInput::none();
        let kind = file.metadata().map_err(fail)?;
        if kind.is_dir() {
            return Err(fail(Errno::EISDIR.into()));
        }
        if kind.is_file() {
            input.ready = read_file(file)?;
        } else if io::IsTerminal::is_terminal(&file) {
            let terminal = Terminal::open(file.into(), quit_character)
                .map_err(|source| HostError::Terminal { source })?;
            input.source = Source::Terminal(terminal);
        } else {
            input.source = Source::Stream(file.into());
            // /dev/null and an empty pipe show their end now; else they would count as live.
            if is_readable(stdin).map_err(fail)? {
                input.receive();
            }
        }
        Ok(input)
    }

    /// What to poll for more, if more can come now.
    pub(crate) fn pollable(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Terminal(terminal) => terminal.is_taken().then(|| terminal.as_fd()),
            Source::Stream(fd) => Some(fd.as_fd()),
            Source::Ended => None,
        }
    }

    /// The terminal, if it is one.
    pub(crate) fn terminal(&self) -> Option<&Terminal> {
        match &self.source {
            Source::Terminal(terminal) => Some(terminal),
            Source::Stream(_) | Source::Ended => None,
        }
    }

    /// Reads what polling found to be there.
    pub(crate) fn receive(&mut self) {
        let Some(fd) = self.pollable() else { return };
        let mut bytes = vec![0; CHUNK_BYTES];
        match nix::unistd::read(fd, &mut bytes) {
            // Somebody else who reads the same stdin was faster.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // A terminal that hung up fails with EIO; whatever fails otherwise will not get better.
            Ok(0) | Err(_) => self.source = Source::Ended,
            Ok(length) => {
                bytes.truncate(length);
                self.ready.push(bytes);
            }
        }
    }

    /// What was read, in order, in pieces of at most [`CHUNK_BYTES`].
    pub(crate) fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.ready)
    }

    /// Whether more can come at a time that the world chooses.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.source, Source::Ended)
    }
}

fn read_file(file: File) -> Result<Vec<Vec<u8>>, HostError> {
    let mut bytes = Vec::new();
    match file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes) {
        // Opened for writing only: nothing can be typed.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Ok(Vec::new()),
        Err(source) => return Err(HostError::Stdin { source }),
        Ok(_) => {}
    }
    if bytes.len() as u64 > FILE_LIMIT_BYTES {
        return Err(HostError::StdinTooLong { limit_bytes: FILE_LIMIT_BYTES });
    }
    Ok(bytes.chunks(CHUNK_BYTES).map(<[u8]>::to_vec).collect())
}

fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO)? > 0)
}

/// Why there will be no more output.
#[derive(Debug)]
pub(crate) enum OutputEnded {
    /// Whoever read it has left, as `head` does.
    Closed,
    /// The host refused, for this reason.
    Failed(String),
}

/// The guest's screen.
#[derive(Debug)]
pub(crate) struct ConsoleOutput {
    /// `None` once it failed or was given up.
    fd: Option<OwnedFd>,
}

impl ConsoleOutput {
    pub(crate) fn open(stdout: BorrowedFd<'_>) -> Result<ConsoleOutput, HostError> {
        let fd = stdout
            .try_clone_to_owned()
            .map_err(|source| HostError::System { doing: "write to stdout", source })?;
        Ok(ConsoleOutput { fd: Some(fd) })
    }

    /// Writes everything, or says why there will be no more output. `give_up` is asked while stdout blocks.
    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        signals: &Signals,
        give_up: impl Fn() -> bool,
    ) -> Result<(), OutputEnded> {
        let mut rest = bytes;
        while let Some(fd) = self.fd.as_ref().filter(|_| !rest.is_empty()) {
            match write_some(fd.as_fd(), rest, signals) {
                Ok(length) => rest = &rest[length..],
                Err(Errno::EAGAIN | Errno::EINTR) if give_up() => self.fd = None,
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => {
                    self.fd = None;
                    return Err(match errno {
                        Errno::EPIPE => OutputEnded::Closed,
                        errno => OutputEnded::Failed(format!("stdout cannot be written: {}", errno.desc())),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Writes a piece that does not block once polling found room: a pipe with room takes this much at once, and a
/// terminal takes some of it. `EINTR` if a signal comes before there is room.
fn write_some(fd: BorrowedFd<'_>, bytes: &[u8], signals: &Signals) -> nix::Result<usize> {
    let mut ready = [PollFd::new(fd, PollFlags::POLLOUT), PollFd::new(signals.wake(), PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::NONE)?;
    if ready[0].any() == Some(true) {
        return nix::unistd::write(fd, &bytes[..bytes.len().min(CHUNK_BYTES)]);
    }
    // Only now: as long as there is room, a signal waits for the next poll that finds none.
    signals.quiet();
    Err(Errno::EINTR)
}
