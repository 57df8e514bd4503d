//! The integration tests: the program and the real guests, in one binary.

mod cli;
mod docs;
mod failures;
mod faults;
mod privmatrix;
mod protocols;
mod support;
mod tidy;
mod time_travel;
