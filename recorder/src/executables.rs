//! The executables that recorded, kept by content among the images, so that a later vkernel whose machine behaves
//! differently can hand a trace to the one that made it.
//!
//! ```text
//! ROOT/executables/DEVICE-INODE-LENGTH-MTIME-CTIME    the BLAKE3 of a file with this status, in hex
//! ```
//!
//! An executable is tens of megabytes, and a boot should not begin by hashing it; what a file had when its status was
//! the same it still has, for any write changes its ctime. It is kept as a copy: a hard link would change
//! with the file when that is written in place.

use crate::error::StoreError;
use crate::images::{image_id, make_directory, write_atomically};
use crate::retention::parse_id;
use crate::store::{Store, remove_if_there};
use boundary::ImageId;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An executable and what names its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Its identity: what [`crate::Meta::executable`] is to be.
    pub id: ImageId,
    /// The file.
    path: PathBuf,
    length_bytes: u64,
    /// Where its identity is remembered once it is kept.
    memo: PathBuf,
}

impl Store {
    /// Names the content of an executable; reads it only if the store has not seen the file before.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn executable(&self, path: &Path) -> Result<Executable, StoreError> {
        let read = StoreError::io("read", path);
        let (mut file, metadata) = match File::open(path).and_then(|file| Ok((file.metadata()?, file))) {
            Ok((metadata, file)) => (file, metadata),
            Err(error) => return Err(read(error)),
        };
        let length_bytes = metadata.len();
        let memo = self.memos().join(format!(
            "{}-{}-{length_bytes}-{}.{:09}-{}.{:09}",
            metadata.dev(),
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec()
        ));
        let known = fs::read_to_string(&memo).ok().and_then(|hex| parse_id(hex.trim()));
        let id = match known {
            Some(id) => id,
            None => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).map_err(read)?;
                image_id(&bytes)
            }
        };
        Ok(Executable { id, path: path.to_owned(), length_bytes, memo })
    }

    /// Keeps an executable that a trace names. Called after that trace was begun, so that no sweep takes it away.
    ///
    /// # Errors
    /// When it cannot be read any more, or the store cannot be written.
    pub fn keep_executable(&self, executable: &Executable) -> Result<(), StoreError> {
        let Executable { id, path, length_bytes, memo } = executable;
        let images = self.images();
        if !images.path(*id).metadata().is_ok_and(|kept| kept.len() == *length_bytes) {
            let bytes = fs::read(path).map_err(StoreError::io("read", path))?;
            images.put_as(*id, &bytes)?;
        }
        if memo.exists() {
            return Ok(());
        }
        self.forget_old_memos()?;
        make_directory(&self.memos())?;
        write_atomically(memo, |file| writeln!(file, "{id}"))
    }

    /// Whether an executable of this content has recorded into this store. Anything else that is among the images may
    /// come from anywhere, and is not to be run for being there.
    #[must_use]
    pub fn was_recorded_with(&self, id: ImageId) -> bool {
        let Ok(memos) = fs::read_dir(self.memos()) else { return false };
        memos.flatten().any(|memo| named_by(&memo) == Some(id))
    }

    fn memos(&self) -> PathBuf {
        self.root().join("executables")
    }

    /// Removes what is remembered of executables that are kept no longer.
    fn forget_old_memos(&self) -> Result<(), StoreError> {
        let Ok(memos) = fs::read_dir(self.memos()) else { return Ok(()) };
        for memo in memos.flatten() {
            let id = named_by(&memo);
            if id.is_none_or(|id| !self.images().path(id).exists()) {
                remove_if_there(&memo.path(), |path| fs::remove_file(path))?;
            }
        }
        Ok(())
    }
}

/// What a memo says.
fn named_by(memo: &fs::DirEntry) -> Option<ImageId> {
    fs::read_to_string(memo.path()).ok().and_then(|hex| parse_id(hex.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreRoot;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let root = StoreRoot::choose(Some(directory.path().join("store").as_os_str()), None, None).unwrap();
        (directory, Store::at(root))
    }

    #[test]
    fn an_executable_is_kept_once_and_named_without_reading_it_again() {
        let (directory, store) = store();
        let path = directory.path().join("vkernel");
        fs::write(&path, b"one").unwrap();
        let first = store.executable(&path).unwrap();
        assert_eq!(first.id, image_id(b"one"));
        store.keep_executable(&first).unwrap();
        store.keep_executable(&first).unwrap();
        assert_eq!(store.images().load(first.id).unwrap().unwrap(), b"one");
        assert!(store.was_recorded_with(first.id));
        assert!(!store.was_recorded_with(store.images().put(b"kernel").unwrap()));

        // What is remembered is believed: here it lies.
        let memo = fs::read_dir(store.memos()).unwrap().next().unwrap().unwrap().path();
        fs::write(&memo, image_id(b"lie").to_string()).unwrap();
        assert_eq!(store.executable(&path).unwrap().id, image_id(b"lie"));
    }

    #[test]
    fn a_file_written_in_place_is_another_executable_and_leaves_the_kept_one_alone() {
        let (directory, store) = store();
        let path = directory.path().join("vkernel");
        fs::write(&path, b"one").unwrap();
        let first = store.executable(&path).unwrap();
        store.keep_executable(&first).unwrap();
        fs::write(&path, b"another").unwrap();
        let second = store.executable(&path).unwrap();
        store.keep_executable(&second).unwrap();
        assert_eq!(store.images().load(second.id).unwrap().unwrap(), b"another");
        assert_eq!(store.images().load(first.id).unwrap().unwrap(), b"one");
    }

    #[test]
    fn what_is_remembered_of_removed_executables_is_forgotten() {
        let (directory, store) = store();
        for name in ["one", "two"] {
            let path = directory.path().join(name);
            fs::write(&path, name).unwrap();
            let executable = store.executable(&path).unwrap();
            store.keep_executable(&executable).unwrap();
            assert_eq!(fs::read_dir(store.memos()).unwrap().count(), 1);
            fs::remove_file(store.images().path(executable.id)).unwrap();
        }
    }
}
