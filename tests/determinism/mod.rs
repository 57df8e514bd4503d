//! The same run again: on another engine, in lockstep, from its recording. The guests are our own and small; the
//! long forms are tests/soak's.

mod endings;
mod engines;
