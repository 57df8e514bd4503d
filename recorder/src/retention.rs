//! What the store forgets: old successful recordings beyond a limit, and images that nothing uses.
//!
//! Never removed silently: failed, stopped, unfinished and unreadable recordings, pinned ones, those kept elsewhere with
//! `--trace FILE`, and the newest.

use crate::error::{StoreError, TraceError};
use crate::images::{TEMPORARY, referenced};
use crate::reader::TraceReader;
use crate::store::{Outcome, Row, Store, cache_directory, remove_if_there};
use boundary::ImageId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

/// What recordings, caches and images may occupy together before old ones are removed.
pub const DEFAULT_LIMIT_BYTES: u64 = 4_000_000_000;

/// An image that is about to be removed, while nobody may use it any more.
const CONDEMNED: &str = ".old-";

/// A half-written image older than this was left by a process that was killed.
const TEMPORARY_LIFE_S: u64 = 86_400;

/// What [`Store::retain`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Recordings, oldest first.
    pub recordings: Vec<String>,
    /// Caches of recordings that are still there.
    pub caches: Vec<String>,
    /// Images.
    pub images: Vec<ImageId>,
    /// What is over the limit still, because only what is never removed unasked is left.
    pub over_bytes: u64,
}

/// A recording and what it occupies.
struct Weighed {
    row: Row,
    cache_bytes: u64,
    images: Vec<ImageId>,
}

impl Store {
    /// Brings the store down to `limit_bytes`: first caches, then successful recordings, both oldest first; then
    /// images that nothing uses. `now_s` is the wall clock.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn retain(&self, limit_bytes: u64, now_s: u64) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let mut image_bytes = self.image_lengths()?;
        let mut recordings: Vec<Weighed> = self.list()?.into_iter().map(weigh).collect();
        let mut users: BTreeMap<ImageId, usize> = BTreeMap::new();
        recordings
            .iter()
            .flat_map(|weighed| &weighed.images)
            .for_each(|id| *users.entry(*id).or_default() += 1);
        let own =
            |weighed: &Weighed| if weighed.row.elsewhere.is_some() { 0 } else { weighed.row.trace_bytes };
        let mut total_bytes: u64 = image_bytes.values().sum::<u64>()
            + recordings.iter().map(|weighed| own(weighed) + weighed.cache_bytes).sum::<u64>();

        // The newest recording is what its user is about to look at.
        recordings.pop();
        for weighed in recordings.iter_mut().filter(|weighed| weighed.cache_bytes > 0) {
            if total_bytes <= limit_bytes {
                break;
            }
            remove_if_there(&cache_directory(&weighed.row.path), |path| fs::remove_dir_all(path))?;
            total_bytes -= std::mem::take(&mut weighed.cache_bytes);
            swept.caches.push(weighed.row.name.clone());
        }
        for weighed in recordings.iter().filter(|weighed| is_expendable(&weighed.row)) {
            if total_bytes <= limit_bytes {
                break;
            }
            self.delete(&weighed.row.name)?;
            total_bytes -= own(weighed);
            for id in &weighed.images {
                let left = users.entry(*id).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    total_bytes -= image_bytes.remove(id).unwrap_or(0);
                }
            }
            swept.recordings.push(weighed.row.name.clone());
        }
        swept.caches.retain(|name| !swept.recordings.contains(name));
        swept.images = self.sweep_images(now_s)?;
        let unused_bytes: u64 = swept.images.iter().filter_map(|id| image_bytes.get(id)).sum();
        swept.over_bytes = total_bytes.saturating_sub(unused_bytes).saturating_sub(limit_bytes);
        Ok(swept)
    }

    /// Removes images that no recording uses, and what killed processes left half written. Returns the images.
    ///
    /// Another process may begin a recording at any moment. It creates its trace before it looks for its images. So
    /// an image is first put aside, then the traces are read again: one that existed when the image was seen is seen
    /// here, and its image put back; one that comes later finds the image absent and writes it anew.
    ///
    /// While any recording cannot be read nothing is removed, for it may use anything.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn sweep_images(&self, now_s: u64) -> Result<Vec<ImageId>, StoreError> {
        let images = self.images();
        let mut condemned = self.condemned()?;
        let Some(used) = self.used_images()? else {
            self.settle(&condemned, None)?;
            return Ok(Vec::new());
        };
        for id in self.image_lengths()?.into_keys().filter(|id| !used.contains(id)) {
            remove_if_there(&images.path(id), |path| fs::rename(path, self.condemned_path(id)))?;
            condemned.insert(id);
        }
        self.remove_temporaries(now_s)?;
        if condemned.is_empty() {
            return Ok(Vec::new());
        }
        let used = self.used_images()?;
        self.settle(&condemned, used.as_ref())
    }

    /// Removes the images put aside that nothing uses, and puts the others back: all of them if that is not known.
    fn settle(
        &self,
        condemned: &BTreeSet<ImageId>,
        used: Option<&BTreeSet<ImageId>>,
    ) -> Result<Vec<ImageId>, StoreError> {
        let mut removed = Vec::new();
        for id in condemned {
            let aside = self.condemned_path(*id);
            if used.is_none_or(|used| used.contains(id)) {
                remove_if_there(&aside, |aside| fs::rename(aside, self.images().path(*id)))?;
            } else {
                remove_if_there(&aside, |aside| fs::remove_file(aside))?;
                removed.push(*id);
            }
        }
        Ok(removed)
    }

    fn condemned_path(&self, id: ImageId) -> std::path::PathBuf {
        self.images().directory().join(format!("{CONDEMNED}{id}"))
    }

    /// All images that recordings use, or `None` if one of these cannot be read. One whose beginning is not written
    /// yet, or never will be, uses none: it looks for its images only afterwards.
    fn used_images(&self) -> Result<Option<BTreeSet<ImageId>>, StoreError> {
        let mut used = BTreeSet::new();
        for name in self.names()? {
            match TraceReader::open(&self.trace_path(&name)) {
                Ok(reader) => used.extend(referenced(&reader)),
                Err(TraceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(TraceError::TooShort { .. }) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(used))
    }

    fn image_lengths(&self) -> Result<BTreeMap<ImageId, u64>, StoreError> {
        self.image_files("")
    }

    fn condemned(&self) -> Result<BTreeSet<ImageId>, StoreError> {
        Ok(self.image_files(CONDEMNED)?.into_keys().collect())
    }

    /// Identity and length of the files in `images/` that are called by a prefix and a digest.
    fn image_files(&self, prefix: &str) -> Result<BTreeMap<ImageId, u64>, StoreError> {
        let mut found = BTreeMap::new();
        for entry in entries(self.images().directory())? {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(prefix)).and_then(parse_id);
            if let (Some(id), Ok(metadata)) = (id, entry.metadata()) {
                found.insert(id, metadata.len());
            }
        }
        Ok(found)
    }

    fn remove_temporaries(&self, now_s: u64) -> Result<(), StoreError> {
        for entry in entries(self.images().directory())? {
            let is_temporary = entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY));
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let modified_s = modified.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            let age_s = modified_s.map(|modified| now_s.saturating_sub(modified.as_secs()));
            if is_temporary && age_s.is_some_and(|age_s| age_s > TEMPORARY_LIFE_S) {
                remove_if_there(&entry.path(), |path| fs::remove_file(path))?;
            }
        }
        Ok(())
    }
}

fn weigh(row: Row) -> Weighed {
    let images = TraceReader::open(&row.path).map(|reader| referenced(&reader)).unwrap_or_default();
    let images: BTreeSet<ImageId> = images.into_iter().collect();
    Weighed {
        cache_bytes: tree_bytes(&cache_directory(&row.path)),
        images: images.into_iter().collect(),
        row,
    }
}

fn is_expendable(row: &Row) -> bool {
    matches!(row.outcome, Outcome::Succeeded(_)) && !row.pinned && row.elsewhere.is_none()
}

/// Total length of the files in a directory, which may be vanishing while it is read.
fn tree_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let length = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => tree_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(length).sum()
}

fn entries(directory: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    match fs::read_dir(directory).and_then(Iterator::collect) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(StoreError::io("list", directory)),
    }
}

pub(crate) fn parse_id(hex: &str) -> Option<ImageId> {
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let mut id = [0; 32];
    if digits.len() != 2 * id.len() {
        return None;
    }
    id.iter_mut().zip(digits.chunks_exact(2)).for_each(|(byte, pair)| *byte = pair[0] << 4 | pair[1]);
    // Only the spelling that `Display` writes is a stored image.
    (ImageId(id).to_string() == hex).then_some(ImageId(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreRoot;
    use crate::testing::{failure, meta, power_off, power_on};
    use crate::{End, ImageSet};
    use boundary::Mark;

    const LATE_S: u64 = 1 << 40;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let root = StoreRoot::choose(Some(directory.path().as_os_str()), None, None).unwrap();
        (directory, Store::at(root))
    }

    /// A recording that began at `started_s`, of a kernel of its own with 10 kB.
    fn record(store: &Store, started_s: u64, end: Option<&End>) -> String {
        let kernel = vec![started_s as u8; 10_000];
        let mut images = ImageSet::default();
        images.insert(kernel.clone());
        let (name, writer) = store.record("k", &power_on(&kernel), &meta(started_s), &images).unwrap();
        if let Some(end) = end {
            writer.finish(end).unwrap();
        }
        name
    }

    #[test]
    fn only_old_successful_unpinned_recordings_go() {
        let (_directory, store) = store();
        let (good, bad) = (power_off(Mark::default()), failure(Mark::default()));
        let failed = record(&store, 1, Some(&bad));
        let old = record(&store, 2, Some(&good));
        let pinned = record(&store, 3, Some(&good));
        let unfinished = record(&store, 4, None);
        let older_than_newest = record(&store, 5, Some(&good));
        let newest = record(&store, 6, Some(&good));
        store.pin(&pinned).unwrap();
        assert_eq!(store.retain(DEFAULT_LIMIT_BYTES, LATE_S).unwrap(), Swept::default());

        // Six recordings of 10 kB and a little; the limit leaves room for five.
        let swept = store.retain(55_000, LATE_S).unwrap();
        assert_eq!(swept.recordings, [old]);
        assert_eq!(swept.images, [crate::image_id(&[2; 10_000])]);
        let swept = store.retain(0, LATE_S).unwrap();
        assert_eq!(swept.recordings, [older_than_newest]);
        assert!(swept.over_bytes > 40_000, "what is left is four recordings: {}", swept.over_bytes);
        let left: Vec<String> = store.list().unwrap().into_iter().map(|row| row.name).collect();
        assert_eq!(left, [failed, pinned, unfinished, newest]);
    }

    #[test]
    fn caches_go_before_recordings() {
        let (_directory, store) = store();
        let bad = failure(Mark::default());
        let old = record(&store, 1, Some(&bad));
        record(&store, 2, Some(&bad));
        let cache = cache_directory(&store.trace_path(&old));
        fs::create_dir_all(cache.join("dense")).unwrap();
        fs::write(cache.join("dense/1"), [0; 50_000]).unwrap();
        assert_eq!(store.retain(100_000, LATE_S).unwrap(), Swept::default());
        assert_eq!(store.retain(60_000, LATE_S).unwrap().caches, [old]);
        assert!(!cache.exists());
    }

    #[test]
    fn images_in_use_stay_and_a_shared_one_stays_for_the_last_user() {
        let (_directory, store) = store();
        let mut images = ImageSet::default();
        let id = images.insert(b"shared".to_vec());
        let begin = |started_s| store.record("k", &power_on(b"shared"), &meta(started_s), &images).unwrap().0;
        let (first, second) = (begin(1), begin(2));
        store.remove(&first).unwrap();
        assert_eq!(store.sweep_images(LATE_S).unwrap(), []);
        store.remove(&second).unwrap();
        assert_eq!(store.sweep_images(LATE_S).unwrap(), [id]);
        assert_eq!(fs::read_dir(store.images().directory()).unwrap().count(), 0);
    }

    #[test]
    fn an_unreadable_recording_protects_every_image() {
        let (_directory, store) = store();
        let name = record(&store, 1, None);
        let id = store.images().put(b"somebody's").unwrap();
        let path = store.trace_path(&name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[60] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(store.sweep_images(LATE_S).unwrap(), []);
        assert!(store.images().load(id).unwrap().is_some());
        bytes[60] ^= 1;
        fs::write(&path, &bytes).unwrap();
        fs::write(store.trace_path("killed-at-once"), &bytes[..60]).unwrap();
        assert_eq!(store.sweep_images(LATE_S).unwrap(), [id]);
    }

    #[test]
    fn a_sweep_that_was_killed_is_made_good() {
        let (_directory, store) = store();
        record(&store, 1, None);
        let (used, unused) = (crate::image_id(&[1; 10_000]), store.images().put(b"unused").unwrap());
        for id in [used, unused] {
            fs::rename(store.images().path(id), store.condemned_path(id)).unwrap();
        }
        assert_eq!(store.sweep_images(LATE_S).unwrap(), [unused]);
        assert!(store.images().load(used).unwrap().is_some());
    }

    #[test]
    fn leftovers_of_killed_writers_go_after_a_day() {
        let (_directory, store) = store();
        record(&store, 1, None);
        let leftover = store.images().directory().join(format!("{TEMPORARY}77-0"));
        fs::write(&leftover, "half").unwrap();
        store.sweep_images(0).unwrap();
        assert!(leftover.exists());
        store.sweep_images(LATE_S).unwrap();
        assert!(!leftover.exists());
    }
}
