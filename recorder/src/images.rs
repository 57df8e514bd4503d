//! Images by content: kernels, initrds, modules, and executables that recorded.
//!
//! `images/<BLAKE3 in hex>` in the store, one file for each content. Files appear by rename, whole or not at all, so
//! that any number of recorders may put the same image at once. What is loaded is verified: a replay on other bytes
//! would be a wrong answer.

use crate::error::StoreError;
use crate::pack::AttachmentKind;
use crate::reader::TraceReader;
use boundary::{ImageId, Media, PowerOn};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Prefix of a file that is being written.
pub(crate) const TEMPORARY: &str = ".new-";

/// The identity of an image.
#[must_use]
pub fn image_id(bytes: &[u8]) -> ImageId {
    ImageId(*blake3::hash(bytes).as_bytes())
}

/// Reads a file and names its content. Of one that is longer than `limit_bytes`, as /dev/zero is, no more is read
/// than shows that.
fn read_file(path: &Path, limit_bytes: u64) -> Result<(ImageId, Vec<u8>), StoreError> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(StoreError::io("read", path))?;
    Ok((image_id(&bytes), bytes))
}

/// Images in memory. This is what a machine is given.
#[derive(Clone, Debug, Default)]
pub struct ImageSet {
    images: BTreeMap<ImageId, Arc<Vec<u8>>>,
}

impl ImageSet {
    /// Adds an image and names it.
    pub fn insert(&mut self, bytes: Vec<u8>) -> ImageId {
        let id = image_id(&bytes);
        self.images.insert(id, Arc::new(bytes));
        id
    }

    /// All images, by identity.
    pub fn iter(&self) -> impl Iterator<Item = (ImageId, &Arc<Vec<u8>>)> {
        self.images.iter().map(|(id, bytes)| (*id, bytes))
    }
}

impl Media for ImageSet {
    fn image(&self, id: ImageId) -> Option<Arc<Vec<u8>>> {
        self.images.get(&id).cloned()
    }
}

/// The directory of images.
#[derive(Clone, Debug)]
pub struct ImageStore {
    directory: PathBuf,
}

impl ImageStore {
    /// The images in this directory, which is made when the first one is put.
    #[must_use]
    pub fn at(directory: PathBuf) -> ImageStore {
        ImageStore { directory }
    }

    /// Where an image is kept, if it is.
    #[must_use]
    pub fn path(&self, id: ImageId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Keeps an image; costs a look at the directory if it is there already.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn put(&self, bytes: &[u8]) -> Result<ImageId, StoreError> {
        let id = image_id(bytes);
        self.put_as(id, bytes)?;
        Ok(id)
    }

    pub(crate) fn put_as(&self, id: ImageId, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(id);
        if path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes.len() as u64) {
            return Ok(());
        }
        make_directory(&self.directory)?;
        write_atomically(&path, |file| file.write_all(bytes))
    }

    /// Keeps the content of a file, for instance of the running executable.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn put_file(&self, path: &Path) -> Result<ImageId, StoreError> {
        let (id, bytes) = read_file(path, u64::MAX)?;
        self.put_as(id, &bytes)?;
        Ok(id)
    }

    /// An image, verified; `None` if it is not here.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn load(&self, id: ImageId) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(id);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let found = image_id(&bytes);
        if found == id { Ok(Some(bytes)) } else { Err(StoreError::ImageDamaged { path, found }) }
    }

    /// The path of a kept executable, verified and made executable; `None` if it is not here.
    ///
    /// # Errors
    /// When it is damaged, cannot be read, or cannot be made executable.
    pub fn executable(&self, id: ImageId) -> Result<Option<PathBuf>, StoreError> {
        if self.load(id)?.is_none() {
            return Ok(None);
        }
        let path = self.path(id);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
            .map_err(StoreError::io("make executable", &path))?;
        Ok(Some(path))
    }
}

/// Loads and verifies on each call. A damaged image is as good as absent here; [`gather_images`] says which it is.
impl Media for ImageStore {
    fn image(&self, id: ImageId) -> Option<Arc<Vec<u8>>> {
        self.load(id).ok().flatten().map(Arc::new)
    }
}

/// Everything that a trace names, from the files given with `--image`, from the trace itself if it is packed, and
/// from the store, in this order.
///
/// # Errors
/// When an image is nowhere or damaged, or a file given is none of them.
pub fn gather_images(
    reader: &TraceReader,
    store: Option<&ImageStore>,
    files: &[PathBuf],
) -> Result<ImageSet, StoreError> {
    let power_on = reader.power_on();
    let mut given = ImageSet::default();
    let longest_bytes = power_on.boot.images.iter().map(|image| image.length_bytes).max().unwrap_or(0);
    for path in files {
        let (found, bytes) = read_file(path, longest_bytes)?;
        if !power_on.boot.images.iter().any(|image| image.id == found) {
            return Err(StoreError::ImageUnwanted { path: path.clone(), found, needed: needed(power_on) });
        }
        given.images.insert(found, Arc::new(bytes));
    }
    for image in &power_on.boot.images {
        if given.images.contains_key(&image.id) {
            continue;
        }
        let embedded = reader.embedded_bytes(image.id)?;
        let bytes = match (embedded, store) {
            (Some(bytes), _) => Some(bytes),
            (None, Some(store)) => store.load(image.id)?,
            (None, None) => None,
        };
        let bytes = bytes.ok_or_else(|| StoreError::ImageMissing {
            name: image.name.clone(),
            id: image.id,
            length_bytes: image.length_bytes,
        })?;
        given.images.insert(image.id, Arc::new(bytes));
    }
    Ok(given)
}

fn needed(power_on: &PowerOn) -> Vec<String> {
    let line = |image: &boundary::Image| {
        format!("{}: BLAKE3 {}, {} bytes", image.name, image.id, image.length_bytes)
    };
    power_on.boot.images.iter().map(line).collect()
}

/// The identities a trace depends on: its images and its executable.
pub(crate) fn referenced(reader: &TraceReader) -> Vec<ImageId> {
    // What a packed trace carries it does not need from the store, but keeping it costs only space.
    let images = reader.power_on().boot.images.iter().map(|image| image.id);
    images.chain(reader.meta().executable).collect()
}

impl AttachmentKind {
    /// What an embedded file with this identity is to a trace.
    pub(crate) fn of(reader: &TraceReader, id: ImageId) -> AttachmentKind {
        if reader.meta().executable == Some(id) { AttachmentKind::Executable } else { AttachmentKind::Image }
    }
}

/// Makes a directory, and those above it, for the owner alone.
pub(crate) fn make_directory(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::io("create directory", path))
}

/// Writes a file of mode 0600 that appears under its name only when it is whole.
pub(crate) fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), StoreError> {
    let (mut file, temporary) = temporary_beside(path)?;
    let written = fill(&mut file).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // Already failing; a leftover would be swept later.
        let _ = fs::remove_file(&temporary);
        StoreError::io("write", path)(error)
    })
}

/// Creates a file that no other process or thread has, in the directory of `path`.
fn temporary_beside(path: &Path) -> Result<(File, PathBuf), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut number = 0u32;
    loop {
        let temporary = directory.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        match opened {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < u32::MAX => number += 1,
            // The name of the temporary file would tell the user nothing.
            Err(error) => return Err(StoreError::io("create", path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, ImageStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::at(directory.path().join("images"));
        (directory, store)
    }

    #[test]
    fn one_copy_for_each_content_and_no_leftovers() {
        let (_directory, store) = store();
        let id = store.put(b"kernel").unwrap();
        assert_eq!(store.put(b"kernel").unwrap(), id);
        assert_ne!(store.put(b"initrd").unwrap(), id);
        assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 2);
        assert_eq!(**store.image(id).unwrap(), *b"kernel");
        assert_eq!(store.path(id).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(store.directory().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_image_is_named_and_never_returned() {
        let (_directory, store) = store();
        let id = store.put(b"kernel").unwrap();
        fs::write(store.path(id), b"kernal").unwrap();
        let message = store.load(id).unwrap_err().to_string();
        assert!(message.contains(&id.to_string()) && message.contains("damaged"), "{message}");
        assert!(store.image(id).is_none());
        assert!(store.executable(id).is_err());
    }

    #[test]
    fn a_truncated_image_is_healed_by_the_next_put() {
        let (_directory, store) = store();
        let id = store.put(b"kernel").unwrap();
        fs::write(store.path(id), b"ker").unwrap();
        store.put(b"kernel").unwrap();
        assert_eq!(store.load(id).unwrap().unwrap(), b"kernel");
    }

    #[test]
    fn a_kept_executable_runs() {
        let (_directory, store) = store();
        let id = store.put_file(Path::new("/bin/true")).unwrap();
        let path = store.executable(id).unwrap().unwrap();
        assert!(std::process::Command::new(path).status().unwrap().success());
        assert_eq!(store.executable(crate::testing::NO_IMAGE).unwrap(), None);
    }

    #[test]
    fn many_writers_of_one_image_agree() {
        let (_directory, store) = store();
        let bytes = vec![7u8; 300_000];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| store.put(&bytes).unwrap());
            }
        });
        assert_eq!(store.load(image_id(&bytes)).unwrap().unwrap(), bytes);
        assert_eq!(fs::read_dir(store.directory()).unwrap().count(), 1);
    }
}
