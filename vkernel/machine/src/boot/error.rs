//! Why an image cannot be booted, and what to do about it.

use boundary::ImageId;

/// Why the kernel was not loaded. Every message says what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The machine description has no image of role kernel.
    #[error("no kernel among the images: name one on the command line")]
    NoKernel,
    /// The media does not have an image.
    #[error("the image {name} ({id}, {length_bytes} bytes) is missing: give it with --image FILE")]
    MissingImage {
        /// The name the user once gave.
        name: String,
        /// Its identity.
        id: ImageId,
        /// Its length.
        length_bytes: u64,
    },
    /// The file is something else than a kernel for this machine.
    #[error("not a kernel this machine can boot, but {what}: {advice}")]
    NotAKernel {
        /// What the file is.
        what: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// The image refers to bytes it does not have.
    #[error(
        "this {format} is cut short or damaged: it needs {length_bytes} bytes at offset {offset:#x}, \
         but the file has only {file_bytes} bytes; fetch or build it again"
    )]
    Truncated {
        /// What the image is.
        format: &'static str,
        /// Offset in the file.
        offset: u64,
        /// Bytes needed there.
        length_bytes: u64,
        /// Bytes in the file.
        file_bytes: u64,
    },
    /// A field of the image makes no sense.
    #[error("this {format} is damaged: at offset {offset:#x}, {problem}; fetch or build it again")]
    Malformed {
        /// What the image is.
        format: &'static str,
        /// Offset of the field in the file.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A valid image that asks for something this machine does not do.
    #[error("the kernel cannot be booted: {problem}; {advice}")]
    Unsupported {
        /// What it asks for.
        problem: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// The command line is longer than the kernel accepts.
    #[error(
        "the command line has {length_bytes} bytes and this kernel accepts {limit_bytes}: shorten --append or -e"
    )]
    CommandLineTooLong {
        /// Its length.
        length_bytes: u64,
        /// The kernel's limit.
        limit_bytes: u64,
    },
    /// The host does not give the memory that the guest is to have.
    #[error("the host has no {ram_mib} MiB of memory for the guest: give it less with -m")]
    NoHostMemory {
        /// What the guest is to have.
        ram_mib: u64,
    },
    /// The guest has too little memory.
    #[error(
        "{what} needs at least {needed_mib} MiB of memory and the guest has {ram_mib} MiB: give it -m {needed_mib}m"
    )]
    TooLittleMemory {
        /// What does not fit.
        what: String,
        /// The smallest memory with which it would.
        needed_mib: u64,
        /// The memory there is.
        ram_mib: u64,
    },
    /// More memory would not help: the place itself is not RAM, or is full.
    #[error("no room for {what} ({length_bytes} bytes) between {start:#x} and {end:#x}: {advice}")]
    NoRoom {
        /// What does not fit.
        what: String,
        /// Its length.
        length_bytes: u64,
        /// Start of the range where it must be.
        start: u64,
        /// End of that range.
        end: u64,
        /// What to do.
        advice: &'static str,
    },
}
