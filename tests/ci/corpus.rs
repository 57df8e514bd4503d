//! Recordings of released vkernels, which must replay for ever. tests/corpus/README.md says how they are made.

use super::Place;
use crate::support::{files_below, root};

#[test]
fn every_recording_of_the_corpus_replays() {
    let recordings = files_below(&root().join("tests/corpus"), "vkt");
    assert!(recordings.len() >= 4, "the corpus is there");
    let place = Place::new();
    for recording in recordings {
        let ran = place.expect(0, &format!("trace verify --full {}", recording.display()));
        assert!(ran.out.contains("every landmark and digest agrees"), "{}", ran.context());
    }
}
