//! What can go wrong between the program and its host.

use std::io;
use std::path::PathBuf;

/// Host trouble, said so that a person knows what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A second [`crate::Host`] was opened while the first lives.
    #[error("the console and the signals of this process already belong to another machine")]
    AlreadyOpen,
    /// The terminal on stdin refused its raw mode.
    #[error("cannot set up the terminal on stdin: {source}; redirect stdin (</dev/null) to run without one")]
    Terminal {
        /// What the system said.
        source: io::Error,
    },
    /// stdin is there but cannot be read.
    #[error("cannot read the console's input from stdin: {source}; redirect it (</dev/null) to run without")]
    Stdin {
        /// What the system said.
        source: io::Error,
    },
    /// stdin is a file that nobody can have meant as typing.
    #[error(
        "the file on stdin is longer than {limit_bytes} bytes, too long for typing at the console; \
         attach it as a disk (-R FILE)"
    )]
    StdinTooLong {
        /// The most that is accepted.
        limit_bytes: u64,
    },
    /// A file descriptor or a signal handler could not be had.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An image does not exist.
    #[error("{}: no such file{hint}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was perhaps meant; empty, or begins with `; `.
        hint: String,
    },
    /// An image's permissions forbid reading it.
    #[error("{}: permission denied{hint}", path.display())]
    Forbidden {
        /// The file.
        path: PathBuf,
        /// How to get at it; empty, or begins with `; `.
        hint: String,
    },
    /// An image is a directory or a device.
    #[error("{}: is {kind}, not an image file{hint}", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
        /// What was perhaps meant; empty, or begins with `; `.
        hint: &'static str,
    },
    /// An image holds nothing.
    #[error("{}: is empty; was it copied or built completely?", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// An image is larger than any that is loaded into memory.
    #[error("{}: is longer than {limit_bytes} bytes, the most that is loaded into memory; attach it as a disk (-r)", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is accepted.
        limit_bytes: u64,
    },
    /// Reading an image failed.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
