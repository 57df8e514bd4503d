//! Image files: kernels, initrds and firmware, read whole into memory.
//!
//! The errors are most of this: a first contact with vkernel is often a path that is wrong, or
//! `/boot/vmlinuz-*`, which some distributions let only root read. Disks are not read here.

use crate::error::HostError;
use std::fs::{File, FileType};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The longest image that is read: none that fits a guest's memory is longer.
pub const IMAGE_LIMIT_BYTES: u64 = 2 << 30;

/// Reads an image: a file, or a pipe (`<(zcat kernel.gz)`).
///
/// # Errors
///
/// If it is missing, may not be read, is empty or a directory or a device, or is over [`IMAGE_LIMIT_BYTES`].
pub fn read_image(path: &Path) -> Result<Vec<u8>, HostError> {
    read_at_most(path, IMAGE_LIMIT_BYTES)
}

fn read_at_most(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, HostError> {
    let owned = || path.to_owned();
    let metadata = std::fs::metadata(path).map_err(|source| explain(path, source))?;
    if let Some((kind, hint)) = not_an_image(metadata.file_type()) {
        return Err(HostError::NotAFile { path: owned(), kind, hint });
    }
    if metadata.len() > limit_bytes {
        return Err(HostError::TooLong { path: owned(), limit_bytes });
    }
    let file = File::open(path).map_err(|source| explain(path, source))?;
    let mut bytes = Vec::new();
    file.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(|source| explain(path, source))?;
    if bytes.len() as u64 > limit_bytes {
        return Err(HostError::TooLong { path: owned(), limit_bytes });
    }
    if bytes.is_empty() {
        return Err(HostError::Empty { path: owned() });
    }
    Ok(bytes)
}

/// What something is that is no image, and a hint.
fn not_an_image(kind: FileType) -> Option<(&'static str, &'static str)> {
    if kind.is_dir() {
        Some(("a directory", "; name a file in it (a built Linux has arch/x86/boot/bzImage)"))
    } else if kind.is_block_device() {
        Some(("a block device", "; attach it as a disk (-R for copy-on-write, -r to write to it)"))
    } else if kind.is_char_device() {
        Some(("a character device", ""))
    } else if kind.is_socket() {
        Some(("a socket", ""))
    } else {
        None
    }
}

fn explain(path: &Path, source: std::io::Error) -> HostError {
    let path_owned = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound if is_dangling(path) => {
            HostError::Missing { path: path_owned, hint: "; the symbolic link points nowhere".to_owned() }
        }
        ErrorKind::NotFound => HostError::Missing { path: path_owned, hint: String::new() },
        ErrorKind::PermissionDenied => HostError::Forbidden { hint: permission_hint(path), path: path_owned },
        _ => HostError::Unreadable { path: path_owned, source },
    }
}

fn is_dangling(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

/// How to get at a file that exists but may not be read; nothing if a directory above it is closed.
fn permission_hint(path: &Path) -> String {
    if path.symlink_metadata().is_err() {
        return "; a directory above it is closed to you".to_owned();
    }
    let shown = path.display();
    format!(
        "; only root may read it here: `sudo chmod +r {shown}`, or take a copy: \
         `sudo install -m 644 {shown} .`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn message(path: &Path) -> String {
        read_at_most(path, 16).unwrap_err().to_string()
    }

    #[test]
    fn an_image_is_read_whole_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, [7; 16]).unwrap();
        assert_eq!(read_at_most(&path, 16).unwrap(), [7; 16]);
        std::fs::write(&path, [7; 17]).unwrap();
        assert!(message(&path).contains("longer than 16 bytes"), "{}", message(&path));
    }

    #[test]
    fn every_error_names_the_path_and_what_is_wrong_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let inside = |name: &str| directory.path().join(name);
        std::fs::write(inside("empty"), []).unwrap();
        symlink("nowhere", inside("link")).unwrap();
        for (path, reason) in [
            (inside("absent"), "no such file"),
            (inside("link"), "points nowhere"),
            (inside("empty"), "is empty"),
            (directory.path().to_owned(), "is a directory"),
            ("/dev/null".into(), "is a character device"),
        ] {
            let message = message(&path);
            assert!(message.starts_with(&path.display().to_string()), "{message}");
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn a_kernel_only_root_may_read_is_answered_with_the_command_that_helps() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vmlinuz");
        std::fs::write(&path, [1]).unwrap();
        // Tests may run as root, whom no mode keeps out; so the answer is asked for, not provoked.
        let error = explain(&path, ErrorKind::PermissionDenied.into());
        let expected = format!("sudo chmod +r {}", path.display());
        assert!(error.to_string().contains(&expected), "{error}");
    }
}
