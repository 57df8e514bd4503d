//! Recordings made to order: the demonstration kernel with as many digests and chunks as a test wants, or anything
//! at all with right checks around it.

use crate::support::program::Sandbox;
use boundary::{Icount, Mark, Output, PowerOn};
use machine::{EngineKind, Event, Exit, Interrupt, Machine, StopSet};
use recorder::{
    ConsoleState, End, Ending, ImageSet, Meta, Store, StoreRoot, TraceReader, TraceWriter, gather_images,
};
use std::path::Path;

/// What a demonstration boot starts from, as the program itself describes it.
pub struct Demo {
    /// The machine.
    pub power_on: PowerOn,
    /// Its kernel.
    pub images: ImageSet,
}

impl Demo {
    /// Takes it from a short recording of the program.
    pub fn new(vcpus: u8) -> Demo {
        let sandbox = Sandbox::new();
        let vcpus = vcpus.to_string();
        sandbox
            .run(["-m", "64m", "-n", &vcpus, "--limit", "1ki", "--no-reboot", "demo:"])
            .expect(1, &["--limit"]);
        let reader = TraceReader::open(&sandbox.traces()[0]).expect("a trace");
        let root = StoreRoot::choose(Some(sandbox.store().as_os_str()), None, None).expect("a store");
        let images = gather_images(&reader, Some(&Store::at(root).images()), &[]).expect("the kernel");
        Demo { power_on: reader.power_on().clone(), images }
    }

    /// Records a run of `counts`, or to the power-off, with a digest, a console state and a chunk every `step` counts.
    pub fn record(&self, path: &Path, counts: u64, step: u64) -> TraceReader {
        let mut machine = Machine::new(&self.power_on, &self.images, EngineKind::Interp).expect("a machine");
        let mut writer = begin(path, &self.power_on);
        let mut console = ConsoleState::default();
        let mut next = step;
        let ending = loop {
            let until = Mark::before(Icount(next.min(counts)));
            let exit = machine.run(until, &StopSet::default(), &Interrupt::default());
            for (mark, event) in machine.take_events() {
                match event {
                    Event::Landmark(landmark) => {
                        write(&mut writer, mark, recorder::Event::Landmark(landmark))
                    }
                    Event::Output(Output::Console(bytes)) => console.absorb(&bytes),
                    Event::Output(_) => {}
                }
            }
            match exit {
                Exit::Budget => {
                    let digest = machine.digest();
                    write(&mut writer, machine.mark(), recorder::Event::Digest(digest));
                    write(&mut writer, machine.mark(), recorder::Event::Console(console));
                    writer.flush().expect("room for a trace");
                    if next >= counts {
                        break Ending::Limit;
                    }
                    next += step;
                }
                Exit::Idle { next_deadline } => machine.advance_idle(next_deadline.expect("it has timers")),
                Exit::Power(event) => {
                    write(&mut writer, machine.mark(), recorder::Event::Power(event));
                    break Ending::PowerOff;
                }
                Exit::Output | Exit::Interrupted | Exit::Stop { .. } => {}
                Exit::Mismatch(mismatch) => panic!("{mismatch}"),
            }
        };
        let end = End {
            mark: machine.mark(),
            virtual_time: machine.now(),
            digest: Some(machine.digest_from_scratch()),
            console,
            exit_status: 0,
            ending,
        };
        writer.finish(&end).expect("room for an ending");
        TraceReader::open(path).expect("what was written can be read")
    }
}

/// Begins a trace of any machine at all.
pub fn begin(path: &Path, power_on: &PowerOn) -> TraceWriter {
    TraceWriter::create(path, power_on, &Meta::default()).expect("room for a trace")
}

/// Writes an event, which is in order.
pub fn write(writer: &mut TraceWriter, mark: Mark, event: recorder::Event) {
    writer.event(mark, &event).expect("an event in order");
}
