//! What the store promises: names, modes, links, and several processes at once.

use super::*;
use crate::testing::{failure, meta, power_off, power_on};
use boundary::Mark;
use std::os::unix::fs::PermissionsExt;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let root = StoreRoot(directory.path().join("vkernel"));
    (directory, Store::at(root))
}

fn images() -> ImageSet {
    let mut images = ImageSet::default();
    images.insert(b"kernel".to_vec());
    images
}

fn begin(store: &Store, kernel: &str, started_s: u64) -> (String, TraceWriter) {
    store.record(kernel, &power_on(b"kernel"), &meta(started_s), &images()).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_root_is_chosen_as_documented() {
    let choose = |vkernel: &str, xdg: &str, home: &str| {
        let values = [vkernel, xdg, home].map(OsStr::new);
        StoreRoot::choose(Some(values[0]), Some(values[1]), Some(values[2])).map(|root| root.0)
    };
    assert_eq!(choose("/v", "/x", "/h").unwrap(), Path::new("/v"));
    assert_eq!(choose("", "/x", "/h").unwrap(), Path::new("/x/vkernel"));
    assert_eq!(choose("", "relative", "/h").unwrap(), Path::new("/h/.local/share/vkernel"));
    let message = choose("", "", "").unwrap_err().to_string();
    assert!(message.contains("set VKERNEL_DIR"), "{message}");
    assert!(StoreRoot::choose(None, None, None).is_err());
}

#[test]
fn recordings_begun_in_the_same_second_have_names_of_their_own() {
    let (_directory, store) = store();
    let (first, writer) = begin(&store, "/boot/vmlinuz-6.1.0", 1_795_230_855);
    let (second, _) = begin(&store, "/boot/vmlinuz-6.1.0", 1_795_230_855);
    assert_eq!(first, "vmlinuz-6.1.0-20261121-031415");
    assert_eq!(second, "vmlinuz-6.1.0-20261121-031415-2");
    assert_eq!(writer.path(), store.traces().join(format!("{first}.vkt")));
    assert_eq!(mode(writer.path()), 0o600);
    assert_eq!(mode(&store.traces()), 0o700);
}

#[test]
fn many_recorders_at_once_share_the_store() {
    let (_directory, store) = store();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| begin(&store, "k", 0).1.finish(&power_off(Mark::default())).unwrap());
        }
    });
    let rows = store.list().unwrap();
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| matches!(row.outcome, Outcome::Succeeded(_))));
    assert_eq!(fs::read_dir(store.root.join("images")).unwrap().count(), 1);
}

#[test]
fn a_trace_argument_is_a_name_a_prefix_or_a_latest() {
    let (_directory, store) = store();
    let (failed, writer) = begin(&store, "bzImage", 100);
    writer.finish(&failure(Mark::default())).unwrap();
    let (good, writer) = begin(&store, "bzImage", 200);
    writer.finish(&power_off(Mark::default())).unwrap();
    let (other, _writer) = begin(&store, "freebsd", 150);
    let path = |name: &str| store.trace_path(name);

    assert_eq!(store.resolve("latest").unwrap(), path(&good));
    assert_eq!(store.resolve("latest-fail").unwrap(), path(&failed));
    assert_eq!(store.resolve("free").unwrap(), path(&other));
    assert_eq!(store.resolve(&good).unwrap(), path(&good));
    assert_eq!(store.resolve(&format!("{good}.vkt")).unwrap(), path(&good));
    assert_eq!(store.resolve("./x.vkt").unwrap(), Path::new("./x.vkt"));
    let message = store.resolve("bz").unwrap_err().to_string();
    assert!(message.contains(&failed) && message.contains(&good) && !message.contains(&other), "{message}");
    assert!(matches!(store.resolve("nothing"), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.resolve(""), Err(StoreError::NotFound { .. })));
    assert_eq!(store.find(path(&good).to_str().unwrap()).unwrap(), good);
    assert!(matches!(store.find("/etc/passwd"), Err(StoreError::NotInStore { .. })));
}

#[test]
fn an_exact_name_wins_over_longer_ones() {
    let (_directory, store) = store();
    let (first, _) = begin(&store, "k", 0);
    begin(&store, "k", 0);
    assert_eq!(store.find(&first).unwrap(), first);
}

#[test]
fn an_empty_store_says_so() {
    let (_directory, store) = store();
    assert!(store.list().unwrap().is_empty());
    let message = store.resolve("latest-fail").unwrap_err().to_string();
    assert!(message.starts_with("there is no failed recording in "), "{message}");
}

#[test]
fn rows_tell_what_became_of_each_recording() {
    let (_directory, store) = store();
    let end = failure(Mark::before(boundary::Icount(77)));
    begin(&store, "a", 1).1.finish(&end).unwrap();
    let (_, mut running) = begin(&store, "b", 2);
    running.event(Mark::before(boundary::Icount(5)), &crate::Event::Note(boundary::Note::Quit)).unwrap();
    running.flush().unwrap();
    fs::write(store.traces().join("c.vkt"), "not a trace at all").unwrap();
    let rows = store.list().unwrap();
    let summary: Vec<_> = rows.iter().map(|row| (row.outcome.to_string(), row.instructions)).collect();
    assert_eq!(summary[0].0, format!("unreadable: {} is not a vkernel trace", rows[0].path.display()));
    assert_eq!(summary[1..], [("panic: Fatal exception".into(), 77), ("unfinished".into(), 5)]);
}

#[test]
fn a_pinned_recording_is_not_removed() {
    let (_directory, store) = store();
    let (name, writer) = begin(&store, "k", 0);
    let path = writer.path().to_owned();
    let cache = cache_directory(&path);
    fs::create_dir(&cache).unwrap();
    store.pin("latest").unwrap();
    assert!(store.list().unwrap()[0].pinned);
    assert!(matches!(store.remove(&name), Err(StoreError::Pinned { .. })));
    store.unpin(&name).unwrap();
    assert_eq!(store.remove(&name).unwrap(), name);
    assert_eq!(fs::read_dir(store.traces()).unwrap().count(), 0, "trace, cache and pin are gone");
}

#[test]
fn a_trace_elsewhere_is_listed_and_keeps_its_images() {
    let (directory, store) = store();
    let file = directory.path().join("mine.vkt");
    for _ in 0..2 {
        let (writer, problem) =
            store.record_at(&file, "k", &power_on(b"kernel"), &meta(9), &images()).unwrap();
        assert!(problem.is_none());
        writer.finish(&power_off(Mark::default())).unwrap();
    }
    let rows = store.list().unwrap();
    assert_eq!(rows.len(), 1, "recording over the same file again replaces the link");
    assert_eq!(rows[0].elsewhere.as_deref(), Some(&*file));
    assert_eq!(store.sweep_images(u64::MAX).unwrap(), []);
    store.remove("latest").unwrap();
    assert!(file.exists(), "the file is the user's");
}

#[test]
fn a_trace_elsewhere_is_recorded_even_without_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("file");
    fs::write(&blocked, "").unwrap();
    let store = Store::at(StoreRoot(blocked.join("vkernel")));
    let file = directory.path().join("mine.vkt");
    let (writer, problem) = store.record_at(&file, "k", &power_on(b"kernel"), &meta(9), &images()).unwrap();
    writer.finish(&power_off(Mark::default())).unwrap();
    assert!(problem.is_some());
    assert!(TraceReader::open(&file).unwrap().ending().is_some());
}

#[test]
fn a_file_that_is_no_trace_is_never_recorded_over() {
    let (directory, store) = store();
    let file = directory.path().join("disk.img");
    fs::write(&file, "precious").unwrap();
    let refused = store.record_at(&file, "k", &power_on(b"kernel"), &meta(9), &images());
    assert!(matches!(refused, Err(StoreError::NotOverwritten { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[test]
fn the_cache_lies_beside_the_trace() {
    for (trace, cache) in [("/t/vmlinuz-6.1.vkt", "/t/vmlinuz-6.1.cache"), ("/t/trace.1", "/t/trace.1.cache")]
    {
        assert_eq!(cache_directory(Path::new(trace)), Path::new(cache));
    }
}

#[test]
fn of_two_recordings_begun_in_one_second_the_later_one_is_the_latest() {
    let (_directory, store) = store();
    let mut later = String::new();
    for kernel in ["zz-kernel", "a"] {
        later = begin(&store, kernel, 1_795_230_855).0;
        // Longer than the grain of a file system's clock.
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    assert_eq!(store.find("latest").unwrap(), later);
}
