//! Tests of checkpoints on disk.

use super::*;
use boundary::Icount;

const LIMIT_BYTES: u64 = 1 << 30;
const IDENTITY: CacheIdentity = CacheIdentity([7; 32]);

fn at(icount: u64) -> Mark {
    Mark::before(Icount(icount))
}

fn page(value: u64) -> Page {
    let mut page = [0; PAGE_BYTES];
    page[..8].copy_from_slice(&value.to_le_bytes());
    page
}

/// Keeps `count` checkpoints, each with one page more; page 0 changes every time.
fn filled(file: &mut CheckpointFile, count: u64) {
    for number in 0..count {
        let (own, shared) = (page(1000 + number), page(number));
        file.append(NewCheckpoint {
            mark: at(number * 100),
            base: (number > 0).then(|| at((number - 1) * 100)),
            about: vec![number as u8],
            state: &[number as u8; 100],
            pages: vec![(0, Some(&own)), (number as usize + 1, Some(&shared))],
            console: vec![(at(number * 100), format!("line {number}\n").into_bytes())],
        })
        .expect("room");
    }
}

fn first_word(file: &CheckpointFile, at: Option<PageAt>) -> u64 {
    let page = file.page_reader().unwrap().read(at.expect("a page")).expect("it can be read");
    u64::from_le_bytes(page[..8].try_into().unwrap())
}

fn expect(file: &CheckpointFile, numbers: impl Iterator<Item = u64>) {
    let numbers: Vec<u64> = numbers.collect();
    assert_eq!(
        file.records().map(|(mark, _)| mark).collect::<Vec<_>>(),
        numbers.iter().map(|number| at(number * 100)).collect::<Vec<_>>()
    );
    for number in numbers {
        let table = file.page_table(at(number * 100));
        assert_eq!(table.len() as u64, number + 2);
        assert_eq!(first_word(file, table[0]), 1000 + number);
        for shared in 0..=number {
            assert_eq!(first_word(file, table[shared as usize + 1]), shared);
        }
        assert_eq!(file.state(at(number * 100)).unwrap(), [number as u8; 100]);
    }
}

fn console(file: &CheckpointFile) -> String {
    file.console().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect()
}

#[test]
fn what_was_kept_is_there_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
    filled(&mut file, 9);
    expect(&file, 0..9);
    let shown = console(&file);
    drop(file);
    let again = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
    expect(&again, 0..9);
    assert_eq!(console(&again), shown);
    assert!(shown.starts_with("line 0\nline 1\n") && shown.ends_with("line 8\n"));
}

#[test]
fn one_of_another_identity_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    filled(&mut CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap(), 3);
    let other = CheckpointFile::open(directory.path(), CacheIdentity([8; 32]), LIMIT_BYTES).unwrap();
    assert_eq!(other.records().count(), 0);
}

#[test]
fn half_a_frame_at_the_end_is_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
    filled(&mut file, 2);
    let whole = file.length_bytes();
    drop(file);
    for cut in [1, 17, 60, 200] {
        let mut file = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
        let third = page(9);
        file.append(NewCheckpoint {
            mark: at(200),
            base: Some(at(100)),
            about: Vec::new(),
            state: &[2],
            pages: vec![(5, Some(&third))],
            console: Vec::new(),
        })
        .unwrap();
        assert!(file.length_bytes() > whole);
        file.file.set_len((whole + cut).min(file.length_bytes() - 1)).unwrap();
        drop(file);
        let file = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
        assert_eq!(file.length_bytes(), whole, "cut {cut} bytes behind the last whole frame");
        expect(&file, 0..2);
    }
}

#[test]
fn a_damaged_page_is_an_error_and_a_damaged_record_ends_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
    filled(&mut file, 3);
    let table = file.page_table(at(200));
    let damaged = table[0].unwrap();
    let mut byte = [0];
    let middle = damaged.offset_bytes + u64::from(damaged.length_bytes) / 2;
    file.file.read_exact_at(&mut byte, middle).unwrap();
    file.file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    assert!(file.page_reader().unwrap().read(damaged).is_err());
    file.file.write_all_at(&[0xff; 20], HEADER_BYTES + FRAME_HEAD_BYTES + 4).unwrap();
    drop(file);
    let file = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
    assert_eq!(file.records().count(), 0);
}

#[test]
fn thinning_out_keeps_every_second_one_the_last_and_all_of_the_console() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
    filled(&mut file, 10);
    let (before, shown) = (file.length_bytes(), console(&file));
    file.thin_out().unwrap();
    assert!(file.length_bytes() < before);
    expect(&file, [0, 2, 4, 6, 8, 9].into_iter());
    assert_eq!(console(&file), shown);
    drop(file);
    let again = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
    expect(&again, [0, 2, 4, 6, 8, 9].into_iter());
}

#[test]
fn a_second_process_reads_and_does_not_append() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
    filled(&mut first, 2);
    let second = CheckpointFile::open(directory.path(), IDENTITY, LIMIT_BYTES).unwrap();
    assert!(first.is_writable() && !second.is_writable());
    expect(&second, 0..2);
    let refused = CheckpointFile::open(directory.path(), CacheIdentity([1; 32]), LIMIT_BYTES);
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::WouldBlock);
}
