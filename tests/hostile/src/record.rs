//! Records a guest as a user's boot is recorded, and replays it.

use crate::guest::{Guest, LIMIT_COUNTS};
use crate::run::Trouble;
use boundary::{Arrival, Icount, Input, Output, World};
use machine::{EngineKind, Interrupt, Machine};
use recorder::{Meta, TraceReader, TraceWriter};
use replay::{Clock, FailOn, Limit, Live, LiveOptions, Player, Progress, Watch};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

/// A world in which everything that will ever arrive is known, and each look at the clock takes a while.
struct Script {
    inputs: VecDeque<Input>,
    looks: std::cell::Cell<u64>,
}

impl World for Script {
    fn arrivals(&mut self, _: Duration) -> Vec<Arrival> {
        // Something at every third look.
        let looks = self.looks.get();
        if looks % 3 == 2 {
            self.inputs.pop_front().map(Arrival::Input).into_iter().collect()
        } else {
            Vec::new()
        }
    }

    fn emit(&mut self, _: &Output) {}

    fn notice(&mut self, _: &str) {}

    fn is_live(&self) -> bool {
        !self.inputs.is_empty()
    }

    fn monotonic_ns(&self) -> u64 {
        const LOOK_NS: u64 = 1_000_000;
        self.looks.set(self.looks.get() + 1);
        self.looks.get() * LOOK_NS
    }

    fn wall_clock_ns(&self) -> u64 {
        self.monotonic_ns()
    }
}

/// Records a guest under one of the clocks, and replays the recording on the other engine, checking all there is.
///
/// # Errors
/// The trace cannot be written or read, or the replay disagrees with it.
pub fn record_and_replay(guest: &Guest, folder: &Path) -> Result<(), Trouble> {
    let path = folder.join(format!("{:x}.vkt", guest.number));
    let trouble = |error: &dyn std::fmt::Display| Trouble::Replay(error.to_string());
    let machine =
        Machine::new(&guest.power_on, guest, EngineKind::Interp).map_err(|error| trouble(&error))?;
    let writer =
        TraceWriter::create(&path, &guest.power_on, &Meta::default()).map_err(|error| trouble(&error))?;
    let mut world = Script {
        inputs: guest.inputs.iter().map(|(_, input)| input.clone()).collect(),
        looks: Default::default(),
    };
    let clock = if guest.number.is_multiple_of(2) { Clock::Virtual } else { Clock::Host };
    let options = LiveOptions {
        clock,
        limit: Some(Limit::Icount(Icount(LIMIT_COUNTS))),
        reboot: true,
        end_on_failure: false,
        watch: Watch::new(FailOn::Oops, None, None),
        has_debugger: false,
        interrupt: Interrupt::default(),
    };
    let live = Live::new(machine, Box::new(&mut world), guest, Some(writer), options, Box::new(|_| {}));
    let outcome = live.run(|_| 0);
    if let Some(error) = outcome.trace_trouble {
        return Err(trouble(&error));
    }
    let reader = TraceReader::open(&path).map_err(|error| trouble(&error))?;
    let mut player = Player::new(&reader, guest, EngineKind::Reference, Interrupt::default())
        .map_err(|error| trouble(&error))?;
    player.full = true;
    let last = player.last_mark();
    let progress = player.play(last, &mut |_, _| {}).map_err(|error| trouble(&error))?;
    if progress != Progress::Ended && player.machine.mark() != outcome.mark {
        return Err(Trouble::Replay(format!("the replay came to {} only", player.machine.mark())));
    }
    if player.machine.digest_from_scratch() != outcome.digest {
        return Err(Trouble::Replay("the digest at the end".to_owned()));
    }
    Ok(())
}
