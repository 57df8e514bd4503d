//! The timeline: the only driver of a machine.
//!
//! Live, it is a timeline whose end is the host ([`live`]); recording, it writes down what passes; replaying,
//! it reads that back and checks every landmark and digest on the way ([`player`]). A disagreement is a value,
//! a [`Divergence`], narrowed to the first differing instruction ([`narrow`]). With a cursor that moves both ways
//! over a recording it is a [`Timeline`], from which a [`Branch`] can go its own way.
//!
//! Knows nothing of terminals, files' names or command lines.
#![forbid(unsafe_code)]

mod divergence;
mod inspect;
mod live;
mod messages;
mod narrow;
mod plausible;
mod player;
mod silence;
mod timeline;
mod watch;

pub use divergence::{Divergence, Evidence};
pub use inspect::{Inspector, Reporter};
pub use live::{Advance, Clock, Limit, Live, LiveOptions, Outcome};
pub use narrow::{Narrowed, narrow};
pub use player::{Checkpoint, PlayError, Player, Progress};
pub use timeline::{
    Arrival, Branch, Budget, CheckpointCost, Condition, ConsoleLog, Hit, Hits, ProgressReport, Query,
    Timeline, copy_events, settled,
};
pub use watch::{FailOn, Failure, Pattern, Watch};
