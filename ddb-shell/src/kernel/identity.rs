//! Which build of Linux runs: its release, and the identity that the linker gave it, from its memory.

use crate::memory::GuestMemory;
use crate::symbols::{BuildId, Symbols};

/// A kernel's notes have some 500 bytes.
const NOTES_BYTES_MAX: u64 = 1 << 16;
const BANNER_BYTES: usize = 256;

/// What a running kernel says of its build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelIdentity {
    /// The build id of its `vmlinux`.
    pub build_id: Option<BuildId>,
    /// What `uname -r` says.
    pub release: Option<String>,
}

/// The identity of the running Linux whose symbols are `running`. Empty for another system.
#[must_use]
pub fn kernel_identity(running: &Symbols<'_>, memory: &dyn GuestMemory) -> KernelIdentity {
    KernelIdentity { build_id: build_id(running, memory), release: release(running, memory) }
}

fn build_id(running: &Symbols<'_>, memory: &dyn GuestMemory) -> Option<BuildId> {
    let start = running.address_of("__start_notes")?;
    let length = running.address_of("__stop_notes")?.checked_sub(start)?;
    let mut notes = vec![0; length.min(NOTES_BYTES_MAX) as usize];
    memory.read(start, &mut notes).ok()?;
    BuildId::in_notes(&notes)
}

fn release(running: &Symbols<'_>, memory: &dyn GuestMemory) -> Option<String> {
    let (text, _) = memory.read_text(running.address_of("linux_banner")?, BANNER_BYTES).ok()?;
    let text = String::from_utf8(text).ok()?;
    Some(text.strip_prefix("Linux version ")?.split_whitespace().next()?.to_owned())
}
