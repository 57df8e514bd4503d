//! Files mapped into memory: debug information of hundreds of megabytes, of which little is ever looked at.
//!
//! A mapping stays until the process ends, so that threads may read it whenever they come to it. Left out: writing, and
//! guarding against somebody who cuts the file while it is mapped, which ends the process by SIGBUS.

use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

/// The contents of a file.
///
/// # Errors
/// It cannot be opened or mapped.
pub fn map_file(path: &Path) -> io::Result<&'static [u8]> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let Some(length) = usize::try_from(length).ok().and_then(NonZeroUsize::new) else { return Ok(&[]) };
    // SAFETY: a new private mapping of a file overlaps nothing that exists.
    let start = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, &file, 0)? };
    // SAFETY: the mapping has that length, is readable, and is never unmapped.
    Ok(unsafe { std::slice::from_raw_parts(start.as_ptr().cast(), length.get()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_has_the_bytes_of_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        for content in [&b"some bytes"[..], &[]] {
            std::fs::write(&path, content).expect("written");
            assert_eq!(map_file(&path).expect("mapped"), content);
        }
        assert!(map_file(&directory.path().join("missing")).is_err());
    }
}
