//! What a trace can hold and this machine cannot do: a clear refusal, never a wrong replay, a panic or a hang.

use super::Place;
use boundary::{DiskStatus, External, Icount, Input, Mark, Operator};
use recorder::{Event, TraceReader, TraceWriter};

/// A recording with one input put in before its first event.
fn with_input(place: &Place, input: &Input) {
    let reader = TraceReader::open(&place.path("recorded.vkt")).unwrap();
    let mut writer = TraceWriter::replace(&place.path("x.vkt"), reader.power_on(), reader.meta()).unwrap();
    writer.event(Mark::before(Icount(1000)), &Event::Input(input.clone())).unwrap();
    for event in reader.events() {
        let (mark, event) = event.unwrap();
        writer.event(mark, &event).unwrap();
    }
    writer.finish(reader.ending().unwrap()).unwrap();
}

#[test]
fn what_cannot_be_replayed_is_refused_by_name() {
    let place = Place::new();
    place.expect(0, "boot -m 128m --trace recorded.vkt --append rounds=0 demo:");
    let external = "this trace uses an external device (device 5, first at @1000)";
    for (input, words) in [
        (Input::External(External::Read { device: 5, value: 1 }), external),
        (Input::External(External::Dma { device: 5, paddr: 4096, bytes: vec![1] }), external),
        (Input::External(External::Interrupt { device: 5, asserted: true }), external),
        (
            Input::Frame { nic: 0, bytes: vec![0; 60] },
            "an input at @1000 that its machine cannot take (network frame)",
        ),
        (
            Input::DiskStatus(DiskStatus { disk: 0, request: 0, errno: 5 }),
            "an input at @1000 that its machine cannot take (disk status)",
        ),
        (
            Input::Operator(Operator::WriteRegister { vcpu: 9, register: 0, value: 0 }),
            "an input at @1000 that its machine cannot take (operator write)",
        ),
    ] {
        with_input(&place, &input);
        let ran = place.expect(255, "replay ./x.vkt");
        ran.says(words);
        assert!(!ran.err.contains("panicked"), "{}", ran.context());
        place.expect(255, "trace verify ./x.vkt").says(words);
        let events = place.expect(0, "trace events --kind input ./x.vkt").out;
        assert_eq!(events.lines().count(), 1, "it is shown: {events}");
    }
}

#[test]
fn a_landmark_that_comes_at_another_place_is_a_divergence_whose_narrowing_ends() {
    let place = Place::new();
    place.expect(0, "boot -m 128m --trace recorded.vkt --append rounds=0 demo:");
    let reader = TraceReader::open(&place.path("recorded.vkt")).unwrap();
    let mut writer = TraceWriter::replace(&place.path("x.vkt"), reader.power_on(), reader.meta()).unwrap();
    for (number, event) in reader.events().enumerate() {
        let (mut mark, event) = event.unwrap();
        mark.icount.0 -= if number == 0 { 100 } else { 0 };
        writer.event(mark, &event).unwrap();
    }
    writer.finish(reader.ending().unwrap()).unwrap();
    let ran = place.expect(255, "trace verify ./x.vkt");
    ran.says("replay diverges from the trace between @0 and @").says("every replay agrees with every other");
}
