//! `-p FILE`: the process id, in a file that is locked while vkernel runs. As in vkernel(7), others may test the lock
//! to see whether it does (`flock -n FILE true`).

use crate::exit::usage;
use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Removes the file when dropped. A vkernel that is killed leaves it behind, but not the lock.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    _locked: Flock<File>,
}

impl PidFile {
    /// Creates or takes over the file.
    ///
    /// # Errors
    /// When another process has it locked, or the host refuses.
    pub fn create(path: &Path) -> Result<PidFile> {
        let mut locked = lock(path)?;
        let write = |file: &mut File| file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        write(&mut locked).with_context(|| format!("-p {}: cannot write", path.display()))?;
        Ok(PidFile { path: path.to_owned(), _locked: locked })
    }
}

/// Opens and locks. Its last owner removes the file before it unlocks it, so that what was locked may no longer be
/// what the path names; then the next one is tried.
fn lock(path: &Path) -> Result<Flock<File>> {
    loop {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = opened.with_context(|| format!("-p {}: failed to create pidfile", path.display()))?;
        let locked =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
                Errno::EWOULDBLOCK => usage(format!(
                    "-p {}: failed to lock pidfile, vkernel already running; give each its own file",
                    path.display()
                )),
                errno => anyhow!("-p {}: failed to lock pidfile: {}", path.display(), errno.desc()),
            })?;
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let named = fs::metadata(path).map(identity);
        if named.is_ok_and(|named| locked.metadata().map(identity).is_ok_and(|locked| locked == named)) {
            return Ok(locked);
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It may be gone already, and there is nobody to tell.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;

    #[test]
    fn holds_the_process_id_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        fs::write(&path, "a longer text from before\n").unwrap();
        let pidfile = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(pidfile);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_owner_is_refused_and_harms_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let _first = PidFile::create(&path).unwrap();
        let error = PidFile::create(&path).unwrap_err();
        assert!(error.to_string().contains("vkernel already running"));
        assert_eq!(ExitStatus::of_error(&error), ExitStatus::Usage);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }
}
