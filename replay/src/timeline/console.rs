//! What the console showed, and when.

use boundary::{Mark, Output};

/// The console's bytes up to the furthest place that was replayed, each with its place.
#[derive(Debug, Default)]
pub struct ConsoleLog {
    bytes: Vec<u8>,
    /// Where in `bytes` the output of each place begins, ascending.
    places: Vec<(usize, Mark)>,
}

impl ConsoleLog {
    /// Notes an output, unless it was noted before: a timeline passes most places more than once.
    pub(super) fn note(&mut self, mark: Mark, output: &Output) {
        if let Output::Console(bytes) = output {
            self.note_bytes(mark, bytes);
        }
    }

    /// Notes bytes that an earlier session saw.
    pub(super) fn note_bytes(&mut self, mark: Mark, bytes: &[u8]) {
        if self.places.last().is_none_or(|(_, last)| *last < mark) {
            self.places.push((self.bytes.len(), mark));
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// What was noted behind `from` and not behind `to`.
    pub(super) fn between(&self, from: Option<Mark>, to: Mark) -> Vec<(Mark, Vec<u8>)> {
        let ends = self.places.iter().skip(1).map(|(start, _)| *start).chain([self.bytes.len()]);
        let outputs = self.places.iter().zip(ends);
        outputs
            .filter(|((_, mark), _)| from.is_none_or(|from| *mark > from) && *mark <= to)
            .map(|((start, mark), end)| (*mark, self.bytes[*start..end].to_vec()))
            .collect()
    }

    /// All bytes noted.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes that had been shown at `place`.
    #[must_use]
    pub fn shown_at(&self, place: Mark) -> &[u8] {
        let next = self.places.partition_point(|(_, mark)| *mark <= place);
        &self.bytes[..self.places.get(next).map_or(self.bytes.len(), |(start, _)| *start)]
    }

    /// The place at which the byte at `offset` was shown.
    #[must_use]
    pub fn place_of(&self, offset: usize) -> Option<Mark> {
        let next = self.places.partition_point(|(start, _)| *start <= offset);
        (offset < self.bytes.len()).then(|| self.places[next - 1].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boundary::Icount;

    fn at(icount: u64) -> Mark {
        Mark::before(Icount(icount))
    }

    #[test]
    fn every_byte_has_its_place_however_often_it_is_passed() {
        let mut log = ConsoleLog::default();
        for _ in 0..2 {
            log.note(at(5), &Output::Console(b"ab".to_vec()));
            log.note(at(9), &Output::Console(b"c".to_vec()));
        }
        assert_eq!(log.bytes(), b"abc");
        assert_eq!((log.place_of(1), log.place_of(2), log.place_of(3)), (Some(at(5)), Some(at(9)), None));
        assert_eq!(
            (log.shown_at(at(4)), log.shown_at(at(5)), log.shown_at(at(9))),
            (&b""[..], &b"ab"[..], &b"abc"[..])
        );
    }
}
